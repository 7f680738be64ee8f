"""Digests: when they are due, computed in a short-lived child process (pandas never enters this one), posted exactly
once a period.

A digest's text is stored in the same transaction that queues its post; the post carries its job id as metadata, so
that after a crash the channel is looked up before anything is sent again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from bot import experiments
from bot.channel import JsonObject, Refused, RetryLater, Sent, Unknown, Withdrawn
from bot.clock import Clock
from bot.outbox import Outbox
from bot.promises import Promises
from bot.reports import ReportLinks
from bot.slack.report import open_button
from bot.staff.asking import Budget
from bot.staff.home import digest_buttons
from storage.failpoints import hit
from storage.records import Digest, Job
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Config, DigestRule, Shop
    from bot.slack.channel import SlackChannel

log = structlog.get_logger(__name__)

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_COMPUTE_WITHIN_S = 1_800
"""Ten million answers in a quarter take minutes (docs/benchmarks.md); beyond this something hangs."""
_VOICES_AFTER_MS = 6_000
"""The rest of the thread comes first: a message a second and channel."""
_HOLIDAYS_AT_MOST = 31
_CLOSED_DAYS_BACK = 400
"""A digest of a year ago, too, is told on which days of the quarter before nobody was there."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page as it was computed with its digest."""

    html: str
    policy: str
    """Content-Security-Policy: what the page may load, which is nothing but itself."""


def read_page(stored: Digest) -> ReportPage | None:
    """The page of a stored digest; None when it was stored without one, or erased."""
    try:
        page = json.loads(stored.content)["page"]
        return ReportPage(str(page["html"]), str(page["csp"]))
    except (ValueError, KeyError, TypeError):
        return None


class DigestFailed(RuntimeError):
    """The child process could not compute the digest; the message is what it printed."""


Reports = Callable[[str, bytes], Awaitable[bytes]]
"""(command, request) → what `python -m reports <command>` answers on its standard output. Raises DigestFailed."""


