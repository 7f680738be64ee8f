"""What a chat platform is to Koe: it parses (pure), renders (pure) and sends (awaits). Inbound and Delivery are
values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from flows.exchange import Ask, Content, Media, Record, Say, Tap, Typed, Unsent

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Followed:
    """The customer added the account, or took a block back."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The customer blocked the account: nothing reaches them any more."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that asks nothing of Koe; it is noted and counted. `kind` is its type as the platform names it."""

    kind: str


class Inbound(msgspec.Struct, frozen=True):
    """One thing that happened on a platform, addressed to one customer's conversation."""

    channel: Literal["line", "slack"]
    workspace: str
    """LINE: `destination`; Slack: team id. Equal ids of two workspaces are two different addresses."""
    event_id: str
    """Unique within (channel, workspace); a repeated one does nothing."""
    at_ms: int
    """When it happened, by the platform's clock: the only ordering key."""
    external_id: str
    """The customer's address on the platform ("" when the platform does not say)."""
    content: Content | Followed | Blocked | Ignored
    session_id: str = ""
    """Named by a button; empty for words."""
    message_id: str = ""
    reply_token: str = ""
    standby: bool = False
    """LINE: another module owns the chat; the event is stored and nothing is sent."""
    raw: bytes = b""
    """The event as received, for the relay to the shop's own tools (LINE only)."""

    def dump(self) -> str:
        """As JSON text, for `parse`: an event that could not be digested is kept so."""
        row = msgspec.structs.asdict(self)
        row["content"] = [type(self.content).__name__, self.content]
        return msgspec.json.encode(row).decode()

    @classmethod
    def parse(cls, text: str) -> Inbound:
        """The event that `dump` wrote.

        >>> event = Inbound("line", "U0", "e1", 1, "U1", Typed("9点"), raw=b"{}")
        >>> Inbound.parse(event.dump()) == event
        True
        """
        row = msgspec.json.decode(text)
        kind, content = row["content"]
        row["content"] = msgspec.convert(content, _CONTENTS[kind])
        row["raw"] = msgspec.convert(row["raw"], bytes)
        return cls(**row)


_CONTENTS: dict[str, type] = {c.__name__: c for c in (Typed, Tap, Media, Unsent, Followed, Blocked, Ignored)}


class Turn(msgspec.Struct, frozen=True):
    """What Koe says after one step, at most two bubbles, in order; with what was just recorded, for channels whose
    earlier messages can be updated to the chosen value (Slack)."""

    session_id: str
    lang: str
    bubbles: tuple[Say | Ask, ...]
    recorded: tuple[Record, ...] = ()
    shown: Mapping[str, Ask] = msgspec.field(default_factory=dict)
    """The recorded questions as they are asked, by id: what an updated message keeps of its question (Slack)."""


class Outgoing(msgspec.Struct, frozen=True):
    """One call to a platform, with all that it says."""

    payload: JsonObject
    """What `send` is given: this very object, or after a restart what was stored."""
    asks: str = ""
    """The question this message asks: its reference (Slack ts) is kept so that the message can be updated later."""
    updates: str = ""
    """The question whose message this call updates: the worker hands over the kept reference as `ref`."""
    stored: str = ""
    """The payload as JSON text, where a channel stores it more compactly than it is; "" for plain JSON of it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The platform accepted it (accepted is not delivered). `ref` names the message on the platform: Slack "C…:ts"."""

    ref: str = ""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Certainly not sent; try again, not before `after_s` seconds when the platform said so. `pause` says that the
    whole endpoint must wait, not this message alone."""

    reason: str
    after_s: float | None = None
    pause: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Certainly not sent and never will be. `scope` says what is refused: this message, everything to this address
    (blocked, unknown), pushes until the limit changes (monthly quota), or the whole channel (dead token)."""

    reason: str
    scope: Literal["message", "address", "push", "channel"] = "message"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether it was sent and asking is impossible: never sent again by itself. With `retry` the same call
    is safe to repeat (retry key, single-use token, look-up)."""

    reason: str
    retry: bool


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Certainly not sent: when it could have been, it was no longer wanted."""


Delivery = Sent | RetryLater | Refused | Unknown | Withdrawn

Wanted = Callable[[], bool]
"""Whether a message is still to be sent: a look at the store, for who has waited."""


def always() -> bool:
    """Wanted by nobody who could change their mind."""
    return True


class Channel(Protocol):
    """LINE and Slack, to the conversation and to the worker."""

    name: str

    def render(self, turn: Turn, *, external_id: str, reply_token: str, at_ms: int) -> Sequence[Outgoing]:
        """The calls that show this turn. Pure. `reply_token` is "" when there is none; `at_ms` is its age's zero."""
        ...

    def render_answered(self, question: str, answer: str) -> Outgoing | None:
        """The call by which a message sent earlier shows what was chosen instead of its buttons; None where messages
        stay as they were sent. Pure."""
        ...

    async def send(
        self, payload: JsonObject, *, job_id: str, attempt: int, now_ms: int, ref: str = "", wanted: Wanted = always
    ) -> Delivery:
        """Make the call once, never twice, within 15 s. `attempt` counts from 1; `job_id` is a UUID and serves as
        LINE's retry key and Slack's metadata key. What is not owed to a customer's answer asks `wanted` when it could
        not go out at once. Never raises for what a network or a platform does."""
        ...
