"""`python -m reports digest …`: one digest, made in a process of its own so that the server never loads
pandas or scipy. Asked and answered the same way: `python -m reports results`, one metric in a window (reports.results),
and `python -m reports templates`, what is wrong with a shop's own templates ({"templates": folder} → {"problems":
[{"file", "line", "message"}, …]}).

What it needs of the shop comes as one JSON object on stdin (`Request`), what it made goes as one JSON
object to stdout: {"period", "slack": {"text", "blocks"}, "thread": [{"text", "blocks"}, …], "text", "json",
"voices": {"slack": {"text", "blocks"}, "text"} or null}, and where `page` was asked for {"page": {"html", "csp"},
"chart": {"png", "alt", "block", "at"} or null} too. `voices` are customers' words: all but these may be stored. It
reads the database, keeps closed weeks there as columns, and sends nothing. Exit 0: done; 2: the request or an option is
wrong; 1: the database could not be read. For 1 and 2 one sentence stands on stderr, and stdout stays empty.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from jinja2 import TemplateError, TemplateSyntaxError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flows.definitions import Instrument
from reports.benchmarks import Benchmark
from reports.comments.reading import Readers
from reports.comments.vocabulary import FreeTextSettings
from reports.digest import (
    Commented,
    DigestContext,
    DigestRule,
    Every,
    Gathered,
    LineMessages,
    Shop,
    gather,
    gather_commented,
    last_complete_period,
    looked_back,
    parse_period,
    with_texts,
)
from reports.experiments import Trial
from reports.instruments import bundled_blocks, bundled_instruments, specs_of
from reports.kpi.window import KpiSettings
from reports.look_back import keep_weeks
from reports.page.views import Views, gather_views
from reports.render import (
    render_json,
    render_slack,
    render_text,
    render_thread,
    render_voices,
    render_voices_text,
)
from reports.results import NotScored, ResultsRequest, make_results
from reports.templating import place_of
from reports.trust.account import Rules
from reports.words import Limits
from storage.errors import StoreError
from storage.store import Tx, open_store


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Contact(_Model):
    """The contact limits as whole numbers; null where a rule is off."""

    min_gap_days: int | None = 14
    per_year: int | None = 6
    relational_gap_days: int | None = 90
    touchpoint_gap_days: int | None = 30


class Where(_Model):
    """What a digest is narrowed to; "" is everything."""

    segment: str = ""
    touchpoint: str = ""
    channel: str = ""


class Rule(_Model):
    """One entry of `digests` in koe.yaml. `language` overrides the shop's."""

    id: str = Field(min_length=1)
    language: Literal["ja", "en"] | None = None
    where: Where = Where()
    every: Every = "week"


class Request(_Model):
    """The JSON object on stdin. `database`, `now_ms`, `brand` and `digest.id` are needed; the rest has
    defaults. Unknown keys are refused."""

    database: str
    """Here rather than among the arguments, which every user of the machine can read."""
    period: str | None = None
    """ISO week "2026-W46", or month "2026-11" of a monthly digest; null is the last complete one before `now_ms`."""
    now_ms: int
    """Time of the computation."""
    page: bool = False
    """Whether the page and the chart are wanted, too."""
    brand: dict[str, str]
    """{"ja": …, "en": …}."""
    digest: Rule
    digests: tuple[Rule, ...] = ()
    """All digests of the shop: what one of a part tells is kept from being subtracted from the others."""
    timezone: str = "Asia/Tokyo"
    language: Literal["ja", "en"] = "ja"
    primary_metric: str = "nps"
    targets: dict[str, float] = Field(default_factory=dict)
    country: str = "JP"
    benchmarks: tuple[Benchmark, ...] = ()
    repeat_interval_ms: int | None = None
    contact: Contact = Contact()
    experiments: tuple[Trial, ...] = ()
    free_text: FreeTextSettings = FreeTextSettings()
    kpis: KpiSettings = KpiSettings()
    closed: frozenset[date] | None = None
    """Days before `now_ms` without anybody there; null = Saturdays and Sundays."""
    line: LineMessages | None = None
    """LINE's count of this month's messages; null when LINE is off or was not asked."""
    templates: str | None = None
    """A folder with the shop's own templates, which go before ours."""
    trust: Rules | None = None
    """Rules of the trust balance; null leaves the portfolio out."""
    blocks: dict[str, tuple[str, ...]] | None = None
    """Block → its touchpoints, when the shop has its own; the bundled ones otherwise."""
    instruments: dict[str, Instrument] | None = None
    """Library.instruments, dumped (`{id: instrument.model_dump(mode="json")}`), when the shop has its own;
    the bundled ones otherwise."""

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not an IANA zone such as Asia/Tokyo") from error
        return name

    @field_validator("period")
    @classmethod
    def _week_exists(cls, name: str | None) -> str | None:
        if name is not None:
            parse_period(name)
        return name


