"""Answers that were given together: one sitting is the session of a talk, or one filled-in form of a file.

Drivers and the look for careless answers need the answers of one person side by side; everything else of the room
counts question by question. No I/O, no "today".

Source: docs/metrics.md ("What moves the recommendation", "Whether the answers can be trusted").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from reports.answers.file import Row
from reports.metrics import InstrumentSpec, parse_value
from reports.values import Parsed
from storage.records import Answer


class Words(NamedTuple):
    """How a question was asked. Answers to different words are never put together."""

    wording_id: str
    label_set: str


class Reply(NamedTuple):
    """What was said to one question of a scale or of yes and no; `code` is None when it was left out."""

    code: int | None
    words: Words
    at_ms: int


@dataclass(slots=True)
class Sitting:
    """The answers of one person in one go."""

    customer: str
    """"" when unknown: such a sitting counts for itself."""
    session: str
    survey_kind: str
    touchpoint: str
    lang: str
    channel: str
    replies: dict[str, Reply] = field(default_factory=dict)
    """Instrument → the latest reply to it."""
    segment: str = ""

    @property
    def at_ms(self) -> int:
        """When the latest of the replies was given."""
        return max((reply.at_ms for reply in self.replies.values()), default=0)

    def reply(self, instrument: str, reply: Reply) -> None:
        """Take one reply; of two to the same question the later counts, and a valid one before one left out."""
        before = self.replies.get(instrument)
        if before is None or (before.code is None, reply.at_ms) >= (reply.code is None, before.at_ms):
            self.replies[instrument] = reply


Together = tuple[str, str, str, str]
"""Customer, session or time, kind of survey, touchpoint: what rows of one sitting have in common."""


def together(row: Row) -> Together | None:
    """Rows of a file belong together by `session`; without one, by customer and time. None: a row with neither is with
    nobody."""
    session = row.session or (f"@{row.answered_at}" if row.customer and row.answered_at else "")
    return (row.customer, session, row.survey_kind, row.touchpoint) if session else None


class Sittings:
    """Rows of a file in, the sittings with an anchor out. Holds one entry for each row of these, however many others
    there are: what else was answered beside an anchor is told in a second look at the file."""

    def __init__(self, anchor: Callable[[str], bool], wanted: Callable[[str], bool]) -> None:
        self._anchor = anchor
        self._wanted = wanted
        self._sittings: dict[Together, Sitting] = {}
        self._words: dict[Words, Words] = {}

    def begin(self, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        """One row in the first look: an anchor begins a sitting, or stands in one that was begun."""
        if self._anchor(instrument) and parsed.kind != "invalid" and (key := together(row)) is not None:
            sitting = self._sittings.get(key)
            if sitting is None:
                sitting = self._sittings[key] = Sitting(*key, row.lang, row.channel)
            self._reply(sitting, row, instrument, parsed, at_ms)

    def join(self, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        """One row in the second look: other wanted instruments, in sittings with an anchor."""
        if self._wanted(instrument) and not self._anchor(instrument) and parsed.kind != "invalid":
            key = together(row)
            if key is not None and (sitting := self._sittings.get(key)) is not None:
                self._reply(sitting, row, instrument, parsed, at_ms)

    def _reply(self, sitting: Sitting, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        words = Words(row.wording_id, row.label_set)
        sitting.reply(instrument, Reply(parsed.code, self._words.setdefault(words, words), at_ms))

    def __bool__(self) -> bool:
        return bool(self._sittings)

    def __iter__(self) -> Iterator[Sitting]:
        return iter(self._sittings.values())


def sittings_of(answers: Iterable[Answer], specs: Mapping[str, InstrumentSpec]) -> list[Sitting]:
    """The sittings of stored answers, in order of their sessions' first appearance.

    Invalid values, selections of several and instruments without a spec are no replies.
    """
    found: dict[str, Sitting] = {}
    for answer in answers:
        if answer.replaced_ms is not None:
            continue
        sitting = found.get(answer.session_id)
        if sitting is None:
            sitting = found[answer.session_id] = Sitting(
                answer.customer_id,
                answer.session_id,
                answer.survey_kind,
                answer.touchpoint,
                answer.lang,
                answer.channel,
                segment=answer.segment,
            )
        spec = specs.get(answer.instrument)
        if spec is None or spec.kind == "multi":
            continue
        parsed = parse_value(spec, "" if answer.missing else answer.value)
        if parsed.kind != "invalid":
            words = Words(answer.wording_id, answer.label_set)
            sitting.reply(answer.instrument, Reply(parsed.code, words, answer.answered_ms))
    return list(found.values())
