"""What there is in the local LINE: the people, their chats with the account, and what of them is on the screen. Nothing
here speaks HTTP.

Times follow the injected clock. Source: https://developers.line.biz/en/reference/messaging-api/ (pages of 2026-08-07).
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from bot.standins.wire import Clock, JsonObject, NotOnScreenError


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


@dataclass(slots=True)
class Chat:
    """A person's chat with the account, oldest first."""

    entries: list[ChatEntry] = field(default_factory=list)
    quick_hidden: bool = True


class Chats:
    """The people of LINE who may have to do with one account.

    Args:
        name: what the account is called in a chat.
    """

    def __init__(self, *, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.users: dict[str, LineUser] = {}
        self.chats: dict[str, Chat] = {}
        self.on_change: list[Callable[[], None]] = []
        self._ids = itertools.count(time.time_ns() // 1000)

    def user(self, user_id: str) -> LineUser:
        """The person with this id.

        Raises:
            NotOnScreenError: there is none.
        """
        if user_id not in self.users:
            raise NotOnScreenError(f"no person has the id {user_id}")
        return self.users[user_id]

    def chat(self, user_id: str) -> list[ChatEntry]:
        """The person's chat, oldest first."""
        return list(self.chats[user_id].entries)

    def quick_replies(self, user_id: str) -> list[JsonObject]:
        """The quick reply items (LINE's JSON) on screen: those of the last message when nothing came after
        it."""
        chat = self.chats[user_id]
        if chat.quick_hidden or not chat.entries or chat.entries[-1].sender == "user":
            return []
        items: list[JsonObject] = (chat.entries[-1].message.get("quickReply") or {}).get("items") or []
        return list(items)

    def tappables(self, user_id: str) -> list[Tappable]:
        """Every postback button the person could tap, oldest first: of any message (they stay), and quick
        replies."""
        chat = self.chats[user_id]
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
        chat, user = self.chats[user_id], self.users[user_id]
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

    def entry(self, message_id: str) -> ChatEntry | None:
        """The bubble with this id, in whichever chat it is."""
        found = (entry for chat in self.chats.values() for entry in chat.entries)
        return next((entry for entry in found if entry.id == message_id), None)

    def append(
        self,
        user_id: str,
        sender: Literal["bot", "user"],
        message: JsonObject,
        via: Literal["reply", "push", "user"],
        *,
        quiet: bool = False,
    ) -> str:
        """A new bubble, and its id; `quiet` leaves it to the caller to tell of the change."""
        chat = self.chats[user_id]
        entry = ChatEntry(str(next(self._ids)), self.clock.now_ms(), sender, message, via)
        chat.entries.append(entry)
        chat.quick_hidden = sender == "user"
        if not quiet:
            self.changed()
        return entry.id

    def show(self, user_id: str, messages: list[JsonObject], via: Literal["reply", "push"]) -> list[JsonObject]:
        """Puts the messages into the chat unless the person blocked the account; LINE answers the same
        either way."""
        sent = []
        for message in messages:
            entry_id = str(next(self._ids))
            if not self.users[user_id].blocked:
                entry_id = self.append(user_id, "bot", message, via, quiet=True)
            sent.append(self.sent(entry_id))
        self.changed()
        return sent

    def sent(self, message_id: str = "") -> JsonObject:
        """How LINE tells the sender of a message; without an id, of one that nobody was shown."""
        return {"id": message_id or str(next(self._ids)), "quoteToken": secrets.token_urlsafe(24)}

    def changed(self) -> None:
        """Tells everybody who watches the screens."""
        for notify in self.on_change:
            notify()


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