async def in_a_process(command: str, request: bytes) -> bytes:
    """`python -m reports <command>`, in a process that is started for it and ends with it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reports",
        command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMPUTE_WITHIN_S):
            out, err = await child.communicate(request)
    except TimeoutError:
        child.kill()
        await child.wait()
        raise DigestFailed(f"{command} took longer than {_COMPUTE_WITHIN_S} s") from None
    except asyncio.CancelledError:
        child.kill()
        await child.wait()
        raise
    if child.returncode != 0:
        raise DigestFailed(f"{command}: {err.decode('utf-8', 'replace')[-2000:]}")
    return out


def period_of(day: date) -> str:
    """The ISO week of a day.

    >>> period_of(date(2026, 11, 16))
    '2026-W47'
    """
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


class Digests:
    """Schedules, computes and queues digests.

    Args:
        links: Addresses of report pages; without them no message has one.
        budget: LINE's messages of this month; None when LINE is off, "unknown" when it did not say. Left out, nobody
            asks.
        reports: Where digests are computed.
    """

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        clock: Clock,
        links: ReportLinks | None = None,
        budget: Callable[[int], Awaitable[Budget | str | None]] | None = None,
        reports: Reports = in_a_process,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._links = links
        self._tz = config.shop.tz
        self._promises = Promises(config.shop)
        self._budget = budget
        self._reports = reports

    def schedule(self, tx: Tx, outbox: Outbox) -> None:
        """See to it that each digest has its next job queued."""
        for rule in self._config.shop.digests:
            self._next(tx, rule, outbox)

    def _next(self, tx: Tx, rule: DigestRule, outbox: Outbox) -> None:
        now = datetime.fromtimestamp(outbox.now_ms / 1000, self._tz)
        due, period = next_post(rule, now, is_working=self._promises.is_working)
        outbox.queue(
            tx,
            "digest",
            {"digest": rule.id, "period": period},
            due_ms=int(due.timestamp() * 1000),
            key=f"digest:{rule.id}:{period}",
        )

    def rule_of(self, digest_id: str) -> DigestRule | None:
        """The digest of this id in koe.yaml, the first one for ""."""
        return next((rule for rule in self._config.shop.digests if digest_id in ("", rule.id)), None)

    def latest_period(self, rule: DigestRule, now_ms: int) -> str:
        """The last period that is over."""
        today = datetime.fromtimestamp(now_ms / 1000, self._tz).date()
        return reported(rule, today)

    async def run(self, job: Job, outbox: Outbox) -> None:
        """A "digest" job: queue the next one, compute, then store the text and queue its post in one transaction."""
        wanted = json.loads(job.payload)
        rule = self.rule_of(wanted["digest"])
        if rule is None:
            await self._store.write(lambda tx: tx.finish_job(job, state="cancelled", at_ms=outbox.now_ms))
            return
        computed = await self.compute(rule, wanted["period"], outbox.now_ms, page=True)
        hit("digests.computed")

        def unit(tx: Tx) -> None:
            if not tx.finish_job(job, state="done", at_ms=outbox.now_ms):
                return
            self.queue_post(tx, rule, wanted["period"], computed, outbox)
            self._next(tx, rule, outbox)

        await self._store.write(unit)

    def queue_post(self, tx: Tx, rule: DigestRule, period: str, computed: dict[str, Any], outbox: Outbox) -> bool:
        """Store a digest and queue its first message; one that pauses is stored only. False when this digest of this
        period was queued before. What customers wrote is not stored: it is read again when its turn comes."""
        # the drawing goes with the message; the page is what a link opens
        kept = {name: part for name, part in computed.items() if name not in ("voices", "chart")}
        kept["said"] = computed.get("voices") is not None
        paused = computed["json"]["pause"] == "paused"
        fresh = tx.put_digest(
            Digest(
                id=rule.id,
                period=period,
                state="paused" if paused else "due",
                content=msgspec.json.encode(kept).decode(),
                created_ms=outbox.now_ms,
                posted_ms=None,
            )
        )
        if not fresh or paused:
            return fresh
        lang = rule.language or self._config.shop.language
        first = computed["slack"]
        buttons = digest_buttons(rule.id, period, period_before(period), every=rule.every, lang=lang)
        message = self._linked(rule, period, {**first, "blocks": [*first["blocks"], buttons]})
        chart = computed.get("chart")
        more = {"chart": chart} if chart else {}
        self._post(tx, rule.channel, message, f"digest-post:{rule.id}:{period}", outbox, **more)
        return True

    def _post(self, tx: Tx, channel: str, args: JsonObject, key: str, outbox: Outbox, **more: JsonObject) -> None:
        payload = {"method": "chat.postMessage", "args": {"channel": channel, **args}, **more}
        outbox.queue(tx, "send", payload, lane=f"slack:{channel}", key=key, channel="slack")

    def _linked(self, rule: DigestRule, period: str, message: dict[str, Any]) -> dict[str, Any]:
        """The message with a button that opens the page, where people can reach it."""
        address = None if self._links is None else self._links.link(rule.id, period)
        if address is None:
            return message
        button = open_button(address, rule.language or self._config.shop.language)
        blocks = list(message["blocks"])
        place = next((n for n, block in enumerate(blocks) if block["type"] == "actions"), None)
        if place is None:
            # below the headline and what there is to say of it
            blocks.insert(min(3, len(blocks)), {"type": "actions", "elements": [button]})
        else:
            blocks[place] = {**blocks[place], "elements": [*blocks[place]["elements"], button]}
        return {**message, "blocks": blocks}

    def posted(self, tx: Tx, key: str, ref: str, outbox: Outbox) -> None:
        """The first message stands at `ref` ("C…:ts"); `key` is "<digest>:<period>". Its thread is queued in the same
        transaction, each part under a key that can be used once; and what customers said, where they said anything."""
        digest_id, _, period = key.partition(":")
        tx.mark_digest_posted(digest_id, period, outbox.now_ms, ref)
        digest, rule = tx.find_digest(digest_id, period), self.rule_of(digest_id)
        channel, _, ts = ref.partition(":")
        if digest is None or rule is None or not ts:
            return
        content = json.loads(digest.content)
        for number, part in enumerate(content.get("thread") or ()):
            self._post(tx, channel, {**part, "thread_ts": ts}, f"digest-part:{key}:{number}", outbox)
        if not content.get("said", True):  # nobody wrote anything to show: the period need not be computed once more
            return
        outbox.queue(
            tx,
            "voices",
            {"digest": digest_id, "period": period, "ref": ref},
            due_ms=outbox.now_ms + _VOICES_AFTER_MS,
            key=f"digest-voices:{key}",
        )

    async def speak(self, job: Job, *, slack: SlackChannel, may_show_words: Callable[[str], Awaitable[bool]]) -> None:
        """A "voices" job: what customers said, read and posted in one go, so that no copy of it is stored; only where
        everybody may read it.

        Raises:
            DigestFailed: it could not be computed, or not be posted yet; the job is tried again, and looks first
                whether it is posted already.
        """
        wanted = json.loads(job.payload)
        channel, _, ts = str(wanted["ref"]).partition(":")
        rule = self.rule_of(wanted["digest"])
        voices = None
        if rule is not None and await may_show_words(channel):
            voices = (await self.compute(rule, wanted["period"], self._clock.now_ms()))["voices"]
        state, ref, reason = "done", "", ""
        if voices is not None:
            args = {"channel": channel, "thread_ts": ts, **voices["slack"]}
            payload = {"method": "chat.postMessage", "args": args}
            hit("digests.speaking")
            delivery = await slack.send(payload, job_id=job.id, attempt=job.attempts, now_ms=self._clock.now_ms())
            hit("digests.spoken")
            match delivery:
                case Sent(ref=ref):
                    pass
                case RetryLater(reason=reason) | Unknown(reason=reason, retry=True):
                    raise DigestFailed(f"what customers said was not posted yet: {reason}")
                case Unknown(reason=reason):
                    state = "uncertain"
                case Refused(reason=reason):
                    state = "dead"
                case Withdrawn():
                    state = "cancelled"
        now_ms = self._clock.now_ms()
        await self._store.write(lambda tx: tx.finish_job(job, state=state, at_ms=now_ms, error=reason, ref=ref))

    async def shown(self, wish: str, now_ms: int) -> list[JsonObject] | None:
        """The blocks of one digest, whole, for one person to look at; None when koe.yaml has none.

        Args:
            wish: "<digest>:<period>": that one as it was stored, else computed now. "": the first of koe.yaml for the
                last full period, computed now.
            now_ms: the time of the computation.

        Raises:
            DigestFailed: it could not be computed.
        """
        digest_id, _, period = wish.partition(":")
        rule = self.rule_of(digest_id)
        if rule is None:
            return None
        kept = await self._store.read(lambda tx: tx.find_digest(digest_id, period)) if period else None
        content = {} if kept is None else json.loads(kept.content)
        if "thread" not in content:
            content = await self.compute(rule, period or self.latest_period(rule, now_ms), now_ms)
        blocks: list[JsonObject] = [*content["slack"]["blocks"]]
        for part in content["thread"]:
            blocks += part["blocks"]
        return blocks

    async def compute(self, rule: DigestRule, period: str, now_ms: int, *, page: bool = False) -> dict[str, Any]:
        """One digest as `python -m reports digest` writes it, with its page and chart if `page`. Raises
        DigestFailed."""
        budget = None if self._budget is None else await self._budget(now_ms)
        return await self.ask_child("digest", {**self.request(rule, period, now_ms, line=budget), "page": page})

    async def ask_child(self, command: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `python -m reports <command>` makes of a request. Raises DigestFailed."""
        computed: dict[str, Any] = msgspec.json.decode(await self._reports(command, msgspec.json.encode(request)))
        return computed

    def last_week(self, now_ms: int) -> str:
        """The last ISO week that is over."""
        return period_of(datetime.fromtimestamp(now_ms / 1000, self._tz).date() - timedelta(days=7))

    def request(
        self, rule: DigestRule, period: str, now_ms: int, *, line: Budget | str | None = None
    ) -> dict[str, Any]:
        """What reports/__main__.py reads from its standard input."""
        shop = self._config.shop
        contact = shop.contact
        templates = self._config.settings.templates_dir
        return {
            "database": self._config.settings.database_url,
            "period": period,
            "now_ms": now_ms,
            "timezone": shop.timezone,
            "brand": {"ja": shop.brand_in("ja"), "en": shop.brand_in("en")},
            "primary_metric": rule.primary_metric or shop.primary_metric,
            "digest": _told(rule, shop),
            "digests": [_told(one, shop) for one in shop.digests],
            "closed": self._closed(now_ms),
            "line": {"used": line.used, "limit": line.limit} if isinstance(line, Budget) else None,
            "kpis": _kpi_settings(shop),
            "templates": None if templates is None else str(templates.resolve()),
            "targets": shop.targets,
            "repeat_interval_ms": shop.repeat_interval_ms,
            "country": shop.country,
            "benchmarks": [benchmark.model_dump(mode="json") for benchmark in shop.benchmarks],
            "contact": {
                "min_gap_days": _days(contact.min_gap),
                "per_year": contact.per_year,
                "relational_gap_days": _days(contact.relational_gap),
                "touchpoint_gap_days": _days(contact.touchpoint_gap),
            },
            "experiments": experiments.described(shop, self._config.library),
            "free_text": shop.free_text.model_dump(mode="json"),
            "trust": shop.trust.rules,
            "blocks": {
                name: [item.instrument for item in block.items] for name, block in self._config.library.blocks.items()
            },
            "instruments": {
                name: found.model_dump(mode="json") for name, found in self._config.library.instruments.items()
            },
        }

    def _closed(self, now_ms: int) -> list[str]:
        """The days of the last year or so without anybody there."""
        today = datetime.fromtimestamp(now_ms / 1000, self._tz).date()
        days = (today - timedelta(days=back) for back in range(_CLOSED_DAYS_BACK))
        return [day.isoformat() for day in days if not self._promises.is_working(day)]


