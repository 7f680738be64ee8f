"""Digests: when they are due, computed in a short-lived child process (pandas never enters this one), posted exactly
once a period.

A digest's text is stored in the same transaction that queues its post; the post carries its job id as metadata, so
that after a crash the channel is looked up before anything is sent again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from bot import experiments
from bot.clock import Clock
from bot.outbox import Outbox
from bot.reports import ReportLinks
from bot.slack.report import open_button
from storage.failpoints import hit
from storage.records import Digest, Job
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Config, DigestRule

log = structlog.get_logger(__name__)

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_COMPUTE_WITHIN_S = 300


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


def period_of(day: date) -> str:
    """The ISO week of a day.

    >>> period_of(date(2026, 11, 16))
    '2026-W47'
    """
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


class Digests:
    """Schedules, computes and queues digests."""

    def __init__(self, *, config: Config, store: Store, clock: Clock, links: ReportLinks | None = None) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._links = links
        self._tz = config.shop.tz

    def schedule(self, tx: Tx, outbox: Outbox) -> None:
        """See to it that each digest has its next job queued."""
        for rule in self._config.shop.digests:
            self._next(tx, rule, outbox)

    def _next(self, tx: Tx, rule: DigestRule, outbox: Outbox) -> None:
        due = _next_slot(rule, datetime.fromtimestamp(outbox.now_ms / 1000, self._tz))
        period = _reported(due)
        outbox.put(
            tx,
            Job(
                id=outbox.new_id(),
                kind="digest",
                due_ms=int(due.timestamp() * 1000),
                payload=msgspec.json.encode({"digest": rule.id, "period": period}).decode(),
                key=f"digest:{rule.id}:{period}",
                created_ms=outbox.now_ms,
            ),
        )

    async def run(self, job: Job, outbox: Outbox) -> None:
        """A "digest" job: queue the next one, compute, then store the text and queue its post in one transaction."""
        wanted = json.loads(job.payload)
        rule = next((r for r in self._config.shop.digests if r.id == wanted["digest"]), None)
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

    def _newest(self, rule: DigestRule, period: str, now_ms: int) -> str:
        """The period to report now: after a long stop the newest one that is due, not each that was missed."""
        now = datetime.fromtimestamp(now_ms / 1000, self._tz)
        latest = _reported(_next_slot(rule, now) - timedelta(days=7))
        return max(period, latest)

    def queue_post(self, tx: Tx, rule: DigestRule, period: str, computed: dict[str, Any], outbox: Outbox) -> bool:
        """False when this digest of this period was queued before."""
        # the drawing goes with the message; the page is what a link opens
        content = msgspec.json.encode({name: part for name, part in computed.items() if name != "chart"}).decode()
        fresh = tx.put_digest(
            Digest(
                id=rule.id,
                period=period,
                state="due",
                content=content,
                created_ms=outbox.now_ms,
                posted_ms=None,
            )
        )
        if not fresh:
            return False
        arguments = {"channel": rule.channel, **self._linked(rule, period, computed["slack"])}
        chart = computed.get("chart")
        payload = {"method": "chat.postMessage", "args": arguments, **({"chart": chart} if chart else {})}
        return outbox.put(
            tx,
            Job(
                id=outbox.new_id(),
                kind="send",
                due_ms=outbox.now_ms,
                payload=msgspec.json.encode(payload).decode(),
                lane=f"slack:{rule.channel}",
                key=f"digest-post:{rule.id}:{period}",
                channel="slack",
                created_ms=outbox.now_ms,
            ),
        )

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

    async def compute(self, rule: DigestRule, period: str, now_ms: int, *, page: bool = False) -> dict[str, Any]:
        """One digest as {"period", "slack": {"text", "blocks"}, "text", "json"}, with `page` also {"page": {"html",
        "csp"}, "chart": {"png", "alt", "block", "at"} or None}. Raises DigestFailed."""
        return await self.ask_child("digest", {**self.request(rule, period, now_ms), "page": page})

    async def ask_child(self, command: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `python -m reports <command>` makes of a request, in a process of its own. Raises DigestFailed."""
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
                out, err = await child.communicate(msgspec.json.encode(request))
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
        computed: dict[str, Any] = msgspec.json.decode(out)
        return computed

    def last_week(self, now_ms: int) -> str:
        """The last ISO week that is over."""
        return period_of(datetime.fromtimestamp(now_ms / 1000, self._tz).date() - timedelta(days=7))

    def request(self, rule: DigestRule, period: str, now_ms: int) -> dict[str, Any]:
        """What reports/__main__.py reads from its standard input."""
        shop = self._config.shop
        contact = shop.contact
        return {
            "database": self._config.settings.database_url,
            "period": period,
            "now_ms": now_ms,
            "timezone": shop.timezone,
            "brand": {"ja": shop.brand_in("ja"), "en": shop.brand_in("en")},
            "primary_metric": shop.primary_metric,
            "digest": {"id": rule.id, "language": rule.language or shop.language, "where": rule.where},
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


def _next_slot(rule: DigestRule, after: datetime) -> datetime:
    """The next time after `after` at which this digest appears, in the same time zone."""
    day = after.date() + timedelta(days=(_WEEKDAYS.index(rule.weekday) - after.weekday()) % 7)
    due = datetime.combine(day, rule.time, after.tzinfo)
    return due if due > after else datetime.combine(day + timedelta(days=7), rule.time, after.tzinfo)


def _reported(due: datetime) -> str:
    """The ISO week that is over when a digest appears at `due`."""
    return period_of(due.date() - timedelta(days=due.weekday() + 1))


def _days(gap_ms: int | None) -> int | None:
    return None if gap_ms is None else gap_ms // 86_400_000
