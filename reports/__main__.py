"""`python -m reports digest …`: one digest, made in a process of its own so that the server never loads
pandas or scipy.

What it needs of the shop comes as one JSON object on stdin (`Request`), what it made goes as one JSON
object to stdout: {"period", "mode", "slack": {"text", "blocks"}, "text", "json"}. It reads the database and
sends nothing. Exit 0: done; 2: the request or an option is wrong; 1: the database could not be read. For 1
and 2 one sentence stands on stderr, and stdout stays empty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flows.survey import Instrument
from reports.digest import DigestContext, DigestRule, Shop, gather, last_complete_week, parse_week
from reports.instruments import bundled_instruments, specs_of
from reports.render import render_json, render_slack, render_text
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


class Rule(_Model):
    """One entry of `digests` in koe.yaml. `language` overrides the shop's."""

    language: Literal["ja", "en"] | None = None
    where: Where = Where()


class Request(_Model):
    """The JSON object on stdin. Everything but `brand` has a default; unknown keys are refused."""

    brand: dict[str, str]
    """{"ja": …, "en": …}."""
    timezone: str = "Asia/Tokyo"
    language: Literal["ja", "en"] = "ja"
    primary_metric: str = "nps"
    targets: dict[str, float] = Field(default_factory=dict)
    contact: Contact = Contact()
    digest: Rule = Rule()
    instruments: dict[str, Instrument] | None = None
    """Library.instruments, dumped (`{id: instrument.model_dump(mode="json")}`), when the shop has its own;
    the bundled ones otherwise."""

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"timezone {name!r} is not an IANA zone such as Asia/Tokyo") from error
        return name


class Refused(Exception):
    """The request cannot be understood; the message is for whoever wrote it."""


def read_request(text: str) -> Request:
    """The request of a JSON text.

    Raises:
        Refused: with every problem in one message.
    """
    try:
        return Request.model_validate_json(text)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'stdin'}: {problem['msg']}" for problem in error.errors()
        ]
        raise Refused("; ".join(problems)) from error


async def make_digest(
    request: Request, *, database: str, digest_id: str, week: str | None, now_ms: int
) -> dict[str, Any]:
    """The object for stdout.

    Args:
        request: what is known of the shop.
        database: a database URL; the file must exist.
        digest_id: id of the rule.
        week: ISO week "2026-W46"; None is the last complete one before `now_ms`.
        now_ms: time of the computation.

    Raises:
        Refused: the week or the primary metric does not exist.
        StoreError: the database could not be read.
    """
    tz = ZoneInfo(request.timezone)
    limits = Limits(
        **{name: value for name, value in request.contact.model_dump().items() if value is not None}
    )
    shop = Shop(
        brand=request.brand,
        language=request.language,
        primary_metric=request.primary_metric,
        targets=request.targets,
        limits=limits,
    )
    rule = DigestRule(
        digest_id,
        language=request.digest.language,
        segment=request.digest.where.segment,
        touchpoint=request.digest.where.touchpoint,
    )
    instruments = specs_of(request.instruments if request.instruments is not None else bundled_instruments())
    try:
        period = week or last_complete_week(now_ms, tz)
        parse_week(period)
    except ValueError as error:
        raise Refused(str(error)) from error
    if request.primary_metric not in instruments:
        raise Refused(f"primary_metric {request.primary_metric!r} is no instrument that is scored")

    def unit(tx: Tx) -> DigestContext:
        return gather(
            tx, shop=shop, digest_rule=rule, week=period, now_ms=now_ms, tz=tz, instruments=instruments
        )

    store = await open_store(database, now_ms=now_ms, create=False)
    try:
        context = await store.read(unit)
    finally:
        await store.close()
    return {
        "period": period,
        "mode": context.mode,
        "slack": render_slack(context),
        "text": render_text(context),
        "json": render_json(context),
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    digest = commands.add_parser("digest", help="one digest; the shop's settings as JSON on stdin")
    digest.add_argument("--database", required=True, metavar="URL")
    digest.add_argument("--id", required=True, metavar="RULE")
    digest.add_argument("--week", metavar="2026-W46", help="default: the last complete week")
    digest.add_argument("--now-ms", required=True, type=int, metavar="N")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; reads stdin, writes stdout and stderr."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    try:
        request = read_request(sys.stdin.buffer.read().decode("utf-8"))
        made = asyncio.run(
            make_digest(
                request,
                database=options.database,
                digest_id=options.id,
                week=options.week,
                now_ms=options.now_ms,
            )
        )
    except (Refused, UnicodeDecodeError) as error:
        sys.stderr.write(f"digest {options.id}: {error}\n")
        return 2
    except StoreError as error:
        sys.stderr.write(f"digest {options.id}: {error}\n")
        return 1
    # bytes, because the console of the parent may be anything
    sys.stdout.buffer.write(json.dumps(made, ensure_ascii=False, allow_nan=False).encode("utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
