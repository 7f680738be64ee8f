"""The local Slack: people, channels, messages, modals and Homes behind the Web API's own methods, Socket
Mode and signed HTTP, with the refusals of the real platform; and the people who click, type and submit.

Message times, trigger ids, response URLs and rate limits follow the injected clock; signatures and the
three seconds for an acknowledgement follow the real one. Source: https://docs.slack.dev/ (pages of August
2026).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import itertools
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bot.standins.blocks import elements_of, validate_blocks, validate_message, validate_options, validate_view
from bot.standins.elements import STATE_KEYS, find_element, initial_state, state_of, with_ids
from bot.standins.reading import block_words, escaped, parsed_texts, plain_words, window_words
from bot.standins.wire import (
    ABORT,
    Bucket,
    Clock,
    Dropped,
    Faults,
    JsonObject,
    NotOnScreenError,
    Recorded,
    Silent,
    read_body,
)

Transport = Literal["http", "socket"]

TRIGGER_MS = 3000
RESPONSE_URL_MS = 30 * 60_000
RESPONSE_URL_USES = 5
MAX_TEXT = 40_000
MAX_VIEWS = 3
MAX_SOCKETS = 10
MAX_VIEW_CHARS = 250_000
MAX_METADATA_CHARS = 16_000
_MAX_BODY_BYTES = 8 * 1024 * 1024
_PER_MINUTE = {  # calls a minute of the documented tiers; chat.postMessage has its own rule
    "auth.test": 600,
    "chat.update": 50,
    "chat.postEphemeral": 100,
    "chat.delete": 50,
    "conversations.open": 50,
    "conversations.info": 50,
    "conversations.list": 20,
    "conversations.members": 100,
    "conversations.history": 50,
    "conversations.replies": 50,
    "users.info": 100,
    "users.list": 20,
    "usergroups.list": 20,
    "usergroups.users.list": 20,
    "views.open": 100,
    "views.push": 100,
    "views.update": 100,
    "views.publish": 100,
    "apps.connections.open": 50,
    "files.info": 100,
    "files.getUploadURLExternal": 100,
    "files.completeUploadExternal": 100,
}
_POST_BURST = 10
"""chat.postMessage: one a second and channel; the burst Slack tolerates is not documented, this is a
guess."""
_SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.delete": "chat:write",
    "conversations.open": "im:write",
    "users.info": "users:read",
    "users.list": "users:read",
    "usergroups.list": "usergroups:read",
    "usergroups.users.list": "usergroups:read",
    "files.info": "files:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
_OF_A_PLACE = {  # what such a method asks for depends on the kind of conversation
    "conversations.info": "read",
    "conversations.members": "read",
    "conversations.history": "history",
    "conversations.replies": "history",
}
EVERY_SCOPE = frozenset(
    {*_SCOPES.values(), "commands", "app_mentions:read", "usergroups:read"}
    | {f"{kind}:{verb}" for kind in ("channels", "groups", "im", "mpim") for verb in ("read", "history", "write")}
)
"""What an installation that was granted everything says in `x-oauth-scopes`."""
_JSON_FIELDS = ("blocks", "view", "metadata", "attachments", "files", "message")
_TROUBLE = "We had some trouble connecting. Try again?"


@dataclass(slots=True)
class SlackUser:
    id: str
    name: str
    locale: str
    is_bot: bool
    is_restricted: bool
    team_id: str
    deleted: bool = False


@dataclass(slots=True)
class SlackChannel:
    id: str
    name: str
    private: bool
    is_im: bool
    members: list[str]
    is_archived: bool = False


@dataclass(slots=True)
class SlackMessage:
    """One message as stored: `text` is escaped, as the API gives it; `edited` is None or {user, ts}."""

    ts: str
    user: str
    text: str
    blocks: list[JsonObject]
    thread_ts: str | None = None
    metadata: JsonObject | None = None
    edited: JsonObject | None = None
    bot_id: str | None = None
    files: list[JsonObject] = field(default_factory=list)
    only_for: str = ""
    """The one person who sees an ephemeral message."""


@dataclass(frozen=True, slots=True)
class Ack:
    """How the bot acknowledged: HTTP's status (Socket Mode: 200, 0 without an ack in time) and body (parsed
    JSON, text, or None). `event_id` is that of an event, for `redeliver`; `ts` that of the message the
    person wrote."""

    status: int
    body: Any = None
    event_id: str = ""
    ts: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(slots=True)
class _Trigger:
    user_id: str
    until_ms: int
    view_id: str
    used: bool = False


@dataclass(slots=True)
class _ResponseUrl:
    channel_id: str
    user_id: str
    ts: str
    until_ms: int
    uses: int = 0


@dataclass(slots=True, eq=False)
class _Socket:
    websocket: WebSocket
    waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    leaving: bool = False


class _NotOkError(Exception):
    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.body: JsonObject = {"ok": False, "error": code, **extra}


class SlackStandin:
    """The platform and its people. Start `app` with `bot.standins.serve`; it closes its connections at
    shutdown.

    Args:
        request_url: where events, commands and interactions go over HTTP ("" when Socket Mode is used).
        transport: how the bot is reached; may be changed at any time.
        scopes: the bot's scopes; None grants everything.
        events: the subscribed event types.
        rate_limits: False switches the documented rates off.
        takes_charts: whether messages may have chart blocks, which came in June 2026 and not to every workspace.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        signing_secret: str,
        bot_token: str,
        app_token: str = "",
        request_url: str = "",
        team_id: str = "T0DEMO",
        bot_user: str = "U0KOE",
        bot_id: str = "B0KOE",
        app_id: str = "A0KOE",
        bot_name: str = "Koe",
        transport: Transport = "http",
        scopes: frozenset[str] | None = None,
        events: frozenset[str] = frozenset({"message.im", "app_mention", "app_home_opened"}),
        rate_limits: bool = True,
        takes_charts: bool = True,
    ) -> None:
        self.takes_charts = takes_charts
        self.clock = clock
        self.signing_secret = signing_secret
        self.bot_token = bot_token
        self.app_token = app_token
        self.request_url = request_url
        self.team_id = team_id
        self.bot_user = bot_user
        self.bot_id = bot_id
        self.app_id = app_id
        self.transport: Transport = transport
        self.scopes = scopes
        self.subscribed = events
        self.shortcuts: list[JsonObject] = []
        """What the app adds to Slack's menus, as in its manifest: name, type (global or message), callback_id."""
        self.rate_limits = rate_limits
        self.ack_timeout_s = 3.0
        self.users: dict[str, SlackUser] = {}
        self.channels: dict[str, SlackChannel] = {}
        self.groups: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.on_change: list[Callable[[], None]] = []
        self.requests: list[Recorded] = []
        self.events: list[JsonObject] = []
        """Every event envelope sent, in order, as first sent."""
        self.deliveries: list[tuple[JsonObject, int]] = []
        """Everything sent to the bot, each try of it, with how it was acknowledged (Ack.status)."""
        self._messages: dict[str, list[SlackMessage]] = {}
        self._dms: dict[str, str] = {}
        self._modals: dict[str, list[JsonObject]] = {}
        self._homes: dict[str, JsonObject] = {}
        self._errors: dict[str, dict[str, str]] = {}
        self._message_state: dict[tuple[str, str, str], JsonObject] = {}
        self._triggers: dict[str, _Trigger] = {}
        self._response_urls: dict[str, _ResponseUrl] = {}
        self._files: dict[str, JsonObject] = {}
        self._offered: dict[tuple[str, str, str], list[JsonObject]] = {}
        self._sockets: list[_Socket] = []
        self._tickets: set[str] = set()
        self._turn = itertools.count()
        self._last_us = 0
        self._faults = Faults()
        self.answering = asyncio.Event()
        """Cleared: every call of the Web API waits, until it is set again."""
        self.answering.set()
        self._buckets: dict[str, Bucket] = {}
        self._session: aiohttp.ClientSession | None = None
        self._seen_url = ""
        self.app = Starlette(
            routes=[
                Route("/api/{method}", self._api, methods=["GET", "POST"]),
                Route("/upload/{file_id}", self._upload, methods=["POST"]),
                Route("/files-pri/{file_id}/{name}", self._download, methods=["GET"]),
                Route("/response/{token}", self._response_url, methods=["POST"]),
                WebSocketRoute("/socket", self._socket),
            ],
            lifespan=self._lifespan,
        )
        self.users[bot_user] = SlackUser(bot_user, bot_name, "en-US", True, False, team_id)

    def installs(self, manifest: Mapping[str, Any]) -> None:
        """The workspace takes the app as its manifest describes it: these scopes, events and shortcuts, and no more."""
        self.scopes = frozenset(manifest["oauth_config"]["scopes"]["bot"])
        self.subscribed = frozenset(manifest["settings"]["event_subscriptions"]["bot_events"])
        self.shortcuts = _copy(manifest["features"]["shortcuts"])

    # --- people and places ---

    def add_user(
        self,
        name: str,
        *,
        locale: str = "ja-JP",
        is_bot: bool = False,
        is_restricted: bool = False,
        team_id: str | None = None,
        id: str | None = None,  # noqa: A002 - the name people look for
    ) -> str:
        """A new person's user id; another `team_id` is a person of another organisation (Slack Connect)."""
        user_id = id or _id("U")
        self.users[user_id] = SlackUser(user_id, name, locale, is_bot, is_restricted, team_id or self.team_id)
        self._changed()
        return user_id

    def add_channel(
        self,
        name: str,
        *,
        private: bool = False,
        members: Sequence[str] = (),
        id: str | None = None,  # noqa: A002 - the name people look for
        with_bot: bool = True,
    ) -> str:
        """A new channel's id. The bot is a member unless `with_bot` says no."""
        channel_id = id or _id("C")
        everyone = [*members, *([self.bot_user] if with_bot and self.bot_user not in members else [])]
        self.channels[channel_id] = SlackChannel(channel_id, name, private, False, everyone)
        self._messages[channel_id] = []
        self._changed()
        return channel_id

    def add_group(self, handle: str, members: Sequence[str], *, id: str | None = None) -> str:  # noqa: A002
        """A new user group's id (S…); the same id again replaces its members."""
        group_id = id or _id("S")
        self.groups[group_id] = (handle, tuple(members))
        self._changed()
        return group_id

    def dm_of(self, user_id: str) -> str:
        """The id of the direct messages between this person and the bot; opened when there were none."""
        if user_id not in self._dms:
            self._user(user_id)
            channel_id = _id("D")
            self._dms[user_id] = channel_id
            self.channels[channel_id] = SlackChannel(channel_id, "", False, True, [user_id, self.bot_user])
            self._messages[channel_id] = []
            self._changed()
        return self._dms[user_id]

    # --- what is on the screen ---

    def messages(self, channel_id: str, *, seen_by: str = "") -> list[SlackMessage]:
        """The channel's messages, oldest first; of those that one person sees only `seen_by`'s."""
        return [message for message in self._messages[channel_id] if message.only_for in ("", seen_by)]

    def ephemerals(self, user_id: str) -> list[SlackMessage]:
        """What only this person sees, oldest first."""
        return [m for channel in self._messages.values() for m in channel if m.only_for == user_id]

    def modal(self, user_id: str) -> JsonObject | None:
        """The view on top of the person's modals, as the API gives it, or None."""
        stack = self._modals.get(user_id)
        return stack[-1] if stack else None

    def window(self, user_id: str) -> str:
        """The top view as the person sees it, a block a line, with what is entered; "" without one."""
        view = self.modal(user_id)
        return "" if view is None else self._read("\n".join(window_words(view)))

    def modal_errors(self, user_id: str) -> dict[str, str]:
        """What stands under the inputs of the top view, by block id ("": the whole view)."""
        return dict(self._errors.get(user_id, {}))

    def home(self, user_id: str) -> JsonObject | None:
        """The person's App Home as last published, or None."""
        return self._homes.get(user_id)

    def transcript(self, where: str, *, thread_ts: str = "") -> str:
        """A channel, or a person's direct messages with the bot, as seen: buttons in [ ], one message a
        paragraph. With `thread_ts` that message and what was written under it only."""
        channel_id = self._dms.get(where, "") if where in self.users else where
        lines = []
        for message in self._messages.get(channel_id, []):
            if thread_ts and thread_ts not in (message.ts, message.thread_ts):
                continue
            who = self.users[message.user].name if message.user in self.users else message.user
            note = f" (only {self.users[message.only_for].name} sees this)" if message.only_for else ""
            note += " (edited)" if message.edited else ""
            shown = "\n".join(block_words(message.blocks)) if message.blocks else message.text
            shown += "".join(f" (file: {file['title']})" for file in message.files)
            lines.append(f"{who}{note}: {self._read(shown)}".replace("\n", "\n  "))
        return "\n".join(lines)

    def pings(self, channel_id: str) -> list[str]:
        """The live mentions in the bot's messages there, as written (`<!channel>`, `<@U…>`), oldest first: what
        would ring somebody's phone."""
        pattern = re.compile(r"<(?:!(?:channel|here|everyone)|!subteam\^\w+|@[UW]\w+)(?:\|[^>]*)?>")
        sent = [message for message in self._messages[channel_id] if message.bot_id]
        return [
            ping
            for message in sent
            for text in (message.text, *parsed_texts(message.blocks))
            for ping in pattern.findall(text)
        ]

    # --- what people do ---

    async def says(self, user_id: str, channel_id: str, text: str, *, thread_ts: str | None = None) -> Ack:
        """The person writes. The bot hears of it in direct messages, and in channels when it is mentioned;
        an Ack of status 0 without an event id means that nothing was sent."""
        channel = self._channel_of(user_id, channel_id)
        message = SlackMessage(self._ts(), user_id, escaped(text), [], thread_ts=thread_ts)
        self._messages[channel_id].append(message)
        self._changed()
        event: JsonObject = {
            "type": "message",
            "user": user_id,
            "text": re.sub(r"&lt;(@[A-Z0-9]+)&gt;", r"<\1>", message.text),
            "ts": message.ts,
            "event_ts": message.ts,
            "channel": channel_id,
            "team": self.users[user_id].team_id,
            "client_msg_id": _uuid(),
        }
        message.text = event["text"]
        if thread_ts:
            event["thread_ts"] = thread_ts
        if channel.is_im:
            return replace(await self._event("message.im", {**event, "channel_type": "im"}), ts=message.ts)
        if f"<@{self.bot_user}>" in message.text:
            return replace(await self._event("app_mention", {**event, "type": "app_mention"}), ts=message.ts)
        kind = "message.groups" if channel.private else "message.channels"
        channel_type = "group" if channel.private else "channel"
        return replace(await self._event(kind, {**event, "channel_type": channel_type}), ts=message.ts)

    async def edits(self, user_id: str, channel_id: str, ts: str, text: str) -> Ack:
        """The person edits a message of theirs (the event has the subtype message_changed)."""
        message = self._message(channel_id, ts)
        before = self._as_json(message)
        message.text, message.edited = escaped(text), {"user": user_id, "ts": self._ts()}
        self._changed()
        return await self._event(
            "message.im",
            {
                "type": "message",
                "subtype": "message_changed",
                "channel": channel_id,
                "channel_type": "im",
                "hidden": True,
                "message": self._as_json(message),
                "previous_message": before,
                "ts": self._ts(),
                "event_ts": message.edited["ts"],
            },
        )

    async def clicks(
        self,
        user_id: str,
        channel_id: str,
        ts: str,
        action_id: str,
        *,
        block_id: str | None = None,
        value: str | None = None,
        selected: Any = None,
        seen: SlackMessage | None = None,
    ) -> Ack:
        """The person uses an element of a message. `value` tells buttons of one action_id apart; `selected`
        is an option's value, an option, or a list of them; `seen` is an older copy of the message still on
        their screen. A view's id as `ts` means an element of the modal.

        Raises:
            NotOnScreenError: the message, the element or the option is not there.
        """
        if ts.startswith("V"):
            return await self.picks(user_id, action_id, selected if selected is not None else value, block_id=block_id)
        payload = self._click(user_id, channel_id, ts, action_id, block_id, value, selected, seen)
        return await self._send("interactive", payload)

    async def double_clicks(
        self, user_id: str, channel_id: str, ts: str, action_id: str, *, value: str | None = None
    ) -> tuple[Ack, Ack]:
        """The person clicks a button twice before the message changes: two interactions at once."""
        payloads = [self._click(user_id, channel_id, ts, action_id, None, value, None, None) for _ in range(2)]
        sending = [self._send("interactive", payload) for payload in payloads]
        first, second = await asyncio.gather(*sending)
        return first, second

    async def command(self, user_id: str, channel_id: str, command: str, text: str = "") -> Ack:
        """The person types a slash command. A text in the acknowledgement is shown to them (or to the
        channel)."""
        channel = self._channel_of(user_id, channel_id)
        user = self.users[user_id]
        token = self._new_response_url(channel_id, user_id, "")
        fields = {
            "token": "verification",
            "team_id": user.team_id,
            "team_domain": user.team_id.lower(),
            "channel_id": channel_id,
            "channel_name": "directmessage" if channel.is_im else channel.name,
            "user_id": user_id,
            "user_name": user.name,
            "command": command,
            "text": text,
            "api_app_id": self.app_id,
            "is_enterprise_install": "false",
            "response_url": f"{self._url()}/response/{token}",
            "trigger_id": self._trigger(user_id),
        }
        ack = await self._send("slash_commands", fields)
        body = {"text": ack.body} if isinstance(ack.body, str) and ack.body else ack.body
        if ack.ok and isinstance(body, dict) and (body.get("text") or body.get("blocks")):
            only_for = "" if body.get("response_type") == "in_channel" else user_id
            self._append(channel_id, body, only_for=only_for)
        return ack

    async def types(self, user_id: str, action_id: str, text: str, *, block_id: str | None = None) -> list[JsonObject]:
        """The person types into a field of the top modal that searches (`external_select`): the options the app
        offers, which they then `picks` or `submits` by value. Nothing is asked before `min_query_length` characters.

        Raises:
            NotOnScreenError: no such field, or the app's answer is none that Slack would show.
        """
        view = self._top(user_id)
        block, element = find_element(view["blocks"], action_id, block_id, None)
        if element["type"] != "external_select":
            raise NotOnScreenError(f"{action_id!r} is no field that searches")
        if len(text) < element.get("min_query_length", 3):
            return []
        payload = self._interaction(user_id, "block_suggestion")
        payload.pop("trigger_id")
        payload |= {
            "container": {"type": "view", "view_id": view["id"]},
            "view": _copy(view),
            "action_id": action_id,
            "block_id": block["block_id"],
            "value": text,
        }
        ack = await self._send("interactive", payload)
        body = ack.body if ack.ok and isinstance(ack.body, dict) else {}
        options = body.get("options")
        if not isinstance(options, list) or (options and (problems := validate_options(options))):
            why = problems if isinstance(options, list) else "no options in the answer"
            raise NotOnScreenError(f"{action_id!r} shows no options: {why}")
        self._offered[(view["id"], block["block_id"], action_id)] = options
        return options

    async def picks(self, user_id: str, action_id: str, selected: Any = None, *, block_id: str | None = None) -> Ack:
        """The person uses an element of the top modal that dispatches an action (a button, a select …)."""
        view = self._top(user_id)
        block, element = find_element(view["blocks"], action_id, block_id, None)
        selected = self._chosen(user_id, view, block, element, selected)
        action = self._action(block, element, None, selected)
        if element["type"] != "button":
            state = view["state"]["values"].setdefault(block["block_id"], {})
            state[action_id] = state_of(element, selected)
        return await self._view_action(user_id, view, action, "view")

    async def clicks_home(self, user_id: str, action_id: str, selected: Any = None, *, value: str | None = None) -> Ack:
        """The person uses an element of their App Home."""
        view = self._homes.get(user_id)
        if view is None:
            raise NotOnScreenError(f"{user_id} has no App Home")
        block, element = find_element(view["blocks"], action_id, None, value)
        return await self._view_action(user_id, view, self._action(block, element, value, selected), "view")

    async def submits(self, user_id: str, values: Mapping[str, Any] | None = None, *, forged: bool = False) -> Ack:
        """The person presses the top modal's submit button. `values` by action id, by block id, or nested
        as in Slack's state; an option may be named by its value. The modal closes, stays with errors,
        changes or stacks as the acknowledgement says. `forged` skips what the client checks (required
        inputs, lengths).

        Raises:
            NotOnScreenError: no modal, an input or option that is not there, a required input left empty.
        """
        view = self._top(user_id)
        self._fill(user_id, view, values or {}, forged=forged)
        self._errors.pop(user_id, None)
        ack = await self._send(
            "interactive",
            {**self._interaction(user_id, "view_submission"), "view": _copy(view), "response_urls": []},
        )
        self._after_submit(user_id, view, ack)
        self._changed()
        return ack

    async def closes(self, user_id: str, *, all_views: bool = False) -> Ack:
        """The person closes the top modal (or the whole stack). The bot hears of it when the view asked for
        that."""
        view = self._top(user_id)
        stack = self._modals[user_id]
        del stack[0 if all_views else -1 :]
        self._errors.pop(user_id, None)
        self._changed()
        if not view.get("notify_on_close"):
            return Ack(0)
        closed = {**self._interaction(user_id, "view_closed"), "view": _copy(view), "is_cleared": all_views}
        closed.pop("trigger_id", None)
        return await self._send("interactive", closed)

    async def shortcut(
        self, user_id: str, callback_id: str, *, channel_id: str | None = None, ts: str | None = None
    ) -> Ack:
        """The person uses a global shortcut, or with `channel_id` and `ts` a message shortcut."""
        if channel_id is None or ts is None:
            payload = {**self._interaction(user_id, "shortcut"), "callback_id": callback_id}
            return await self._send("interactive", {**payload, "action_ts": self._ts()})
        message = self._message(channel_id, ts)
        token = self._new_response_url(channel_id, user_id, ts)
        payload = {
            **self._interaction(user_id, "message_action"),
            "callback_id": callback_id,
            "channel": self._channel_json(channel_id),
            "message": self._as_json(message),
            "message_ts": ts,
            "response_url": f"{self._url()}/response/{token}",
            "action_ts": self._ts(),
        }
        return await self._send("interactive", payload)

    async def opens_home(self, user_id: str, tab: Literal["home", "messages"] = "home") -> Ack:
        """The person opens the app's Home or its messages tab."""
        event: JsonObject = {
            "type": "app_home_opened",
            "user": user_id,
            "channel": self.dm_of(user_id),
            "tab": tab,
            "event_ts": self._ts(),
        }
        if tab == "home" and (view := self._homes.get(user_id)) is not None:
            event["view"] = _copy(view)
        return await self._event("app_home_opened", event)

    async def sends_event(self, event: JsonObject) -> Ack:
        """Any event, whether subscribed or not (`tokens_revoked`, an unknown one …)."""
        return await self._event("", {"event_ts": self._ts(), **event})

    async def redeliver(self, event_id: str, retry_num: int = 1, reason: str = "http_timeout") -> Ack:
        """The same event again: Slack tries three times more, at once, after a minute, after five."""
        for envelope in self.events:
            if envelope["event_id"] == event_id:
                return await self._send("events_api", envelope, retry_num=retry_num, reason=reason)
        raise NotOnScreenError(f"no event {event_id} was sent")

    async def verifies_url(self) -> Ack:
        """Slack checks the request URL; the body of the answer must hold the challenge."""
        body = json.dumps({"type": "url_verification", "challenge": "c-" + _id("")}).encode()
        return await self._http(body, "application/json", {})

    async def deliver_raw(
        self,
        body: bytes,
        *,
        content_type: str = "application/json",
        timestamp: str | None = None,
        signature: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Ack:
        """Exactly this body over HTTP; `timestamp` and `signature` replace the true ones."""
        return await self._http(body, content_type, dict(headers or {}), timestamp, signature)

    # --- faults and connections ---

    def fail_next(self, method: str, kind: str, times: int = 1) -> None:
        """Makes the next calls of `method` ("*": any; "response_url") go wrong.

        Kinds: "ratelimited:SECONDS" (429 with Retry-After), "ok_false:CODE", "timeout" and "reset_before"
        (nothing done), "timeout_after_accept" and "reset_after_accept" (done, never told), "500html",
        "500json", "503", "slow:SECONDS" (done, answered late).
        """
        self._faults.add(method, kind, times)

    @property
    def connections(self) -> int:
        """Open Socket Mode connections that take payloads (those told to go do not)."""
        return len(self._taking())

    def drop_connections(self) -> None:
        """Every Socket Mode connection is lost without a word."""
        for socket in list(self._sockets):
            abort: Callable[[], None] | None = socket.websocket.scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()

    async def send_disconnect(self, reason: str = "refresh_requested") -> None:
        """Asks every Socket Mode client to reconnect, as Slack does when it moves them. The old connections take
        no more payloads; the client closes them."""
        for socket in list(self._sockets):
            socket.leaving = True
            frame = {"type": "disconnect", "reason": reason, "debug_info": {"host": "standin"}}
            await socket.websocket.send_json(frame)

    async def close(self) -> None:
        """Ends the connections to the bot. The app's shutdown does this by itself."""
        self.drop_connections()
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.close()

    # --- the Web API ---

    async def _api(self, request: Request) -> Response:
        method = request.path_params["method"]
        raw = await read_body(request, _MAX_BODY_BYTES) or b""
        args = _arguments(request, raw)
        self._seen_url = f"{request.url.scheme}://{request.url.netloc}"
        kept = ("content-type", "user-agent")
        record = Recorded(
            method=request.method,
            path=method,
            headers={name: request.headers[name] for name in kept if name in request.headers},
            body={name: value for name, value in args.items() if name != "token"},
            status=0,
            at_ms=self.clock.now_ms(),
        )
        self.requests.append(record)
        await self.answering.wait()
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return await self._answer(
            record, self._faults.take(method), lambda: self._call(method, bearer or args.get("token", ""), args)
        )

    async def _answer(self, record: Recorded, kind: str, call: Callable[[], JsonObject]) -> Response:
        """Runs the call with this fault and notes the status that went out."""
        match kind:
            case "timeout":
                return Silent()
            case "reset_before":
                return Dropped()
            case "500html":
                record.status = 500
                return HTMLResponse("<html><body>Server Error</body></html>", 500)
            case "500json" | "503":
                record.status = int(kind[:3])
                return JSONResponse({"ok": False, "error": "internal_error"}, record.status)
            case _ if kind.startswith("ratelimited"):
                return self._limited(record, kind.partition(":")[2] or "1")
            case _ if kind.startswith("ok_false:"):
                record.status = 200
                return JSONResponse({"ok": False, "error": kind.removeprefix("ok_false:")})
            case "" | "timeout_after_accept" | "reset_after_accept":
                pass
            case _ if not kind.startswith("slow:"):
                raise ValueError(f"unknown kind of fault {kind!r}")
        try:
            body = call()
        except _NotOkError as refused:
            body = refused.body
        if kind == "reset_after_accept":
            return Dropped()
        if kind == "timeout_after_accept":
            return Silent()
        if kind.startswith("slow:"):
            await asyncio.sleep(float(kind.removeprefix("slow:")))
        if body.get("error") == "ratelimited":
            return self._limited(record, body["retry_after"])
        record.status = 200
        headers = {"x-slack-req-id": secrets.token_hex(16)}
        if record.path != "response_url" and body.get("error") not in ("not_authed", "invalid_auth"):
            headers["x-oauth-scopes"] = ",".join(sorted(EVERY_SCOPE if self.scopes is None else self.scopes))
        return JSONResponse(body, headers=headers)

    def _limited(self, record: Recorded, seconds: str) -> Response:
        record.status = 429
        return JSONResponse({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": seconds})

    def _call(self, method: str, token: str, args: JsonObject) -> JsonObject:
        expected = self.app_token if method == "apps.connections.open" else self.bot_token
        if not token:
            raise _NotOkError("not_authed")
        if token != expected:
            wrong_kind = token and token in (self.app_token, self.bot_token)
            raise _NotOkError("not_allowed_token_type" if wrong_kind else "invalid_auth")
        self._pace(method, args)
        self._scoped(method, args)
        match method:
            case "auth.test":
                team = {"team": self.team_id.lower(), "team_id": self.team_id, "url": f"{self._url()}/"}
                me = {"user": self.users[self.bot_user].name, "user_id": self.bot_user, "bot_id": self.bot_id}
                return {"ok": True, **team, **me, "is_enterprise_install": False}
            case "chat.postMessage":
                return self._post_message(args)
            case "chat.update":
                return self._update_message(args)
            case "chat.postEphemeral":
                return self._post_ephemeral(args)
            case "chat.delete":
                message = self._own(args, "cant_delete_message")
                self._messages[args["channel"]].remove(message)
                self._changed()
                return {"ok": True, "channel": args["channel"], "ts": message.ts}
            case "conversations.open":
                return self._open_conversation(args)
            case "conversations.info":
                return {"ok": True, "channel": self._channel_json(self._place(args).id)}
            case "conversations.list":
                kinds = _kinds(args)
                listed = [
                    c.id
                    for c in self.channels.values()
                    if not c.is_im
                    and self._visible(c)
                    and ("private_channel" if c.private else "public_channel") in kinds
                ]
                return {"ok": True, "channels": [self._channel_json(key) for key in listed], **_END}
            case "conversations.members":
                return {"ok": True, "members": list(self._place(args).members), **_END}
            case "conversations.history" | "conversations.replies":
                return self._history(method, args)
            case "users.info":
                user = self.users.get(str(args.get("user")))
                if user is None:
                    raise _NotOkError("user_not_found")
                return {"ok": True, "user": self._user_json(user, _true(args.get("include_locale")))}
            case "users.list":
                locale = _true(args.get("include_locale"))
                return {"ok": True, "members": [self._user_json(u, locale) for u in self.users.values()], **_END}
            case "usergroups.list":
                listed_groups = [{"id": key, "handle": name} for key, (name, _) in self.groups.items()]
                return {"ok": True, "usergroups": listed_groups}
            case "usergroups.users.list":
                group = self.groups.get(str(args.get("usergroup")))
                if group is None:
                    raise _NotOkError("no_such_subteam")
                return {"ok": True, "users": list(group[1])}
            case "views.open" | "views.push" | "views.update" | "views.publish":
                return {"ok": True, "view": _copy(self._views(method, args))}
            case "apps.connections.open":
                if len(self._sockets) >= MAX_SOCKETS:
                    raise _NotOkError("too_many_websockets")
                ticket = secrets.token_hex(8)
                self._tickets.add(ticket)
                return {"ok": True, "url": f"{self._url().replace('http', 'ws', 1)}/socket?ticket={ticket}"}
            case "files.info":
                return {"ok": True, "file": self._file_json(self._readable_file(args))}
            case "files.getUploadURLExternal":
                return self._new_file(args)
            case "files.completeUploadExternal":
                return self._complete_files(args)
            case "blocks.validate":
                return self._validate(args)
            case _:
                raise _NotOkError("unknown_method", req_method=method)

    def _pace(self, method: str, args: JsonObject) -> None:
        if not self.rate_limits:
            return
        if method == "chat.postMessage":
            key = f"{method} {args.get('channel')}"
            bucket = self._buckets.setdefault(key, Bucket(_POST_BURST, _POST_BURST * 1000.0))
        elif method in _PER_MINUTE:
            bucket = self._buckets.setdefault(method, Bucket(_PER_MINUTE[method], 60_000.0))
        else:
            return
        wait_ms = bucket.take(self.clock.now_ms())
        if wait_ms:
            raise _NotOkError("ratelimited", retry_after=str(max(1, -int(-wait_ms // 1000))))

    def _scoped(self, method: str, args: JsonObject) -> None:
        if self.scopes is None:
            return
        needed = {_SCOPES[method]} if method in _SCOPES else set()
        channel = self.channels.get(str(args.get("channel")))
        if method in _OF_A_PLACE:
            kind = "channels"
            if channel is not None and (channel.is_im or channel.private):
                kind = "im" if channel.is_im else "groups"
            needed = {f"{kind}:{_OF_A_PLACE[method]}"}
        elif method == "conversations.list":
            needed = {_LISTED[kind] for kind in _kinds(args) if kind in _LISTED}
        if missing := sorted(needed - self.scopes):
            raise _NotOkError("missing_scope", needed=missing[0], provided=",".join(sorted(self.scopes)))

    def _post_message(self, args: JsonObject) -> JsonObject:
        channel_id = str(args.get("channel") or "")
        if channel_id in self.users and channel_id != self.bot_user:
            args = {**args, "channel": self.dm_of(channel_id)}
        channel = self._place(args)
        if self.bot_user not in channel.members:
            raise _NotOkError("channel_not_found" if channel.private else "not_in_channel")
        if channel.is_archived:
            raise _NotOkError("is_archived")
        self._valid_message(args)
        thread_ts = args.get("thread_ts")
        if thread_ts and not any(m.ts == thread_ts for m in self._messages[channel.id]):
            raise _NotOkError("thread_not_found")
        message = self._append(channel.id, args)
        return {"ok": True, "channel": channel.id, "ts": message.ts, "message": self._as_json(message)}

    def _valid_message(self, args: JsonObject) -> None:
        blocks = args.get("blocks")
        if not (args.get("text") or blocks or args.get("attachments")):
            raise _NotOkError("no_text")
        if blocks is not None:
            problems = validate_message({"blocks": blocks})
            if any("too much text" in problem for problem in problems):
                raise _NotOkError("msg_blocks_too_long")
            if isinstance(blocks, list):
                problems += self._missing_files(blocks) + self._charts_refused(blocks)
            if problems:
                said = [f"[ERROR] {problem}" for problem in problems]
                raise _NotOkError("invalid_blocks", errors=problems, response_metadata={"messages": said})
        metadata = args.get("metadata")
        if metadata:
            if (
                not isinstance(metadata, dict)
                or not isinstance(metadata.get("event_type"), str)
                or not isinstance(metadata.get("event_payload"), dict)
            ):
                raise _NotOkError("invalid_metadata_format")
            if len(json.dumps(metadata)) > MAX_METADATA_CHARS:
                raise _NotOkError("metadata_too_large")

    def _missing_files(self, blocks: list[Any]) -> list[str]:
        images = [block for block in blocks if isinstance(block, dict) and block.get("type") == "image"]
        images += [e for block in blocks for e in elements_of(block) if e.get("type") == "image"]
        named = [image["slack_file"] for image in images if isinstance(image.get("slack_file"), dict)]
        ready = {key for key, file in self._files.items() if file["completed"]}
        missing = [file["id"] for file in named if file.get("id") and file["id"] not in ready]
        return [f"invalid slack file {file_id} [json-pointer:/blocks]" for file_id in missing]

    def _charts_refused(self, blocks: list[Any]) -> list[str]:
        kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
        if self.takes_charts or "data_visualization" not in kinds:
            return []
        place = kinds.index("data_visualization")
        return [f"unsupported type: data_visualization [json-pointer:/blocks/{place}/type]"]

    def _append(self, channel_id: str, args: JsonObject, *, only_for: str = "") -> SlackMessage:
        message = SlackMessage(
            ts=self._ts(),
            user=self.bot_user,
            text=str(args.get("text") or "")[:MAX_TEXT],
            blocks=with_ids(args.get("blocks") or []),
            thread_ts=args.get("thread_ts") or None,
            metadata=args.get("metadata") or None,
            bot_id=self.bot_id,
            only_for=only_for,
        )
        self._messages[channel_id].append(message)
        self._changed()
        return message

    def _own(self, args: JsonObject, refusal: str) -> SlackMessage:
        channel = self._place(args)
        for message in self._messages[channel.id]:
            if message.ts == str(args.get("ts")) and not message.only_for:
                if message.user != self.bot_user:
                    raise _NotOkError(refusal)
                return message
        raise _NotOkError("message_not_found")

    def _update_message(self, args: JsonObject) -> JsonObject:
        message = self._own(args, "cant_update_message")
        self._valid_message(args)
        self._change(message, args)
        body = self._as_json(message)
        return {"ok": True, "channel": args["channel"], "ts": message.ts, "text": message.text, "message": body}

    def _change(self, message: SlackMessage, args: JsonObject) -> None:
        # what is not given stays; an empty list of blocks removes them
        if args.get("text") is not None:
            message.text = str(args["text"])[:MAX_TEXT]
        if args.get("blocks") is not None:
            message.blocks = with_ids(args["blocks"])
        if args.get("metadata") is not None:
            message.metadata = args["metadata"] or None
        message.edited = {"user": self.bot_user, "ts": self._ts()}
        self._changed()

    def _post_ephemeral(self, args: JsonObject) -> JsonObject:
        channel = self._place(args)
        if self.bot_user not in channel.members:
            raise _NotOkError("not_in_channel")
        if args.get("user") not in channel.members:
            raise _NotOkError("user_not_in_channel")
        self._valid_message(args)
        return {"ok": True, "message_ts": self._append(channel.id, args, only_for=args["user"]).ts}

    def _open_conversation(self, args: JsonObject) -> JsonObject:
        user_id = str(args.get("users") or "")
        if args.get("channel"):
            return {"ok": True, "channel": {"id": self._place(args).id}}
        user = self.users.get(user_id)
        if user is None:
            raise _NotOkError("user_not_found" if user_id else "invalid_arguments")
        if user.is_bot:
            raise _NotOkError("cannot_dm_bot")
        if user.deleted:
            raise _NotOkError("user_disabled")
        known = user_id in self._dms
        return {"ok": True, "no_op": known, "already_open": known, "channel": {"id": self.dm_of(user_id)}}

    def _history(self, method: str, args: JsonObject) -> JsonObject:
        channel = self._place(args)
        if self.bot_user not in channel.members:
            raise _NotOkError("not_in_channel")
        inclusive = _true(args.get("inclusive"))
        oldest, latest = str(args.get("oldest") or ""), str(args.get("latest") or "")
        for name, given in (("oldest", oldest), ("latest", latest)):
            if given and not re.fullmatch(r"\d+(\.\d*)?", given):
                raise _NotOkError(f"invalid_ts_{name}")
        found = [
            message
            for message in self.messages(channel.id)
            if (not oldest or _after(message.ts, oldest) or (inclusive and message.ts == oldest))
            and (not latest or _after(latest, message.ts) or (inclusive and message.ts == latest))
        ]
        if method == "conversations.replies":
            root = str(args.get("ts"))
            found = [message for message in found if root in (message.ts, message.thread_ts)]
            if not found:
                raise _NotOkError("thread_not_found")
        else:
            found = [m for m in reversed(found) if m.thread_ts in (None, m.ts)]
        limit, start = _whole(args, "limit", 100), _whole(args, "cursor", 0)
        page, more = found[start : start + limit], len(found) > start + limit
        # without include_all_metadata only the app's own metadata would be left out for others; Koe reads
        # its own
        with_metadata = _true(args.get("include_all_metadata"))
        bodies = [self._as_json(message, metadata=with_metadata) for message in page]
        cursor = {"next_cursor": str(start + limit) if more else ""}
        return {"ok": True, "messages": bodies, "has_more": more, "response_metadata": cursor}

    def _views(self, method: str, args: JsonObject) -> JsonObject:
        view = args.get("view")
        problems = validate_view(view)
        wanted = "home" if method == "views.publish" else "modal"
        if not problems and isinstance(view, dict) and view["type"] != wanted:
            problems = [f"must be a {wanted} view [json-pointer:/view/type]"]
        if problems or not isinstance(view, dict):
            said = [f"[ERROR] {problem}" for problem in problems]
            raise _NotOkError("invalid_arguments", response_metadata={"messages": said})
        if len(json.dumps(view, ensure_ascii=False)) > MAX_VIEW_CHARS:
            raise _NotOkError("view_too_large")
        if method == "views.publish":
            return self._publish(args, view)
        if method == "views.update":
            return self._update_view(args, view)
        trigger = self._triggers.get(str(args.get("trigger_id")))
        if trigger is None:
            raise _NotOkError("invalid_trigger_id")
        if trigger.used:
            raise _NotOkError("exchanged_trigger_id")
        if self.clock.now_ms() > trigger.until_ms:
            raise _NotOkError("expired_trigger_id")
        trigger.used = True
        stack = self._modals.setdefault(trigger.user_id, [])
        if method == "views.push" and not stack:
            raise _NotOkError("not_found")
        if len(stack) >= MAX_VIEWS:
            raise _NotOkError("push_limit_reached")
        return self._push(trigger.user_id, view, fresh=method == "views.open")

    def _push(self, user_id: str, view: JsonObject, *, fresh: bool) -> JsonObject:
        self._unique_external(view, "")
        stack = self._modals.setdefault(user_id, [])
        if fresh:
            stack.clear()
        made = self._made(view, _id("V"), stack[-1]["id"] if stack else None)
        made["root_view_id"] = stack[0]["id"] if stack else made["id"]
        stack.append(made)
        self._errors.pop(user_id, None)
        self._changed()
        return made

    def _made(self, view: JsonObject, view_id: str, previous: str | None) -> JsonObject:
        blocks = with_ids(view["blocks"])
        return {
            "id": view_id,
            "team_id": self.team_id,
            "app_id": self.app_id,
            "bot_id": self.bot_id,
            "app_installed_team_id": self.team_id,
            "type": view["type"],
            "title": view.get("title"),
            "submit": view.get("submit"),
            "close": view.get("close"),
            "blocks": blocks,
            "private_metadata": view.get("private_metadata") or "",
            "callback_id": view.get("callback_id") or "",
            "external_id": view.get("external_id") or "",
            "state": {"values": initial_state(blocks)},
            "hash": f"{self.clock.now_ms() // 1000}.{secrets.token_hex(4)}",
            "clear_on_close": bool(view.get("clear_on_close")),
            "notify_on_close": bool(view.get("notify_on_close")),
            "previous_view_id": previous,
            "root_view_id": view_id,
        }

    def _publish(self, args: JsonObject, view: JsonObject) -> JsonObject:
        user_id = str(args.get("user_id"))
        if user_id not in self.users:
            raise _NotOkError("invalid_arguments")
        before = self._homes.get(user_id)
        if args.get("hash") and (before is None or args["hash"] != before["hash"]):
            raise _NotOkError("hash_conflict")
        self._homes[user_id] = self._made(view, before["id"] if before else _id("V"), None)
        self._changed()
        return self._homes[user_id]

    def _update_view(self, args: JsonObject, view: JsonObject) -> JsonObject:
        for user_id, stack in self._modals.items():
            for index, old in enumerate(stack):
                by_external = args.get("external_id") and old["external_id"] == args["external_id"]
                if old["id"] == args.get("view_id") or by_external:
                    if args.get("hash") and args["hash"] != old["hash"]:
                        raise _NotOkError("hash_conflict")
                    return self._replace(user_id, index, view)
        raise _NotOkError("not_found")

    def _replace(self, user_id: str, index: int, view: JsonObject) -> JsonObject:
        old = self._modals[user_id][index]
        self._unique_external(view, old["id"])
        made = self._made(view, old["id"], old["previous_view_id"])
        made["root_view_id"] = old["root_view_id"]
        # what the person already filled in stays where block and action are the same
        for block_id, actions in made["state"]["values"].items():
            for action_id in actions:
                kept = old["state"]["values"].get(block_id, {}).get(action_id)
                if kept is not None and kept["type"] == actions[action_id]["type"]:
                    actions[action_id] = kept
        self._modals[user_id][index] = made
        self._errors.pop(user_id, None)
        self._changed()
        return made

    def _unique_external(self, view: JsonObject, view_id: str) -> None:
        wanted = view.get("external_id")
        everyone = itertools.chain(*self._modals.values())
        if wanted and any(old["external_id"] == wanted and old["id"] != view_id for old in everyone):
            raise _NotOkError("duplicate_external_id")

    def _new_file(self, args: JsonObject) -> JsonObject:
        length = _whole(args, "length", 0)
        if not args.get("filename") or length <= 0:
            raise _NotOkError("invalid_arguments")
        file_id = _id("F")
        self._files[file_id] = {
            "id": file_id,
            "title": args["filename"],
            "name": args["filename"],
            "alt_txt": args.get("alt_txt") or "",
            "size": length,
            "content": b"",
            "completed": False,
        }
        return {"ok": True, "file_id": file_id, "upload_url": f"{self._url()}/upload/{file_id}"}

    def _complete_files(self, args: JsonObject) -> JsonObject:
        named = args.get("files")
        if not isinstance(named, list) or not named:
            raise _NotOkError("invalid_arguments")
        done = []
        for item in named:
            file = self._files.get(str(item.get("id"))) if isinstance(item, dict) else None
            if file is None or len(file["content"]) != file["size"]:
                raise _NotOkError("file_not_found")
            file.update(title=item.get("title") or file["title"], completed=True)
            done.append({"id": file["id"], "title": file["title"]})
        channel_id = args.get("channel_id") or args.get("channels")
        if channel_id:
            channel = self._place({"channel": channel_id})
            if self.bot_user not in channel.members:
                raise _NotOkError("not_in_channel")
            words = {"text": args.get("initial_comment") or "", "thread_ts": args.get("thread_ts")}
            self._append(channel.id, words).files = done
        return {"ok": True, "files": done}

    def _validate(self, args: JsonObject) -> JsonObject:
        problems: list[str] = []
        if args.get("blocks") is not None:
            problems += validate_blocks(args["blocks"], "message")
        if args.get("message") is not None:
            problems += validate_message(args["message"])
        if args.get("view") is not None:
            problems += validate_view(args["view"])
        if problems:
            said = [f"[ERROR] {problem}" for problem in problems]
            raise _NotOkError("invalid_blocks", errors=problems, response_metadata={"messages": said})
        return {"ok": True}

    def adds_file(self, user_id: str, name: str, content: bytes) -> str:
        """The person drops a file into a field of a modal: its id, for `submits`."""
        self._user(user_id)
        file_id = _id("F")
        self._files[file_id] = {
            "id": file_id,
            "title": name,
            "name": name,
            "size": len(content),
            "content": content,
            "completed": True,
            "user": user_id,
        }
        return file_id

    def _readable_file(self, args: JsonObject) -> JsonObject:
        file = self._files.get(str(args.get("file")))
        if file is None:
            raise _NotOkError("file_not_found")
        if file.get("deleted"):
            raise _NotOkError("file_deleted")
        return file

    def deletes_file(self, file_id: str) -> None:
        """The person deletes a file of theirs."""
        self._files[file_id]["deleted"] = True

    def _file_json(self, file: JsonObject) -> JsonObject:
        name = str(file["name"])
        address = f"{self._url()}/files-pri/{file['id']}/{quote(name)}"
        return {
            "id": file["id"],
            "name": name,
            "title": file["title"],
            "filetype": name.rpartition(".")[2].lower(),
            "size": file["size"],
            "user": file.get("user", self.bot_user),
            "mode": "hosted",
            "url_private": address,
            "url_private_download": address,
        }

    async def _download(self, request: Request) -> Response:
        """The bytes for who brings the bot's token; for anybody else the page on which people sign in."""
        file = self._files.get(request.path_params["file_id"])
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        kind = self._faults.take("download")
        self.requests.append(Recorded("GET", "download", {}, None, 200, self.clock.now_ms()))
        if kind == "reset_before":
            return Dropped()
        if kind in ("503", "500html"):
            return HTMLResponse("<html><body>Server Error</body></html>", int(kind[:3]))
        if kind.startswith("ratelimited"):
            return PlainTextResponse("", 429, {"Retry-After": kind.partition(":")[2] or "1"})
        scoped = self.scopes is None or "files:read" in self.scopes
        if bearer != self.bot_token or not scoped:
            return HTMLResponse("<!DOCTYPE html><html><body>Sign in to Slack</body></html>")
        if file is None or file.get("deleted"):
            return PlainTextResponse("not found", 404)
        return Response(file["content"], media_type="application/octet-stream")

    def file_content(self, file_id: str) -> bytes:
        """The bytes uploaded under this id."""
        content: bytes = self._files[file_id]["content"]
        return content

    async def _upload(self, request: Request) -> Response:
        file = self._files.get(request.path_params["file_id"])
        raw = await read_body(request, _MAX_BODY_BYTES)
        if file is None or raw is None:
            return PlainTextResponse("not found", 404)
        if request.headers.get("content-type", "").startswith("multipart/"):
            return PlainTextResponse("raw bytes expected", 400)
        file["content"] = raw
        return PlainTextResponse(f"OK - {len(raw)}")

    async def _response_url(self, request: Request) -> Response:
        raw = await read_body(request, _MAX_BODY_BYTES) or b""
        body = _json_or_none(raw)
        record = Recorded("POST", "response_url", {}, body, 0, self.clock.now_ms())
        self.requests.append(record)

        def call() -> JsonObject:
            known = self._response_urls.get(request.path_params["token"])
            if known is None or self.clock.now_ms() >= known.until_ms:
                raise _NotOkError("expired_url")
            if known.uses >= RESPONSE_URL_USES:
                raise _NotOkError("used_url")
            if not isinstance(body, dict):
                raise _NotOkError("invalid_payload")
            self._respond(known, body)
            known.uses += 1
            return {"ok": True}

        answer = await self._answer(record, self._faults.take("response_url"), call)
        if record.status == 200 and b'"ok":false' in bytes(answer.body):
            record.status = 404
            return Response(answer.body, 404, media_type="application/json")
        return answer

    def _respond(self, url: _ResponseUrl, body: JsonObject) -> None:
        original = next((m for m in self._messages[url.channel_id] if m.ts == url.ts), None)
        if body.get("delete_original"):
            if original is not None:
                self._messages[url.channel_id].remove(original)
                self._changed()
            return
        self._valid_message(body)
        if body.get("replace_original") and original is not None:
            self._change(original, {"blocks": [], **body})
            return
        only_for = "" if body.get("response_type") == "in_channel" else url.user_id
        self._append(url.channel_id, body, only_for=only_for)

    # --- Socket Mode ---

    async def _socket(self, websocket: WebSocket) -> None:
        ticket = websocket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await websocket.close(4001)
            return
        self._tickets.discard(ticket)  # each address opens one connection
        await websocket.accept()
        socket = _Socket(websocket)
        self._sockets.append(socket)
        try:
            await websocket.send_json(
                {
                    "type": "hello",
                    "num_connections": len(self._sockets),
                    "connection_info": {"app_id": self.app_id},
                    "debug_info": {"host": "standin", "approximate_connection_time": 18060},
                }
            )
            while True:
                said = _json_or_none((await websocket.receive_text()).encode())
                if isinstance(said, dict):
                    waiting = socket.waiting.pop(said.get("envelope_id", ""), None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said.get("payload"))
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone: Slack sends the next payload on another connection
        finally:
            self._sockets.remove(socket)
            for waiting in socket.waiting.values():
                waiting.cancel()

    def _taking(self) -> list[_Socket]:
        return [socket for socket in self._sockets if not socket.leaving]

    async def _through_socket(self, kind: str, payload: JsonObject, retry_num: int, reason: str) -> Ack:
        taking = self._taking()
        if not taking:
            return Ack(0)
        socket = taking[next(self._turn) % len(taking)]
        envelope_id = _uuid()
        envelope: JsonObject = {
            "envelope_id": envelope_id,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
        }
        if kind == "events_api":
            envelope |= {"retry_attempt": retry_num, "retry_reason": reason}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        socket.waiting[envelope_id] = answer
        try:
            await socket.websocket.send_json(envelope)
            return Ack(200, await asyncio.wait_for(answer, self.ack_timeout_s))
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return Ack(0)
        except asyncio.CancelledError:
            if answer.cancelled() and not _being_cancelled():
                return Ack(0)  # the connection went away, not this task
            raise
        finally:
            socket.waiting.pop(envelope_id, None)

    # --- delivery ---

    async def _event(self, kind: str, event: JsonObject) -> Ack:
        if kind and kind not in self.subscribed:
            return Ack(0)
        user = self.users.get(str(event.get("user")))
        envelope = {
            "token": "verification",
            "team_id": self.team_id,
            "api_app_id": self.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": _id("Ev"),
            "event_time": self.clock.now_ms() // 1000,
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": self.team_id,
                    "user_id": self.bot_user,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": user is not None and user.team_id != self.team_id,
        }
        self.events.append(envelope)
        return await self._send("events_api", envelope)

    async def _send(
        self,
        kind: Literal["events_api", "interactive", "slash_commands"],
        payload: JsonObject,
        *,
        retry_num: int = 0,
        reason: str = "",
    ) -> Ack:
        event_id = payload.get("event_id", "") if kind == "events_api" else ""
        if self.transport == "socket":
            ack = await self._through_socket(kind, payload, retry_num, reason)
            self.deliveries.append((payload, ack.status))
            return replace(ack, event_id=event_id)
        headers = {}
        if retry_num:
            headers = {"X-Slack-Retry-Num": str(retry_num), "X-Slack-Retry-Reason": reason}
        if kind == "events_api":
            body, content_type = json.dumps(payload).encode(), "application/json"
        else:
            fields = payload if kind == "slash_commands" else {"payload": json.dumps(payload)}
            body = urlencode(fields, errors="replace").encode()
            content_type = "application/x-www-form-urlencoded"
        ack = await self._http(body, content_type, headers)
        self.deliveries.append((payload, ack.status))
        return replace(ack, event_id=event_id)

    async def _http(
        self,
        body: bytes,
        content_type: str,
        headers: dict[str, str],
        timestamp: str | None = None,
        signature: str | None = None,
    ) -> Ack:
        if not self.request_url:
            return Ack(0)
        if self._session is None:
            # trust_env stays off: a proxy of the machine must never see loopback traffic
            self._session = aiohttp.ClientSession(trust_env=False)
        timestamp = timestamp if timestamp is not None else str(int(time.time()))
        base = b"v0:" + timestamp.encode("utf-8", "surrogateescape") + b":" + body
        digest = hmac.new(self.signing_secret.encode(), base, hashlib.sha256).hexdigest()
        sent = {
            "content-type": content_type,
            "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature if signature is not None else f"v0={digest}",
            **headers,
        }
        timeout = aiohttp.ClientTimeout(total=self.ack_timeout_s)
        try:
            async with self._session.post(
                self.request_url, data=io.BytesIO(body), headers=sent, timeout=timeout
            ) as answer:
                said = await answer.read()
                parsed = _json_or_none(said)
                if parsed is None and said:
                    parsed = said.decode(errors="replace")
                return Ack(answer.status, parsed)
        except (TimeoutError, aiohttp.ClientError):
            return Ack(0)

    # --- interactions ---

    def _interaction(self, user_id: str, kind: str) -> JsonObject:
        user = self._user(user_id)
        return {
            "type": kind,
            "token": "verification",
            "api_app_id": self.app_id,
            "team": {"id": self.team_id, "domain": self.team_id.lower()},
            "user": {"id": user_id, "username": user.name, "name": user.name, "team_id": user.team_id},
            "enterprise": None,
            "is_enterprise_install": False,
            "trigger_id": self._trigger(user_id),
        }

    def _click(
        self,
        user_id: str,
        channel_id: str,
        ts: str,
        action_id: str,
        block_id: str | None,
        value: str | None,
        selected: Any,
        seen: SlackMessage | None,
    ) -> JsonObject:
        self._channel_of(user_id, channel_id)
        message = seen or self._message(channel_id, ts)
        if message.only_for not in ("", user_id):
            raise NotOnScreenError(f"only {message.only_for} sees the message {ts}")
        block, element = find_element(message.blocks, action_id, block_id, value)
        action = self._action(block, element, value, selected)
        state = self._message_state.setdefault((user_id, channel_id, ts), initial_state(message.blocks))
        if element["type"] in STATE_KEYS and element["type"] != "overflow":
            state.setdefault(block["block_id"], {})[action_id] = state_of(element, selected)
        token = self._new_response_url(channel_id, user_id, ts)
        return {
            **self._interaction(user_id, "block_actions"),
            "container": {
                "type": "message",
                "message_ts": ts,
                "channel_id": channel_id,
                "is_ephemeral": bool(message.only_for),
            },
            "channel": self._channel_json(channel_id),
            "message": self._as_json(message),
            "state": {"values": _copy(state)},
            "response_url": f"{self._url()}/response/{token}",
            "actions": [action],
        }

    async def _view_action(self, user_id: str, view: JsonObject, action: JsonObject, container: str) -> Ack:
        payload = self._interaction(user_id, "block_actions")
        self._triggers[payload["trigger_id"]].view_id = view["id"]
        payload |= {
            "container": {"type": container, "view_id": view["id"]},
            "view": _copy(view),
            "actions": [action],
        }
        return await self._send("interactive", payload)

    def _action(self, block: JsonObject, element: JsonObject, value: str | None, selected: Any) -> JsonObject:
        action: JsonObject = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": block["block_id"],
            "action_ts": self._ts(),
        }
        if element["type"] == "button":
            action["text"] = element["text"]
            action |= {name: element[name] for name in ("value", "style") if name in element}
        else:
            action |= state_of(element, selected if selected is not None else value)
        return action

    def _chosen(self, user_id: str, view: JsonObject, block: JsonObject, element: JsonObject, given: Any) -> Any:
        """What the person chose, where the form of it is Slack's: an option that was offered, their own files."""
        if element["type"] == "external_select" and given:
            value = given.get("value") if isinstance(given, Mapping) else given
            if isinstance(given, Mapping) and "selected_option" in given:
                chosen = given["selected_option"]
                value = chosen.get("value") if isinstance(chosen, Mapping) else None
                if value is None:
                    return None
            seen = self._offered.get((view["id"], block["block_id"], element["action_id"]), [])
            for option in (*seen, *([element["initial_option"]] if "initial_option" in element else ())):
                if option["value"] == value:
                    return option
            raise NotOnScreenError(f"{element['action_id']} offers no option {value!r}; type first")
        if element["type"] == "file_input" and given:
            named = given.get("files") if isinstance(given, Mapping) else given
            files = [self._files[file_id] for file_id in ([named] if isinstance(named, str) else named or [])]
            kinds = element.get("filetypes")
            if len(files) > element.get("max_files", 10):
                raise NotOnScreenError(f"{element['action_id']} takes {element.get('max_files', 10)} files")
            for file in files:
                if file.get("user") != user_id:
                    raise NotOnScreenError(f"{user_id} has no file {file['id']}")
                if kinds and str(file["name"]).rpartition(".")[2].lower() not in kinds:
                    raise NotOnScreenError(f"{element['action_id']} takes {', '.join(kinds)}, not {file['name']}")
            return {"files": [self._file_json(file) for file in files]}
        return given

    def _fill(self, user_id: str, view: JsonObject, values: Mapping[str, Any], *, forged: bool) -> None:
        used: set[str] = set()
        state: dict[str, JsonObject] = view["state"]["values"]
        for block in view["blocks"]:
            for element in elements_of(block):
                action_id, block_id = element.get("action_id"), block["block_id"]
                if element["type"] not in STATE_KEYS or not isinstance(action_id, str):
                    continue
                nested = values.get(block_id)
                if isinstance(nested, Mapping) and action_id in nested:
                    given = nested[action_id]
                elif action_id in values:
                    given = values[action_id]
                elif block_id in values:
                    given = nested
                else:
                    continue
                used |= {block_id, action_id}
                given = self._chosen(user_id, view, block, element, given)
                state.setdefault(block_id, {})[action_id] = state_of(element, given)
        strange = [name for name in values if name not in used]
        if strange:
            raise NotOnScreenError(f"the modal has no input {strange[0]!r}")
        if forged:
            return
        for block in view["blocks"]:
            if block["type"] == "input":
                element = block["element"]
                held = state[block["block_id"]][element["action_id"]]
                content = held[STATE_KEYS[element["type"]]]
                if not content and not block.get("optional"):
                    raise NotOnScreenError(f"{plain_words(block['label'])!r} must be filled in")
                if isinstance(content, str) and element["type"] == "plain_text_input":
                    longest = element.get("max_length", 3000)
                    if not element.get("min_length", 0) <= len(content) <= longest:
                        label = plain_words(block["label"])
                        raise NotOnScreenError(f"{label!r} takes at most {longest} characters")

    def _after_submit(self, user_id: str, view: JsonObject, ack: Ack) -> None:
        stack = self._modals.get(user_id, [])
        if view not in stack:
            return  # the bot changed the stack itself meanwhile
        body = ack.body if ack.body not in ("", None) else {}
        if not ack.ok or not isinstance(body, dict):
            self._errors[user_id] = {"": _TROUBLE}
            return
        match body.get("response_action"):
            case None:
                stack.remove(view)
            case "clear":
                stack.clear()
            case "errors":
                inputs = {block["block_id"] for block in view["blocks"] if block["type"] == "input"}
                errors = body.get("errors") or {}
                strange = [name for name in errors if name not in inputs]
                self._errors[user_id] = {"": _TROUBLE} if strange or not errors else dict(errors)
            case "update" | "push" as action:
                given = body.get("view")
                if validate_view(given) or not isinstance(given, dict):
                    self._errors[user_id] = {"": _TROUBLE}
                elif action == "update":
                    self._replace(user_id, stack.index(view), given)
                elif len(stack) < MAX_VIEWS:
                    self._push(user_id, given, fresh=False)
                else:
                    self._errors[user_id] = {"": _TROUBLE}
            case _:
                self._errors[user_id] = {"": _TROUBLE}

    # --- small things ---

    def _changed(self) -> None:
        for notify in self.on_change:
            notify()

    def _url(self) -> str:
        served: str = getattr(self.app.state, "url", "")
        return served or self._seen_url

    def _ts(self) -> str:
        self._last_us = max(self.clock.now_ms() * 1000, self._last_us + 1)
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def _trigger(self, user_id: str) -> str:
        trigger_id = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        self._triggers[trigger_id] = _Trigger(user_id, self.clock.now_ms() + TRIGGER_MS, "")
        return trigger_id

    def _new_response_url(self, channel_id: str, user_id: str, ts: str) -> str:
        token = secrets.token_urlsafe(18)
        until_ms = self.clock.now_ms() + RESPONSE_URL_MS
        self._response_urls[token] = _ResponseUrl(channel_id, user_id, ts, until_ms)
        return token

    def _user(self, user_id: str) -> SlackUser:
        if user_id not in self.users:
            raise NotOnScreenError(f"no person has the id {user_id}")
        return self.users[user_id]

    def _channel_of(self, user_id: str, channel_id: str) -> SlackChannel:
        self._user(user_id)
        channel = self.channels.get(channel_id)
        if channel is None or (user_id not in channel.members and (channel.private or channel.is_im)):
            raise NotOnScreenError(f"{user_id} does not see the channel {channel_id}")
        return channel

    def _message(self, channel_id: str, ts: str) -> SlackMessage:
        for message in self._messages.get(channel_id, []):
            if message.ts == ts:
                return message
        raise NotOnScreenError(f"no message {ts} in {channel_id}")

    def _top(self, user_id: str) -> JsonObject:
        view = self.modal(user_id)
        if view is None:
            raise NotOnScreenError(f"{user_id} has no modal open")
        return view

    def _visible(self, channel: SlackChannel) -> bool:
        return not channel.private or self.bot_user in channel.members

    def _place(self, args: JsonObject) -> SlackChannel:
        channel = self.channels.get(str(args.get("channel") or ""))
        if channel is None or not self._visible(channel):
            raise _NotOkError("channel_not_found")
        return channel

    def _channel_json(self, channel_id: str) -> JsonObject:
        channel = self.channels[channel_id]
        if channel.is_im:
            return {"id": channel_id, "name": "directmessage", "is_im": True, "user": channel.members[0]}
        return {
            "id": channel_id,
            "name": channel.name,
            "is_channel": not channel.private,
            "is_group": channel.private,
            "is_im": False,
            "is_private": channel.private,
            "is_archived": channel.is_archived,
            "is_member": self.bot_user in channel.members,
            "num_members": len(channel.members),
        }

    def _user_json(self, user: SlackUser, locale: bool) -> JsonObject:
        names = {"real_name": user.name, "display_name": user.name}
        return {
            "id": user.id,
            "team_id": user.team_id,
            "name": user.name,
            "real_name": user.name,
            "deleted": user.deleted,
            "is_bot": user.is_bot,
            "is_restricted": user.is_restricted,
            "is_ultra_restricted": False,
            "is_stranger": user.team_id != self.team_id,
            "tz": "Asia/Tokyo",
            "tz_offset": 32400,
            "profile": names,
            **({"locale": user.locale} if locale else {}),
        }

    def _as_json(self, message: SlackMessage, *, metadata: bool = True) -> JsonObject:
        body: JsonObject = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text}
        if message.bot_id:
            body |= {"bot_id": message.bot_id, "app_id": self.app_id, "team": self.team_id}
        if message.blocks:
            body["blocks"] = _copy(message.blocks)
        if message.thread_ts:
            body["thread_ts"] = message.thread_ts
        if message.edited:
            body["edited"] = message.edited
        if message.files:
            body["files"] = message.files
        if message.metadata and metadata:
            body["metadata"] = message.metadata
        return body

    def _read(self, text: str) -> str:
        """Text as a person reads it: mentions by name, links by their words, no escapes."""

        def name(match: re.Match[str]) -> str:
            target, _, label = match[1].partition("|")
            if target.startswith("@"):
                user = self.users.get(target[1:])
                return f"@{user.name}" if user else f"@{target[1:]}"
            if target.startswith("#"):
                channel = self.channels.get(target[1:])
                return f"#{channel.name}" if channel else target
            return label or (f"@{target[1:]}" if target.startswith("!") else target)

        return re.sub(r"<([^<>]+)>", name, text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


_LISTED = {"public_channel": "channels:read", "private_channel": "groups:read"}


def _kinds(args: JsonObject) -> list[str]:
    return [kind.strip() for kind in str(args.get("types") or "public_channel").split(",")]


_END: JsonObject = {"response_metadata": {"next_cursor": ""}}


def _arguments(request: Request, raw: bytes) -> JsonObject:
    """A call's arguments, whichever of the three ways the SDK sends them: query, form or JSON."""
    args: JsonObject = dict(request.query_params)
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("application/json"):
        body = _json_or_none(raw)
        args |= body if isinstance(body, dict) else {}
    elif raw:
        args |= dict(parse_qsl(raw.decode(errors="replace"), keep_blank_values=True))
    for name in _JSON_FIELDS:
        if isinstance(args.get(name), str):
            parsed = _json_or_none(args[name].encode())
            args[name] = parsed if parsed is not None else args[name]
    return args


def _whole(args: JsonObject, name: str, default: int) -> int:
    given = str(args.get(name) or default)
    if not given.isdecimal():
        raise _NotOkError("invalid_cursor" if name == "cursor" else "invalid_arguments")
    return int(given)


def _after(ts: str, other: str) -> bool:
    def parts(value: str) -> tuple[int, int]:
        seconds, _, micros = value.partition(".")
        return int(seconds or 0), int((micros or "0").ljust(6, "0")[:6])

    return parts(ts) > parts(other)


def _true(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _json_or_none(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _id(prefix: str) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return prefix + "0" + "".join(secrets.choice(alphabet) for _ in range(9))


def _uuid() -> str:
    raw = secrets.token_hex(16)
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
