"""The commands about one customer: everything that is stored, and its end."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.commands.frame import EXIT_CONFIG, checked, fail, run
from bot.terminal import echo


def show_person(
    customer: Annotated[str, typer.Argument(help="The shop's own id of the customer.")],
    format: Annotated[str, typer.Option(help="text or json.")] = "text",  # noqa: A002
) -> None:
    """Show everything that is stored about one customer: for the customer who asks for it.

    Example: koe person show C001 --format json
    """
    from bot.clock import SystemClock
    from bot.person import NotKnown, show

    if format not in ("text", "json"):
        raise fail(f"--format is {format!r}: text and json work.", EXIT_CONFIG)
    config = checked()
    try:
        echo(run(show(config, customer, form=format, clock=SystemClock())))
    except NotKnown as error:
        raise fail(str(error)) from error


def erase_person(
    customer: Annotated[str, typer.Argument(help="The shop's own id of the customer.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase everything that is stored about one customer, for good. Counts without a person stay.

    Example: koe person erase C001
    """
    from bot.clock import Chance, SystemClock
    from bot.person import NotKnown, erase, show

    config = checked()
    clock = SystemClock()
    try:
        if not yes:
            echo(run(show(config, customer, form="text", clock=clock)))
            if not typer.confirm("\nErase all of this? It cannot be undone.", default=False):
                raise fail("Nothing was erased.")
        erased = run(erase(config, customer, clock=clock, chance=Chance()))
    except NotKnown as error:
        raise fail(str(error)) from error
    echo(f"Erased: {erased.answers} answers; {erased.jobs} jobs that waited were cancelled.")
    if erased.by_server:
        echo("The running server empties the database's log of the old pages within some seconds.")
    elif not erased.clean:
        raise fail("Somebody reads the database: its log still holds old pages until the next server start.")
    echo("Backups made earlier, exported files and messages in LINE and Slack still hold what they held.")