def _told(rule: DigestRule, shop: Shop) -> dict[str, Any]:
    return {"id": rule.id, "language": rule.language or shop.language, "where": rule.where, "every": rule.every}


def results_request(config: Config, *, metric: str, days: int, lang: str, now_ms: int) -> dict[str, Any]:
    """What `python -m reports results` reads from its standard input: one metric, the last so many days."""
    return {
        "database": config.settings.database_url,
        "metric": metric,
        "days": days,
        "now_ms": now_ms,
        "language": "en" if lang == "en" else "ja",
        "timezone": config.shop.timezone,
        "instruments": {name: found.model_dump(mode="json") for name, found in config.library.instruments.items()},
    }


def next_post(rule: DigestRule, after: datetime, *, is_working: Callable[[date], bool]) -> tuple[datetime, str]:
    """(the next time after `after` at which this digest appears, in the same time zone; the period it reports).

    One that waits for a working day reports the period of the day on which it was due.
    """
    # one that was due up to a month ago may still wait for its day
    day = after.date() - timedelta(days=_HOLIDAYS_AT_MOST)
    while True:
        day += timedelta(days=1)
        if not _is_due(rule, day):
            continue
        shown = day
        if rule.on_holiday == "next_working_day":
            following = (day + timedelta(days=later) for later in range(_HOLIDAYS_AT_MOST))
            shown = next((found for found in following if is_working(found)), day)
        due = datetime.combine(shown, rule.time, after.tzinfo)
        if due > after:
            return due, reported(rule, day)


