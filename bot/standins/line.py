"""The local LINE: chats, single-use reply tokens, retry keys, quota and blocked users behind the Messaging
API's own paths, with the refusals of the real platform; and the people who use it, whose taps and words
become signed webhooks.

Ages of tokens and keys follow the injected clock; rate limits and webhook time-outs follow the real one.
Source: https://developers.line.biz/en/reference/messaging-api/ (pages of 2026-08-07).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import itertools
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal, NoReturn

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bot.standins.messages import check_messages
from bot.standins.wire import (
    Bucket,
    Clock,
    Dropped,
    Faults,
    JsonObject,
    NotOnScreenError,
    Recorded,
    Silent,
    json_or_none,
    read_body,
)

REPLY_TOKEN_MS = 60_000
REPLY_TOKEN_REDELIVERED_MS = 20 * 60_000
RETRY_KEY_MS = 24 * 3_600_000
NON_FRIEND_MS = 7 * 24 * 3_600_000
LINK_TOKEN_MS = 600_000
MAX_BODY_BYTES = 2 * 1024 * 1024
_JST = timezone(timedelta(hours=9))
_RATES = {  # calls per period; everything else has 2,000 a second
    "/v2/bot/message/multicast": (200, 1000.0),
    "/v2/bot/message/broadcast": (60, 3_600_000.0),
    "/v2/bot/chat/loading/start": (100, 1000.0),
    "/v2/bot/channel/webhook/endpoint": (1000, 60_000.0),
    "/v2/bot/channel/webhook/test": (60, 3_600_000.0),
}
_MESSAGES = {
    400: "The request body has 1 error(s)",
    401: "Authentication failed. Confirm that the access token in the authorization header is valid.",
    403: "Access to this API is not available for your account",
    404: "Not found",
    409: "The retry key is already accepted",
    410: "The content is gone",
    413: "Request exceeds the max size of 2 MB",
    415: "The content type is not supported",
    422: "Failed to send messages",
    429: "The API rate limit has been exceeded. Try again later.",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}
_ACCEPTED = "x-line-accepted-request-id"
_MONTHLY = "You have reached your monthly limit."
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(slots=True)
class LineUser:
    """A person with LINE: what the account may know of them, and whether it can reach them."""

    name: str
    language: str
    friend: bool
    blocked: bool = False
    wrote_at_ms: int | None = None
    linked_nonce: str = ""


@dataclass(frozen=True, slots=True)
class ChatEntry:
    """One bubble of a chat. `message` is LINE's own JSON as sent; what the person tapped is a text of
    theirs."""

    id: str
    at_ms: int
    sender: Literal["bot", "user"]
    message: JsonObject
    via: Literal["reply", "push", "user"]
    actions: tuple[JsonObject, ...] = field(init=False, repr=False, compare=False)
    """Every action drawn inside it, top to bottom; quick replies are not part of it."""

    def __post_init__(self) -> None:
        # read once: a chat of months is looked at after each tap
        object.__setattr__(self, "actions", tuple(_actions(self.message)))


@dataclass(frozen=True, slots=True)
class Tappable:
    """A postback button on the screen. `display_text` is what a tap writes into the chat ("": no trace)."""

    label: str
    data: str
    display_text: str
    entry_id: str
    quick: bool


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One delivery to the bot. `status` is 0 when no answer came; `reason` as in LINE's error statistics,
    or ""."""

    events: list[JsonObject]
    status: int
    duration_s: float
    reason: str


@dataclass(slots=True)
class _Chat:
    entries: list[ChatEntry] = field(default_factory=list)
    quick_hidden: bool = True


@dataclass(slots=True)
class _ReplyToken:
    user_id: str
    event_ms: int
    delivered_ms: int
    redelivered: bool = False
    used: bool = False


@dataclass(frozen=True, slots=True)
class _Accepted:
    request_id: str
    at_ms: int
    sent: list[JsonObject]


