"""Talking to LINE: one POST for one attempt, and what its outcome means.

Only the reply and the push go over connections of our own (bot/line/posting.py), because they are the hot path; every
other call goes through line-bot-sdk, which is imported when the first of them is made.
Source: https://developers.line.biz/en/docs/messaging-api/retrying-api-request/ and
https://developers.line.biz/en/reference/messaging-api/#error-responses.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from bot.channel import (
    Delivery,
    JsonObject,
    Outgoing,
    Refused,
    RetryLater,
    Sent,
    Turn,
    Unknown,
    Wanted,
    Withdrawn,
    always,
)
from bot.line.messages import encode_messages, pack_bubbles, unpack_bubbles
from bot.line.posting import Answer, NoAnswer, NotSent, NotWanted, Poster
from flows.exchange import Ask

T = TypeVar("T")

REPLY_WITHIN_MS: Final = 50_000
"""A reply token lives one minute from the webhook; the rest is for the way."""
_RETRY_KEY_MS = 23 * 3_600_000
"""LINE forgets a retry key after 24 hours; an attempt after that would be sent a second time."""
_SDK_TIMEOUT_S = 10
_MOST_RETRY_AFTER_S = 3600.0
_MOST_TRAILS = 20_000
_SENT: Final = Sent()


@dataclass(frozen=True, slots=True)
class Quota:
    """Messages that count, this month (UTC+9). `limit` is None when no cap is set; `used` is approximate."""

    limit: int | None
    used: int


@dataclass(frozen=True, slots=True)
class BotInfo:
    """The official account: `user_id` is the `destination` of its webhooks, `basic_id` starts with "@"."""

    user_id: str
    basic_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where LINE sends events. `active` is False while "Use webhook" is off."""

    url: str
    active: bool


