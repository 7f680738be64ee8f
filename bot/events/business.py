"""A business event as the shop writes it: body of POST /events, a line of JSONL, or a row of CSV."""

from __future__ import annotations

import hmac
import json
import re
import unicodedata
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import Any

import msgspec

from bot.outbox import Outbox
from bot.referrals import note_referral
from reports.answers.file import ms_of
from storage.records import Address, Customer, Event
from storage.store import Tx

_LINE_USER = re.compile(r"U[0-9a-f]{32}\Z")
_SLACK_USER = re.compile(r"[UW][A-Z0-9]{2,20}\Z")
_LANGUAGES = ("", "ja", "en")
_MAX_DATA = 64_000


class BadEvent(ValueError):
    """The event cannot be taken; the message names the field, its value and what to do."""


class CustomerPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str = ""
    language: str = ""
    line_user_id: str = ""
    slack_user_id: str = ""
    email: str = ""
    """Never stored: only its keyed hash is, to recognise the person again."""
    phone: str = ""
    """Never stored, as `email`."""


class BusinessEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What others write (docs/events.md). Unknown types are stored and counted, not refused."""

    id: str
    type: str
    occurred_at: str
    customer: CustomerPart | None = None
    data: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(BusinessEvent)


def parse_event(body: bytes, tz: tzinfo) -> tuple[BusinessEvent, int]:
    """The event and its time in ms UTC. A time without an offset is local time of the shop.

    Raises BadEvent.
    """
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(f"the body is not a business event: {error}. See docs/events.md for its fields.") from error
    return event, check_event(event, tz)


def check_event(event: BusinessEvent, tz: tzinfo) -> int:
    """`occurred_at` in ms UTC, after every field was looked at. Raises BadEvent."""
    for name, value, most in (("id", event.id, 200), ("type", event.type, 100)):
        if not value.strip() or len(value) > most:
            raise BadEvent(f"{name} is {_short(value)}: give 1 to {most} characters.")
    try:
        at = datetime.fromisoformat(event.occurred_at.strip())
    except ValueError as error:
        raise BadEvent(
            f"occurred_at is {_short(event.occurred_at)}: write ISO 8601 such as 2026-11-16T10:00:00+09:00."
        ) from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=tz)
    if not 2000 <= at.year <= 2100:
        raise BadEvent(f"occurred_at is {_short(event.occurred_at)}: the year must lie between 2000 and 2100.")
    if event.customer is not None:
        _check_customer(event.customer)
    if len(json.dumps(event.data, ensure_ascii=False)) > _MAX_DATA:
        raise BadEvent(f"data is longer than {_MAX_DATA} characters: send only the fields that rules and reports need.")
    return ms_of(at)


def _check_customer(customer: CustomerPart) -> None:
    if not customer.id.strip() or len(customer.id) > 200:
        raise BadEvent(f"customer.id is {_short(customer.id)}: give the shop's own id, 1 to 200 characters.")
    if customer.language not in _LANGUAGES:
        raise BadEvent(
            f"customer.language is {_short(customer.language)}: Koe speaks ja and en; leave it out otherwise."
        )
    if customer.line_user_id and not _LINE_USER.match(customer.line_user_id):
        raise BadEvent(
            f"customer.line_user_id is {_short(customer.line_user_id)}: a LINE user id is U and 32 hexadecimal digits, "
            "of the provider that owns the channel."
        )
    if customer.slack_user_id and not _SLACK_USER.match(customer.slack_user_id):
        raise BadEvent(
            f"customer.slack_user_id is {_short(customer.slack_user_id)}: a Slack user id looks like U024BE7LH."
        )


def match_keys(customer: CustomerPart, key: bytes) -> dict[str, str]:
    """kind → keyed hash of the customer's e-mail and phone, alike however they were written; {} without a key.

    >>> written = CustomerPart("C1", email=" A@Example.jp ")
    >>> match_keys(written, b"k") == match_keys(CustomerPart("C2", email="a@example.jp"), b"k")
    True
    """
    spelled = {
        "email": unicodedata.normalize("NFKC", customer.email).strip().casefold(),
        "phone": re.sub(r"\D", "", unicodedata.normalize("NFKC", customer.phone)),
    }
    return {
        kind: hmac.new(key, f"{kind}:{value}".encode("utf-8", "replace"), "sha256").hexdigest()
        for kind, value in spelled.items()
        if key and value
    }


def store_event(
    tx: Tx,
    event: BusinessEvent,
    occurred_ms: int,
    outbox: Outbox,
    *,
    workspaces: dict[str, str],
    match_key: bytes = b"",
    imported: bool = False,
    rewarded: bool = False,
) -> Event | None:
    """Note the event, whom it names and who referred them (`rewarded`: for something in return). None when its id is
    known (nothing happens twice). An event about a customer who was erased comes back as it was stored, without the
    person: no rule may plan anything for them."""
    customer = event.customer
    stored = Event(
        id=event.id,
        type=event.type,
        occurred_ms=occurred_ms,
        received_ms=outbox.now_ms,
        customer_id="" if customer is None else customer.id,
        data=json.dumps(event.data, ensure_ascii=False, separators=(",", ":")),
        imported=imported,
    )
    if not tx.note_event(stored):
        return None
    if customer is not None:
        if tx.erased_ms(customer.id) is not None:
            return replace(stored, customer_id="", data="{}")
        tx.put_customer(
            Customer(id=customer.id, name=customer.name, language=customer.language, created_ms=outbox.now_ms)
        )
        for kind, hashed in match_keys(customer, match_key).items():
            tx.put_match_key(customer.id, kind, hashed, "import" if imported else "event", outbox.now_ms)
        for channel, external_id in (("line", customer.line_user_id), ("slack", customer.slack_user_id)):
            if external_id:
                _link(tx, channel, workspaces.get(channel, ""), external_id, customer, outbox, imported)
        note_referral(tx, stored, rewarded=rewarded)
    return stored


def _link(
    tx: Tx,
    channel: str,
    workspace: str,
    external_id: str,
    customer: CustomerPart,
    outbox: Outbox,
    imported: bool,
) -> None:
    known = tx.find_address(channel, workspace, external_id)
    if known is not None and known.customer_id == customer.id:
        return
    tx.put_address(
        Address(
            channel=channel,
            workspace=workspace,
            external_id=external_id,
            customer_id=customer.id,
            source="import" if imported else "event",
            certainty="linked",
            language=customer.language,
            created_ms=outbox.now_ms,
        )
    )
    # somebody who stopped surveys before we knew who they are has still stopped them
    bare = f"{channel}:{workspace}:{external_id}"
    if tx.consent(bare, "surveys") is False:
        tx.set_consent(customer.id, "surveys", False, outbox.now_ms, f"chat:{channel}")


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "…")
