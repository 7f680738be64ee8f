"""What there is in a Slack workspace: people, places, messages, windows, Homes and files, what of it is on whose
screen, and how the API writes it down. Nothing here speaks HTTP.

Times follow the injected clock. Source: https://docs.slack.dev/ (pages of August 2026).
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bot.standins.elements import initial_state, with_ids
from bot.standins.reading import block_words, parsed_texts, window_words
from bot.standins.wire import Clock, JsonObject, NotOnScreenError

TRIGGER_MS = 3000
RESPONSE_URL_MS = 30 * 60_000
MAX_TEXT = 40_000


@dataclass(slots=True)
class SlackUser:
    """A person, or a bot, of this workspace or (another `team_id`) of one it shares channels with."""

    id: str
    name: str
    locale: str
    is_bot: bool
    is_restricted: bool
    team_id: str
    deleted: bool = False


@dataclass(slots=True)
class SlackChannel:
    """A channel, or direct messages with the bot."""

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


@dataclass(slots=True)
class Trigger:
    """A trigger_id: whose, and until when."""

    user_id: str
    until_ms: int
    view_id: str
    used: bool = False


@dataclass(slots=True)
class ResponseUrl:
    """An address for answers to what somebody did."""

    channel_id: str
    user_id: str
    ts: str
    until_ms: int
    uses: int = 0


class NotOkError(Exception):
    """The platform refuses: `.body` is its answer."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.body: JsonObject = {"ok": False, "error": code, **extra}