class LineError(Exception):
    """LINE could not be asked. `status` is the HTTP status, or None when there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class _Trail:
    """What this process knows of earlier attempts at one job."""

    reply_open: bool
    """True when an earlier reply may have arrived."""
    token_spent: bool = False
    """True when LINE refused the token although no reply of ours can have used it."""
    pushed_ms: int | None = None
    """First push, from which the life of the retry key counts."""


class LineChannel:
    """LINE, to the conversation and to the worker (see bot.channel.Channel)."""

    name = "line"

    def __init__(self, *, access_token: str, base_url: str = "https://api.line.me", within_s: float = 10.0) -> None:
        """`within_s` seconds after a message was tried there is an answer, or none.

        Raises:
            ValueError: The token could not stand in a header.
        """
        if not access_token or not all("!" <= char <= "~" for char in access_token):
            raise ValueError("LINE_CHANNEL_ACCESS_TOKEN is empty or holds characters that no token has")
        self._token = access_token
        self._base_url = base_url.rstrip("/")
        headers = {"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"}
        self._poster = Poster(self._base_url, headers, within_s=within_s)
        self._trails: OrderedDict[str, _Trail] = OrderedDict()
        self._client: Any = None

    async def close(self) -> None:
        """Closes the connections, and the SDK's client if one was needed."""
        await self._poster.close()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    # --------------------------------------------------------------------------------------------- messages

    def render_answered(self, question: str, answer: str) -> None:
        """LINE's messages stay as they were sent."""

    def render(self, turn: Turn, *, external_id: str, reply_token: str, at_ms: int) -> Sequence[Outgoing]:
        """One call with all bubbles of the turn; none when there is nothing to show.

        The payload is {"to", "bubbles", "session", "lang", "reply_token", "reply_until_ms", "push"}. It is stored with
        its bubbles packed (bot.line.messages.pack_bubbles), and `send` makes messages of them. `reply_until_ms` is 0
        without a token. Messages of LINE cannot be changed later, so `updates` stays empty.
        """
        packed = pack_bubbles(turn.bubbles)
        if not packed:
            return []
        asked = [bubble.question for bubble in turn.bubbles if isinstance(bubble, Ask)]
        payload: JsonObject = {
            "to": external_id,
            "session": turn.session_id,
            "lang": turn.lang,
            "reply_token": reply_token,
            "reply_until_ms": at_ms + REPLY_WITHIN_MS if reply_token else 0,
            "push": True,
        }
        # the bubbles are JSON already, and longer than the rest together
        stored = f'{{"bubbles":{packed},{msgspec.json.encode(payload).decode()[1:]}'
        payload["bubbles"] = turn.bubbles
        return [Outgoing(payload=payload, stored=stored, asks=asked[-1] if asked else "")]

    async def send(
        self, payload: JsonObject, *, job_id: str, attempt: int, now_ms: int, ref: str = "", wanted: Wanted = always
    ) -> Delivery:
        """By the reply token while it is fresh, else as a push with `job_id` as its retry key.

        A token is its own single-use key. Refused at the first attempt, it was spent elsewhere and the push
        takes over; refused after an attempt of unknown outcome, the message is there. When such a token gets
        too old to ask again, nobody will ever know. After a restart any earlier attempt is of unknown outcome.
        A push that waits for a connection is asked for once more; a reply belongs to the customer's own words.
        """
        trail = self._trail(job_id, payload, attempt)
        delivery = await self._send(payload, trail, job_id=job_id, attempt=attempt, now_ms=now_ms, wanted=wanted)
        if isinstance(delivery, Sent | Refused | Withdrawn) or (isinstance(delivery, Unknown) and not delivery.retry):
            keep = isinstance(delivery, Refused) and delivery.scope in ("push", "channel")
            if not keep:
                self._trails.pop(job_id, None)
        return delivery

    async def _send(
        self, payload: JsonObject, trail: _Trail, *, job_id: str, attempt: int, now_ms: int, wanted: Wanted
    ) -> Delivery:
        token = payload.get("reply_token") or ""
        if token and now_ms < payload["reply_until_ms"] and not trail.token_spent:
            may_have_arrived, trail.reply_open = trail.reply_open, True  # so it stays if this is cancelled
            delivery = await self._post("reply", {"replyToken": token, "messages": _messages(payload)}, retry_key=None)
            if not _is_spent_token(delivery):
                trail.reply_open = may_have_arrived or isinstance(delivery, Unknown)
                return delivery
            if may_have_arrived:
                return Sent()
            trail.reply_open, trail.token_spent = False, True
        elif token and trail.reply_open:
            return Unknown("an earlier reply may have arrived and its token is too old to ask", retry=False)
        if not payload.get("push", True):
            return Refused("the reply token is spent or too old, and this is not worth a push")
        first = trail.pushed_ms is None
        if trail.pushed_ms is None:
            trail.pushed_ms = _made_ms(job_id, now_ms) if attempt > 1 else now_ms
        if now_ms - trail.pushed_ms > _RETRY_KEY_MS:
            return Unknown("the retry key is too old to repeat this push safely", retry=False)
        body = {"to": payload["to"], "messages": _messages(payload)}
        delivery = await self._post("push", body, retry_key=job_id, wanted=wanted)
        if first and attempt == 1 and isinstance(delivery, Refused):
            # nothing was sent: one that waits for the quota, or for a token, may wait longer than a key lives
            trail.pushed_ms = None
        return delivery

    def _trail(self, job_id: str, payload: JsonObject, attempt: int) -> _Trail:
        trail = self._trails.get(job_id)
        if trail is None:
            trail = _Trail(reply_open=attempt > 1 and bool(payload.get("reply_token")))
            self._trails[job_id] = trail
            if len(self._trails) > _MOST_TRAILS:
                self._trails.popitem(last=False)
        return trail

    async def _post(
        self, endpoint: str, body: JsonObject, *, retry_key: str | None, wanted: Wanted | None = None
    ) -> Delivery:
        header = f"X-Line-Retry-Key: {retry_key}\r\n" if retry_key else ""
        try:
            path = f"/v2/bot/message/{endpoint}"
            answer = await self._poster.post(path, msgspec.json.encode(body), header, wanted=wanted)
        except NotSent as trouble:
            return RetryLater(f"{endpoint}: no connection ({trouble})")
        except NotWanted:
            return Withdrawn()
        except NoAnswer as trouble:
            return Unknown(f"{endpoint}: no answer ({trouble})", retry=True)
        return _SENT if 200 <= answer.status < 300 else _outcome(endpoint, answer)

    # ------------------------------------------------------------------------------------------ other calls

    async def fetch_quota(self) -> Quota:
        """What may be pushed this month and what was.

        Raises:
            LineError: LINE could not be asked.
        """
        quota = await self._call(lambda api: api.get_message_quota(_request_timeout=_SDK_TIMEOUT_S))
        used = await self._call(lambda api: api.get_message_quota_consumption(_request_timeout=_SDK_TIMEOUT_S))
        return Quota(limit=quota.value if quota.type == "limited" else None, used=used.total_usage)

    async def fetch_bot_info(self) -> BotInfo:
        """The account this token belongs to.

        Raises:
            LineError: LINE could not be asked.
        """
        info = await self._call(lambda api: api.get_bot_info(_request_timeout=_SDK_TIMEOUT_S))
        return BotInfo(info.user_id, info.basic_id, info.display_name)

    async def fetch_knows(self, user_id: str) -> bool:
        """Whether this account may see the profile of a user: not of one who blocked it or never met it, and not of an
        id of another provider.

        Source: https://developers.line.biz/en/reference/messaging-api/#get-profile.

        Raises:
            LineError: LINE could not be asked.
        """
        try:
            await self._call(lambda api: api.get_profile(user_id, _request_timeout=_SDK_TIMEOUT_S))
        except LineError as error:
            if error.status in (400, 404):
                return False
            raise
        return True

    async def fetch_webhook(self) -> Webhook | None:
        """Where LINE sends this account's events; None when nothing is set.

        Raises:
            LineError: LINE could not be asked.
        """
        try:
            told = await self._call(lambda api: api.get_webhook_endpoint(_request_timeout=_SDK_TIMEOUT_S))
        except LineError as error:
            if error.status == 404:
                return None
            raise
        return Webhook(told.endpoint, bool(told.active))

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """One call of the SDK, its errors translated. The client is made in the running loop, once."""
        from linebot.v3.messaging import ApiException, AsyncApiClient, AsyncMessagingApi, Configuration

        if self._client is None:
            self._client = AsyncApiClient(Configuration(host=self._base_url, access_token=self._token))
        try:
            return await call(AsyncMessagingApi(self._client))
        except ApiException as error:
            message = _message_of((error.body or "").encode("utf-8", "replace"))
            raise LineError(f"LINE answered {error.status}: {message}", error.status) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: an answer that is not what the SDK's models expect
            raise LineError(f"LINE could not be asked: {type(error).__name__}") from error


