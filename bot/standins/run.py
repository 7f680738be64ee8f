"""`koe demo`: seed some weeks of history, then show the page or play the story."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bot.standins.demo import DAY_MS, PRESENT, Transport, World, open_world
from bot.standins.history import live_through
from bot.standins.page import page_app
from bot.standins.play import Play, StoryFailedError
from bot.standins.story import Story
from bot.standins.wire import serve

_console = Console(stderr=True)


async def _seeded_world(stack: AsyncExitStack, keep: Path | None, *, transport: Transport, weeks: int) -> World:
    if keep is None:
        with ExitStack() as made:
            directory = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="koe-demo-")))
            stack.callback(made.pop_all().close)
    else:
        directory = keep
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"--keep {directory}: the folder cannot be made: {error.strerror}") from error
        if (directory / "koe.db").exists():
            raise FileExistsError(f"{directory} holds a demo already: name another folder, or delete it first")
    start_ms = int(PRESENT.timestamp() * 1000) - weeks * 7 * DAY_MS
    world = await open_world(directory, start_ms=start_ms, transport=transport)
    stack.push_async_callback(world.close)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console, transient=True) as bar:
        task = bar.add_task(f"{weeks} weeks of history", total=weeks)
        await live_through(world, weeks, lambda week: bar.update(task, completed=week))
    await world.koe.schedule()
    return world


async def play(keep: Path | None, *, weeks: int, transport: Transport = "http") -> bool:
    """The story by itself, after `weeks` weeks of history. Prints what each person saw; False (and the step that
    failed) when it went wrong."""
    async with AsyncExitStack() as stack:
        began = time.monotonic()
        world = await _seeded_world(stack, keep, transport=transport, weeks=weeks)
        print(f"✓ {weeks}週間の履歴（{time.monotonic() - began:.0f}秒）")  # noqa: T201 - this is its output
        try:
            await Play(world, say=print).run()
        except StoryFailedError as failed:
            print(f"✗ {failed}")  # noqa: T201
            return False
        print("✓ 終わり")  # noqa: T201
        return True


async def show(port: int, keep: Path | None, *, weeks: int, transport: Transport = "http") -> bool:
    """The page, after `weeks` weeks of history, until Ctrl-C."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with AsyncExitStack() as stack:
        seeding = asyncio.ensure_future(_seeded_world(stack, keep, transport=transport, weeks=weeks))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({seeding, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not seeding.done():
            seeding.cancel()
            await asyncio.wait({seeding})
            return True
        world = seeding.result()
        # one customer is in Slack: their survey comes within the hour
        await world.purchase(world.new_buyer("ja", channel="slack"))
        world.clock.run()
        story = Story(world)
        page = await serve(page_app(line=world.line, slack=world.slack, story=story), port)
        stack.push_async_callback(page.close)
        keeper = asyncio.create_task(story.keep_time())
        stack.callback(keeper.cancel)
        print(f"Koe demo: {page.url}   (Ctrl-C ends it)", flush=True)  # noqa: T201
        await stopped
        return True
