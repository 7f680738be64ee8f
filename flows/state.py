"""Where one conversation stands, as a value and as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from flows.questions import Value
from flows.texts import Lang

Phase = Literal["new", "asking", "inquiry", "done"]
Outcome = Literal[
    "", "completed", "break_off", "exited", "expired", "voided", "opted_out", "erased", "blocked", "superseded"
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded answer as the state keeps it."""

    value: Value | None
    missing: str
    shown_ms: int
    at_ms: int
    message_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bubble:
    """One bubble of a free text."""

    message_id: str
    at_ms: int
    text: str


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@dataclass(slots=True)
class State:
    """Where one conversation stands. To everybody but the engine it is a value: `step` never changes the one given."""

    lang: Lang
    vars: dict[str, str]
    facts: dict[str, object]
    phase: Phase = "new"
    outcome: Outcome = ""
    parity: int = 0
    seed: float = 0.0
    n: int = 0
    """Questions on the longest path, as promised in the invitation."""
    at: str = ""
    """The question that waits for an answer."""
    answers: dict[str, Recorded] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None
    """Codes chosen so far in the multi-select that waits."""
    tries: int = 0
    """Unreadable replies to the question that waits."""
    noise: int = 0
    """Replies of the whole session that were no answers (see NOISE_LIMIT)."""
    parts: tuple[Bubble, ...] = ()
    """Bubbles of the free text being written."""
    due_ms: int = 0
    """When that free text closes."""
    kept: dict[str, tuple[Bubble, ...]] = field(default_factory=dict)
    """Bubbles of recorded free texts, by question: one may still be taken back, or come late."""
    unhappy: bool = False
    """A case was opened because of the answers."""
    case: bool = False
    """Any case was opened."""
    promised: bool = False
    """The customer was told that somebody will write."""
    contact: Literal["", "offered", "yes", "no"] = ""
    last: str = ""
    """The last words that could not be read, for the member of staff who is asked for."""
    photo_ms: int = 0
    ended_ms: int = 0
    reminded_ms: int = 0
    """When the invitation was repeated; 0: it was not."""
    _opening: str = field(default="", repr=False, compare=False)
    """How the text begins: what never changes once the first question was asked."""

    def dump(self) -> str:
        """The state as text, for storage."""
        opening = self._opening or _to_json([2, self.lang, self.vars, self.facts])[:-1]
        if self.phase != "new":
            self._opening = opening
        rest = _to_json(
            [
                self.phase,
                self.outcome,
                self.parity,
                self.seed,
                self.n,
                self.at,
                {q: [g.value, g.missing, g.shown_ms, g.at_ms, g.message_ids] for q, g in self.answers.items()},
                self.shown,
                self.chosen,
                self.tries,
                self.noise,
                [[p.message_id, p.at_ms, p.text] for p in self.parts],
                self.due_ms,
                {q: [[p.message_id, p.at_ms, p.text] for p in parts] for q, parts in self.kept.items()},
                self.unhappy,
                self.case,
                self.promised,
                self.contact,
                self.last,
                self.photo_ms,
                self.ended_ms,
                self.reminded_ms,
            ]
        )
        return f"{opening},{rest[1:]}"

    @classmethod
    def parse(cls, text: str) -> State:
        """The state that was dumped.

        Raises:
            ValueError: the text is no state of this version (an erased session has none: "").
        """
        try:
            version, *fields = json.loads(text)
            if version == 1:  # knew nothing of reminders
                fields.append(0)
            elif version != 2:
                raise ValueError(f"a conversation's state of version {version}; this program reads up to version 2")
            (
                lang,
                variables,
                facts,
                phase,
                outcome,
                parity,
                seed,
                n,
                at,
                answers,
                shown,
                chosen,
                tries,
                noise,
                parts,
                due_ms,
                kept,
                unhappy,
                case,
                promised,
                contact,
                last,
                photo_ms,
                ended_ms,
                reminded_ms,
            ) = fields
            return cls(
                lang,
                variables,
                facts,
                phase,
                outcome,
                parity,
                seed,
                n,
                at,
                {
                    q: Recorded(tuple(v) if type(v) is list else v, missing, shown_ms, at_ms, tuple(ids))
                    for q, (v, missing, shown_ms, at_ms, ids) in answers.items()
                },
                shown,
                None if chosen is None else tuple(chosen),
                tries,
                noise,
                tuple(Bubble(*part) for part in parts),
                due_ms,
                {q: tuple(Bubble(*part) for part in found) for q, found in kept.items()},
                unhappy,
                case,
                promised,
                contact,
                last,
                photo_ms,
                ended_ms,
                reminded_ms,
            )
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a conversation's state: {error}") from error

    def copy(self) -> State:
        return State(
            self.lang,
            self.vars,
            self.facts,
            self.phase,
            self.outcome,
            self.parity,
            self.seed,
            self.n,
            self.at,
            dict(self.answers),
            dict(self.shown),
            self.chosen,
            self.tries,
            self.noise,
            self.parts,
            self.due_ms,
            dict(self.kept),
            self.unhappy,
            self.case,
            self.promised,
            self.contact,
            self.last,
            self.photo_ms,
            self.ended_ms,
            self.reminded_ms,
            self._opening,
        )
