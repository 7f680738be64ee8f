"""What a conversation is told, and what it tells the world to do: inputs carry their time, outputs are complete.

`Value` and `QuestionKind` are defined beside the questions: a code of a scale (int), the code of a choice or of
yes/no (str), the codes of a multi-select (tuple, in the order of the question's choices), the words of a free text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from flows.questions import QuestionKind, Value

# --------------------------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True)
class Typed:
    """Words the customer wrote (plain text, already unescaped)."""

    text: str


@dataclass(frozen=True, slots=True)
class Tap:
    """A button: the `node` and `value` of the Choice that was shown."""

    node: str
    value: str


@dataclass(frozen=True, slots=True)
class Media:
    """Something that is not words: a sticker (with its own words, if any), a photo, a voice message …"""

    kind: Literal["sticker", "photo", "other"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Unsent:
    """The customer took a message back: its words must go from the answer it was part of."""

    message_id: str
    text: str = ""
    """What the message says now, where a customer can edit (Slack); "" when it is gone."""


Content = Typed | Tap | Media | Unsent


@dataclass(frozen=True, slots=True)
class Dates:
    """Promises and dates in words, in the session's language, as they stand at the time of the input."""

    reply_by: str
    """With its preposition: 「11月24日（火）18:00まで」, "by Tue 24 Nov, 18:00"."""
    later: str
    """The day on which an invitation put off is repeated: 「11月24日（火）」."""
    again: str
    """The day on which a customer who has not used the item yet is asked again."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the conversation: the first question goes out with the invitation."""

    at_ms: int
    local_date: date
    """The day of the first question where the customer lives; decides `weeks: even|odd`."""
    first_contact: bool = False
    """True adds the sentence about storage and consent (copy `inv.first`)."""
    sample: float = 0.0
    """0 ≤ sample < 1, drawn by the caller once per session: seeds the order of randomised choices."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Something the customer did."""

    at_ms: int
    content: Content
    dates: Dates
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Elapsed:
    """A timer asked for by Wake, or one of the caller's own: "remind", "expire"."""

    at_ms: int
    timer: str
    dates: Dates


@dataclass(frozen=True, slots=True)
class Stop:
    """The world ends the conversation: nothing is said, what was collected so far is recorded."""

    at_ms: int
    reason: Literal["voided", "opted_out", "erased", "blocked", "superseded"]


Input = Begin | Reply | Elapsed | Stop

# -------------------------------------------------------------------------------------------------------- outputs


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to tap. A tap comes back as Tap(node, value).

    `node` is a question id, a node of the conversation ("@exit", "@later", "@contact", "@inquiry", "@control"), or
    "@rights" for what belongs to the person rather than to the survey (the caller handles those: unsubscribe, erase …).
    """

    label: str
    node: str
    value: str
    tap_text: str = ""
    """What the chat shows as the customer's words after the tap; the label when empty."""


@dataclass(frozen=True, slots=True)
class Say:
    """A bubble that asks nothing of a question; `choices` are offered with it."""

    text: str
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to be shown in one bubble (again, if it was shown before)."""

    question: str
    kind: QuestionKind
    text: str
    """The question itself; for the first question without the invitation, which is `intro`."""
    intro: str = ""
    """What comes before the question in the same bubble: invitation, "no problem", correction, repeat …"""
    low: str = ""
    high: str = ""
    """The words at the two ends of a numeric scale, with their numbers: 「0：全く薦めない」."""
    choices: tuple[Choice, ...] = ()
    controls: tuple[Choice, ...] = ()
    """Skip, decide, take one back, pass to a person: what every question offers beside its choices."""
    exits: tuple[Choice, ...] = ()
    small: str = ""
    """Small and grey, below."""
    small_choices: tuple[Choice, ...] = ()
    """Answer later, stop surveys."""
    chosen: Value | None = None
    """The present answer: codes chosen so far in a multi-select, or the answer being corrected."""
    alt: str = ""
    """The notification line: no item, no score, no words of the customer."""
    invitation: bool = False
    """True for the first bubble of a session."""
    shared: bool = False
    """True when nothing in it comes from this customer but the choices they made: a rendering may be kept and shown to
    others."""

    def __hash__(self) -> int:
        # renderings are kept by question: its many choices need not be gone through to find one
        return hash((self.question, self.intro, self.text))


@dataclass(frozen=True, slots=True)
class Record:
    """An answer: it replaces the counted answer of the same question in this session, which stays in the history."""

    question: str
    value: Value | None
    """None: the customer left the question out; `missing` says how."""
    missing: Literal["", "skipped", "dk"] = ""
    shown_ms: int = 0
    late: bool = False
    message_ids: tuple[str, ...] = ()
    label: str = ""
    """The answer in the customer's language as they saw it: 「8点」, 「やや満足」; what a channel shows as chosen."""


@dataclass(frozen=True, slots=True)
class Retract:
    """An earlier answer is no longer on the path: it stops counting and stays in the history."""

    question: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Give back Elapsed(timer) at `at_ms`; a later Wake of the same timer replaces the earlier one."""

    timer: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class OpenCase:
    """Somebody must look after this customer."""

    reason: Literal["unhappy", "undelivered", "unsolved", "request", "person", "contact", "photo", "trust_drop"]
    words: str = ""
    promised: bool = False
    """True when the customer was told a time ({reply_by})."""


@dataclass(frozen=True, slots=True)
class CaseSettled:
    """The reason for a case has gone: the customer corrected a mis-tap, or does not want contact."""

    reason: Literal["corrected", "no_contact"]


@dataclass(frozen=True, slots=True)
class Defer:
    """Ask this customer again on another day, with a new session ("later": put off, "unused": not used yet), or not
    at all ("never")."""

    kind: Literal["later", "unused", "never"]


@dataclass(frozen=True, slots=True)
class EraseAnswers:
    """The customer wants the answers of this session gone ([ここまでの回答を消す] after やめる)."""


@dataclass(frozen=True, slots=True)
class End:
    """The conversation is over, in the words of the survey profession."""

    outcome: Literal[
        "completed", "break_off", "exited", "expired", "voided", "opted_out", "erased", "blocked", "superseded"
    ]


@dataclass(frozen=True, slots=True)
class NotOurs:
    """What the customer sent has nothing to do with the survey that waits: it belongs to the shop's people and tools,
    and the conversation stands where it stood."""


Output = Say | Ask | Record | Retract | Wake | OpenCase | CaseSettled | Defer | EraseAnswers | NotOurs | End
