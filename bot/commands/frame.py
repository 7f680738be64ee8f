"""What stands around every command: its configuration, its event loop, its progress, its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bot.terminal import described, echo
from flows.visible import spelled_line

if TYPE_CHECKING:
    from bot.config import Config
    from flows.source import Problem

EXIT_CONFIG = 2
"""The exit code where something is wrong with what was set or asked for."""


def fail(message: str, code: int = 1) -> typer.Exit:
    """To be raised: the sentence on stderr, and this exit code."""
    echo(message, err=True)
    return typer.Exit(code)


def write(file: Path, text: str) -> None:
    """The text as a file; one that cannot be written is a sentence and exit 1."""
    try:
        file.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"{file} cannot be written: {error.strerror}") from error


def checked(*, serving: bool = False) -> Config:
    """The checked configuration; otherwise every problem on stderr and exit 2. `serving` also asks for what only a
    server needs."""
    from bot.check import examine
    from bot.clock import SystemClock

    config, problems = examine(serving=serving, now_ms=SystemClock().now_ms() if serving else None)
    refuse(problems)
    assert config is not None
    return config


def refuse(problems: Sequence[Problem]) -> None:
    """Ends the command with every problem on stderr and exit 2; nothing happens without one."""
    for problem in problems:
        echo(str(problem), err=True)
    if problems:
        count = len(problems)
        raise fail(f"{count} problem{'s' if count > 1 else ''} found; nothing was done.", EXIT_CONFIG)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it on uvloop where there is one; what an operator can mend is a sentence and exit 1."""
    from bot.app import CannotStart
    from bot.digests import DigestFailed
    from bot.events.business import BadEvent
    from storage.errors import StoreError

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except (CannotStart, StoreError, DigestFailed, BadEvent, OSError) as error:
        raise fail(str(error)) from error


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextmanager
def bytes_bar(file: Path) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr over the bytes of a file; what it gives takes the number read since last time."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    if not file.is_file():  # which the reader says in a sentence
        yield lambda read: None
        return
    columns = (described(), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(spelled_line(file.name), total=file.stat().st_size)
        yield lambda read: bar.advance(task, read)