def _is_due(rule: DigestRule, day: date) -> bool:
    return day.weekday() == _WEEKDAYS.index(rule.weekday) and (rule.every == "week" or day.day <= 7)


def reported(rule: DigestRule, day: date) -> str:
    """The period that is over on a day: the ISO week before, or the last month whose last week has ended."""
    if rule.every == "week":
        return period_of(day - timedelta(days=day.weekday() + 1))
    # a month is its whole weeks: the one that holds the first of the next month belongs to that
    monday = day - timedelta(days=day.weekday())
    last_sunday = monday - timedelta(days=1)
    following = last_sunday + timedelta(days=7)
    ended = last_sunday if following.month != last_sunday.month else last_sunday.replace(day=1) - timedelta(days=1)
    return f"{ended.year:04d}-{ended.month:02d}"


def period_before(period: str) -> str:
    """The period before one.

    >>> period_before("2026-W01"), period_before("2026-01")
    ('2025-W52', '2025-12')
    """
    if "W" in period:
        year, week = map(int, period.split("-W"))
        return period_of(date.fromisocalendar(year, week, 1) - timedelta(days=1))
    year, month = map(int, period.split("-"))
    before = date(year, month, 1) - timedelta(days=1)
    return f"{before.year:04d}-{before.month:02d}"


def _kpi_settings(shop: Shop) -> dict[str, float | None]:
    """Section `kpis` as reports.kpi.kpis.KpiSettings takes it."""
    own, interval = shop.kpis, shop.repeat_interval_ms
    return {
        "reply_within_h": own.reply_within_ms / 3_600_000,
        "repeat_interval_days": None if interval is None else interval / 86_400_000,
        "gross_margin": own.gross_margin,
        "acquisition_cost": own.acquisition_cost,
        "retention_cost": own.retention_cost,
        "years": own.years,
    }


def _days(gap_ms: int | None) -> int | None:
    return None if gap_ms is None else gap_ms // 86_400_000
