"""Printing: whatever others wrote stays words on the terminal that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from flows.visible import spelled, spelled_line

if TYPE_CHECKING:
    from rich.progress import TextColumn
    from rich.text import Text


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print it, spelled out; on stderr if `err`."""
    typer.echo(spelled(str(text)), err=err, nl=nl)


def one_line(text: str) -> Text:
    """A line for Rich, of which nothing is markup."""
    from rich.text import Text

    return Text(spelled_line(text))


def described() -> TextColumn:
    """The column of a progress bar that says what it is about: a file's name, of which nothing is markup."""
    from rich.progress import TextColumn

    return TextColumn("{task.description}", markup=False)
