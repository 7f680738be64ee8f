"""The commands that compute: a digest, whom a rule would have asked, the scores of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bot.commands.frame import EXIT_CONFIG, bytes_bar, checked, fail, run, write
from bot.terminal import echo

if TYPE_CHECKING:
    from bot.config import Config, DigestRule, Shop
    from flows.definitions import Instrument
    from flows.source import Problem
    from flows.triggers import TriggerRule
    from reports.kpi.window import KpiSettings
    from reports.metrics import Unit
    from reports.segments import Deed


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
        raise fail(f"--format is {format!r}: text, json, slack and html work.", EXIT_CONFIG)
    config = checked()
    rules = config.shop.digests
    rule = next((r for r in rules if not id or r.id == id), None)
    if rule is None:
        known = ", ".join(r.id for r in rules) or "none"
        raise fail(f"no digest {id!r} in koe.yaml (there: {known}); add it under digests.", EXIT_CONFIG)
    shown = run(_digest(config, rule, week, format, post))
    if output is None:
        echo(shown)
    else:
        write(output, shown)


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
        latest = digests.latest_period(rule, now_ms)
        period = week or latest
        if period > latest:
            if post:  # it would take the place of the one that comes when the period is over
                raise DigestFailed(f"{period} is not over yet: post it when it is; the latest is {latest}.")
            echo(f"{period} is not over yet: its numbers will change. The latest that is over is {latest}.", err=True)
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


def dry_run_command(
    trigger: Annotated[str, typer.Argument(help="Id of a trigger rule in koe.yaml.")],
    days: Annotated[int, typer.Option(help="How far back, in days.", min=1, max=1100)] = 30,
    ids: Annotated[bool, typer.Option("--ids/--counts", help="List the customers, or count them only.")] = True,
) -> None:
    """Whom a trigger rule would have asked on past events, what the contact cap would have blocked, and what LINE would
    have cost. Nothing is sent and nothing is stored.

    Example: koe dry-run after-purchase --days 30
    """
    config = checked()
    rule = next((rule for rule in config.shop.triggers if rule.id == trigger), None)
    if rule is None:
        known = ", ".join(rule.id for rule in config.shop.triggers) or "none"
        raise fail(f"no trigger {trigger!r} in koe.yaml (there: {known}).", EXIT_CONFIG)
    run(_dry_run(config, rule, days, ids))


async def _dry_run(config: Config, rule: TriggerRule, days: int, ids: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from bot.clock import SystemClock
    from bot.dry_run import dry_run, lines_of
    from bot.staff.asking import limited
    from bot.staff.reasons import reason_text
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
    from reports.answers.file import AnswersFileError
    from reports.answers.render import notes, render_json, render_table
    from reports.answers.report import measure_file
    from reports.benchmarks import Benchmark
    from reports.comments.reading import Readers
    from reports.instruments import specs_of

    if format not in ("table", "json"):
        raise fail(f"--format is {format!r}: table and json work.", EXIT_CONFIG)
    if unit not in ("latest_per_customer", "per_event"):
        raise fail(f"--unit is {unit!r}: latest_per_customer and per_event work.", EXIT_CONFIG)
    if lang not in ("", "ja", "en"):
        raise fail(f"--lang is {lang!r}: ja and en work.", EXIT_CONFIG)
    counted: Unit = "per_event" if unit == "per_event" else "latest_per_customer"
    instruments, blocks, shop = _measuring(config)
    tz: tzinfo = ZoneInfo("Asia/Tokyo") if shop is None else shop.tz
    language = lang or ("ja" if shop is None else shop.language)
    words: Literal["ja", "en"] = "en" if language == "en" else "ja"
    specs = specs_of(instruments)
    if since is not None and events is None:
        raise fail("--since needs --events: the segments are made of what customers did.", EXIT_CONFIG)
    deeds = _deeds(events, tz) if events is not None else None
    try:
        with bytes_bar(file) as progress:
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
        raise fail(str(error)) from error
    for fault in measured.faults:
        echo(f"{file}:{fault.line}: {fault.message}", err=True)
    if (more := measured.bad + measured.undated - len(measured.faults)) > 0:
        echo(f"… and {more} more such rows", err=True)
    if format == "json":
        for note in notes(measured, words):
            echo(note, err=True)
        echo(render_json(measured, words))
    else:
        echo(render_table(measured, specs, words), nl=False)


def _kpi_settings(shop: Shop) -> KpiSettings:
    """What only the shop knows, in the units of the figures."""
    from reports.kpi.window import KpiSettings

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
        raise fail(str(error)) from error
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
            raise fail("\n".join(str(problem) for problem in problems), EXIT_CONFIG)
        if library is None or (shop is None and settings.config.exists()):
            echo("The shop's own files have problems (koe check names them); what is wrong is left out.", err=True)
    if library is None:
        return bundled_instruments(), bundled_blocks(), shop
    return library.instruments, {name: items_of(block) for name, block in library.blocks.items()}, shop
