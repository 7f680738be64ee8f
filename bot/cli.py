"""The commands. Each is a few lines that call a room; heavy libraries are imported where they are used, so that
`koe --help` stays quick."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bot.terminal import described, echo, one_line
from flows.visible import spelled_line

if TYPE_CHECKING:
    from bot.app import Koe
    from bot.config import Config, DigestRule, Shop
    from bot.exports import Exported, Wanted
    from flows.definitions import Instrument
    from flows.source import Problem
    from flows.triggers import TriggerRule
    from reports.export_columns import What
    from reports.kpis import KpiSettings
    from reports.metrics import Unit
    from reports.segments import Deed

app = typer.Typer(
    name="koe",
    help="Koe (声): loyalty surveys in LINE and Slack, for one shop.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
import_app = typer.Typer(help="Bring data in from a file.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(import_app, name="import")
export_app = typer.Typer(help="Take data out, into a file.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(export_app, name="export")
person_app = typer.Typer(
    help="Everything stored about one customer; remove it.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(person_app, name="person")

EXIT_CONFIG = 2


def main() -> None:
    """Entry point of the `koe` command."""
    from storage import failpoints

    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    app()


def _fail(message: str, code: int = 1) -> typer.Exit:
    echo(message, err=True)
    return typer.Exit(code)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise _fail(f"{file} cannot be written: {error.strerror}") from error


def _need_free(host: str, port: int, command: str) -> None:
    """Ends the command when nothing can listen there, before it has begun anything else."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        why = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        what = f"end it, or choose another port: {command} --port {port + 1 if 0 < port < 65_535 else 0}"
        raise _fail(f"Koe cannot listen on {host}:{port}: {why}; {what}") from error


def _config(*, serving: bool = False) -> Config:
    """The checked configuration; otherwise every problem on stderr and exit 2. `serving` also asks for what only a
    server needs."""
    from bot.check import examine
    from bot.clock import SystemClock

    config, problems = examine(serving=serving, now_ms=SystemClock().now_ms() if serving else None)
    _refuse(problems)
    assert config is not None
    return config


