"""Slack as a channel: renders turns and makes each call once, with an honest account of what became of it."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import structlog

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
from bot.slack.messages import answered, render_turn
from flows.texts import Deck

if TYPE_CHECKING:
    import aiohttp
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

log = structlog.get_logger(__name__)

EVENT_TYPE: Final = "koe_job"
"""Metadata type of every message Koe posts; its payload is the job's id and nothing else (others can read
it)."""

_OPEN_S: Final = 3.0
_LOOK_UP_S: Final = 4.0
_CALL_S: Final = 7.0
_UPLOAD_S: Final = 5.0
_PICTURE_READY_S: Final = (0.5, 1.0)
"""Waits for a picture that was uploaded a moment ago."""
_BLOCKS_REFUSED: Final = frozenset(("invalid_blocks", "invalid_blocks_format"))
"""Together under 15 s, the most a send may take."""
_PAUSE_S: Final = 30.0
"""When Slack says "too fast" without a believable time."""
_PAUSE_MAX_S: Final = 900.0
_LOOK_UP_PAGES: Final = 3
_KEPT: Final = 10_000
_SLACK: Final = "slack.com"
_TOLD_TRIES: Final = 3
_TOLD_WAIT_S: Final = 30.0

# What `ok: false` says. Source: docs.slack.dev, reference/methods/chat.postMessage, chat.update,
# conversations.open.
_ADDRESS: Final = frozenset(
    (
        "channel_not_found",
        "is_archived",
        "not_in_channel",
        "user_not_found",
        "users_not_found",
        "user_disabled",
        "user_not_visible",
        "cannot_dm_bot",
        "messages_tab_disabled",
        "restricted_action",
        "restricted_action_read_only_channel",
        "restricted_action_thread_only_channel",
        "restricted_action_non_threadable_channel",
        "is_inactive",
        "method_not_supported_for_channel_type",
        "cannot_reply_to_message",
    )
)
_CHANNEL: Final = frozenset(
    (
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "missing_scope",
        "no_permission",
        "not_allowed_token_type",
        "org_login_required",
        "team_access_not_granted",
        "ekm_access_denied",
        "access_denied",
        "two_factor_setup_required",
        "enterprise_is_restricted",
        "accesslimited",
        "app_not_installed",
    )
)
_TOO_FAST: Final = frozenset(
    (
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
    )
)
_NOT_DONE: Final = frozenset(
    (
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
    )
)
_MAYBE_DONE: Final = frozenset(
    (
        "internal_error",
        "fatal_error",
    )
)
"""Slack: "it's possible some aspect of the operation succeeded before the error was raised"."""


class SlackError(Exception):
    """A call that Slack did not carry out, or whose outcome nobody knows (`outcome` says which)."""

    def __init__(self, method: str, outcome: Refused | RetryLater | Unknown) -> None:
        super().__init__(f"{method}: {outcome.reason}")
        self.method = method
        self.outcome = outcome

    @property
    def code(self) -> str:
        """Slack's error code ("channel_not_found"), or our word for what the network did."""
        return self.outcome.reason


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: the answer of auth.test."""

    team_id: str
    bot_user_id: str
    bot_id: str


class SlackChannel:
    """Customers' DMs, and whatever else is posted (cards, digests), through one connection pool.

    Args:
        token: Bot token (xoxb-…).
        deck: The words of Slack's own controls, those the shop put in their place included.
        base_url: Where the Web API is; "" for Slack itself.
    """

    name = "slack"

    def __init__(self, token: str, *, deck: Deck, base_url: str = "") -> None:
        self._token = token
        self.deck = deck
        self._base_url = base_url
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None
        self._closed = False
        self._dms: OrderedDict[str, str] = OrderedDict()
        self._not_sent: OrderedDict[str, None] = OrderedDict()
        self._takes_charts = True
        self.identity: Identity | None = None

    def render(self, turn: Turn, *, external_id: str, reply_token: str, at_ms: int) -> Sequence[Outgoing]:
        """The calls that show this turn: answered questions are updated first, then what comes next is
        posted."""
        return render_turn(turn, external_id, self.deck)

    def render_answered(self, question: str, answer: str) -> Outgoing:
        """A change of a message: the question and what was chosen, without buttons."""
        return Outgoing(answered(question, answer))

    async def send(
        self, payload: JsonObject, *, job_id: str, attempt: int, now_ms: int, ref: str = "", wanted: Wanted = always
    ) -> Delivery:
        """Make the call once. A repeated post first looks for its own key: Slack has no idempotency.

        Args:
            payload: {"method": "chat.postMessage" | "chat.update", "args": {…}, "open": user id of a DM or
            "", "chart": {"png" (base64), "alt", "block", "at"} or none}.
            job_id: Travels as metadata of a post; the look-up finds it again.
            attempt: Counts from 1. From 2 on, an earlier attempt of unknown outcome may have been delivered.
            ref: "C…:ts" of the message that chat.update changes.
            wanted: Asked before a post for which Slack had to be asked something first.

        Returns:
            Sent(ref="C…:ts"), or what else became of it, within 14 s; within 40 s with a chart. Never raises for Slack
            or the network.
        """
        method, args = str(payload["method"]), dict(payload["args"])
        clear = attempt == 1 or job_id in self._not_sent
        try:
            if method == "chat.update":
                return await self._update(args, ref)
            chart = payload.get("chart")
            drawn = await self._post_drawn(args, chart, job_id=job_id, look_up=not clear) if chart else None
            if drawn:
                return drawn
            return await self._post(args, str(payload.get("open", "")), job_id=job_id, look_up=not clear, wanted=wanted)
        except SlackError as failed:
            log.info("slack_call_failed", method=failed.method, reason=failed.code, job=job_id, attempt=attempt)
            if clear:
                self._remember(job_id, not_sent=not isinstance(failed.outcome, Unknown))
            return failed.outcome

    async def _update(self, args: JsonObject, ref: str) -> Delivery:
        channel, _, ts = ref.partition(":")
        if not channel or not ts:
            return Refused("no message to update is known")
        await self.call("chat.update", {**args, "channel": channel, "ts": ts}, timeout_s=_CALL_S, repeatable=True)
        return Sent(ref=ref)

    async def _post(
        self, args: JsonObject, user_id: str, *, job_id: str, look_up: bool, wanted: Wanted = always
    ) -> Delivery:
        asks_first = look_up or not (args.get("channel") or user_id in self._dms)
        channel = str(args.get("channel") or "") or await self._dm(user_id)
        if look_up:
            found = await self._look_up(channel, str(args.get("thread_ts") or ""), job_id)
            if found:
                return Sent(ref=f"{channel}:{found}")
        if asks_first and not wanted():
            return Withdrawn()
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"job": job_id}}
        body = {**args, "channel": channel, "metadata": metadata}
        answer = await self.call("chat.postMessage", body, timeout_s=_CALL_S)
        return Sent(ref=f"{answer.get('channel') or channel}:{answer.get('ts', '')}")

    async def _post_drawn(self, args: JsonObject, chart: JsonObject, *, job_id: str, look_up: bool) -> Delivery | None:
        """The message with its chart: as a block of Slack's own, or as a picture. None when Slack took neither: the
        words alone are then posted. A refusal for its blocks is certainly no post, so the next form may be tried.

        Source: https://docs.slack.dev/reference/block-kit/blocks/data-visualization-block (a workspace may not have
        it); a picture that was uploaded a moment ago may still be `invalid_blocks`.
        """
        blocks, at = list(args["blocks"]), int(chart["at"])

        async def with_block(block: JsonObject) -> Delivery | None:
            try:
                body = {**args, "blocks": [*blocks[:at], block, *blocks[at:]]}
                return await self._post(body, "", job_id=job_id, look_up=look_up)
            except SlackError as failed:
                if failed.code not in _BLOCKS_REFUSED:
                    raise
                log.info("slack_chart_refused", form=block["type"], reason=failed.code)
                return None

        if chart.get("block") and self._takes_charts:
            posted = await with_block(chart["block"])
            if posted is not None:
                return posted
            self._takes_charts = False
        try:
            async with asyncio.timeout(_UPLOAD_S):
                file_id = await self.upload(base64.b64decode(chart["png"]), name="koe-trend.png", alt=str(chart["alt"]))
        except (SlackError, TimeoutError) as failed:
            # what was not shared is seen by nobody: nothing is left behind
            log.warning("slack_chart_not_uploaded", reason=getattr(failed, "code", "timeout"))
            return None
        picture = {"type": "image", "slack_file": {"id": file_id}, "alt_text": str(chart["alt"])[:2000]}
        for wait_s in (0.0, *_PICTURE_READY_S):
            await asyncio.sleep(wait_s)
            posted = await with_block(picture)
            if posted is not None:
                return posted
        return None

    async def upload(self, content: bytes, *, name: str, alt: str) -> str:
        """The id of a file that only we see until a message shows it (`slack_file`).

        Raises:
            SlackError: Slack did not take it, such as `missing_scope` without files:write.

        Source: https://docs.slack.dev/messaging/working-with-files (ask for an address, send the bytes, complete).
        """
        import aiohttp

        method = "files.getUploadURLExternal"
        asked = {"filename": name, "length": str(len(content)), "alt_txt": alt[:1000]}
        given = await self.call(method, asked, timeout_s=_CALL_S, harmless=True)
        url, file_id = str(given.get("upload_url", "")), str(given.get("file_id", ""))
        host = urlsplit(url).netloc
        if not file_id or not (host.endswith(".slack.com") or host == urlsplit(self.web().base_url).netloc):
            raise SlackError(method, Refused("not an address of Slack's"))
        session = self._connections()
        headers = {"content-type": "application/octet-stream"}
        try:
            async with session.post(url, data=content, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise SlackError("upload", Refused(f"http {answer.status}"))
        except (aiohttp.ClientError, OSError) as broken:
            raise SlackError("upload", RetryLater(f"connection broken: {type(broken).__name__}")) from broken
        files = json.dumps([{"id": file_id, "title": name}])
        await self.call("files.completeUploadExternal", {"files": files}, timeout_s=_CALL_S, repeatable=True)
        return file_id

    async def _dm(self, user_id: str) -> str:
        """The id of our DM with this person; opened at most once in a while, for it never changes."""
        known = self._dms.get(user_id)
        if known is not None:
            self._dms.move_to_end(user_id)
            return known
        if not user_id:
            raise SlackError("conversations.open", Refused("the message names neither a channel nor a person"))
        answer = await self.call("conversations.open", {"users": user_id}, timeout_s=_OPEN_S, harmless=True)
        opened = answer.get("channel")
        channel = str(opened.get("id", "")) if isinstance(opened, dict) else ""
        if not channel:
            raise SlackError("conversations.open", RetryLater("Slack opened a DM without naming it"))
        self._dms[user_id] = channel
        if len(self._dms) > _KEPT:
            self._dms.popitem(last=False)
        return channel

    async def _look_up(self, channel: str, thread_ts: str, job_id: str) -> str:
        """The ts of the message that carries this job's key, "" when there is none among the newest.

        Raises:
            SlackError: Unknown(retry=False) when the history may not be read: then nobody can know.
        """
        method = "conversations.replies" if thread_ts else "conversations.history"
        args: JsonObject = {"channel": channel, "limit": 200, "include_all_metadata": True}
        if thread_ts:
            args["ts"] = thread_ts
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                for _ in range(_LOOK_UP_PAGES):
                    answer = await self.call(method, args, timeout_s=_LOOK_UP_S, harmless=True)
                    for message in answer.get("messages") or ():
                        if _job_of(message) == job_id:
                            return str(message.get("ts", ""))
                    cursor = (answer.get("response_metadata") or {}).get("next_cursor")
                    if not cursor:
                        break
                    args["cursor"] = cursor
        except TimeoutError as slow:
            raise SlackError(method, Unknown("the look-up took too long", retry=True)) from slow
        except SlackError as failed:
            match failed.outcome:
                case Refused(reason=reason):
                    raise SlackError(method, Unknown(f"look-up: {reason}", retry=False)) from failed
                case _:
                    raise SlackError(method, Unknown(f"look-up: {failed.code}", retry=True)) from failed
        return ""

    def _remember(self, job_id: str, *, not_sent: bool) -> None:
        """Whether every attempt so far certainly did not post: then the next needs no look-up (and no
        history scope)."""
        self._not_sent.pop(job_id, None)
        if not_sent:
            self._not_sent[job_id] = None
            if len(self._not_sent) > _KEPT:
                self._not_sent.popitem(last=False)

    # -------------------- other calls

    async def identify(self) -> Identity:
        """Who we are (auth.test), asked once.

        Raises:
            SlackError: The token is dead, or Slack cannot be reached.
        """
        if self.identity is None:
            answer = await self.call("auth.test", {}, timeout_s=_CALL_S, harmless=True)
            self.identity = Identity(
                team_id=str(answer.get("team_id", "")),
                bot_user_id=str(answer.get("user_id", "")),
                bot_id=str(answer.get("bot_id", "")),
            )
        return self.identity

    async def call(
        self,
        method: str,
        args: JsonObject,
        *,
        timeout_s: float = _CALL_S,
        harmless: bool = False,
        repeatable: bool = False,
    ) -> JsonObject:
        """The answer of one Web API call, made once.

        Args:
            harmless: It changes nothing a person sees: after a broken connection "not done" is as good as
            the truth. repeatable: Doing it twice is the same as once.

        Raises:
            SlackError: Anything but `ok: true`; its `outcome` is what `send` would return.
        """
        data = (await self._answer(method, args, timeout_s=timeout_s, harmless=harmless)).data
        assert isinstance(data, dict)
        return data

    async def fetch_scopes(self) -> frozenset[str] | None:
        """The bot scopes of our token, as each answer's header tells; None when it tells none.

        Raises:
            SlackError: The token is dead, or Slack cannot be reached.
        """
        answer = await self._answer("auth.test", {}, timeout_s=_CALL_S, harmless=True)
        headers = {str(name).lower(): str(value) for name, value in answer.headers.items()}
        told = headers.get("x-oauth-scopes")
        return None if told is None else frozenset(scope.strip() for scope in told.split(",") if scope.strip())

    async def _answer(self, method: str, args: JsonObject, *, timeout_s: float, harmless: bool) -> AsyncSlackResponse:
        """See `call`; its data is a dict."""
        import aiohttp
        from slack_sdk.errors import SlackApiError, SlackClientError

        def unknown(reason: str) -> SlackError:
            return SlackError(method, RetryLater(reason) if harmless else Unknown(reason, retry=True))

        try:
            async with asyncio.timeout(timeout_s):
                # Slack reads JSON only where something is written; the others want a query
                if method.startswith(("chat.", "views.")):
                    answer = await self.web().api_call(method, json=dict(args))
                else:
                    answer = await self.web().api_call(method, params=dict(args))
        except TimeoutError as slow:
            raise unknown("timeout") from slow
        except SlackApiError as refused:
            raise SlackError(method, _outcome(refused.response, harmless=harmless)) from refused
        except aiohttp.ClientConnectorError as failed:
            # the connection was never made, so nothing was sent
            raise SlackError(method, RetryLater("no connection to Slack")) from failed
        except (aiohttp.ClientError, SlackClientError, OSError, ValueError) as broken:
            raise unknown(f"connection broken: {type(broken).__name__}") from broken
        if not isinstance(answer.data, dict):
            raise unknown("an answer that is not JSON")
        return answer

    async def respond(self, url: str, text: str, blocks: Sequence[JsonObject] = ()) -> None:
        """Tell the person who clicked or typed a command something, to be seen by them alone. What Slack did not take
        is repeated twice: to read it twice is harmless.

        Args:
            url: The payload's response_url. The SDK's own client for it repeats posts and waits half a minute.
            text: mrkdwn of ours; the fallback where there are blocks.

        Raises:
            SlackError: It is no address of Slack's, or could not be posted.
        """
        body: JsonObject = {"text": text, "response_type": "ephemeral", "replace_original": False}
        if blocks:
            body["blocks"] = list(blocks)
        for left in reversed(range(_TOLD_TRIES)):
            try:
                await self._respond(url, body)
                return
            except SlackError as failed:
                if not left or isinstance(failed.outcome, Refused):
                    raise
                after_s = failed.outcome.after_s if isinstance(failed.outcome, RetryLater) else None
                await asyncio.sleep(min(after_s or 1.0, _TOLD_WAIT_S))

    async def _respond(self, url: str, body: JsonObject) -> None:
        async with self._asked("response_url", "hooks", "POST", url, repeat=False, json=body):
            pass

    async def download(self, url: str, *, limit: int) -> bytes:
        """A file that somebody gave to the app, with the bot's token.

        Raises:
            SlackError: It is no address of Slack's, larger than `limit` bytes, not there, or not readable with our
                scopes (Slack then shows its page for signing in).
        """
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._asked("download", "files", "GET", url, repeat=True, headers=headers) as answer:
            if answer.content_type == "text/html":
                raise SlackError("download", Refused(f"http {answer.status}"))
            body = bytearray()
            async for chunk in answer.content.iter_chunked(65_536):
                body += chunk
                if len(body) > limit:
                    raise SlackError("download", Refused("too large"))
            return bytes(body)

    @asynccontextmanager
    async def _asked(
        self, method: str, host: str, verb: Literal["GET", "POST"], url: str, *, repeat: bool, **request: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The 200 of an address that Slack gave us, at this host of Slack's.

        Args:
            repeat: whether doing it again after a broken connection does no harm.

        Raises:
            SlackError: it is no address of Slack's, or the answer was another or did not come.
        """
        import aiohttp

        api_host = urlsplit(self.web().base_url).netloc
        if urlsplit(url).netloc not in (f"{host}.{_SLACK}", api_host):
            raise SlackError(method, Refused("not an address of Slack's"))
        connections = self._connections()

        def lost(reason: str) -> RetryLater | Unknown:
            return RetryLater(reason) if repeat else Unknown(reason, retry=False)

        try:
            async with (
                asyncio.timeout(_CALL_S),
                connections.request(verb, url, allow_redirects=False, **request) as answer,
            ):
                if answer.status == 429:
                    after_s = retry_after_s(answer.headers.get("Retry-After"))
                    raise SlackError(method, RetryLater("ratelimited", after_s=after_s))
                if answer.status >= 500:
                    raise SlackError(method, RetryLater(f"http {answer.status}"))
                if answer.status != 200:
                    raise SlackError(method, Refused(f"http {answer.status}"))
                yield answer
        except TimeoutError as slow:
            raise SlackError(method, lost("timeout")) from slow
        except (aiohttp.ClientError, OSError) as broken:
            raise SlackError(method, lost(f"connection broken: {type(broken).__name__}")) from broken

    def web(self) -> AsyncWebClient:
        """The SDK's client, sharing this channel's connections and never repeating a call by itself.

        Must be called inside the running loop.
        """
        if self._client is None:
            self._client = self.client(self._token)
        return self._client

    def client(self, token: str | None) -> AsyncWebClient:
        """Another client on the same connections; Bolt gets one without a token of its own.

        Raises:
            SlackError: The channel is closed.
        """
        from slack_sdk.web.async_client import AsyncWebClient

        return AsyncWebClient(
            token=token,
            base_url=self._base_url or AsyncWebClient.BASE_URL,
            timeout=10,
            session=self._connections(),
            retry_handlers=[],
        )

    def _connections(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._closed:
            # Bolt's listeners outlive our stop: what they still want must not open connections that nobody closes
            raise SlackError("connect", RetryLater("stopped"))
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        return self._session

    async def close(self) -> None:
        """Close the connections; every later call fails as one that was certainly not sent."""
        session, self._session, self._client, self._closed = self._session, None, None, True
        if session is not None:
            await session.close()


def _job_of(message: object) -> str:
    metadata = message.get("metadata") if isinstance(message, dict) else None
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return ""
    event_payload = metadata.get("event_payload")
    return str(event_payload.get("job", "")) if isinstance(event_payload, dict) else ""


def _outcome(response: Any, *, harmless: bool) -> Refused | RetryLater | Unknown:
    """What an answer other than `ok: true` means for the call. `response` is the SDK's, or aiohttp's for a
    bad body."""
    data = getattr(response, "data", None)
    status = int(getattr(response, "status_code", None) or getattr(response, "status", 0) or 0)
    code = str(data.get("error", "")) if isinstance(data, dict) else ""
    headers = getattr(response, "headers", None) or {}
    if status == 429 or code in _TOO_FAST:
        return RetryLater(code or "ratelimited", after_s=retry_after_s(headers.get("Retry-After")), pause=True)
    if status >= 500 or code in _MAYBE_DONE or (status == 200 and not code):
        reason = code or f"http {status}"
        return RetryLater(reason) if harmless else Unknown(reason, retry=True)
    if code in _NOT_DONE or status in (408, 425) or not code:
        # anything else without a code comes from something between us and Slack, which did not pass it on
        return RetryLater(code or f"http {status}")
    if code in _CHANNEL:
        return Refused(code, scope="channel")
    if code in _ADDRESS:
        return Refused(code, scope="address")
    return Refused(code)


def retry_after_s(header: object) -> float:
    """Seconds to wait, from a Retry-After header; a missing or absurd one becomes a believable pause.

    >>> retry_after_s("12"), retry_after_s(None), retry_after_s("-1"), retry_after_s("999999999")
    (12.0, 30.0, 30.0, 900.0)
    """
    try:
        seconds = float(str(header))
    except ValueError:
        return _PAUSE_S
    if not math.isfinite(seconds) or seconds < 0:
        return _PAUSE_S
    return min(max(seconds, 1.0), _PAUSE_MAX_S)
