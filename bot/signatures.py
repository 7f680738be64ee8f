"""Who sent this request: one HMAC verifier, driven by a table of schemes, for every surface with webhooks.

Total: whatever the headers hold, the answer is a yes or a no, never an exception – the vendors' own verifiers
raise on a missing header, a timestamp `abc` or non-ASCII text. Verify the raw bytes before parsing anything.

A new surface is a new row: a `Scheme` and, if it signs something new, a line in `_signed`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""Header pairs; names in any case. A mapping is read by `items()`: Starlette's Headers keep repeated ones."""

Refusal = Literal["no_secret", "missing", "duplicate", "malformed", "stale", "mismatch"]
"""Why a request is not believed: for the log, never for the sender."""

_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
# printable ASCII without ".", which separates the signed parts
_MESSAGE_ID = re.compile(rb"[!-\-/-~]{1,256}")
_MAX_HEADER = 4096
_MAX_SIGNATURES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Scheme:
    """How one sender signs with HMAC-SHA256."""

    name: Literal["line", "slack", "standard_webhooks"]
    signature: str
    """Header with the signature, in lower case (so are the others)."""
    encoding: Literal["base64", "hex"]
    prefix: str = ""
    """Stands before each encoded signature: "v0=", "v1,"."""
    several: bool = False
    """The header may hold several signatures with spaces between them; one must match."""
    timestamp: str = ""
    """Header with the seconds since 1970 that are signed too; "" when the sender signs no time."""
    message_id: str = ""
    tolerance_s: int = 300
    """Furthest the timestamp may lie from our clock, in either direction."""


LINE = Scheme("line", signature="x-line-signature", encoding="base64")
"""Source: https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/
No time is signed: a replay is caught by its webhookEventId alone."""

SLACK = Scheme(
    "slack",
    signature="x-slack-signature",
    encoding="hex",
    prefix="v0=",
    timestamp="x-slack-request-timestamp",
)
"""Source: https://docs.slack.dev/authentication/verifying-requests-from-slack/"""

STANDARD_WEBHOOKS = Scheme(
    "standard_webhooks",
    signature="webhook-signature",
    encoding="base64",
    prefix="v1,",
    several=True,
    timestamp="webhook-timestamp",
    message_id="webhook-id",
)
"""Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""


def why_refused(
    scheme: Scheme, headers: Headers, body: bytes, secrets: Sequence[str], *, now_s: float
) -> Refusal | None:
    """The reason not to believe a request; None when it is genuine.

    Args:
        secrets: All that are valid now; during a rotation the old and the new one. Empty or unusable ones are
            passed over.
        now_s: The real clock in seconds since 1970 – signatures never go by Koe's own, movable clock.
    """
    keys = [key for key in [_key(scheme, secret) for secret in secrets] if key]
    if not keys:
        return "no_secret"
    wanted = _wanted(scheme)
    found: dict[str, bytes] = {}
    for raw_name, raw_value in headers.items() if isinstance(headers, Mapping) else headers:
        name = wanted.get(raw_name.lower())
        if name is None:
            continue
        if name in found:
            return "duplicate"
        found[name] = value = raw_value if isinstance(raw_value, bytes) else raw_value.encode("utf-8", "replace")
        if len(value) > _MAX_HEADER:
            return "malformed"
    if len(found) < len(wanted) // 2:
        return "missing"
    timestamp = found.get(scheme.timestamp, b"")
    if scheme.timestamp:
        if not _TIMESTAMP.fullmatch(timestamp):
            return "malformed"
        if abs(now_s - int(timestamp)) > scheme.tolerance_s:
            return "stale"
    message_id = found.get(scheme.message_id, b"")
    if scheme.message_id and not _MESSAGE_ID.fullmatch(message_id):
        return "malformed"
    given = found[scheme.signature].split(b" ") if scheme.several else [found[scheme.signature]]
    if len(given) > _MAX_SIGNATURES:
        return "malformed"
    signed = _signed(scheme, timestamp, message_id, body)
    genuine = False
    for key in keys:  # every pair is compared, so that the time taken says nothing about which one matched
        expected = _signature(scheme, key, signed)
        for candidate in given:
            genuine |= hmac.compare_digest(expected, candidate)
    return None if genuine else "mismatch"


@cache
def _wanted(scheme: Scheme) -> dict[str | bytes, str]:
    """The headers a scheme reads, by their names as text and as bytes."""
    names = [name for name in (scheme.signature, scheme.timestamp, scheme.message_id) if name]
    return {spelt: name for name in names for spelt in (name, name.encode())}


def verify_line(headers: Headers, body: bytes, secrets: Sequence[str]) -> bool:
    """True when LINE sent this body, signed with one of the channel's secrets."""
    return why_refused(LINE, headers, body, secrets, now_s=0) is None


def verify_slack(headers: Headers, body: bytes, secrets: Sequence[str], now_s: float) -> bool:
    """True when Slack sent this body at most five minutes from `now_s`."""
    return why_refused(SLACK, headers, body, secrets, now_s=now_s) is None


def verify_standard_webhooks(headers: Headers, body: bytes, secrets: Sequence[str], now_s: float) -> bool:
    """True when an owner of one of the `whsec_…` secrets sent this body at most five minutes from `now_s`."""
    return why_refused(STANDARD_WEBHOOKS, headers, body, secrets, now_s=now_s) is None


def sign_line(body: bytes, secret: str) -> dict[str, str]:
    """The headers with which LINE would deliver `body`."""
    return _headers(LINE, secret, b"", b"", body)


def sign_standard_webhooks(body: bytes, secret: str, message_id: str, at_s: int) -> dict[str, str]:
    """The headers with which a Standard Webhooks sender would deliver `body` at `at_s` seconds since 1970."""
    return _headers(STANDARD_WEBHOOKS, secret, str(at_s).encode(), message_id.encode(), body)


def usable_webhook_secret(secret: str) -> bool:
    """True for a `whsec_` secret whose base64 holds 24 to 64 bytes, as Standard Webhooks asks."""
    key = _key(STANDARD_WEBHOOKS, secret)
    return secret.startswith("whsec_") and 24 <= len(key) <= 64


def _headers(scheme: Scheme, secret: str, timestamp: bytes, message_id: bytes, body: bytes) -> dict[str, str]:
    key = _key(scheme, secret)
    if not key:
        raise ValueError(f"the {scheme.name} secret is empty or malformed")
    signature = _signature(scheme, key, _signed(scheme, timestamp, message_id, body)).decode()
    headers = {scheme.signature: signature}
    if scheme.timestamp:
        headers[scheme.timestamp] = timestamp.decode()
    if scheme.message_id:
        headers[scheme.message_id] = message_id.decode()
    return headers


@lru_cache(maxsize=64)
def _key(scheme: Scheme, secret: str) -> bytes:
    """The bytes of a secret; empty when it cannot be one."""
    if scheme.name != "standard_webhooks":
        return secret.strip().encode("utf-8", "replace")
    try:
        return base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return b""


def _signed(scheme: Scheme, timestamp: bytes, message_id: bytes, body: bytes) -> bytes:
    """What the signature covers."""
    match scheme.name:
        case "line":
            return body
        case "slack":
            return b"v0:%b:%b" % (timestamp, body)
        case "standard_webhooks":
            return b"%b.%b.%b" % (message_id, timestamp, body)


def _signature(scheme: Scheme, key: bytes, signed: bytes) -> bytes:
    digest = hmac.digest(key, signed, hashlib.sha256)
    encoded = base64.b64encode(digest) if scheme.encoding == "base64" else digest.hex().encode()
    return scheme.prefix.encode() + encoded