def _refuse(problems: Sequence[Problem]) -> None:
    for problem in problems:
        echo(str(problem), err=True)
    if problems:
        count = len(problems)
        raise _fail(f"{count} problem{'s' if count > 1 else ''} found; nothing was done.", EXIT_CONFIG)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it on uvloop where there is one; what an operator can mend is a sentence and exit 1."""
    from bot.app import CannotStart
    from bot.digests import DigestFailed
    from bot.events.business import BadEvent
    from storage.errors import StoreError

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except (CannotStart, StoreError, DigestFailed, BadEvent, OSError) as error:
        raise _fail(str(error)) from error


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Overrides KOE_HOST.")] = "",
    port: Annotated[int | None, typer.Option(help="Overrides KOE_PORT.", min=0, max=65535)] = None,
) -> None:
    """Run the bot: webhooks, Slack, and the worker in one process.

    Example: koe serve --port 8000
    """
    from bot import logs

    config = _config(serving=True)
    host, port = host or config.settings.host, config.settings.port if port is None else port
    _need_free(host, port, "koe serve")
    logs.set_up(config.settings.log_format)
    _run(_serve(config, host, port))


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


@app.command()
def check() -> None:
    """Check settings, koe.yaml and every flow; all problems at once with file and line. Exit 2 if there are any.

    Example: koe check
    """
    from bot.check import check as find_problems
    from bot.clock import SystemClock

    _refuse(find_problems(now_ms=SystemClock().now_ms()))
    echo("Everything is in order.")


@app.command()
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
    from bot.talk import CannotTalk, parse_given, run, scene

    if record is not None and record.exists():
        raise _fail(f"{record} exists already; remove it or record to another file.")
    clock = SystemClock()
    try:
        found = scene(
            flow, lang=lang, given=parse_given(given or []), alone=record is not None, start_ms=clock.now_ms()
        )
    except ConfigErrors as errors:
        _refuse(errors.problems)
        raise
    except CannotTalk as error:
        raise _fail(str(error), EXIT_CONFIG) from error
    written = run(found, Console(highlight=False), record=record is not None, clock=clock)
    if record is not None:
        try:
            record.write_text(written, encoding="utf-8")
        except OSError as error:
            raise _fail(f"the talk could not be written to {record}: {error.strerror}") from error
        echo(f"Recorded in {record}.")


@app.command()
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
        ok = _run(play(keep, weeks=weeks, transport=transport))
    else:
        ok = _run(show(port, keep, weeks=weeks, transport=transport))
    if not ok:
        raise typer.Exit(1)


@app.command()
def digest(
    id: Annotated[str, typer.Option(help="Which digest of koe.yaml; the first one when left out.")] = "",  # noqa: A002
    week: Annotated[
        str, typer.Option(help="2026-W46, or 2026-10 of a monthly digest; the last full one when left out.")
    ] = "",
    format: Annotated[str, typer.Option(help="text, json, slack or html (one file, for -o).")] = "text",  # noqa: A002
    output: Annotated[Path | None, typer.Option("-o", help="Write to this file instead of the screen.")] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Queue it for posting, once per week, by the running bot.")
    ] = False,
) -> None:
    """Compute one digest and print it, or queue it to be posted.

    Example: koe digest --week 2026-W46 --format text
    """
    if format not in ("text", "json", "slack", "html"):
        raise _fail(f"--format is {format!r}: text, json, slack and html work.", EXIT_CONFIG)
    config = _config()
    rules = config.shop.digests
    rule = next((r for r in rules if not id or r.id == id), None)
    if rule is None:
        known = ", ".join(r.id for r in rules) or "none"
        raise _fail(f"no digest {id!r} in koe.yaml (there: {known}); add it under digests.", EXIT_CONFIG)
    shown = _run(_digest(config, rule, week, format, post))
    if output is None:
        echo(shown)
    else:
        _write(output, shown)


async def _digest(config: Config, rule: DigestRule, week: str, form: str, post: bool) -> str:
    import re

    import msgspec

    from bot.clock import Chance, SystemClock
    from bot.digests import DigestFailed, Digests
    from bot.outbox import Outbox
    from bot.reports import ReportLinks
    from storage.store import open_store

    pattern = r"\d{4}-W(0[1-9]|[1-4]\d|5[0-3])" if rule.every == "week" else r"\d{4}-(0[1-9]|1[0-2])"
    if week and not re.fullmatch(pattern, week):
        example = "an ISO week such as 2026-W46" if rule.every == "week" else "a month such as 2026-10"
        raise DigestFailed(f"--week is {week!r}: digest {rule.id!r} is made every {rule.every}; write {example}.")
    clock = SystemClock()
    now_ms = clock.now_ms()
    store = await open_store(config.settings.database_url, now_ms=now_ms, create=False)
    try:
        links = ReportLinks(config.settings.public_url, config.settings.secret_key.get_secret_value())
        digests = Digests(config=config, store=store, clock=clock, links=links)
        period = week or digests.latest_period(rule, now_ms)
        computed = await digests.compute(rule, period, now_ms, page=post or form == "html")
        if post:
            outbox = Outbox(owner="", now_ms=now_ms, chance=Chance())
            queued = await store.write(lambda tx: digests.queue_post(tx, rule, period, computed, outbox))
            return f"{rule.id} {period}: " + (
                "queued for posting." if queued else "was posted or queued before; nothing done."
            )
    finally:
        await store.close()
    voices = computed["voices"]
    if form == "text":
        return str(computed["text"]) + ("" if voices is None else "\n" + voices["text"])
    if form == "html":
        return str(computed["page"]["html"])
    if form == "json":
        shown = computed["json"]
    else:
        shown = [computed["slack"], *computed["thread"], *([] if voices is None else [voices["slack"]])]
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()


@app.command("dry-run")
def dry_run_command(
    trigger: Annotated[str, typer.Argument(help="Id of a trigger rule in koe.yaml.")],
    days: Annotated[int, typer.Option(help="How far back, in days.", min=1, max=1100)] = 30,
    ids: Annotated[bool, typer.Option("--ids/--counts", help="List the customers, or count them only.")] = True,
) -> None:
    """Whom a trigger rule would have asked on past events, what the contact cap would have blocked, and what LINE would
    have cost. Nothing is sent and nothing is stored.

    Example: koe dry-run after-purchase --days 30
    """
    config = _config()
    rule = next((rule for rule in config.shop.triggers if rule.id == trigger), None)
    if rule is None:
        known = ", ".join(rule.id for rule in config.shop.triggers) or "none"
        raise _fail(f"no trigger {trigger!r} in koe.yaml (there: {known}).", EXIT_CONFIG)
    _run(_dry_run(config, rule, days, ids))


async def _dry_run(config: Config, rule: TriggerRule, days: int, ids: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from bot.clock import SystemClock
    from bot.dry_run import dry_run, lines_of
    from bot.staff.survey import limited, reason_text
    from flows.triggers import CHANNELS
    from storage.store import open_store

    settings, shop = config.settings, config.shop
    on = [name for name, is_on in (("line", settings.line_on), ("slack", settings.slack_on)) if is_on]
    now_ms = SystemClock().now_ms()
    console = Console(stderr=True)
    store = await open_store(settings.database_url, now_ms=now_ms, create=False)
    async with store:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("reading", total=None)
            found = await dry_run(
                store,
                shop=shop,
                flow=config.library.flows[rule.flow],
                rule=rule,
                channels=on or CHANNELS,
                now_ms=now_ms,
                days=days,
                progress=lambda done, planned: bar.update(task, completed=done, total=planned),
            )

    def day(at_ms: int) -> str:
        return datetime.fromtimestamp(at_ms / 1000, shop.tz).strftime("%Y-%m-%d %H:%M")

    echo(f"{rule.id}, {days} days from {day(found.start_ms)} to {day(found.end_ms)}. Nothing was sent.")
    if rule.every_ms is None:
        echo(f"  {found.events:6,} events of type {rule.on}, {found.matched:,} match the rule")
    else:
        echo(f"  {found.matched:6,} invitations by the rhythm")
    line = found.line_messages
    echo(f"  {len(found.sent):6,} would have been sent ({line:,} on LINE, {len(found.sent) - line:,} in Slack)")
    for reason, number, count in lines_of(found):
        rule_name = "        " if number is None else f"rule {number}: "
        why = reason_text(limited(shop.contact, reason), "en", shop.tz)
        echo(f"  {count:6,} not, {rule_name}{reason} – {why}")
    if found.withdrawn:
        echo(f"  {found.withdrawn:6,} withdrawn by {', '.join(rule.void_on)}")
    if found.ahead:
        echo(f"  {found.ahead:6,} not due yet")
    more = f", and up to {line:,} more for reminders" if found.reminders else ""
    echo(f"LINE messages: {line:,}{more}.")
    if ids and found.sent:
        echo("Customers:")
        for would in found.sent:
            echo(f"  {day(would.at_ms)}  {would.channel:5}  {would.customer_id}")


@app.command()
def doctor(
    replay: Annotated[str, typer.Option(help="Run this dead or uncertain job again (its id), or all dead ones.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither LINE nor Slack.")] = False,
) -> None:
    """Ask LINE and Slack whether all is set up, and look at the database: what is wrong with it, what waits, what was
    given up and why.

    Example: koe doctor --replay all
    """
    config = _config()
    well = True if offline or replay else _run(_ask_platforms(config))
    if not _run(_doctor(config, replay)) or not well:
        raise typer.Exit(1)


async def _ask_platforms(config: Config) -> bool:
    """Whether nothing is missing; says everything that was found."""
    from bot.app import line_channel, slack_channel_of
    from bot.onboarding import look_at_platforms

    users = await _told_line_users(config)
    slack = slack_channel_of(config) if config.settings.slack_on else None
    line = line_channel(config.settings) if config.settings.line_on else None
    try:
        found = await look_at_platforms(config, slack=slack, line=line, line_users=users)
    finally:
        for channel in (slack, line):
            if channel is not None:
                await channel.close()
    for finding in found:
        echo(f"{finding.weight}: {finding}", err=finding.weight == "missing")
    asked = [name for name, channel in (("LINE", line), ("Slack", slack)) if channel is not None]
    if asked and all(finding.weight != "missing" for finding in found):
        echo(f"{' and '.join(asked)}: nothing is missing.")
    return all(finding.weight != "missing" for finding in found)


async def _told_line_users(config: Config) -> list[str]:
    """A sample of what events told; none before the first start has made a database."""
    from bot.clock import SystemClock
    from bot.onboarding import told_line_users
    from storage.errors import StoreError
    from storage.store import open_store

    try:
        store = await open_store(config.settings.database_url, now_ms=SystemClock().now_ms(), create=False)
    except StoreError:
        return []
    async with store:
        return await store.read(told_line_users)


async def _doctor(config: Config, replay: str) -> bool:
    from rich.console import Console
    from rich.table import Table

    from bot.clock import SystemClock
    from storage.store import Tx, open_store

    now_ms = SystemClock().now_ms()
    store = await open_store(config.settings.database_url, now_ms=now_ms, create=False)
    async with store:
        if replay:
            dead = await store.read(lambda tx: [job.id for job in tx.jobs(state="dead", limit=10_000)])
            wanted = dead if replay == "all" else [replay]
            again = [
                job_id for job_id in wanted if await store.write(partial(Tx.replay_job, job_id=job_id, now_ms=now_ms))
            ]
            echo(f"{len(again)} of {len(wanted)} jobs will run again.")
            return len(again) == len(wanted)
        wrong = await store.read(lambda tx: tx.check_integrity())
        counts = await store.read(lambda tx: tx.job_counts())
        given_up = await store.read(lambda tx: [*tx.jobs(state="dead"), *tx.jobs(state="uncertain")])
    for sentence in wrong:
        echo(sentence, err=True)
    console = Console()
    waiting = ", ".join(f"{kind} {state} {count}" for (kind, state), count in sorted(counts.items()) if state != "done")
    console.print(one_line(f"jobs: {waiting or 'none waiting'}"), soft_wrap=True)
    if given_up:
        table = Table("job", "kind", "channel", "state", "attempts", "reason")
        for job in given_up:
            table.add_row(*map(one_line, (job.id, job.kind, job.channel, job.state, str(job.attempts), job.error)))
        console.print(table)
        console.print("Mend the reason, then: koe doctor --replay JOB (or all)", highlight=False)
    echo("The database is sound." if not wrong else f"{len(wrong)} things are wrong with the database.")
    return not wrong


@app.command("slack-manifest")
def slack_manifest(
    socket_mode: Annotated[
        bool, typer.Option("--socket", help="Socket Mode: Slack needs no address of yours (KOE_PUBLIC_URL).")
    ] = False,
    format: Annotated[str, typer.Option(help="yaml or json.")] = "yaml",  # noqa: A002
    output: Annotated[Path | None, typer.Option("-o", help="Write to this file instead of the screen.")] = None,
) -> None:
    """Print the manifest from which api.slack.com/apps makes the Slack app, with the fewest scopes that your koe.yaml
    needs.

    Example: koe slack-manifest --socket
    """
    import json

    import yaml

    from bot.loading import read_settings, read_shop
    from bot.slack.manifest import NotReachable, manifest

    if format not in ("yaml", "json"):
        raise _fail(f"--format is {format!r}: yaml and json work.", EXIT_CONFIG)
    problems: list[Problem] = []
    settings = read_settings(os.environ, Path(".env"), problems)
    # before there is a token: what is missing of the platforms is no reason to refuse
    problems = [problem for problem in problems if " is missing, but " not in problem.message]
    shop, _ = read_shop(settings.config, settings.flows_dir, problems)
    _refuse(problems)
    assert shop is not None
    try:
        made = manifest(
            name=shop.brand_in(shop.language),
            lang=shop.language,
            public_url=settings.public_url,
            socket=socket_mode,
            channels=shop.alerts is not None or bool(shop.digests),
            groups=bool(shop.staff.groups),
        )
    except NotReachable as error:
        raise _fail(str(error), EXIT_CONFIG) from error
    if format == "json":
        written = json.dumps(made, ensure_ascii=False, indent=2)
    else:
        written = yaml.safe_dump(made, allow_unicode=True, sort_keys=False).rstrip()
    if output is None:
        echo(written)
    else:
        _write(output, written)


@app.command()
def metrics(
    file: Annotated[Path, typer.Argument(help="A CSV file of answers (docs/answers.md).", metavar="ANSWERS.csv")],
    format: Annotated[str, typer.Option(help="table or json.")] = "table",  # noqa: A002
    unit: Annotated[
        str,
        typer.Option(
            help="latest_per_customer, or per_event: every answer counts, as usual for effort and satisfaction."
        ),
    ] = "latest_per_customer",
    events: Annotated[
        Path | None,
        typer.Option(
            help="A file of business events (docs/events.md): figures of the shop, loyalty segments, and what customers"
            " did after they answered."
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="With --events: figures of the time since this day, and who moved between the segments.",
        ),
    ] = None,
    lang: Annotated[str, typer.Option(help="Language of the words: ja or en; the shop's when left out.")] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="KOE.YAML",
            help="The shop's koe.yaml: time zone, language, published figures to compare with; KOE_CONFIG if left out.",
        ),
    ] = None,
) -> None:
    """Scores of a plain file of answers, with their uncertainty. Needs no settings; only columns instrument and value.

    Example: koe metrics answers.csv --format json
    """
    from zoneinfo import ZoneInfo

    from bot.clock import SystemClock
    from reports.answers_file import AnswersFileError
    from reports.answers_report import measure_file, render_json, render_table
    from reports.benchmarks import Benchmark
    from reports.instruments import specs_of
    from reports.reading import Readers

    if format not in ("table", "json"):
        raise _fail(f"--format is {format!r}: table and json work.", EXIT_CONFIG)
    if unit not in ("latest_per_customer", "per_event"):
        raise _fail(f"--unit is {unit!r}: latest_per_customer and per_event work.", EXIT_CONFIG)
    if lang not in ("", "ja", "en"):
        raise _fail(f"--lang is {lang!r}: ja and en work.", EXIT_CONFIG)
    counted: Unit = "per_event" if unit == "per_event" else "latest_per_customer"
    instruments, blocks, shop = _measuring(config)
    tz: tzinfo = ZoneInfo("Asia/Tokyo") if shop is None else shop.tz
    language = lang or ("ja" if shop is None else shop.language)
    words: Literal["ja", "en"] = "en" if language == "en" else "ja"
    specs = specs_of(instruments)
    if since is not None and events is None:
        raise _fail("--since needs --events: the segments are made of what customers did.", EXIT_CONFIG)
    deeds = _deeds(events, tz) if events is not None else None
    try:
        with _bytes_bar(file) as progress:
            measured = measure_file(
                file,
                specs,
                unscored=instruments,
                texts=[name for name, instrument in instruments.items() if instrument.kind == "text"],
                readers=Readers(None if shop is None else shop.free_text),
                tz=tz,
                unit=counted,
                deeds=deeds,
                since_ms=int(since.replace(tzinfo=tz).timestamp() * 1000) if since is not None else None,
                settings=None if shop is None else _kpi_settings(shop),
                targets={} if shop is None else shop.targets,
                blocks=blocks,
                benchmarks=() if shop is None else [Benchmark(**figure.model_dump()) for figure in shop.benchmarks],
                country="JP" if shop is None else shop.country,
                today=datetime.fromtimestamp(SystemClock().now_ms() / 1000, tz).date(),
                progress=progress,
            )
    except AnswersFileError as error:
        raise _fail(str(error)) from error
    for fault in measured.faults:
        echo(f"{file}:{fault.line}: {fault.message}", err=True)
    if (more := measured.bad + measured.undated - len(measured.faults)) > 0:
        echo(f"… and {more} more such rows", err=True)
    if format == "json":
        for note in measured.notes(words):
            echo(note, err=True)
        echo(render_json(measured, words))
    else:
        echo(render_table(measured, specs, words), nl=False)


def _kpi_settings(shop: Shop) -> KpiSettings:
    """What only the shop knows, in the units of the figures."""
    from reports.kpis import KpiSettings

    own, interval = shop.kpis, shop.repeat_interval_ms
    return KpiSettings(
        reply_within_h=own.reply_within_ms / 3_600_000,
        repeat_interval_days=None if interval is None else interval / 86_400_000,
        gross_margin=own.gross_margin,
        acquisition_cost=own.acquisition_cost,
        retention_cost=own.retention_cost,
        years=own.years,
    )


def _deeds(file: Path, tz: tzinfo) -> list[Deed]:
    """What customers did, of a file of business events; an event that comes again counts once, and bad rows are named
    and left out."""
    from bot.events.business import BadEvent
    from bot.events.files import read_rows
    from reports.segments import Deed

    found: dict[str, Deed] = {}
    try:
        for row in read_rows(file, tz):
            if isinstance(row, tuple):
                echo(f"{file}:{row[0]}: {row[1]}", err=True)
            else:
                event = row.event
                who = "" if event.customer is None else event.customer.id
                found.setdefault(event.id, Deed(who, event.type, row.occurred_ms, event.data))
    except BadEvent as error:
        raise _fail(str(error)) from error
    return list(found.values())


def _measuring(config: Path | None) -> tuple[Mapping[str, Instrument], Mapping[str, tuple[str, ...]], Shop | None]:
    """The shop's instruments, its blocks of touchpoints and its koe.yaml; what comes with Koe and None where there is
    none.

    A koe.yaml that was named must be there and right; of one that only lies about, what is wrong is left out.
    """
    from bot.loading import read_settings, read_shop
    from reports.instruments import bundled_blocks, bundled_instruments, items_of

    problems: list[Problem] = []
    settings = read_settings(os.environ, Path(".env"), problems)
    problems.clear()  # nothing of the environment matters here but where the shop's files are
    shop = library = None
    if config is not None or settings.config.exists() or settings.flows_dir is not None:
        shop, library = read_shop(config or settings.config, settings.flows_dir, problems)
        if config is not None and problems:
            raise _fail("\n".join(str(problem) for problem in problems), EXIT_CONFIG)
        if library is None or (shop is None and settings.config.exists()):
            echo("The shop's own files have problems (koe check names them); what is wrong is left out.", err=True)
    if library is None:
        return bundled_instruments(), bundled_blocks(), shop
    return library.instruments, {name: items_of(block) for name, block in library.blocks.items()}, shop


@contextmanager
def _bytes_bar(file: Path) -> Iterator[Callable[[int], None]]:
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


@import_app.command("events")
def import_events(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file (docs/events.md).")],
) -> None:
    """Store business events from a file. History never triggers a survey; importing twice changes nothing.

    Example: koe import events orders-2025.csv
    """
    config = _config()
    bad = _run(_import_events(config, file))
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


@import_app.command("answers")
def import_answers(
    file: Annotated[Path, typer.Argument(help="A CSV file of answers (docs/answers.md).", metavar="ANSWERS.csv")],
) -> None:
    """Store answers from another tool as history. They start nothing; importing twice changes nothing.

    Example: koe import answers answers-2025.csv
    """
    config = _config()
    if _run(_import_answers(config, file)):
        raise typer.Exit(1)


async def _import_answers(config: Config, file: Path) -> int:
    from bot.clock import SystemClock
    from bot.events.answers import import_answers
    from reports.answers_file import AnswersFileError
    from storage.store import open_store

    clock = SystemClock()
    store = await open_store(config.settings.database_url, now_ms=clock.now_ms())
    try:
        with _bytes_bar(file) as progress:
            result = await import_answers(
                file, store=store, clock=clock, library=config.library, tz=config.shop.tz, progress=progress
            )
    except AnswersFileError as error:
        raise _fail(str(error)) from error
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


@export_app.command("answers")
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


@export_app.command("events")
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


@export_app.command("cases")
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
        raise _fail(f"--format is {form!r}: csv, xlsx and parquet work.", EXIT_CONFIG)
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
    config = _config()
    try:
        done = _run(_exported(config, wanted))
    except CannotExport as error:
        raise _fail(str(error)) from error
    except KeyboardInterrupt:
        raise _fail(f"Interrupted. Give the same command with --resume to go on with {path}.", 130) from None
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


@person_app.command("show")
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
        raise _fail(f"--format is {format!r}: text and json work.", EXIT_CONFIG)
    config = _config()
    try:
        echo(_run(show(config, customer, form=format, clock=SystemClock())))
    except NotKnown as error:
        raise _fail(str(error)) from error


@person_app.command("erase")
def erase_person(
    customer: Annotated[str, typer.Argument(help="The shop's own id of the customer.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase everything that is stored about one customer, for good. Counts without a person stay.

    Example: koe person erase C001
    """
    from bot.clock import Chance, SystemClock
    from bot.person import NotKnown, erase, show

    config = _config()
    clock = SystemClock()
    try:
        if not yes:
            echo(_run(show(config, customer, form="text", clock=clock)))
            if not typer.confirm("\nErase all of this? It cannot be undone.", default=False):
                raise _fail("Nothing was erased.")
        erased = _run(erase(config, customer, clock=clock, chance=Chance()))
    except NotKnown as error:
        raise _fail(str(error)) from error
    echo(f"Erased: {erased.answers} answers; {erased.jobs} jobs that waited were cancelled.")
    if erased.by_server:
        echo("The running server empties the database's log of the old pages within some seconds.")
    elif not erased.clean:
        raise _fail("Somebody reads the database: its log still holds old pages until the next server start.")
    echo("Backups made earlier, exported files and messages in LINE and Slack still hold what they held.")


if __name__ == "__main__":
    main()