class _RefusedError(Exception):
    def __init__(self, status: int, message: str = "", body: JsonObject | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.body: JsonObject = {"message": message or _MESSAGES[status], **(body or {})}


class LineStandin:
    """The platform and its people. Start `app` with `bot.standins.serve`; it closes its connections at
    shutdown.

    Args:
        webhook_url: where events go; "" delivers nothing.
        redelivery: repeat a webhook that got no 2xx, after each pause of `redelivery_pauses_s`; what fails
            to the end waits in `undelivered` for `redeliver()`.
        quota: messages per calendar month in Japan; None is a plan without a cap.
        rate_limits: False switches the documented call rates off (for benchmarks).
    """

    def __init__(
        self,
        *,
        clock: Clock,
        channel_secret: str,
        access_token: str,
        webhook_url: str,
        destination: str = "U" + "0123456789abcdef" * 2,
        basic_id: str = "@koe",
        name: str = "Koe",
        redelivery: bool = False,
        quota: int | None = None,
        rate_limits: bool = True,
    ) -> None:
        self.clock = clock
        self.channel_secret = channel_secret
        self.access_token = access_token
        self.webhook_url = webhook_url
        self.destination = destination
        self.basic_id = basic_id
        self.name = name
        self.redelivery = redelivery
        self.redelivery_pauses_s: Sequence[float] = (0.05, 0.2, 0.8)
        self.webhook_timeout_s = 10.0
        self.quota = quota
        self.rate_limits = rate_limits
        self.users: dict[str, LineUser] = {}
        self.on_change: list[Callable[[], None]] = []
        self.requests: list[Recorded] = []
        self.events: list[JsonObject] = []
        """Every event made, in order, as first sent: for repeating one with `deliver_raw`."""
        self.webhooks: list[WebhookCall] = []
        self.undelivered: list[list[JsonObject]] = []
        self.loading: list[str] = []
        """Users shown a loading animation, in order."""
        self._chats: dict[str, _Chat] = {}
        self._tokens: dict[str, _ReplyToken] = {}
        self._accepted: dict[str, _Accepted] = {}
        self._usage: dict[str, int] = {}
        self._link_tokens: dict[str, tuple[str, int]] = {}
        self._read_tokens: set[str] = set()
        self._faults = Faults()
        self._buckets: dict[str, Bucket] = {}
        self._ids = itertools.count(time.time_ns() // 1000)
        self._waiting: list[JsonObject] = []
        self._flushing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.app = Starlette(
            routes=[Route("/{path:path}", self._serve, methods=["GET", "POST", "PUT", "DELETE"])],
            lifespan=self._lifespan,
        )

    # --- people ---

    def add_user(self, name: str, language: str = "ja", *, friend: bool = True, user_id: str | None = None) -> str:
        """A new person's user id. A friend's `follow` event goes out at once when a loop runs, at the
        latest before the next event; `settled()` waits for it. An empty `language` is one LINE does not
        tell."""
        user_id = user_id or f"U{secrets.token_hex(16)}"
        self.users[user_id] = LineUser(name=name, language=language, friend=friend)
        self._chats[user_id] = _Chat()
        if friend:
            self._queue(self._event(user_id, "follow", follow={"isUnblocked": False}))
        self._changed()
        return user_id

    def block(self, user_id: str) -> None:
        """The person blocks the account: `unfollow`, and nothing reaches them any more."""
        user = self._user(user_id)
        if not user.blocked:
            user.blocked = True
            self._queue(self._event(user_id, "unfollow", token=False))
            self._changed()

    def unblock(self, user_id: str) -> None:
        """The person takes the block back: `follow` with isUnblocked."""
        user = self._user(user_id)
        if user.blocked:
            user.blocked, user.friend = False, True
            self._queue(self._event(user_id, "follow", follow={"isUnblocked": True}))
            self._changed()

    async def says(self, user_id: str, text: str) -> int:
        """The person writes. Returns the webhook's status (0: no answer)."""
        return await self._send(self.text_event(user_id, text))

    async def taps(self, user_id: str, data: str, display_text: str = "") -> int:
        """The person taps a postback button. Without `display_text` the text of the visible button with
        this data is written into the chat; data that is on no screen is sent all the same (an old client,
        a forger)."""
        return await self._send(self.postback_event(user_id, data, display_text))

    async def taps_label(self, user_id: str, label: str) -> int:
        """The person taps the newest button that says `label`: a postback, or a text it makes them say.

        Raises:
            NotOnScreenError: no button says that.
        """
        quick = [("quick", item["action"]) for item in self.quick_replies(user_id)]
        flex = [("", action) for entry in self._chats[user_id].entries for action in entry.actions]
        for _, action in reversed([*flex, *quick]):
            if action.get("label") == label and action["type"] in ("postback", "message"):
                if action["type"] == "message":
                    return await self.says(user_id, action["text"])
                shown = action.get("displayText") or action.get("text") or ""
                return await self.taps(user_id, action["data"], shown)
        seen = ", ".join(sorted({str(action.get("label")) for _, action in [*flex, *quick]}))
        raise NotOnScreenError(f"no button says {label!r}; the screen shows: {seen or 'no buttons'}")

    async def sends_sticker(self, user_id: str, keywords: Sequence[str] = ()) -> int:
        message: JsonObject = {
            "type": "sticker",
            "packageId": "446",
            "stickerId": "1988",
            "stickerResourceType": "STATIC",
            "quoteToken": secrets.token_urlsafe(24),
        }
        if keywords:
            message["keywords"] = list(keywords)[:15]
        return await self._send(self._message_event(user_id, message))

    async def sends_photo(self, user_id: str) -> int:
        message = {
            "type": "image",
            "contentProvider": {"type": "line"},
            "quoteToken": secrets.token_urlsafe(24),
        }
        return await self._send(self._message_event(user_id, message))

    async def unsends(self, user_id: str, message_id: str) -> int:
        """The person takes a message back: it leaves the chat, and the bot is asked to forget it."""
        chat = self._chats[user_id]
        if not any(entry.id == message_id and entry.sender == "user" for entry in chat.entries):
            raise NotOnScreenError(f"{user_id} has no message {message_id}")
        chat.entries = [entry for entry in chat.entries if entry.id != message_id]
        self._changed()
        return await self._send(self._event(user_id, "unsend", token=False, unsend={"messageId": message_id}))

    async def links_account(self, user_id: str, link_token: str, nonce: str) -> int:
        """The person came back from the shop's login page. A spent or old link token makes no event
        (status 0)."""
        owner, until_ms = self._link_tokens.pop(link_token, ("", 0))
        if owner != user_id or self.clock.now_ms() >= until_ms:
            return 0
        self.users[user_id].linked_nonce = nonce
        return await self._send(self._event(user_id, "accountLink", link={"result": "ok", "nonce": nonce}))

    # --- events, made and delivered ---

    def text_event(self, user_id: str, text: str) -> JsonObject:
        """The event of a text just written (it is in the chat now); the caller delivers it with
        `deliver_raw`."""
        message = {"type": "text", "text": text, "quoteToken": secrets.token_urlsafe(24)}
        return self._message_event(user_id, message)

    def postback_event(self, user_id: str, data: str, display_text: str = "") -> JsonObject:
        """The event of a button just tapped; as `text_event`."""
        for button in reversed(self.tappables(user_id)):
            if not display_text and button.data == data:
                display_text = button.display_text
        chat = self._chats[user_id]
        if any(item["action"].get("data") == data for item in self.quick_replies(user_id)):
            chat.quick_hidden = True
        self._user(user_id).wrote_at_ms = self.clock.now_ms()
        if display_text:
            self._append(user_id, "user", {"type": "text", "text": display_text}, "user")
        else:
            self._changed()
        return self._event(user_id, "postback", postback={"data": data})

    async def deliver_raw(
        self,
        events: Sequence[JsonObject],
        *,
        body: bytes | None = None,
        signature: str | None = None,
        destination: str | None = None,
    ) -> int:
        """The status of one delivery of exactly these events (0: no answer), never repeated by itself;
        `body` and `signature` replace what LINE would have sent."""
        await self.settled()
        return (await self._post(list(events), body=body, signature=signature, destination=destination)).status

    async def settled(self) -> None:
        """Waits until queued events (follow, unfollow) are delivered, in order."""
        async with self._flushing:
            while self._waiting:
                await self._deliver([self._waiting.pop(0)])

    async def redeliver(self) -> list[int]:
        """The statuses of another try for everything in `undelivered`, oldest first."""
        waiting, self.undelivered = self.undelivered, []
        return [await self._repeat(events) for events in waiting]

    # --- what is on the screen ---

    def chat(self, user_id: str) -> list[ChatEntry]:
        """The person's chat, oldest first."""
        return list(self._chats[user_id].entries)

    def quick_replies(self, user_id: str) -> list[JsonObject]:
        """The quick reply items (LINE's JSON) on screen: those of the last message when nothing came after
        it."""
        chat = self._chats[user_id]
        if chat.quick_hidden or not chat.entries or chat.entries[-1].sender == "user":
            return []
        items: list[JsonObject] = (chat.entries[-1].message.get("quickReply") or {}).get("items") or []
        return list(items)

    def tappables(self, user_id: str) -> list[Tappable]:
        """Every postback button the person could tap, oldest first: of any message (they stay), and quick
        replies."""
        chat = self._chats[user_id]
        found = [
            _tappable(action, entry.id, quick=False)
            for entry in chat.entries
            if entry.sender == "bot"
            for action in entry.actions
            if action.get("type") == "postback"
        ]
        last = chat.entries[-1].id if chat.entries else ""
        quick = [item["action"] for item in self.quick_replies(user_id)]
        found += [_tappable(action, last, quick=True) for action in quick if action["type"] == "postback"]
        return found

    def transcript(self, user_id: str) -> str:
        """The chat as the person saw it: a line per bubble, buttons in [ ], quick replies in ( )."""
        chat, user = self._chats[user_id], self.users[user_id]
        lines = []
        for index, entry in enumerate(chat.entries):
            who = user.name if entry.sender == "user" else self.name
            if entry.sender == "bot" and (alias := (entry.message.get("sender") or {}).get("name")):
                who = f"{alias} ({self.name})"
            text = _words(entry.message).replace("\n", "\n  ")
            labels = [str(action.get("label", "")) for action in entry.actions if action["type"] != "uri"]
            buttons = "".join(f" [{label}]" for label in labels)
            following = chat.entries[index + 1] if index + 1 < len(chat.entries) else None
            # only the last bubble of a call shows its quick replies
            if following is None or following.sender == "user" or following.at_ms != entry.at_ms:
                items = (entry.message.get("quickReply") or {}).get("items") or []
                quick = [str(item["action"].get("label", "")) for item in items]
                buttons += "".join(f" ({label})" for label in quick if label not in labels)
            lines.append(f"{who}: {text}{buttons}")
        return "\n".join(lines)

    # --- faults and figures ---

    def fail_next(self, path: str, kind: str | int, times: int = 1) -> None:
        """Makes the next calls of `path` ("*": any) go wrong.

        Kinds: a status code (with its documented body); "rate" and "monthly" (the two 429); "timeout"
        (nothing is done, nothing answered), "timeout_after_accept"; "reset_before", "reset_after_accept"
        (the connection is dropped, the call undone or done); "500_after_accept"; "html500"; "slow:SECONDS"
        (done, answered late).
        """
        self._faults.add(path, str(kind), times)

    @property
    def usage(self) -> int:
        """Messages counted this month in Japan."""
        return self._usage.get(self._month(), 0)

    def spend_quota(self, messages: int) -> None:
        """As if the shop had sent that many messages this month from LINE's own manager."""
        self._usage[self._month()] = self.usage + messages

    async def close(self) -> None:
        """Ends the connections to the bot. The app's shutdown does this by itself."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- the API ---

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.close()

    async def _serve(self, request: Request) -> Response:
        path = request.url.path
        raw = await read_body(request, MAX_BODY_BYTES)
        kept = ("x-line-retry-key", "content-type", "user-agent")
        record = Recorded(
            method=request.method,
            path=path,
            headers={name: request.headers[name] for name in kept if name in request.headers},
            body=json_or_none(raw or b""),
            status=0,
            at_ms=self.clock.now_ms(),
        )
        self.requests.append(record)
        kind = self._faults.take(path)
        if (broken := self._fault(kind)) is not None:
            record.status = broken.status_code if not isinstance(broken, (Dropped, Silent)) else 0
            return broken
        request_id = _uuid()
        try:
            status, body, headers = self._call(request, raw, record.body, request_id)
        except _RefusedError as refused:
            status, body, headers = refused.status, refused.body, {}
            if _ACCEPTED in body:
                headers[_ACCEPTED] = body.pop(_ACCEPTED)
        if body is None:
            body = await self._test_webhook()
        if kind == "reset_after_accept":
            return Dropped()
        if kind == "timeout_after_accept":
            return Silent()
        if kind == "500_after_accept":
            status, body = 500, {"message": _MESSAGES[500]}
        if kind.startswith("slow:"):
            await asyncio.sleep(float(kind.removeprefix("slow:")))
        record.status = status
        headers["x-line-request-id"] = request_id
        if isinstance(body, bytes):
            return Response(body, status, headers, media_type="image/png")
        return JSONResponse(body, status, headers)

    def _fault(self, kind: str) -> Response | None:
        if kind in ("", "reset_after_accept", "timeout_after_accept", "500_after_accept") or kind.startswith("slow:"):
            return None
        headers = {"x-line-request-id": _uuid()}
        match kind:
            case "timeout":
                return Silent()
            case "reset_before":
                return Dropped()
            case "html500":
                return HTMLResponse("<html><body><h1>500 Server Error</h1></body></html>", 500, headers)
            case "rate":
                return JSONResponse({"message": _MESSAGES[429]}, 429, headers)
            case "monthly":
                return JSONResponse({"message": _MONTHLY}, 429, headers)
            case _ if kind.isdecimal() and 400 <= int(kind) < 600:
                return JSONResponse({"message": _MESSAGES.get(int(kind), "Error")}, int(kind), headers)
        raise ValueError(f"unknown kind of fault {kind!r}")

    def _call(self, request: Request, raw: bytes | None, body: Any, request_id: str) -> tuple[int, Any, dict[str, str]]:
        path, method = request.url.path, request.method
        if request.headers.get("authorization") != f"Bearer {self.access_token}":
            raise _RefusedError(401)
        if self.rate_limits:
            capacity, period_ms = _RATES.get(path, (2000, 1000.0))
            bucket = self._buckets.setdefault(f"{method} {path}", Bucket(capacity, period_ms))
            if bucket.take(time.monotonic() * 1000):
                raise _RefusedError(429)
        if raw is None:
            raise _RefusedError(413)
        retry_key = request.headers.get("x-line-retry-key")
        keyed = re.fullmatch(r"/v2/bot/message/(push|multicast|broadcast)", path)
        if retry_key is not None and not (
            keyed and re.fullmatch(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", retry_key)
        ):
            raise _RefusedError(400, "The header, 'X-Line-Retry-Key', is invalid")
        if method in ("POST", "PUT") and not path.endswith(("/webhook/test", "/linkToken")):
            content_type = request.headers.get("content-type", "")
            if not content_type.startswith("application/json"):
                raise _RefusedError(415, f"The content type, '{content_type}', is not supported")
            if not isinstance(body, dict):
                raise _RefusedError(400, "The request body could not be parsed as JSON (line: 1, column: 1)")
        match method, path.strip("/").split("/")[1:]:
            case "POST", ["bot", "message", "reply"]:
                return 200, {"sentMessages": self._reply(body)}, {}
            case "POST", ["bot", "message", ("push" | "multicast" | "broadcast") as way]:
                return self._keyed(way, body, (retry_key or "").lower(), request_id)
            case "POST", [
                "bot",
                "message",
                "validate",
                "reply" | "push" | "multicast" | "narrowcast" | "broadcast",
            ]:
                _known_only(body, ("messages",))
                _valid(body)
                return 200, {}, {}
            case "GET", ["bot", "message", "quota"]:
                kind = {"type": "none"} if self.quota is None else {"type": "limited", "value": self.quota}
                return 200, kind, {}
            case "GET", ["bot", "message", "quota", "consumption"]:
                return 200, {"totalUsage": self.usage}, {}
            case "GET", ["bot", "message", message_id, "content"]:
                if any(e.id == message_id and e.message.get("type") == "image" for e in self._everything()):
                    return 200, _PIXEL, {}
            case "GET", ["bot", "profile", user_id]:
                return 200, self._profile(user_id), {}
            case "GET", ["bot", "followers", "ids"]:
                return 200, {"userIds": [key for key, user in self.users.items() if _reachable(user)]}, {}
            case "GET", ["bot", "info"]:
                info = {
                    "userId": self.destination,
                    "basicId": self.basic_id,
                    "displayName": self.name,
                    "chatMode": "chat",
                    "markAsReadMode": "manual",
                }
                return 200, info, {}
            case "POST", ["bot", "chat", "loading", "start"]:
                self._loading(body)
                return 202, {}, {}
            case "POST", ["bot", "chat", "markAsRead"]:
                if str(body.get("markAsReadToken")) not in self._read_tokens:
                    raise _RefusedError(400, "The value for the 'markAsReadToken' parameter is invalid")
                return 200, {}, {}
            case "POST", ["bot", "user", user_id, "linkToken"]:
                if user_id not in self.users:
                    raise _RefusedError(404)
                token = secrets.token_urlsafe(24)
                self._link_tokens[token] = (user_id, self.clock.now_ms() + LINK_TOKEN_MS)
                return 200, {"linkToken": token}, {}
            case "POST", ["bot", "channel", "webhook", "test"]:
                return 200, None, {}  # answered when the empty delivery is done
            case "GET", ["bot", "channel", "webhook", "endpoint"]:
                if self.webhook_url:
                    return 200, {"endpoint": self.webhook_url, "active": True}, {}
                raise _RefusedError(404, "webhook endpoint not found")
            case "PUT", ["bot", "channel", "webhook", "endpoint"]:
                endpoint = body.get("endpoint")
                if not isinstance(endpoint, str) or len(endpoint) > 500 or not _url(endpoint):
                    raise _RefusedError(400, f"Invalid webhook endpoint URL: {endpoint}")
                self.webhook_url = endpoint
                return 200, {}, {}
            case _:
                pass
        raise _RefusedError(404)

    async def _test_webhook(self) -> JsonObject:
        call = await self._post([])
        moment = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)
        return {
            "success": 200 <= call.status < 300,
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "statusCode": call.status,
            "reason": call.reason or "OK",
            "detail": str(call.status),
        }

    def _reply(self, body: JsonObject) -> list[JsonObject]:
        _known_only(body, ("replyToken", "messages", "notificationDisabled"))
        _valid(body)
        token = self._tokens.get(str(body.get("replyToken")))
        now = self.clock.now_ms()
        if (
            token is None
            or token.used
            or now - token.delivered_ms > REPLY_TOKEN_MS
            or (token.redelivered and now - token.event_ms > REPLY_TOKEN_REDELIVERED_MS)
        ):
            raise _RefusedError(400, "Invalid reply token")
        token.used = True
        return self._show(token.user_id, body["messages"], "reply")

    def _keyed(self, way: str, body: JsonObject, retry_key: str, request_id: str) -> tuple[int, Any, dict[str, str]]:
        now = self.clock.now_ms()
        before = self._accepted.get(retry_key) if retry_key else None
        if before is not None and now - before.at_ms < RETRY_KEY_MS:
            repeated = {"sentMessages": before.sent} if way == "push" else {}
            raise _RefusedError(409, body={**repeated, _ACCEPTED: before.request_id})
        known = {"push": ("to",), "multicast": ("to",), "broadcast": ()}[way]
        _known_only(body, (*known, "messages", "notificationDisabled", "customAggregationUnits"))
        _valid(body)
        recipients = self._recipients(way, body)
        reached = [
            user_id
            for user_id in recipients
            if _reachable(user := self.users[user_id]) or (way == "push" and _wrote_lately(user, now))
        ]
        if self.quota is not None and self.usage + len(reached) > self.quota:
            raise _RefusedError(429, _MONTHLY)
        self.spend_quota(len(reached))
        shown = [self._show(user_id, body["messages"], "push") for user_id in reached]
        sent = shown[0] if shown and way == "push" else [self._sent(str(next(self._ids))) for _ in body["messages"]]
        if retry_key:
            self._accepted[retry_key] = _Accepted(request_id=request_id, at_ms=now, sent=sent)
        return 200, {"sentMessages": sent} if way == "push" else {}, {}

    def _recipients(self, way: str, body: JsonObject) -> list[str]:
        to = body.get("to")
        units = body.get("customAggregationUnits")
        if units is not None and (
            not isinstance(units, list)
            or len(units) > 1
            or not all(isinstance(unit, str) and re.fullmatch(r"[A-Za-z0-9_]{1,30}", unit) for unit in units)
        ):
            _refuse("customAggregationUnits", "invalid property")
        if way == "broadcast":
            return [key for key, user in self.users.items() if user.friend]
        if way == "multicast":
            if not isinstance(to, list) or not 1 <= len(to) <= 500:
                _refuse("to", "Size must be between 1 and 500")
            if any(str(user_id) not in self.users for user_id in to):
                raise _RefusedError(400, "Failed to send messages")
            return list(dict.fromkeys(to))
        if not to or not isinstance(to, str):
            _refuse("to", "May not be empty")
        if to not in self.users:
            raise _RefusedError(400, "Failed to send messages")
        return [to]

    def _show(self, user_id: str, messages: list[JsonObject], via: Literal["reply", "push"]) -> list[JsonObject]:
        """Puts the messages into the chat unless the person blocked the account; LINE answers the same
        either way."""
        sent = []
        for message in messages:
            entry_id = str(next(self._ids))
            if not self.users[user_id].blocked:
                entry_id = self._append(user_id, "bot", message, via, quiet=True)
            sent.append(self._sent(entry_id))
        self._changed()
        return sent

    def _sent(self, message_id: str) -> JsonObject:
        return {"id": message_id, "quoteToken": secrets.token_urlsafe(24)}

    def _profile(self, user_id: str) -> JsonObject:
        user = self.users.get(user_id)
        if user is None or user.blocked or not (user.friend or user.wrote_at_ms is not None):
            raise _RefusedError(404)
        language = {"language": user.language} if user.language else {}
        return {"userId": user_id, "displayName": user.name, **language}

    def _loading(self, body: JsonObject) -> None:
        _known_only(body, ("chatId", "loadingSeconds"))
        seconds = body.get("loadingSeconds", 20)
        if not isinstance(seconds, int) or seconds not in range(5, 61, 5):
            _refuse("loadingSeconds", "must be a multiple of 5 between 5 and 60")
        if str(body.get("chatId")) not in self.users:
            _refuse("chatId", "invalid property")
        self.loading.append(str(body["chatId"]))

    # --- inside ---

    def _user(self, user_id: str) -> LineUser:
        if user_id not in self.users:
            raise NotOnScreenError(f"no person has the id {user_id}")
        return self.users[user_id]

    def _everything(self) -> Iterator[ChatEntry]:
        for chat in self._chats.values():
            yield from chat.entries

    def _changed(self) -> None:
        for notify in self.on_change:
            notify()

    def _append(
        self,
        user_id: str,
        sender: Literal["bot", "user"],
        message: JsonObject,
        via: Literal["reply", "push", "user"],
        *,
        quiet: bool = False,
    ) -> str:
        chat = self._chats[user_id]
        entry = ChatEntry(str(next(self._ids)), self.clock.now_ms(), sender, message, via)
        chat.entries.append(entry)
        chat.quick_hidden = sender == "user"
        if not quiet:
            self._changed()
        return entry.id

    def _message_event(self, user_id: str, message: JsonObject) -> JsonObject:
        self._user(user_id).wrote_at_ms = self.clock.now_ms()
        message_id = self._append(user_id, "user", message, "user")
        read_token = secrets.token_urlsafe(24)
        self._read_tokens.add(read_token)
        sent = {"id": message_id, **message, "markAsReadToken": read_token}
        return self._event(user_id, "message", message=sent)

    def _event(self, user_id: str, kind: str, *, token: bool = True, **content: Any) -> JsonObject:
        now = self.clock.now_ms()
        event: JsonObject = {
            "type": kind,
            "mode": "active",
            "timestamp": now,
            "source": {"type": "user", "userId": user_id},
            "webhookEventId": _ulid(now),
            "deliveryContext": {"isRedelivery": False},
        }
        if token:
            event["replyToken"] = secrets.token_hex(16)
            self._tokens[event["replyToken"]] = _ReplyToken(user_id, now, now)
        event.update(content)
        self.events.append(event)
        return event

    def _queue(self, event: JsonObject) -> None:
        self._waiting.append(event)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # delivered before the next event
        task = loop.create_task(self.settled())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, event: JsonObject) -> int:
        await self.settled()
        return await self._deliver([event])

    async def _deliver(self, events: list[JsonObject]) -> int:
        call = await self._post(events)
        if 200 <= call.status < 300 or not self.webhook_url:
            return call.status
        if not self.redelivery:
            return call.status
        status = call.status
        for pause_s in self.redelivery_pauses_s:
            await asyncio.sleep(pause_s)
            status = (await self._post(self._again(events))).status
            if 200 <= status < 300:
                return status
        self.undelivered.append(events)
        return status

    async def _repeat(self, events: list[JsonObject]) -> int:
        call = await self._post(self._again(events))
        if not 200 <= call.status < 300:
            self.undelivered.append(events)
        return call.status

    def _again(self, events: list[JsonObject]) -> list[JsonObject]:
        now = self.clock.now_ms()
        for event in events:
            if (token := self._tokens.get(event.get("replyToken", ""))) is not None:
                token.delivered_ms, token.redelivered = now, True
        return [{**event, "deliveryContext": {"isRedelivery": True}} for event in events]

    async def _post(
        self,
        events: list[JsonObject],
        *,
        body: bytes | None = None,
        signature: str | None = None,
        destination: str | None = None,
    ) -> WebhookCall:
        if body is None:
            body = _encode({"destination": destination or self.destination, "events": events})
        if signature is None:
            digest = hmac.new(self.channel_secret.encode(), body, hashlib.sha256).digest()
            signature = base64.b64encode(digest).decode()
        started = time.monotonic()
        status, reason = 0, "could_not_connect"
        if self.webhook_url:
            if self._session is None:
                # trust_env stays off: a proxy of the machine must never see loopback traffic
                self._session = aiohttp.ClientSession(trust_env=False)
            headers = {
                "content-type": "application/json; charset=utf-8",
                "x-line-signature": signature,
                "user-agent": "LineBotWebhook/2.0",
            }
            timeout = aiohttp.ClientTimeout(total=self.webhook_timeout_s)
            try:
                async with self._session.post(
                    self.webhook_url, data=io.BytesIO(body), headers=headers, timeout=timeout
                ) as answer:
                    await answer.read()
                    status = answer.status
                    reason = "" if 200 <= status < 300 else "error_status_code"
            except TimeoutError:
                reason = "request_timeout"
            except aiohttp.ClientError:
                reason = "could_not_connect"
        duration_s = time.monotonic() - started
        if not reason and duration_s > 2.0:
            reason = "request_timeout"  # LINE counts it so, though the answer did arrive
        call = WebhookCall(events, status, duration_s, reason)
        self.webhooks.append(call)
        return call

    def _month(self) -> str:
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, _JST).strftime("%Y-%m")


def _valid(body: JsonObject) -> None:
    problems = check_messages(body.get("messages"))
    if not isinstance(body.get("notificationDisabled", False), bool):
        problems.append({"message": "must be a boolean", "property": "notificationDisabled"})
    if problems:
        count = f"The request body has {len(problems)} error(s)"
        raise _RefusedError(400, count, {"details": problems})


def _known_only(body: JsonObject, known: Sequence[str]) -> None:
    unknown = [name for name in body if name not in known]
    if unknown:
        _refuse(unknown[0], "unknown field")


def _refuse(name: str, message: str) -> NoReturn:
    raise _RefusedError(400, body={"details": [{"message": message, "property": name}]})


def _reachable(user: LineUser) -> bool:
    return user.friend and not user.blocked


def _wrote_lately(user: LineUser, now_ms: int) -> bool:
    wrote_ms = user.wrote_at_ms
    return not user.blocked and wrote_ms is not None and now_ms - wrote_ms < NON_FRIEND_MS


def _tappable(action: JsonObject, entry_id: str, *, quick: bool) -> Tappable:
    return Tappable(
        label=action.get("label") or "",
        data=action["data"],
        display_text=action.get("displayText") or action.get("text") or "",
        entry_id=entry_id,
        quick=quick,
    )


def _actions(part: Any) -> Iterator[JsonObject]:
    if isinstance(part, list):
        for item in part:
            yield from _actions(item)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == "action" and isinstance(value, dict):
                yield value
            elif name == "actions":
                yield from value
            elif name != "quickReply":
                yield from _actions(value)


def _words(message: JsonObject) -> str:
    match message.get("type"):
        case "text" | "textV2":
            return str(message["text"])
        case "flex":
            return "\n".join(_flex_words(message["contents"])) or str(message["altText"])
        case "template":
            template = message["template"]
            return "\n".join(str(template[name]) for name in ("title", "text") if template.get(name)) or str(
                message["altText"]
            )
        case "sticker":
            return "<sticker>"
        case kind:
            return f"<{kind}>"


def _flex_words(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _flex_words(item)
    elif isinstance(part, dict):
        if (part.get("action") or {}).get("type") in ("postback", "message"):
            # what can be tapped stands in [ ] behind the words
            return
        if part.get("type") == "text":
            spans = part.get("contents") or ()
            yield "".join(span.get("text", "") for span in spans) or str(part.get("text", ""))
        else:
            for name in ("header", "hero", "body", "footer", "contents"):
                yield from _flex_words(part.get(name))


def _encode(value: JsonObject) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # lone surrogates of a broken client travel as escapes
        return json.dumps(value, separators=(",", ":")).encode()


def _url(text: str) -> bool:
    return bool(re.match(r"https://.|http://(127\.0\.0\.1|localhost)[:/]", text))


def _uuid() -> str:
    raw = secrets.token_hex(16)
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def _ulid(at_ms: int) -> str:
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = (at_ms << 80) | secrets.randbits(80)
    return "".join(alphabet[(number >> shift) & 31] for shift in range(125, -1, -5))