class Workspace:
    """One workspace in which the app is installed.

    Args:
        address: Where the platform is served: files and answers have addresses below it.
        scopes: The bot's scopes; None grants everything.
        events: The subscribed event types.
        takes_charts: Whether messages may have chart blocks, which came in June 2026 and not to every workspace.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        address: Callable[[], str],
        team_id: str,
        bot_user: str,
        bot_id: str,
        app_id: str,
        bot_name: str,
        scopes: frozenset[str] | None,
        events: frozenset[str],
        takes_charts: bool,
    ) -> None:
        self.clock = clock
        self.address = address
        self.team_id = team_id
        self.bot_user = bot_user
        self.bot_id = bot_id
        self.app_id = app_id
        self.scopes = scopes
        self.subscribed = events
        self.takes_charts = takes_charts
        self.shortcuts: list[JsonObject] = []
        """What the app adds to Slack's menus, as in its manifest: name, type (global or message), callback_id."""
        self.users: dict[str, SlackUser] = {}
        self.channels: dict[str, SlackChannel] = {}
        self.groups: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.on_change: list[Callable[[], None]] = []
        self.written: dict[str, list[SlackMessage]] = {}
        """Channel → its messages, oldest first."""
        self.dms: dict[str, str] = {}
        """Person → the channel of their direct messages with the bot."""
        self.modals: dict[str, list[JsonObject]] = {}
        """Person → their views, the one on top last."""
        self.homes: dict[str, JsonObject] = {}
        self.errors: dict[str, dict[str, str]] = {}
        """Person → what stands under the inputs of their top view."""
        self.triggers: dict[str, Trigger] = {}
        self.response_urls: dict[str, ResponseUrl] = {}
        self.files: dict[str, JsonObject] = {}
        self._last_us = 0
        self.users[bot_user] = SlackUser(bot_user, bot_name, "en-US", True, False, team_id)

    def installs(self, manifest: Mapping[str, Any]) -> None:
        """The workspace takes the app as its manifest describes it: these scopes, events and shortcuts, and no more."""
        self.scopes = frozenset(manifest["oauth_config"]["scopes"]["bot"])
        self.subscribed = frozenset(manifest["settings"]["event_subscriptions"]["bot_events"])
        self.shortcuts = copy_of(manifest["features"]["shortcuts"])

    # --- people, places and files ---

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
        user_id = id or new_id("U")
        self.users[user_id] = SlackUser(user_id, name, locale, is_bot, is_restricted, team_id or self.team_id)
        self.changed()
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
        channel_id = id or new_id("C")
        everyone = [*members, *([self.bot_user] if with_bot and self.bot_user not in members else [])]
        self.channels[channel_id] = SlackChannel(channel_id, name, private, False, everyone)
        self.written[channel_id] = []
        self.changed()
        return channel_id

    def add_group(self, handle: str, members: Sequence[str], *, id: str | None = None) -> str:  # noqa: A002
        """A new user group's id (S…); the same id again replaces its members."""
        group_id = id or new_id("S")
        self.groups[group_id] = (handle, tuple(members))
        self.changed()
        return group_id

    def dm_of(self, user_id: str) -> str:
        """The id of the direct messages between this person and the bot; opened when there were none."""
        if user_id not in self.dms:
            self.person(user_id)
            channel_id = new_id("D")
            self.dms[user_id] = channel_id
            self.channels[channel_id] = SlackChannel(channel_id, "", False, True, [user_id, self.bot_user])
            self.written[channel_id] = []
            self.changed()
        return self.dms[user_id]

    def adds_file(self, user_id: str, name: str, content: bytes) -> str:
        """The person drops a file into a field of a modal: its id, for `submits`."""
        self.person(user_id)
        file_id = new_id("F")
        self.files[file_id] = {
            "id": file_id,
            "title": name,
            "name": name,
            "size": len(content),
            "content": content,
            "completed": True,
            "user": user_id,
        }
        return file_id

    def deletes_file(self, file_id: str) -> None:
        """The person deletes a file of theirs."""
        self.files[file_id]["deleted"] = True

    def file_content(self, file_id: str) -> bytes:
        """The bytes uploaded under this id."""
        content: bytes = self.files[file_id]["content"]
        return content

    # --- what is on the screen ---

    def messages(self, channel_id: str, *, seen_by: str = "") -> list[SlackMessage]:
        """The channel's messages, oldest first; of those that one person sees only `seen_by`'s."""
        return [message for message in self.written[channel_id] if message.only_for in ("", seen_by)]

    def ephemerals(self, user_id: str) -> list[SlackMessage]:
        """What only this person sees, oldest first."""
        return [m for channel in self.written.values() for m in channel if m.only_for == user_id]

    def modal(self, user_id: str) -> JsonObject | None:
        """The view on top of the person's modals, as the API gives it, or None."""
        stack = self.modals.get(user_id)
        return stack[-1] if stack else None

    def window(self, user_id: str) -> str:
        """The top view as the person sees it, a block a line, with what is entered; "" without one."""
        view = self.modal(user_id)
        return "" if view is None else self._read("\n".join(window_words(view)))

    def modal_errors(self, user_id: str) -> dict[str, str]:
        """What stands under the inputs of the top view, by block id ("": the whole view)."""
        return dict(self.errors.get(user_id, {}))

    def home(self, user_id: str) -> JsonObject | None:
        """The person's App Home as last published, or None."""
        return self.homes.get(user_id)

    def transcript(self, where: str, *, thread_ts: str = "") -> str:
        """A channel, or a person's direct messages with the bot, as seen: buttons in [ ], one message a
        paragraph. With `thread_ts` that message and what was written under it only."""
        channel_id = self.dms.get(where, "") if where in self.users else where
        lines = []
        for message in self.written.get(channel_id, []):
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
        sent = [message for message in self.written[channel_id] if message.bot_id]
        return [
            ping
            for message in sent
            for text in (message.text, *parsed_texts(message.blocks))
            for ping in pattern.findall(text)
        ]

    # --- what somebody sees, or the app may use ---

    def person(self, user_id: str) -> SlackUser:
        """Raises NotOnScreenError where nobody has this id."""
        if user_id not in self.users:
            raise NotOnScreenError(f"no person has the id {user_id}")
        return self.users[user_id]

    def place_seen_by(self, user_id: str, channel_id: str) -> SlackChannel:
        """A channel that this person sees. Raises NotOnScreenError for any other."""
        self.person(user_id)
        channel = self.channels.get(channel_id)
        if channel is None or (user_id not in channel.members and (channel.private or channel.is_im)):
            raise NotOnScreenError(f"{user_id} does not see the channel {channel_id}")
        return channel

    def message_at(self, channel_id: str, ts: str) -> SlackMessage:
        """Raises NotOnScreenError where no such message stands."""
        for message in self.written.get(channel_id, []):
            if message.ts == ts:
                return message
        raise NotOnScreenError(f"no message {ts} in {channel_id}")

    def top_view(self, user_id: str) -> JsonObject:
        """The view on top of the person's modals. Raises NotOnScreenError without one."""
        view = self.modal(user_id)
        if view is None:
            raise NotOnScreenError(f"{user_id} has no modal open")
        return view

    def visible(self, channel: SlackChannel) -> bool:
        """Whether the app sees the channel."""
        return not channel.private or self.bot_user in channel.members

    # --- what happens to it ---

    def append(self, channel_id: str, args: JsonObject, *, only_for: str = "") -> SlackMessage:
        """A message of the app's, with the arguments of chat.postMessage; `only_for` is who alone sees it."""
        message = SlackMessage(
            ts=self.new_ts(),
            user=self.bot_user,
            text=str(args.get("text") or "")[:MAX_TEXT],
            blocks=with_ids(args.get("blocks") or []),
            thread_ts=args.get("thread_ts") or None,
            metadata=args.get("metadata") or None,
            bot_id=self.bot_id,
            only_for=only_for,
        )
        self.written[channel_id].append(message)
        self.changed()
        return message

    def change(self, message: SlackMessage, args: JsonObject) -> None:
        """The message after chat.update: what is not given stays, an empty list of blocks removes them."""
        if args.get("text") is not None:
            message.text = str(args["text"])[:MAX_TEXT]
        if args.get("blocks") is not None:
            message.blocks = with_ids(args["blocks"])
        if args.get("metadata") is not None:
            message.metadata = args["metadata"] or None
        message.edited = {"user": self.bot_user, "ts": self.new_ts()}
        self.changed()

    def push_view(self, user_id: str, view: JsonObject, *, fresh: bool) -> JsonObject:
        """One more view on the person's modals, or in the place of them all when `fresh`; as the API gives it."""
        self._unique_external(view, "")
        stack = self.modals.setdefault(user_id, [])
        if fresh:
            stack.clear()
        made = self._made(view, new_id("V"), stack[-1]["id"] if stack else None)
        made["root_view_id"] = stack[0]["id"] if stack else made["id"]
        stack.append(made)
        self.errors.pop(user_id, None)
        self.changed()
        return made

    def publish_view(self, user_id: str, view: JsonObject) -> JsonObject:
        """The person's Home, as it is from here on."""
        before = self.homes.get(user_id)
        self.homes[user_id] = self._made(view, before["id"] if before else new_id("V"), None)
        self.changed()
        return self.homes[user_id]

    def replace_view(self, user_id: str, index: int, view: JsonObject) -> JsonObject:
        """The view at this place of the person's modals after views.update; what they filled in stays where it fits."""
        old = self.modals[user_id][index]
        self._unique_external(view, old["id"])
        made = self._made(view, old["id"], old["previous_view_id"])
        made["root_view_id"] = old["root_view_id"]
        # what the person already filled in stays where block and action are the same
        for block_id, actions in made["state"]["values"].items():
            for action_id in actions:
                kept = old["state"]["values"].get(block_id, {}).get(action_id)
                if kept is not None and kept["type"] == actions[action_id]["type"]:
                    actions[action_id] = kept
        self.modals[user_id][index] = made
        self.errors.pop(user_id, None)
        self.changed()
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

    def _unique_external(self, view: JsonObject, view_id: str) -> None:
        wanted = view.get("external_id")
        everyone = itertools.chain(*self.modals.values())
        if wanted and any(old["external_id"] == wanted and old["id"] != view_id for old in everyone):
            raise NotOkError("duplicate_external_id")

    def new_trigger(self, user_id: str) -> str:
        """What lets the app open one window for this person, for three seconds."""
        trigger_id = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        self.triggers[trigger_id] = Trigger(user_id, self.clock.now_ms() + TRIGGER_MS, "")
        return trigger_id

    def new_response_url(self, channel_id: str, user_id: str, ts: str) -> str:
        """The last part of an address at which the app may answer this deed, five times within half an hour."""
        token = secrets.token_urlsafe(18)
        until_ms = self.clock.now_ms() + RESPONSE_URL_MS
        self.response_urls[token] = ResponseUrl(channel_id, user_id, ts, until_ms)
        return token

    def new_ts(self) -> str:
        """The time of a message, which no other has."""
        self._last_us = max(self.clock.now_ms() * 1000, self._last_us + 1)
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def changed(self) -> None:
        """Tells everybody in `on_change`."""
        for notify in self.on_change:
            notify()

    # --- as the API gives it ---

    def channel_json(self, channel_id: str) -> JsonObject:
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

    def user_json(self, user: SlackUser, locale: bool) -> JsonObject:
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

    def message_json(self, message: SlackMessage, *, metadata: bool = True) -> JsonObject:
        body: JsonObject = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text}
        if message.bot_id:
            body |= {"bot_id": message.bot_id, "app_id": self.app_id, "team": self.team_id}
        if message.blocks:
            body["blocks"] = copy_of(message.blocks)
        if message.thread_ts:
            body["thread_ts"] = message.thread_ts
        if message.edited:
            body["edited"] = message.edited
        if message.files:
            body["files"] = message.files
        if message.metadata and metadata:
            body["metadata"] = message.metadata
        return body

    def file_json(self, file: JsonObject) -> JsonObject:
        name = str(file["name"])
        address = f"{self.address()}/files-pri/{file['id']}/{quote(name)}"
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


def copy_of(value: Any) -> Any:
    """A value of its own, as JSON would carry it."""
    return json.loads(json.dumps(value))


def new_id(prefix: str) -> str:
    """An id like Slack's: the letter, and ten more."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return prefix + "0" + "".join(secrets.choice(alphabet) for _ in range(9))


def new_uuid() -> str:
    """An id as envelopes have it."""
    raw = secrets.token_hex(16)
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
