"""The commands that go on until somebody ends them: the bot, the demo, a survey in the terminal."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bot.commands.frame import EXIT_CONFIG, checked, fail, refuse, run
from bot.terminal import echo

if TYPE_CHECKING:
    from bot.app import Koe
    from bot.config import Config


def _need_free(host: str, port: int, command: str) -> None:
    """Ends the command when nothing can listen there, before it has begun anything else."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        why = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        what = f"end it, or choose another port: {command} --port {port + 1 if 0 < port < 65_535 else 0}"
        raise fail(f"Koe cannot listen on {host}:{port}: {why}; {what}") from error


def serve(
    host: Annotated[str, typer.Option(help="Overrides KOE_HOST.")] = "",
    port: Annotated[int | None, typer.Option(help="Overrides KOE_PORT.", min=0, max=65535)] = None,
) -> None:
    """Run the bot: webhooks, Slack, and the worker in one process.

    Example: koe serve --port 8000
    """
    from bot import logs

    config = checked(serving=True)
    host, port = host or config.settings.host, config.settings.port if port is None else port
    _need_free(host, port, "koe serve")
    logs.set_up(config.settings.log_format)
    run(_serve(config, host, port))


async def _serve(config: Config, host: str, port: int) -> None:
    import uvicorn

    from bot.app import build
    from bot.clock import Chance, SystemClock
    from bot.http import make_app
    from bot.listener import KEEP_ALIVE_S, Listener

    koe = await build(config, clock=SystemClock(), chance=Chance())
    web = make_app(koe)
    server = uvicorn.Server(
        uvicorn.Config(
            web,
            host=host,
            port=port,
            http=Listener.with_posts(web.posts),
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,  # nobody here asks who called: signatures say it
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=3,
        )
    )
    try:
        await koe.start()
        # What is there now stays: the collector need not walk through the libraries' hundreds of thousands of objects
        # again and again, which took a quarter of the time of an answer.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        echo(f"Koe listens on http://{host}:{port}")
        looking = asyncio.create_task(_look_around(koe, config))
        # uvicorn takes SIGTERM and SIGINT: no new connections, open requests end, then serve() raises the signal once
        # more for whoever had it before and returns. That must not end the process before Koe is closed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)
        await server.serve()
        looking.cancel()
    finally:
        await koe.stop()


async def _look_around(koe: Koe, config: Config) -> None:
    """Once after the start, beside the work: who the staff are, and what the platforms say is missing, in the log. It
    stops nothing: most of it is mended while Koe runs."""
    import structlog

    from bot.onboarding import look_at_platforms, told_line_users

    if koe.access is not None:
        await koe.access.learn()
    users = await koe.store.read(told_line_users)
    log = structlog.get_logger("koe.setup")
    for finding in await look_at_platforms(config, slack=koe.slack_channel, line=koe.line_channel, line_users=users):
        tell = log.warning if finding.weight == "missing" else log.info
        tell(f"setup_{finding.weight}", platform=finding.platform, what=finding.sentence)


def talk(
    flow: Annotated[str, typer.Argument(help="A flow's id, or its file.")],
    lang: Annotated[str, typer.Option(help="ja or en; the shop's language when left out.")] = "",
    record: Annotated[Path | None, typer.Option(help="Write the talk to this file, as a test transcript.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--with", help="A value the texts or conditions use: order.amount=2000")
    ] = None,
) -> None:
    """Answer a survey here in the terminal, as a customer would. Nothing is stored and nothing is sent.

    Example: koe talk after_purchase --lang en
    """
    from rich.console import Console

    from bot.clock import SystemClock
    from bot.loading import ConfigErrors
    from bot.talk.loop import run
    from bot.talk.scene import CannotTalk, parse_given, scene

    if record is not None and record.exists():
        raise fail(f"{record} exists already; remove it or record to another file.")
    clock = SystemClock()
    try:
        found = scene(
            flow, lang=lang, given=parse_given(given or []), alone=record is not None, start_ms=clock.now_ms()
        )
    except ConfigErrors as errors:
        refuse(errors.problems)
        raise
    except CannotTalk as error:
        raise fail(str(error), EXIT_CONFIG) from error
    written = run(found, Console(highlight=False), record=record is not None, clock=clock)
    if record is not None:
        try:
            record.write_text(written, encoding="utf-8")
        except OSError as error:
            raise fail(f"the talk could not be written to {record}: {error.strerror}") from error
        echo(f"Recorded in {record}.")


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Play the story by itself and exit.")] = False,
    port: Annotated[int, typer.Option(help="Port of the demo page.", min=0, max=65535)] = 8765,
    keep: Annotated[Path | None, typer.Option(help="Keep the demo's database in this folder.")] = None,
    socket_mode: Annotated[
        bool, typer.Option("--socket", help="Reach Slack over Socket Mode instead of HTTP.")
    ] = False,
    weeks: Annotated[
        int, typer.Option(help="Weeks of history that lie before; fewer start sooner.", min=1, max=52)
    ] = 12,
) -> None:
    """The whole job on this machine, against local stand-ins for LINE and Slack, with a page to watch and take part in.

    Example: koe demo --headless
    """
    from bot import logs
    from bot.standins.run import play, show

    if not headless:
        _need_free("127.0.0.1", port, "koe demo")
    logs.set_up("text", level="ERROR")
    transport: Literal["http", "socket"] = "socket" if socket_mode else "http"
    if headless:
        ok = run(play(keep, weeks=weeks, transport=transport))
    else:
        ok = run(show(port, keep, weeks=weeks, transport=transport))
    if not ok:
        raise typer.Exit(1)