def _messages(payload: JsonObject) -> msgspec.Raw:
    """The message objects of a payload, fresh from `render` or decoded from storage."""
    bubbles = payload["bubbles"]
    if isinstance(bubbles, list):
        bubbles = unpack_bubbles(bubbles)
    return msgspec.Raw(encode_messages(bubbles, payload["session"], payload["lang"]))


def _is_spent_token(delivery: Delivery) -> bool:
    return isinstance(delivery, Refused) and "invalid reply token" in delivery.reason.casefold()


def _outcome(endpoint: str, answer: Answer) -> Delivery:
    """LINE's error table: what anything but a success means."""
    status, message = answer.status, _message_of(answer.body)
    reason = f"{endpoint}: {status} {message}".rstrip()
    if request_id := answer.header(b"x-line-request-id")[:64]:
        reason += f" (request {request_id})"
    said = message.casefold()
    match status:
        case 409 if endpoint == "push":
            return Sent()  # the retry key was accepted before
        case 429 if "monthly limit" in said:
            return Refused(reason, scope="push")
        case 429:
            return RetryLater(reason, after_s=_retry_after_s(answer), pause=True)
        case 401:
            return Refused(reason, scope="channel")
        case 400 if endpoint == "push" and "failed to send messages" in said:
            return Refused(reason, scope="address")
        case _ if 300 <= status < 400:
            return RetryLater(reason, pause=True)  # a wrong LINE_API_BASE_URL, or a captive proxy
        case _ if 400 <= status < 500:
            return Refused(reason)
        case _:
            return Unknown(reason, retry=True)


def _message_of(answer: bytes) -> str:
    """The sentence in LINE's error body with the property it complains of; "" for HTML and other bodies."""
    try:
        body = msgspec.json.decode(answer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        return ""
    words = [body["message"]]
    details = body.get("details")
    words += [
        f"{detail['property']}: {detail.get('message', '')}"
        for detail in (details[:3] if isinstance(details, list) else ())
        if isinstance(detail, dict) and isinstance(detail.get("property"), str)
    ]
    return " · ".join(words)[:300]


def _retry_after_s(answer: Answer) -> float | None:
    """Seconds to wait, at most an hour; None when the header (LINE documents none) is missing or odd."""
    value = answer.header(b"retry-after")
    return min(float(value), _MOST_RETRY_AFTER_S) if value.isascii() and value.isdigit() and len(value) < 16 else None


def _made_ms(job_id: str, now_ms: int) -> int:
    """When a time-ordered UUID was made, which is no later than its first push; now for any other."""
    try:
        parsed = uuid.UUID(job_id)
    except ValueError:
        return now_ms
    return parsed.int >> 80 if parsed.version == 7 else now_ms
