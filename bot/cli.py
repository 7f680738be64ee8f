"""`koe`: its commands by name. What they do stands in bot.commands; nothing heavy is loaded to say what there is."""

from __future__ import annotations

import os

import typer

from bot.commands import figures, person, running, transfer, upkeep

app = typer.Typer(
    name="koe",
    help="Koe (声): loyalty surveys in LINE and Slack, for one shop.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
import_app = typer.Typer(help="Bring data in from a file.", no_args_is_help=True, rich_markup_mode=None)
export_app = typer.Typer(help="Take data out, into a file.", no_args_is_help=True, rich_markup_mode=None)
person_app = typer.Typer(
    help="Everything stored about one customer; remove it.", no_args_is_help=True, rich_markup_mode=None
)

app.command()(running.serve)
app.command()(upkeep.check)
app.command()(running.talk)
app.command()(running.demo)
app.command()(figures.digest)
app.command("dry-run")(figures.dry_run_command)
app.command()(upkeep.doctor)
app.command("slack-manifest")(upkeep.slack_manifest)
app.command()(figures.metrics)
import_app.command("events")(transfer.import_events)
import_app.command("answers")(transfer.import_answers)
export_app.command("answers")(transfer.export_answers)
export_app.command("events")(transfer.export_events)
export_app.command("cases")(transfer.export_cases)
person_app.command("show")(person.show_person)
person_app.command("erase")(person.erase_person)

app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
app.add_typer(person_app, name="person")


def main() -> None:
    """Entry point of the `koe` command."""
    from storage import failpoints

    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    app()


if __name__ == "__main__":
    main()