class RequestError(Exception):
    """The request cannot be understood; the message is for whoever wrote it."""


def read_request(text: bytes, given: Mapping[str, Any] | None = None) -> Request:
    """The request of a JSON text.

    Args:
        text: stdin.
        given: options of the command line; they win over the text.

    Raises:
        RequestError: with every problem in one message.
    """
    try:
        data = json.loads(text or b"{}")
    except ValueError as error:
        raise RequestError(f"stdin is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RequestError("stdin is not a JSON object")
    options = dict(given or {})
    if (rule_id := options.pop("id", None)) is not None:
        rule = data.get("digest")
        data["digest"] = {**(rule if isinstance(rule, dict) else {}), "id": rule_id}
    try:
        return Request.model_validate_json(json.dumps({**data, **options}))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, problem['loc'])) or 'stdin'}: {problem['msg']}" for problem in error.errors()]
        raise RequestError("; ".join(problems)) from error


async def make_digest(request: Request) -> dict[str, Any]:
    """The object for stdout.

    Raises:
        RequestError: the primary metric does not exist.
        StoreError: the database could not be read.
    """
    tz = ZoneInfo(request.timezone)
    shop = _shop_of(request)
    rule = _rule_of(request.digest)
    instruments = specs_of(request.instruments if request.instruments is not None else bundled_instruments())
    period = request.period or last_complete_period(request.now_ms, tz, rule.every)
    if request.primary_metric not in instruments:
        raise RequestError(f"primary_metric {request.primary_metric!r} is no instrument that is scored")
    reported = parse_period(period)
    if reported.every != rule.every:
        raise RequestError(
            f"period {period!r} is a {reported.every}, and digest {rule.id!r} is made every {rule.every}"
        )

    def unit(tx: Tx) -> tuple[Gathered, Commented, Views | None]:
        commented = gather_commented(tx, shop=shop, digest_rule=rule, period=reported, tz=tz)
        gathered = gather(
            tx,
            shop=shop,
            digest_rule=rule,
            period=period,
            now_ms=request.now_ms,
            tz=tz,
            instruments=instruments,
            trials=request.experiments,
            trust_rules=request.trust,
        )
        views = gather_views(tx, gathered, rule=rule, shop=shop, tz=tz) if request.page else None
        return gathered, commented, views

    store = await open_store(request.database, now_ms=request.now_ms, create=False)
    try:
        for subject, (start_ms, end_ms) in looked_back(reported, rule, request.now_ms, tz).items():
            # what cannot be kept, because the database is locked or the disk full, is read row by row
            with contextlib.suppress(StoreError):
                await keep_weeks(
                    store,
                    start_ms,
                    end_ms,
                    subject=subject,
                    now_ms=request.now_ms,
                    tz=tz,
                    builder=secrets.token_hex(8),
                )
        gathered, commented, views = await store.read(unit)
    finally:
        await store.close()
    found = commented.texts(Readers(request.free_text))
    del commented  # a year of events wants its memory
    context = with_texts(gathered.computed(), found)
    own = None if request.templates is None else Path(request.templates)
    try:
        return {**_rendered(context, own), **({} if views is None else _drawn(context, views, tz, own))}
    except TemplateError as error:
        place = place_of(error)
        where = f"{place[0]}, line {place[1]}" if place is not None else f"own templates: {own}"
        said = error.message if isinstance(error, TemplateSyntaxError) else error
        message = f"a template of the digest cannot be used: {said} ({where}); `koe check` tries them all"
        raise RequestError(message) from error


