"""The local LINE's Messaging API: single-use reply tokens, retry keys, quota and rates, with the refusals of the real
platform.

Ages of keys follow the injected clock, rate limits the real one.
Source: https://developers.line.biz/en/reference/messaging-api/ (pages of 2026-08-07).
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bot.standins.line_chats import Chats, LineUser
from bot.standins.line_to_bot import LineToBot
from bot.standins.messages import check_messages
from bot.standins.wire import Bucket, Dropped, Faults, JsonObject, Recorded, Silent, json_or_none, read_body

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


class MessagingApi:
    """The API of one account.

    Args:
        basic_id: the account's, with the @.
        quota: messages per calendar month in Japan; None is a plan without a cap.
        rate_limits: False switches the documented call rates off (for benchmarks).
    """

    def __init__(
        self,
        chats: Chats,
        to_bot: LineToBot,
        *,
        access_token: str,
        basic_id: str,
        quota: int | None,
        rate_limits: bool,
    ) -> None:
        self.access_token = access_token
        self.quota = quota
        self.rate_limits = rate_limits
        self.requests: list[Recorded] = []
        self.faults = Faults()
        self.loading: list[str] = []
        """Users shown a loading animation, in order."""
        self.routes = [Route("/{path:path}", self._serve, methods=["GET", "POST", "PUT", "DELETE"])]
        self._chats = chats
        self._to_bot = to_bot
        self._basic_id = basic_id
        self._accepted: dict[str, _Accepted] = {}
        self._usage: dict[str, int] = {}
        self._link_tokens: dict[str, tuple[str, int]] = {}
        self._read_tokens: set[str] = set()
        self._buckets: dict[str, Bucket] = {}

    @property
    def usage(self) -> int:
        """Messages counted this month in Japan."""
        return self._usage.get(self._month(), 0)

    def spend_quota(self, messages: int) -> None:
        """As if the shop had sent that many messages this month from LINE's own manager."""
        self._usage[self._month()] = self.usage + messages

    def read_token(self) -> str:
        """A new token by which a message may be marked as read."""
        token = secrets.token_urlsafe(24)
        self._read_tokens.add(token)
        return token

    def spend_link_token(self, link_token: str) -> str:
        """Whose it is, which can be used no more; "" when it is spent or too old."""
        owner, until_ms = self._link_tokens.pop(link_token, ("", 0))
        return owner if self._now_ms() < until_ms else ""

    def _now_ms(self) -> int:
        return self._chats.clock.now_ms()

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
            at_ms=self._now_ms(),
        )
        self.requests.append(record)
        kind = self.faults.take(path)
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
        """Whether the call is allowed at all, then what it comes to."""
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
        if retry_key is not None and not (keyed and _UUID.fullmatch(retry_key)):
            raise _RefusedError(400, "The header, 'X-Line-Retry-Key', is invalid")
        if method in ("POST", "PUT") and not path.endswith(("/webhook/test", "/linkToken")):
            content_type = request.headers.get("content-type", "")
            if not content_type.startswith("application/json"):
                raise _RefusedError(415, f"The content type, '{content_type}', is not supported")
            if not isinstance(body, dict):
                raise _RefusedError(400, "The request body could not be parsed as JSON (line: 1, column: 1)")
        return self._done(method, path, body, (retry_key or "").lower(), request_id)

    def _done(
        self, method: str, path: str, body: Any, retry_key: str, request_id: str
    ) -> tuple[int, Any, dict[str, str]]:
        """What a call that is allowed comes to: status, body and headers."""
        match method, path.strip("/").split("/")[1:]:
            case "POST", ["bot", "message", "reply"]:
                return 200, {"sentMessages": self._reply(body)}, {}
            case "POST", ["bot", "message", ("push" | "multicast" | "broadcast") as way]:
                return self._keyed(way, body, retry_key, request_id)
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
                entry = self._chats.entry(message_id)
                if entry is not None and entry.message.get("type") == "image":
                    return 200, _PIXEL, {}
            case "GET", ["bot", "profile", user_id]:
                return 200, self._profile(user_id), {}
            case "GET", ["bot", "followers", "ids"]:
                return 200, {"userIds": [key for key, user in self._chats.users.items() if _reachable(user)]}, {}
            case "GET", ["bot", "info"]:
                info = {
                    "userId": self._to_bot.destination,
                    "basicId": self._basic_id,
                    "displayName": self._chats.name,
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
                if user_id not in self._chats.users:
                    raise _RefusedError(404)
                token = secrets.token_urlsafe(24)
                self._link_tokens[token] = (user_id, self._now_ms() + LINK_TOKEN_MS)
                return 200, {"linkToken": token}, {}
            case "POST", ["bot", "channel", "webhook", "test"]:
                return 200, None, {}  # answered when the empty delivery is done
            case "GET", ["bot", "channel", "webhook", "endpoint"]:
                if self._to_bot.webhook_url:
                    return 200, {"endpoint": self._to_bot.webhook_url, "active": True}, {}
                raise _RefusedError(404, "webhook endpoint not found")
            case "PUT", ["bot", "channel", "webhook", "endpoint"]:
                endpoint = body.get("endpoint")
                if not isinstance(endpoint, str) or len(endpoint) > 500 or not _url(endpoint):
                    raise _RefusedError(400, f"Invalid webhook endpoint URL: {endpoint}")
                self._to_bot.webhook_url = endpoint
                return 200, {}, {}
            case _:
                pass
        raise _RefusedError(404)

    async def _test_webhook(self) -> JsonObject:
        call = await self._to_bot.post([])
        moment = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
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
        user_id = self._to_bot.spend(str(body.get("replyToken")))
        if user_id is None:
            raise _RefusedError(400, "Invalid reply token")
        return self._chats.show(user_id, body["messages"], "reply")

    def _keyed(self, way: str, body: JsonObject, retry_key: str, request_id: str) -> tuple[int, Any, dict[str, str]]:
        now = self._now_ms()
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
            if _reachable(user := self._chats.users[user_id]) or (way == "push" and _wrote_lately(user, now))
        ]
        if self.quota is not None and self.usage + len(reached) > self.quota:
            raise _RefusedError(429, _MONTHLY)
        self.spend_quota(len(reached))
        shown = [self._chats.show(user_id, body["messages"], "push") for user_id in reached]
        sent = shown[0] if shown and way == "push" else [self._chats.sent() for _ in body["messages"]]
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
            return [key for key, user in self._chats.users.items() if user.friend]
        if way == "multicast":
            if not isinstance(to, list) or not 1 <= len(to) <= 500:
                _refuse("to", "Size must be between 1 and 500")
            if any(str(user_id) not in self._chats.users for user_id in to):
                raise _RefusedError(400, "Failed to send messages")
            return list(dict.fromkeys(to))
        if not to or not isinstance(to, str):
            _refuse("to", "May not be empty")
        if to not in self._chats.users:
            raise _RefusedError(400, "Failed to send messages")
        return [to]

    def _profile(self, user_id: str) -> JsonObject:
        user = self._chats.users.get(user_id)
        if user is None or user.blocked or not (user.friend or user.wrote_at_ms is not None):
            raise _RefusedError(404)
        language = {"language": user.language} if user.language else {}
        return {"userId": user_id, "displayName": user.name, **language}

    def _loading(self, body: JsonObject) -> None:
        _known_only(body, ("chatId", "loadingSeconds"))
        seconds = body.get("loadingSeconds", 20)
        if not isinstance(seconds, int) or seconds not in range(5, 61, 5):
            _refuse("loadingSeconds", "must be a multiple of 5 between 5 and 60")
        if str(body.get("chatId")) not in self._chats.users:
            _refuse("chatId", "invalid property")
        self.loading.append(str(body["chatId"]))

    def _month(self) -> str:
        return datetime.fromtimestamp(self._now_ms() / 1000, _JST).strftime("%Y-%m")


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


def _url(text: str) -> bool:
    return bool(re.match(r"https://.|http://(127\.0\.0\.1|localhost)[:/]", text))


def _uuid() -> str:
    raw = secrets.token_hex(16)
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
