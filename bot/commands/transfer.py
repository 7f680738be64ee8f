"""The commands that bring data in from files and take it out."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.commands.frame import EXIT_CONFIG, bytes_bar, checked, fail, run
from bot.terminal import described, echo
from flows.visible import spelled_line

if TYPE_CHECKING:
    from bot.config import Config
    from bot.exports import Exported, Wanted
    from reports.export_columns import What


def import_events(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file (docs/events.md).")],
) -> None:
    """Store business events from a file. History never triggers a survey; importing twice changes nothing.

    Example: koe import events orders-2025.csv
    """
    config = checked()
    bad = run(_import_events(config, file))
    if bad:
        raise typer.Exit(1)


async def _import_events(config: Config, file: Path) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from bot.clock import Chance, SystemClock
    from bot.events.files import count_rows, import_events
    from storage.store import Tx, open_store

    clock = SystemClock()
    total = count_rows(file)
    store = await open_store(config.settings.database_url, now_ms=clock.now_ms())
    try:
        workspaces = {
            channel: known
            for channel in ("line", "slack")
            if (known := await store.read(partial(Tx.get_meta, key=f"workspace.{channel}"))) is not None
        }
        columns = (described(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(spelled_line(file.name), total=total)
            result = await import_events(
                file,
                store=store,
                clock=clock,
                chance=Chance(),
                tz=config.shop.tz,
                workspaces=workspaces,
                match_key=config.settings.secret_key.get_secret_value().encode(),
                rewarded=config.shop.rewards_referrals,
                progress=lambda rows: bar.advance(task, rows),
            )
    finally:
        await store.close()
    for line, reason in result.bad[:100]:
        echo(f"{file}:{line}: {reason}", err=True)
    if len(result.bad) > 100:
        echo(f"… and {len(result.bad) - 100} more bad rows", err=True)
    echo(f"{result.stored} stored, {result.known} known before, {len(result.bad)} bad.")
    return len(result.bad)


def import_answers(
    file: Annotated[Path, typer.Argument(help="A CSV file of answers (docs/answers.md).", metavar="ANSWERS.csv")],
) -> None:
    """Store answers from another tool as history. They start nothing; importing twice changes nothing.

    Example: koe import answers answers-2025.csv
    """
    config = checked()
    if run(_import_answers(config, file)):
        raise typer.Exit(1)


async def _import_answers(config: Config, file: Path) -> int:
    from bot.clock import SystemClock
    from bot.events.answers import import_answers
    from reports.answers.file import AnswersFileError
    from storage.store import open_store

    clock = SystemClock()
    store = await open_store(config.settings.database_url, now_ms=clock.now_ms())
    try:
        with bytes_bar(file) as progress:
            result = await import_answers(
                file, store=store, clock=clock, library=config.library, tz=config.shop.tz, progress=progress
            )
    except AnswersFileError as error:
        raise fail(str(error)) from error
    finally:
        await store.close()
    for fault in result.faults:
        echo(f"{file}:{fault.line}: {fault.message}", err=True)
    if result.bad > len(result.faults):
        echo(f"… and {result.bad - len(result.faults)} more bad rows", err=True)
    for count, about in (
        (result.erased, "answers of erased customers were left out."),
        (result.cut, "texts were cut to their first 1,000 characters."),
        (result.dropped_codes, "unknown codes of multi-selects were left out of their answers."),
        (result.own, "answers to questions of the shop's own were left out."),
        (result.former, "answers that were corrected or withdrawn were left out."),
    ):
        if count:
            echo(f"{count} {about}", err=True)
    if result.unused:
        echo(f"Columns not used: {', '.join(result.unused)}", err=True)
    echo(f"{result.stored} stored, {result.known} known before, {result.bad} bad.")
    return result.bad


_Format = Annotated[
    str, typer.Option(help="csv, xlsx or parquet; by the ending of -o when left out, else csv.", show_default=False)
]
_From = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First day, in the shop's time.")
]
_To = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="Last day, itself included; now when left out."),
]
_Flow = Annotated[str, typer.Option(help="Only of this flow.")]
_Segment = Annotated[str, typer.Option(help="Only of this segment.")]
_Output = Annotated[
    Path | None, typer.Option("-o", metavar="FILE", help="By default answers.csv, events.xlsx … in this folder.")
]
_Unmasked = Annotated[
    bool, typer.Option("--unmasked", help="Customers' words as they were written; noted in the audit.")
]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on with this export where it was interrupted.")]


def export_answers(
    format: _Format = "",  # noqa: A002
    first: _From = None,
    last: _To = None,
    flow: _Flow = "",
    segment: _Segment = "",
    history: Annotated[
        bool, typer.Option("--history", help="Also answers that no longer count: corrected or withdrawn.")
    ] = False,
    output: _Output = None,
    unmasked: _Unmasked = False,
    resume: _Resume = False,
) -> None:
    """Write answers, a row each, to a file that a spreadsheet, `koe metrics` and `koe import answers` read
    (docs/exports.md).

    Example: koe export answers --from 2026-10-01 --to 2026-10-31 -o october.xlsx
    """
    _export(
        "answers", format, output, first=first, last=last, flow=flow, segment=segment, history=history,
        unmasked=unmasked, resume=resume,
    )  # fmt: skip


def export_events(
    format: _Format = "",  # noqa: A002
    first: _From = None,
    last: _To = None,
    output: _Output = None,
    unmasked: _Unmasked = False,
    resume: _Resume = False,
) -> None:
    """Write business events, a row each, to a file that a spreadsheet and `koe import events` read (docs/exports.md).

    Example: koe export events --from 2026-10-01 -o events.csv
    """
    _export("events", format, output, first=first, last=last, unmasked=unmasked, resume=resume)


def export_cases(
    format: _Format = "",  # noqa: A002
    first: _From = None,
    last: _To = None,
    flow: _Flow = "",
    segment: _Segment = "",
    output: _Output = None,
    unmasked: _Unmasked = False,
    resume: _Resume = False,
) -> None:
    """Write cases, a row each, with their times to the first reply and to their end (docs/exports.md).

    Example: koe export cases --format xlsx
    """
    _export(
        "cases", format, output, first=first, last=last, flow=flow, segment=segment, unmasked=unmasked, resume=resume
    )


def _export(
    what: What,
    form: str,
    output: Path | None,
    *,
    first: datetime | None,
    last: datetime | None,
    unmasked: bool,
    resume: bool,
    flow: str = "",
    segment: str = "",
    history: bool = False,
) -> None:
    from bot.exports import CannotExport, Wanted
    from reports.sheets import FORMS, Form

    ending = "" if output is None else output.suffix.removeprefix(".").lower()
    chosen: Form | None = next((one for one in FORMS if one == (form or ending)), None if form else "csv")
    if chosen is None:
        raise fail(f"--format is {form!r}: csv, xlsx and parquet work.", EXIT_CONFIG)
    path = output or Path(f"{what}.{chosen}")
    wanted = Wanted(
        what=what,
        form=chosen,
        path=path,
        first_day=None if first is None else first.date(),
        last_day=None if last is None else last.date(),
        flow=flow,
        segment=segment,
        history=history,
        unmasked=unmasked,
        resume=resume,
    )
    config = checked()
    try:
        done = run(_exported(config, wanted))
    except CannotExport as error:
        raise fail(str(error)) from error
    except KeyboardInterrupt:
        raise fail(f"Interrupted. Give the same command with --resume to go on with {path}.", 130) from None
    if done.resumed_after:
        echo(f"Went on after {done.resumed_after:,} rows.", err=True)
    if done.cut:
        echo(f"{done.cut:,} texts were cut to what a cell can hold; csv and parquet have all of them.", err=True)
    if not done.rows:
        echo(f"There are no {what} to export: {path} holds the columns' names only, which {done.dictionary} explains.")
        return
    words = "as they were written" if unmasked else "masked"
    echo(f"{done.rows:,} {what} in {path}, customers' words {words}; the columns are told in {done.dictionary}.")


async def _exported(config: Config, wanted: Wanted) -> Exported:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from bot.clock import Chance, SystemClock
    from bot.exports import export

    columns = (
        described(),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(spelled_line(wanted.path.name), total=None, rows=0)
    with ExitStack() as screen:

        def tell(done_ms: int, span_ms: int, rows: int) -> None:
            # an export of nothing has nothing to show
            if rows and not bar.live.is_started:
                screen.enter_context(bar)
            bar.update(task, completed=done_ms, total=span_ms, rows=rows)

        return await export(
            wanted,
            database_url=config.settings.database_url,
            tz=config.shop.tz,
            clock=SystemClock(),
            chance=Chance(),
            progress=tell,
        )