def _shop_of(request: Request) -> Shop:
    limits = Limits(**{name: value for name, value in request.contact.model_dump().items() if value is not None})
    return Shop(
        brand=request.brand,
        language=request.language,
        primary_metric=request.primary_metric,
        targets=request.targets,
        limits=limits,
        country=request.country,
        benchmarks=request.benchmarks,
        repeat_interval_ms=request.repeat_interval_ms,
        kpis=request.kpis,
        closed=request.closed,
        line=request.line,
        blocks=bundled_blocks() if request.blocks is None else request.blocks,
        digests=tuple(map(_rule_of, request.digests)),
    )


def _rule_of(rule: Rule) -> DigestRule:
    where = rule.where
    return DigestRule(
        rule.id,
        language=rule.language,
        segment=where.segment,
        touchpoint=where.touchpoint,
        channel=where.channel,
        every=rule.every,
    )


def _rendered(context: DigestContext, own: Path | None) -> dict[str, Any]:
    voices = render_voices(context, templates=own)
    return {
        "period": context.period,
        "slack": render_slack(context, templates=own),
        "thread": render_thread(context, templates=own),
        "text": render_text(context, templates=own),
        "json": render_json(context),
        "voices": None if voices is None else {"slack": voices, "text": render_voices_text(context, templates=own)},
    }


def _drawn(context: DigestContext, views: Views, tz: ZoneInfo, own: Path | None) -> dict[str, Any]:
    """The page, and the chart of the first message: loaded only where they are wanted."""
    from reports.page.page import digest_chart, render_page

    return {"page": render_page(context, views, tz=tz, templates=own), "chart": digest_chart(context, views)}


class TemplatesRequest(_Model):
    """The JSON object on stdin of `templates`."""

    templates: Path


def check_templates(request: TemplatesRequest) -> dict[str, Any]:
    """What is wrong with a folder of templates: the object for stdout."""
    from reports.template_check import template_problems

    return {"problems": [asdict(problem) for problem in template_problems(request.templates)]}


def _return_memory() -> None:
    """Have the C library give every large array back when it is gone, where it can be told to (glibc). By itself it
    keeps what a second thread has freed, and takes larger and larger arrays from there: together a quarter of what the
    digest of a large shop holds."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 16 * _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 1 << 22
"""Larger than a block of resamples, which comes and goes thousands of times."""


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    """What was given on the command line, under the names of the request."""
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    digest = commands.add_parser("digest", help="one digest; the shop's settings as JSON on stdin")
    digest.add_argument("--database", metavar="URL")
    digest.add_argument("--id", metavar="RULE")
    digest.add_argument("--week", dest="period", metavar="2026-W46", help="default: the last complete week")
    digest.add_argument("--now-ms", type=int, metavar="N")
    commands.add_parser("results", help="one metric in a window; everything as JSON on stdin")
    commands.add_parser("templates", help="what is wrong with own templates; their folder as JSON on stdin")
    found = vars(parser.parse_args(arguments))
    return {name: value for name, value in found.items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; reads stdin, writes stdout and stderr."""
    given = _options(sys.argv[1:] if arguments is None else arguments)
    command = given.pop("command")
    _return_memory()
    try:
        asked = sys.stdin.buffer.read()
        if command == "results":
            made = asyncio.run(make_results(ResultsRequest.model_validate_json(asked)))
        elif command == "templates":
            made = check_templates(TemplatesRequest.model_validate_json(asked))
        else:
            made = asyncio.run(make_digest(read_request(asked, given)))
    except (RequestError, NotScored, ValidationError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # bytes, because the console of the parent may be anything
    sys.stdout.buffer.write(json.dumps(made, ensure_ascii=False, allow_nan=False).encode("utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
