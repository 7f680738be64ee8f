"""Surveys as values: what a definition file may say, every problem of all files in one go, and the resolved flow.

A flow is *resolved* when it is loaded: instruments, wordings and texts are copied into it, and the hash of the result
is its revision. Sessions pin a revision; `Library.flow_from` brings an old one back exactly as it was asked.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from flows.conditions import Condition
from flows.questions import QuestionKind, Reader, Value
from flows.source import DefinitionErrors, Path, Plain, Problem, Source
from flows.texts import LANGS, Deck, Lang, Template, quote, template_problems
from flows.triggers import DAY_MS, Span

SurveyKind = Literal["transactional", "relational"]
_M = TypeVar("_M", bound=BaseModel)

# ------------------------------------------------------------------------------------------------ what files may say

_ID = r"[a-z][a-z0-9_]{0,39}"
_Id = Annotated[str, Field(pattern=f"^{_ID}$")]
_Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$", coerce_numbers_to_str=True)]
_Words = Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(_Model):
    """Words in both languages."""

    ja: _Words
    en: _Words


class Anchors(_Model):
    """The words at the two ends of a numeric scale."""

    low: Text
    high: Text


class ChoiceWords(_Model):
    """One choice: its code and its words."""

    value: _Code
    text: Text


class Variant(_Model):
    """Other words for the same instrument: another wording id."""

    text: Text
    note: Text | None = None


class Battery(_Model):
    """The place of a scale among the items that make an index together; how they are put together is known to reports.

    The items of a battery share one scale, and stand in a file in their order.
    """

    id: _Id
    index: _Id
    pair: _Id | None = None
    """A part of the index that has a score of its own."""
    reverse: bool = False
    """A high answer lowers the index."""
    weight: float | None = Field(None, ge=0, le=1)
    """Its share of the index: with weights, which add up to 1, the index is made of complete answers only; without,
    of at least half of the items, all equal."""


class Instrument(_Model):
    """A question with standard wording and scoring. Scoring sets are data for reports."""

    id: _Id
    name: Text
    kind: QuestionKind
    text: Text
    low: int = 0
    high: int = 0
    anchors: Anchors | None = None
    labels: dict[int, Text] = {}
    label_set: str = ""
    order: Literal["ascending", "descending"] = "ascending"
    choices: tuple[ChoiceWords, ...] = ()
    exclusive: str = ""
    other: str = ""
    shuffle: bool = False
    positive: tuple[int | str, ...] = ()
    negative: tuple[int | str, ...] = ()
    statistic: Literal["net", "top2", "mean", "share", "distribution"] = "distribution"
    better: Literal["high", "low"] = "high"
    unhappy: Literal["satisfaction", "effort", "ease", "nps"] | None = None
    feelings: bool = False
    battery: Battery | None = None
    wording: str = ""
    variants: dict[str, Variant] = {}
    note: Text | None = None
    small: str = ""
    source: str = ""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Instrument:
        _check_kind(self.kind, self.low, self.high, self.labels, self.choices, self.exclusive, self.other)
        if self.kind == "scale":
            outside = [
                value for value in (*self.positive, *self.negative) if value not in range(self.low, self.high + 1)
            ]
            if outside:
                raise ValueError(f"positive/negative name {outside[0]!r}, which is not on the scale")
        elif self.battery is not None:
            raise ValueError(f"`battery` belongs to a scale, not to {self.kind}")
        return self


class QuestionFile(_Model):
    """One question of a flow: a standard instrument, or an own `type` with its own words."""

    id: _Id
    instrument: str | None = None
    type: QuestionKind | None = None
    variant: str | None = None
    text: Text | None = None
    note: Text | None = None
    low: int | None = None
    high: int | None = None
    anchors: Anchors | None = None
    labels: dict[int, Text] = {}
    order: Literal["ascending", "descending"] | None = None
    choices: tuple[ChoiceWords, ...] = ()
    exclusive: str = ""
    other: str = ""
    shuffle: bool | None = None
    small: str = ""
    when: Condition | None = None
    weeks: Literal["even", "odd"] | None = None
    vars: dict[str, str | Text] = {}
    optional: bool = True
    """False takes the skip button away; the word 「スキップ」 always works."""
    part: int = Field(1, ge=1)
    """In which session of a wave it is asked."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> QuestionFile:
        if (self.instrument is None) == (self.type is None):
            raise ValueError(f"question `{self.id}` needs either `instrument` or `type`")
        if self.type is not None:
            if self.text is None:
                raise ValueError(f"own question `{self.id}` needs a `text`")
            if self.variant is not None:
                raise ValueError(f"`variant` belongs to an instrument, and `{self.id}` has none")
            low, high = self.low or 0, self.high or 0
            _check_kind(self.type, low, high, self.labels, self.choices, self.exclusive, self.other)
        return self


class EndingFile(_Model):
    """What is said at the end to whom; the first that fits is taken."""

    when: Condition | None = None
    say: str | Text


def _instrument_alone(value: object) -> object:
    return {"instrument": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class BlockItem(_Model):
    """One question of a block."""

    instrument: str
    when: Condition | None = None


class Block(_Model):
    """Questions about touchpoints that are always asked together, so that they can be weighed against each other."""

    when: Condition | None = None
    """The events it fits; every event without it."""
    items: Annotated[tuple[Annotated[BlockItem, BeforeValidator(_instrument_alone)], ...], Field(min_length=1)]


class BlocksFile(_Model):
    """The blocks of a flow: one of those that fit the event is asked after its questions."""

    ask: Annotated[tuple[_Id, ...], BeforeValidator(_listed), Field(min_length=1)]
    sample: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the sessions in which a block is asked."""


class WaveFile(_Model):
    """A survey that is asked in several sessions (`part` of its questions), days apart."""

    gap: Span = 3 * DAY_MS
    """From the end of one session to the next."""
    invite: str | Text = "inv.wave.next"
    """Of every session after the first."""


class FlowFile(_Model):
    """A survey as its author writes it (design: "A flow file")."""

    id: _Id
    name: Text | None = None
    survey_kind: SurveyKind
    touchpoint: _Id
    invite: str | Text
    alt: str | Text | None = None
    """The notification line; `alt.X` of the deck belongs to `inv.X`."""
    exits: tuple[_Id, ...] = ()
    wave: WaveFile | None = None
    questions: tuple[QuestionFile, ...] = Field(min_length=1)
    blocks: BlocksFile | None = None
    endings: tuple[EndingFile, ...] = Field(min_length=1)


def _check_kind(
    kind: QuestionKind,
    low: int,
    high: int,
    labels: Mapping[int, Text],
    choices: Sequence[ChoiceWords],
    exclusive: str,
    other: str,
) -> None:
    if kind == "scale":
        if not 0 <= low < high <= 10:
            raise ValueError(f"a scale needs 0 ≤ low < high ≤ 10, not {low} and {high}")
        if labels and set(labels) != set(range(low, high + 1)):
            raise ValueError(f"labels must name every code from {low} to {high}, or be left out")
        if choices:
            raise ValueError("a scale has `labels`, not `choices`")
        return
    if labels or low or high:
        raise ValueError(f"`low`, `high` and `labels` belong to a scale, not to {kind}")
    values = [choice.value for choice in choices]
    if len(set(values)) != len(values):
        raise ValueError("two choices have the same value")
    if kind in ("choice", "multi") and not 2 <= len(values) <= (10 if kind == "multi" else 13):
        raise ValueError(f"{kind} needs 2 to {10 if kind == 'multi' else 13} choices, not {len(values)}")
    if kind == "yes_no" and values and set(values) != {"yes", "no"}:
        raise ValueError("the choices of yes_no have the values yes and no (quoted or not)")
    if kind == "text" and values:
        raise ValueError("a text question has no choices")
    for name, value in (("exclusive", exclusive), ("other", other)):
        if value and (kind != "multi" or value not in values):
            raise ValueError(f"`{name}: {value}` is not one of the choices of a multi question")


def flow_json_schema() -> dict[str, object]:
    """The JSON Schema of a flow file, for editors that complete and check."""
    schema = FlowFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Koe flow", **schema}


# ------------------------------------------------------------------------------------------------ values


@dataclass(frozen=True, slots=True)
class Rules:
    """The shop's limits (koe.yaml `unhappy`) and the conversation's own."""

    satisfaction_max: int | None = 2
    """Of a 1–5 scale; twice as much on a 1–10 scale. None turns the rule off."""
    effort_min: int | None = 6
    """Of 1–7; the ease scale mirrors it."""
    nps_max: int | None = 4
    words: tuple[str, ...] = ()
    """Words in a comment that make it a request, besides the built-in patterns."""
    retry_limit: int = 2
    text_quiet_ms: int = 5000
    text_max: int = 1000
    """Characters kept of a free text."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is settled about a session before its first question, and holds to its end."""

    parity: int = 0
    """Of its week: 0 even, 1 odd."""
    part: int = 1
    """Which session of its wave it is."""
    block: str = ""
    """The block that is asked; "" when none is."""

    def has(self, question: Question) -> bool:
        """Whether this question can be asked in such a session."""
        return (
            question.part == self.part
            and question.block in ("", self.block)
            and not (question.weeks and (question.weeks == "odd") != bool(self.parity))
        )


class Question:
    """One question, resolved. `wordings` holds its words by language."""

    __slots__ = (
        "_joiner",
        "block",
        "codes",
        "exclusive",
        "feelings",
        "follows",
        "high",
        "id",
        "instrument",
        "kind",
        "label_set",
        "low",
        "name",
        "optional",
        "other",
        "part",
        "reader",
        "shuffle",
        "unhappy",
        "vars",
        "weeks",
        "when",
        "wording_id",
        "wordings",
    )

    def __init__(self, data: Mapping[str, Plain], deck: Deck) -> None:
        self.id = str(data["id"])
        self.instrument = str(data["instrument"])
        self.name = cast("dict[str, str]", data["name"])
        self.kind = cast("QuestionKind", data["kind"])
        self.low = int(cast("int", data["low"]))
        self.high = int(cast("int", data["high"]))
        self.wording_id = str(data["wording"])
        self.label_set = str(data["label_set"])
        self.exclusive = str(data["exclusive"])
        self.other = str(data["other"])
        self.shuffle = bool(data["shuffle"])
        self.unhappy = str(data["unhappy"] or "")
        self.feelings = bool(data["feelings"])
        self.optional = bool(data["optional"])
        self.follows = str(data["follows"])
        """For the words asked after 「その他」: the question they belong to, else ""."""
        self.when: Condition | None = Condition.parse(data["when"]) if data["when"] is not None else None
        self.weeks = str(data["weeks"] or "")
        self.part = int(cast("int", data.get("part", 1)))
        self.block = str(data.get("block", ""))
        raw_vars = cast("dict[str, dict[Lang, str]]", data["vars"])
        self.vars: dict[str, dict[Lang, Template]] = {
            name: {lang: Template(words[lang]) for lang in LANGS} for name, words in raw_vars.items()
        }
        choices = cast("list[dict[str, Plain]]", data["choices"])
        if self.kind == "scale":
            self.codes: tuple[int | str, ...] = tuple(range(self.low, self.high + 1))
        elif self.kind == "yes_no" and not choices:
            self.codes = ("yes", "no")
        else:
            self.codes = tuple(str(choice["value"]) for choice in choices)
        skipped = {lang: deck.text("label.skipped", lang) if deck.has("label.skipped") else "—" for lang in LANGS}
        self._joiner = {lang: (deck.text("label.joiner", lang), skipped[lang]) for lang in LANGS}
        self.wordings: dict[Lang, Wording] = {lang: Wording(self, data, deck, lang) for lang in LANGS}
        labels: dict[int | str, list[str]] = {code: [] for code in self.codes}
        numbered = not data["labels"]
        for wording in self.wordings.values():
            for code in self.codes:
                if self.kind != "scale" or not numbered:
                    labels[code].append(wording.labels[code])
            if wording.ends:
                labels[self.low].append(wording.ends[0])
                labels[self.high].append(wording.ends[1])
        self.reader = Reader(
            self.kind,
            low=self.low,
            high=self.high,
            labels=labels,
            numbered=numbered,
            exclusive=self.exclusive,
            other=self.other,
        )

    @property
    def numeric(self) -> bool:
        """Whether its values are countable: everything but free text."""
        return self.kind != "text"

    @property
    def scale(self) -> tuple[int, int] | None:
        """(low, high) of a scale, inclusive; None for other kinds."""
        return (self.low, self.high) if self.kind == "scale" else None

    def name_in(self, lang: str) -> str:
        """What the question is called: the instrument's name, or an own question's words."""
        return self.name[lang]

    def label_of(self, value: str, lang: str) -> str:
        """A stored value in words: "8" → 8点, "relief;trust" → 安心感、信頼; free text as it is.

        "" (missing) is 「回答なし」.
        """
        if not value:
            return self._joiner[cast("Lang", lang)][1]
        labels = self.wordings[cast("Lang", lang)].labels
        if self.kind == "text":
            return value
        codes = [int(code) if self.kind == "scale" and code.isdigit() else code for code in value.split(";")]
        return self._joiner[cast("Lang", lang)][0].join(labels.get(code, str(code)) for code in codes)

    def allows(self, value: object) -> bool:
        """Whether this can be recorded as its answer."""
        if self.kind == "scale":
            return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high
        if self.kind == "text":
            return isinstance(value, str) and bool(value.strip())
        if self.kind == "multi":
            return (
                isinstance(value, tuple)
                and bool(value)
                and value == tuple(code for code in self.codes if code in value)
                and (not self.exclusive or self.exclusive not in value or len(value) == 1)
            )
        return isinstance(value, str) and value in self.codes

    def from_code(self, code: str) -> Value | None:
        """The answer a button's value stands for (a single code, also for multi-select); None when there is none."""
        if self.kind == "scale":
            number = int(code) if code.isascii() and code.isdigit() and len(code) < 4 else -1
            return number if self.low <= number <= self.high else None
        return code if self.kind != "text" and code in self.codes else None


class Wording:
    """A question in one language."""

    __slots__ = ("buttons", "ends", "high", "labels", "low", "note", "quoted", "small", "text")

    def __init__(self, question: Question, data: Mapping[str, Plain], deck: Deck, lang: Lang) -> None:
        self.text = Template(_in(data["text"], lang))
        self.note = Template(_in(data["note"], lang)) if data["note"] else None
        self.small = Template(_in(data["small"], lang)) if data["small"] else None
        self.ends: tuple[str, str] | None = None
        self.low = self.high = ""
        self.labels: dict[int | str, str] = {}
        """Code → the answer in words: 「8点」, 「やや満足」."""
        self.buttons: tuple[tuple[int | str, str, str], ...]
        """(code, label, tap text) in the order of the instrument."""
        labels = cast("dict[str, dict[Lang, str]]", data["labels"])
        codes = list(question.codes)
        if question.kind == "scale":
            anchors = cast("dict[str, dict[Lang, str]] | None", data["anchors"])
            if anchors and not labels:
                self.ends = (anchors["low"][lang], anchors["high"][lang])
                colon = "：" if lang == "ja" else ": "
                self.low = f"{question.low}{colon}{self.ends[0]}"
                self.high = f"{question.high}{colon}{self.ends[1]}"
            for code in codes:
                points = deck.template("label.points", lang).fill({"value": str(code)})
                self.labels[code] = labels[str(code)][lang] if labels else points
            if data["order"] == "descending":
                codes.reverse()
            self.buttons = tuple((c, self.labels[c] if labels else str(c), self.labels[c]) for c in codes)
        else:
            for choice in cast("list[dict[str, Plain]]", data["choices"]):
                self.labels[str(choice["value"])] = _in(choice["text"], lang)
            if question.kind == "yes_no" and not self.labels:
                self.labels = {code: deck.text(f"label.{code}", lang) for code in ("yes", "no")}
            self.buttons = tuple((code, self.labels[code], self.labels[code]) for code in codes)
        self.quoted: dict[int | str, str] = {code: quote(deck, lang, [label]) for code, label in self.labels.items()}
        """Code → the answer inside a sentence: 「8点」 without marks for a number, a label in 「」."""
        if question.kind == "scale" and not labels:
            self.quoted = self.labels


def _in(words: Plain, lang: Lang) -> str:
    return cast("dict[str, str]", words)[lang]


@dataclass(frozen=True, slots=True)
class Exit:
    """A button on the first bubble that leaves the survey, and what is said then."""

    id: str
    labels: Mapping[Lang, str]
    texts: Mapping[Lang, Template]


@dataclass(frozen=True, slots=True)
class Ending:
    """What is said at the end. `apology` offers contact."""

    when: Condition | None
    say: str
    apology: bool
    texts: Mapping[Lang, Template]


@dataclass(frozen=True, slots=True)
class Wave:
    """How the sessions of a survey follow each other."""

    parts: int
    """Number of sessions, 2 or 3."""
    gap_ms: int
    """From the end of one session to the next."""
    invite: Mapping[Lang, Template]
    """Of every session after the first."""
    alt: Mapping[Lang, Template]


@dataclass(eq=False)
class Flow:
    """A survey that can be asked. Compare by `revision`."""

    id: str
    revision: str
    """12 hex digits: hash of the resolved definition."""
    name: Mapping[Lang, str]
    survey_kind: SurveyKind
    touchpoint: str
    questions: tuple[Question, ...]
    exits: tuple[Exit, ...]
    endings: tuple[Ending, ...]
    invite: Mapping[Lang, Template]
    alt: Mapping[Lang, Template]
    deck: Deck
    rules: Rules
    wave: Wave | None = None
    """None for a survey of one session."""
    blocks: Mapping[str, Condition | None] = field(default_factory=dict)
    """Block → the events it fits (None: all); one of them is asked."""
    block_sample: float = 0.0
    """Share of the sessions in which a block is asked."""
    languages: tuple[Lang, ...] = LANGS
    fact_names: frozenset[str] = frozenset()
    """Dotted names of event data that conditions and texts speak of: all that a session must keep."""
    _definition: str = ""
    _by_id: dict[str, Question] = field(default_factory=dict)
    cache: dict[object, object] = field(default_factory=dict, repr=False)
    """What the engine works out once per flow and language."""

    def definition(self) -> str:
        """The resolved definition as JSON, all wording included; `Library.flow_from` reads it back."""
        return self._definition

    def question(self, question_id: str) -> Question:
        """The question with this id.

        Raises:
            KeyError: the flow has no such question.
        """
        return self._by_id[question_id]

    def name_in(self, lang: str) -> str:
        """What the survey is called, for staff."""
        return self.name[cast("Lang", lang)]

    def find(self, question_id: str) -> Question | None:
        """The question with this id, or None."""
        return self._by_id.get(question_id)

    def longest(self, course: Course, facts: Mapping[str, object], counts: Callable[[Question], bool]) -> int:
        """The number of questions for which `counts` is true on the longest path of such a session."""
        return max(
            sum(1 for question in path if counts(question))
            for path in _paths(self.questions, course, {name: facts.get(name) for name in self.fact_names})
        )

    @property
    def parts(self) -> int:
        """In how many sessions it is asked: 1 but for waves."""
        return 1 if self.wave is None else self.wave.parts

    def courses(self) -> Iterator[Course]:
        """Every course that a session of this survey can take."""
        for parity in (0, 1):
            for part in range(1, self.parts + 1):
                for block in ("", *self.blocks):
                    yield Course(parity, part, block)


@dataclass(frozen=True, slots=True)
class Library:
    """Everything that was loaded: flows by id, instruments by id, all texts."""

    flows: Mapping[str, Flow]
    instruments: Mapping[str, Instrument]
    blocks: Mapping[str, Block]
    deck: Deck
    rules: Rules
    arms: Mapping[tuple[str, str], Flow] = field(default_factory=dict)
    """(experiment, arm) → the survey that the arm asks."""

    def read_flow(self, source: Source, texts: Mapping[str, Text] | None = None) -> Flow:
        """One more flow file, read with this library's texts and instruments; the library stays as it is.

        Args:
            source: The file.
            texts: Other words for texts of the deck, in this flow only: they become part of its definition.

        Raises:
            DefinitionErrors: with every problem of the file.
        """
        problems: list[Problem] = []
        flow = _load_flow(source, self, problems, texts=texts)
        if flow is None:
            raise DefinitionErrors(problems)
        return flow

    def flow_from(self, definition: str) -> Flow:
        """The flow of a stored revision, exactly as it was asked (sentences around the questions are today's).

        Raises:
            ValueError: the text is not a definition written by `Flow.definition`.
        """
        try:
            data = json.loads(definition)
            return _build_flow(data, self.deck, self.rules)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a stored flow definition: {error}") from error


# ------------------------------------------------------------------------------------------------ loading

NEEDED_TEXTS = (
    "alt.question",
    "back",
    "back.first",
    "between",
    "button.continue_without",
    "button.done",
    "button.erase_session",
    "button.go_on",
    "button.later",
    "button.never",
    "button.person",
    "button.remove_one",
    "button.skip",
    "button.stop_here",
    "button.unsubscribe",
    "closed.button",
    "contact.no",
    "contact.no.label",
    "contact.yes",
    "contact.yes.label",
    "end.apology",
    "end.apology.promised",
    "erase.done",
    "fix.done",
    "fix.resume",
    "help",
    "inv.first",
    "inv.later",
    "inv.reminder",
    "inv.small",
    "label.joiner",
    "label.no",
    "label.points",
    "label.quoted",
    "label.yes",
    "late",
    "multi.added",
    "multi.done",
    "multi.empty",
    "multi.none",
    "multi.other",
    "multi.removed",
    "photo.got",
    "range.choice",
    "range.scale",
    "range.yes_no",
    "retry.1",
    "retry.2",
    "retry.over",
    "retry.person",
    "same",
    "skip",
    "sticker",
    "stop",
    "text.got",
    "text.inquiry",
    "unsub.ask",
    "unsub.news.label",
    "unsub.no.label",
    "unsub.yes.label",
)
"""The ids of the copy deck the engine speaks with, besides those a flow names."""

GIVEN = frozenset(
    {
        "name",
        "company",
        "item",
        "brand",
        "team",
        "staff",
        "here",
        "expires",
        "date",
        "privacy_url",
        "retention",
        "support_hours",
        "n",
        "i",
        "part",
        "parts",
        "reply_by",
    }
)
"""Blanks a question, an invitation or an ending may use without declaring them (copy: Variables)."""

_DERIVED: Mapping[str, tuple[object, ...]] = {
    "unhappy": (True, False),
    "open_case": (True, False),
    "lang": LANGS,
    "part": (1, 2, 3),
}
"""Names a condition may use besides questions and event data, and what they can be."""


def load_library(
    *,
    deck: Sequence[Source],
    instruments: Sequence[Source],
    blocks: Sequence[Source],
    flows: Sequence[Source],
    rules: Rules,
) -> Library:
    """Everything the files define.

    Raises:
        DefinitionErrors: with every problem of all files.
    """
    problems: list[Problem] = []
    texts = _load_deck(deck, problems)
    known = _load_instruments(instruments, texts, problems)
    built: dict[str, Flow] = {}
    library = Library(built, known, _load_blocks(blocks, known, problems), texts, rules)
    missing = [text_id for text_id in NEEDED_TEXTS if not texts.has(text_id)]
    if missing:
        where = deck[0].name if deck else "copy deck"
        problems.append(Problem(where, 0, f"the copy deck lacks {', '.join(missing)}"))
    seen: dict[str, Source] = {}
    for source in flows:
        flow_id = str(source.data.get("id"))
        if flow_id in seen:
            problems.append(source.problem(("id",), f"flow `{flow_id}` is also defined in {seen[flow_id].name}"))
            continue
        seen[flow_id] = source
        flow = _load_flow(source, library, problems) if not missing else None
        if flow is not None:
            built[flow.id] = flow
    if problems:
        raise DefinitionErrors(problems)
    return library


def _load_flow(
    source: Source, library: Library, problems: list[Problem], *, texts: Mapping[str, Text] | None = None
) -> Flow | None:
    """The flow of one file, or None with its problems noted: all of them, whatever the first ones are."""
    before = len(problems)
    file = _validate(FlowFile, source.data, source, (), problems)
    unread = _Unread()
    if file is None:
        # what else is wrong with it is named in the same go: read it as if these mistakes were mended
        file = _mended(source.data, unread)
    if file is None:
        return None
    own: dict[str, dict[Lang, str]] = {key: {"ja": text.ja, "en": text.en} for key, text in (texts or {}).items()}
    spoken = replace(library, deck=library.deck.over(own))
    resolved = _Resolver(file, source, spoken, problems, unread).resolve()
    if own:
        resolved["texts"] = cast("Plain", own)
    flow = _build_flow(resolved, library.deck, library.rules)
    problems += _check_flow(flow, file, source, library.instruments, unread)
    return None if len(problems) > before else flow


def _load_deck(sources: Sequence[Source], problems: list[Problem]) -> Deck:
    texts: dict[str, dict[Lang, str]] = {}
    origin: dict[str, str] = {}
    for source in sources:
        for text_id, words in source.data.items():
            text = _validate(Text, words, source, (text_id,), problems)
            if text is None:
                continue
            if text_id in texts:
                problems.append(source.problem((text_id,), f"text `{text_id}` also stands in {origin[text_id]}"))
            origin[text_id] = source.name
            texts[text_id] = {"ja": text.ja, "en": text.en}
            _check_texts(text, source, (text_id,), problems)
    return Deck(texts)


def _check_texts(text: Text, source: Source, path: Path, problems: list[Problem]) -> None:
    for lang, raw in (("ja", text.ja), ("en", text.en)):
        problems += [source.problem((*path, lang), f"{lang}: {message}") for message in template_problems(raw)]


def _load_instruments(sources: Sequence[Source], deck: Deck, problems: list[Problem]) -> dict[str, Instrument]:
    known: dict[str, Instrument] = {}
    first_items: dict[str, Instrument] = {}
    weights: dict[tuple[str, str], list[float | None]] = {}
    for source in sources:
        for instrument_id, body in source.data.items():
            path = (instrument_id,)
            if not isinstance(body, dict):
                problems.append(source.problem(path, f"instrument `{instrument_id}` needs a mapping"))
                continue
            instrument = _validate(Instrument, {**body, "id": instrument_id}, source, path, problems)
            if instrument is None:
                continue
            if instrument_id in known:
                problems.append(source.problem(path, f"instrument `{instrument_id}` is defined twice"))
            if instrument.battery is not None:
                first = first_items.setdefault(instrument.battery.id, instrument)
                weights.setdefault((instrument.battery.id, instrument.battery.index), []).append(
                    instrument.battery.weight
                )
                if (first.low, first.high) != (instrument.low, instrument.high):
                    message = f"an item of `{instrument.battery.id}` needs the scale of `{first.id}`"
                    problems.append(source.problem((*path, "battery"), f"{message}: {first.low} to {first.high}"))
            if instrument.small and not deck.has(instrument.small):
                problems.append(source.problem((*path, "small"), f"the copy deck has no text `{instrument.small}`"))
            for key, text in (("text", instrument.text), ("note", instrument.note)):
                if text:
                    _check_texts(text, source, (*path, key), problems)
            for name, variant in instrument.variants.items():
                _check_texts(variant.text, source, (*path, "variants", name, "text"), problems)
            known[instrument_id] = instrument
    for (battery, index), given in weights.items():
        if any(weight is not None for weight in given) and (
            None in given or abs(sum(weight or 0.0 for weight in given) - 1.0) > 1e-9
        ):
            message = f"the weights of index `{index}` of `{battery}` must stand at every item and add up to 1"
            item = first_items[battery].id
            source = next(source for source in sources if item in source.data)
            problems.append(source.problem((item, "battery"), message))
    return known


def _load_blocks(
    sources: Sequence[Source], instruments: Mapping[str, Instrument], problems: list[Problem]
) -> dict[str, Block]:
    known: dict[str, Block] = {}
    for source in sources:
        for block_id, body in source.data.items():
            path: Path = (block_id,)
            if not re.fullmatch(_ID, block_id):
                message = f"`{block_id}` is no name of a block: a small letter, then small letters, digits and _"
                problems.append(source.problem(path, message))
            block = _validate(Block, body, source, path, problems)
            if block is None:
                continue
            if block_id in known:
                problems.append(source.problem(path, f"block `{block_id}` is defined twice"))
            known[block_id] = block
            for index, item in enumerate(block.items):
                if item.instrument not in instruments:
                    message = f"block `{block_id}`: {_unknown('instrument', item.instrument, instruments)}"
                    problems.append(source.problem((*path, "items", index), message))
            conditions = [((*path, "when"), block.when)]
            conditions += [((*path, "items", index, "when"), item.when) for index, item in enumerate(block.items)]
            for where, condition in conditions:
                for name in sorted(condition.names() if condition else ()):
                    if "." not in name:
                        message = f"block `{block_id}` depends on `{name}`; it knows event data only (order.amount)"
                        problems.append(source.problem(where, message))
    return known


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")


def _validate(model: type[_M], data: object, source: Source, path: Path, problems: list[Problem]) -> _M | None:
    """The model, or None with its problems noted at their lines."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if found["loc"][-1:] == ("str",):
                continue  # a text by key or written out: the other half of the union says what is wrong
            where = (*path, *(step for step in found["loc"] if isinstance(step, str | int)))
            problems.append(
                source.problem(_known_path(source, where), _sentence(found["type"], found["loc"], found["msg"]))
            )
        return None


@dataclass(slots=True)
class _Unread:
    """What of a broken file is not known, and must not be judged."""

    questions: set[str] = field(default_factory=set)
    """Their kind is unknown: any answer may be compared with them, and nobody knows whether they count."""
    conditions: bool = False
    """A `when` could not be read: how many questions a customer meets is unknown."""


_MENDING_ROUNDS = 4
_ANYTIME: Plain = {"lang": {"in": list(LANGS)}}
"""Stands in for a condition that cannot be read: holds always, yet is one."""
_STAND_INS: Mapping[str, Plain] = {
    "id": "unnamed",
    "survey_kind": "relational",
    "touchpoint": "unnamed",
    "invite": {"ja": "？", "en": "?"},
    "questions": [{"id": "unnamed", "type": "text", "text": {"ja": "？", "en": "?"}}],
    "endings": [{"say": {"ja": "？", "en": "?"}}],
}


def _mended(data: Mapping[str, Plain], unread: _Unread) -> FlowFile | None:
    """A flow file that cannot be read, with stand-ins for what is broken; None when too little of it is left."""
    mended: dict[str, Plain] = copy.deepcopy(dict(data))
    for _ in range(_MENDING_ROUNDS):
        try:
            return FlowFile.model_validate(mended)
        except ValidationError as error:
            for found in reversed(error.errors(include_url=False)):
                _mend(mended, found["type"], [step for step in found["loc"] if step not in _UNION_STEPS], unread)
    return None


def _mend(mended: dict[str, Plain], kind: str, steps: list[int | str], unread: _Unread) -> None:
    """Put a stand-in where one mistake is, as small as possible."""
    if not steps:
        return
    *above, last = steps
    place: object = mended
    for step in above:
        if isinstance(place, dict):
            place = place.get(step)
        elif isinstance(place, list) and isinstance(step, int) and step < len(place):
            place = place[step]
    if isinstance(place, dict) and kind == "extra_forbidden":
        place.pop(last, None)
    elif isinstance(place, dict) and kind == "missing" and last in LANGS:
        place[str(last)] = next((words for words in place.values() if isinstance(words, str)), "?")
    elif isinstance(place, dict) and last == "when":
        unread.conditions = True
        place["when"] = _ANYTIME
    elif steps[0] == "questions" and len(steps) > 1:
        questions = mended["questions"]
        index = steps[1]
        if isinstance(questions, list) and isinstance(index, int) and index < len(questions):
            questions[index] = _unreadable(questions[index], index, unread)
    elif isinstance(place, dict) and steps[0] in ("wave", "blocks") and last in place and above:
        place.pop(last)
    elif steps[0] in _STAND_INS:
        unread.conditions = unread.conditions or steps[0] == "endings"
        mended[str(steps[0])] = copy.deepcopy(_STAND_INS[str(steps[0])])
    else:
        mended.pop(str(steps[0]), None)


def _unreadable(question: Plain, index: int, unread: _Unread) -> Plain:
    """A question whose name and words are known, and what it depends on, but not its kind."""
    written = question if isinstance(question, dict) else {}
    name = str(written.get("id", ""))
    if not re.fullmatch(_ID, name):
        name = f"unnamed{index + 1}"
    unread.questions.add(name)
    words = written.get("text")
    spoken = isinstance(words, dict) and words.keys() == set(LANGS) and all(isinstance(w, str) for w in words.values())
    stand_in: dict[str, Plain] = {"id": name, "type": "text", "text": words if spoken else {"ja": "？", "en": "?"}}
    part = written.get("part")
    if isinstance(part, int) and part >= 1:
        stand_in["part"] = part
    if "when" in written:
        stand_in["when"] = written["when"]
    return stand_in


def _known_path(source: Source, path: Path) -> Path:
    """The path without the steps that pydantic adds for unions, which stand in no file."""
    real: Path = ()
    for step in path:
        if (*real, step) in source.lines or (*real, str(step)) in source.lines:
            real = (*real, step if (*real, step) in source.lines else str(step))
    return real


_FIELDS = sorted(
    {
        name
        for model in (
            *(QuestionFile, FlowFile, EndingFile, WaveFile, BlocksFile, Block, BlockItem),
            *(Instrument, Battery, ChoiceWords, Variant, Anchors, Text),
        )
        for name in model.model_fields
    }
)


_UNION_STEPS = ("str", "Text")
"""What pydantic puts into a path for the alternatives of `str | Text`."""


def _sentence(kind: str, loc: tuple[int | str, ...], message: str) -> str:
    loc = tuple(step for step in loc if step not in _UNION_STEPS)
    name = loc[-1] if loc and isinstance(loc[-1], str) else ""
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        return f"unknown key `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")
    if kind == "missing":
        if name in LANGS:
            return f"the translation `{name}` is missing"
        return f"`{name}` is missing"
    if kind in ("model_type", "dict_type"):
        return f"`{name}` needs a mapping such as {{ja: …, en: …}}" if name else "a mapping is needed here"
    return f"`{name}`: {message.removeprefix('Value error, ')}" if name else message.removeprefix("Value error, ")


# ------------------------------------------------------------------------------------------------ resolving


def _both(text: Text) -> dict[str, Plain]:
    return {"ja": text.ja, "en": text.en}


def _mark(content: object) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:6]


class _Resolver:
    """Makes the resolved definition of one flow file, noting what it refers to in vain."""

    def __init__(
        self, file: FlowFile, source: Source, library: Library, problems: list[Problem], unread: _Unread
    ) -> None:
        self._file = file
        self._source = source
        self._deck = library.deck
        self._instruments = library.instruments
        self._blocks = library.blocks
        self._problems = problems
        self._unread = unread

    def resolve(self) -> dict[str, Plain]:
        """The definition; with problems noted, one with stand-ins for what is not known."""
        file = self._file
        questions: list[Plain] = []
        seen: set[str] = set()
        for index, question in enumerate(file.questions):
            path = ("questions", index)
            if question.id in seen:
                self._note((*path, "id"), f"two questions are called `{question.id}`")
            seen.add(question.id)
            questions += self._question(question, path)
        blocks = self._of_blocks(questions)
        invite = self._words(file.invite, ("invite",))
        alt = self._words(file.alt or self._alt_of(file.invite), ("alt",))
        exits: list[Plain] = []
        for index, name in enumerate(file.exits):
            at = ("exits", index)
            label, text = self._words(f"exit.{name}.label", at), self._words(f"exit.{name}", at)
            if name not in ("undelivered", "unused", "unsolved"):
                self._note(at, f"`{name}` is no exit; there are undelivered, unused and unsolved")
            exits.append({"id": name, "label": label, "text": text})
        endings: list[Plain] = [
            {
                "when": cast("Plain", ending.when.data) if ending.when else None,
                "say": ending.say if isinstance(ending.say, str) else "",
                "text": self._words(ending.say, ("endings", index, "say")),
            }
            for index, ending in enumerate(file.endings)
        ]
        return {
            "v": 1,
            "id": file.id,
            "name": _both(file.name) if file.name else {"ja": file.id, "en": file.id},
            "survey_kind": file.survey_kind,
            "touchpoint": file.touchpoint,
            "invite": invite,
            "alt": alt,
            "exits": exits,
            "questions": questions,
            "endings": endings,
            # left out where they say nothing: the revision of a survey names what is asked, not what could be
            **blocks,
            **self._wave(),
        }

    def _alt_of(self, invite: str | Text) -> str:
        """The notification line that belongs to an invitation."""
        key = "alt." + invite.removeprefix("inv.") if isinstance(invite, str) else ""
        return key if self._deck.has(key) else "alt.question"

    def _wave(self) -> dict[str, Plain]:
        file = self._file
        parts = max(question.part for question in file.questions)
        if file.wave is None and parts == 1:
            return {}
        wave = file.wave or WaveFile()
        path: Path = ("wave", "invite")
        words = {"invite": self._words(wave.invite, path), "alt": self._words(self._alt_of(wave.invite), path)}
        return {"wave": {"parts": parts, "gap_ms": wave.gap, **words}}

    def _of_blocks(self, questions: list[Plain]) -> dict[str, Plain]:
        """The flow's blocks; their items are added to its questions."""
        wanted = self._file.blocks
        if wanted is None:
            return {}
        fits: dict[str, Plain] = {}
        for index, name in enumerate(wanted.ask):
            path: Path = ("blocks", "ask", index)
            block = self._blocks.get(name)
            if block is None:
                self._note(path, _unknown("block", name, self._blocks))
                continue
            fits[name] = cast("Plain", block.when.data) if block.when else None
            for item in block.items:
                if item.instrument in self._instruments:
                    # pydantic would refuse the dot, which keeps these ids apart from a flow's own
                    asked = QuestionFile.model_construct(
                        id=f"{name}.{item.instrument}", instrument=item.instrument, when=item.when
                    )
                    questions += [{**resolved, "block": name} for resolved in self._question(asked, path)]
        return {"blocks": fits, "block_sample": wanted.sample}

    def _question(self, question: QuestionFile, path: Path) -> list[dict[str, Plain]]:
        base: Instrument | None = None
        if question.instrument is not None:
            base = self._instruments.get(question.instrument)
            if base is None:
                message = _unknown("instrument", question.instrument, self._instruments)
                self._note((*path, "instrument"), message)
                self._unread.questions.add(question.id)
                said = question.text or Text(ja="？", en="?")
                stand_in = {"type": "text", "instrument": None, "variant": None, "text": said, "choices": ()}
                return self._question(question.model_copy(update=stand_in), path)
        own_scale = (
            question.low,
            question.high,
            question.labels or None,
            question.anchors,
            question.choices or None,
        )
        if base and any(part is not None for part in (question.low, question.high, question.choices or None)):
            self._note(
                path,
                f"`{question.id}` changes the scale of `{base.id}`; make it an own question (`type`) instead",
            )
            question = question.model_copy(update={"choices": ()})
        variant: Variant | None = None
        if base and question.variant is not None:
            variant = base.variants.get(question.variant)
            if variant is None:
                names = ", ".join(base.variants) or "none"
                self._note((*path, "variant"), f"`{base.id}` has no variant `{question.variant}` (it has: {names})")
        text = question.text or (variant.text if variant else None) or (base.text if base else None)
        assert text is not None
        note = question.note or (variant.note if variant else None) or (base.note if base else None)
        labels = question.labels or (base.labels if base else {})
        anchors = question.anchors or (base.anchors if base else None)
        choices = question.choices or (base.choices if base else ())
        small = question.small or (base.small if base else "")
        if small and not self._deck.has(small):
            self._note((*path, "small"), f"the copy deck has no text `{small}`")
            small = ""
        for key, words in (("text", question.text), ("note", question.note)):
            if words is not None:
                _check_texts(words, self._source, (*path, key), self._problems)
        kind: QuestionKind = base.kind if base else cast("QuestionKind", question.type)
        if base is None:
            wording = f"{question.id}.{_mark([_both(text), [str(part) for part in own_scale]])}"
            label_set = ""
        else:
            wording = base.wording or base.id
            if variant is not None and question.variant:
                wording = f"{base.id}.{question.variant}"
            if question.text or question.anchors or question.note:
                wording += "." + _mark(
                    [_both(w) for w in (question.text, question.note) if w] + [str(question.anchors)]
                )
            label_set = base.label_set
            if question.labels:
                label_set = "own." + _mark({str(code): _both(label) for code, label in question.labels.items()})
        other = question.other or (base.other if base else "")
        resolved: dict[str, Plain] = {
            "id": question.id,
            "instrument": base.id if base else "",
            "name": _both(base.name if base else text),
            "kind": kind,
            "low": (base.low if base else question.low) or 0,
            "high": (base.high if base else question.high) or 0,
            "text": _both(text),
            "note": _both(note) if note else None,
            "small": self._words(small, path) if small else None,
            "anchors": {"low": _both(anchors.low), "high": _both(anchors.high)} if anchors else None,
            "labels": {str(code): _both(label) for code, label in labels.items()},
            "label_set": label_set,
            "order": question.order or (base.order if base else "ascending"),
            "choices": [{"value": choice.value, "text": _both(choice.text)} for choice in choices],
            "exclusive": question.exclusive or (base.exclusive if base else ""),
            "other": other,
            "shuffle": question.shuffle if question.shuffle is not None else (base.shuffle if base else False),
            "unhappy": base.unhappy if base else None,
            "feelings": base.feelings if base else False,
            "wording": wording,
            "when": cast("Plain", question.when.data) if question.when else None,
            "weeks": question.weeks,
            "vars": self._vars(question, path),
            "optional": question.optional,
            "follows": "",
            **({"part": question.part} if question.part > 1 else {}),
        }
        if not other:
            return [resolved]
        # 「その他」 asks for words: a text question of its own, right behind, only when it was chosen.
        follow_up: dict[str, Plain] = {
            **resolved,
            "id": f"{question.id}.other",
            "instrument": f"{base.id}.other" if base else "",
            "kind": "text",
            "text": self._words("multi.other", path),
            "note": None,
            "small": None,
            "anchors": None,
            "labels": {},
            "label_set": "",
            "choices": [],
            "exclusive": "",
            "other": "",
            "shuffle": False,
            "unhappy": None,
            "feelings": False,
            "wording": "multi.other",
            "name": self._words("multi.other", path),
            "when": {question.id: other},
            "weeks": None,
            "vars": {},
            "follows": question.id,
        }
        return [resolved, follow_up]

    def _vars(self, question: QuestionFile, path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for name, words in question.vars.items():
            both = words if isinstance(words, Text) else Text(ja=words, en=words)
            _check_texts(both, self._source, (*path, "vars", name), self._problems)
            found[name] = _both(both)
        return found

    def _words(self, words: str | Text, path: Path) -> dict[str, Plain]:
        if isinstance(words, Text):
            _check_texts(words, self._source, path, self._problems)
            return _both(words)
        if not self._deck.has(words):
            close = difflib.get_close_matches(words, self._deck.ids(), n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            self._note(path, f"the copy deck has no text `{words}`{hint}")
            return {"ja": words, "en": words}
        return {lang: self._deck.template(words, lang).raw for lang in LANGS}

    def _note(self, path: Path, message: str) -> None:
        self._problems.append(self._source.problem(path, message))


def _build_flow(data: Mapping[str, Plain], deck: Deck, rules: Rules) -> Flow:
    definition = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    deck = deck.over(cast("dict[str, dict[Lang, str]]", data.get("texts", {})))
    questions = tuple(Question(cast("dict[str, Plain]", item), deck) for item in cast("list[Plain]", data["questions"]))
    endings = tuple(
        Ending(
            Condition.parse(item["when"]) if item["when"] is not None else None,
            str(item["say"]),
            str(item["say"]).startswith("end.apology"),
            _templates(item["text"]),
        )
        for item in cast("list[dict[str, Plain]]", data["endings"])
    )
    exits = tuple(
        Exit(str(item["id"]), cast("dict[Lang, str]", item["label"]), _templates(item["text"]))
        for item in cast("list[dict[str, Plain]]", data["exits"])
    )
    names = {name for question in questions if question.when for name in question.when.names()}
    names |= {name for ending in endings if ending.when for name in ending.when.names()}
    for question in questions:
        names |= {name for words in question.vars.values() for lang in LANGS for name in words[lang].blanks}
        names |= {name for lang in LANGS for name in question.wordings[lang].text.blanks}
    by_id = {question.id: question for question in questions}
    blocks = {
        name: Condition.parse(when) if when is not None else None
        for name, when in cast("dict[str, Plain]", data.get("blocks", {})).items()
    }
    names |= {name for when in blocks.values() if when for name in when.names()}
    wave: Wave | None = None
    if "wave" in data:
        said = cast("dict[str, Plain]", data["wave"])
        invite, alt = _templates(said["invite"]), _templates(said["alt"])
        wave = Wave(cast("int", said["parts"]), cast("int", said["gap_ms"]), invite, alt)
    return Flow(
        id=str(data["id"]),
        revision=hashlib.sha256(definition.encode()).hexdigest()[:12],
        name=cast("dict[Lang, str]", data["name"]),
        survey_kind=cast("SurveyKind", data["survey_kind"]),
        touchpoint=str(data["touchpoint"]),
        questions=questions,
        exits=exits,
        endings=endings,
        invite=_templates(data["invite"]),
        alt=_templates(data["alt"]),
        deck=deck,
        rules=rules,
        wave=wave,
        blocks=blocks,
        block_sample=float(cast("float", data.get("block_sample", 0.0))),
        fact_names=frozenset(name for name in names if "." in name and name not in by_id),
        _definition=definition,
        _by_id=by_id,
    )


def _templates(words: Plain) -> dict[Lang, Template]:
    return {lang: Template(_in(words, lang)) for lang in LANGS}


# ------------------------------------------------------------------------------------------------ checking a flow

MOST_WORLDS = 20_000
MOST_PARTS = 3
MOST_ITEMS = 7
"""Of batteries, in one session of a wave."""
WAVE_MS = 14 * DAY_MS
"""From the first answer of a wave to its last: what is further apart is not one look at things."""
_LIMITS: Mapping[SurveyKind, int] = {"transactional": 5, "relational": 8}


def _candidates(question: Question) -> tuple[object, ...]:
    """Answers that tell apart every condition on this question; None is "no answer"."""
    if question.kind == "text":
        return (None, "…")
    if question.kind == "multi":
        several = tuple(code for code in question.codes if code != question.exclusive)
        return (None, *((code,) for code in question.codes), several)
    return (None, *question.codes)


def _worlds(
    questions: Sequence[Question],
    names: frozenset[str],
    fixed: Mapping[str, object],
    unread: frozenset[str] = frozenset(),
) -> Iterator[dict[str, object]]:
    """Every combination of answers and facts that the named conditions can tell apart, at most MOST_WORLDS."""
    by_id = {question.id: question for question in questions}
    conditions = [question.when for question in questions if question.when]
    options: list[tuple[object, ...]] = []
    ordered = sorted(names)
    for name in ordered:
        if name in by_id and name not in unread:
            options.append(_candidates(by_id[name]))
        elif name in fixed:
            options.append((fixed[name],))
        elif name in _DERIVED and name not in by_id:
            options.append(_DERIVED[name])
        else:
            literals = [value for condition in conditions for value in condition.literals(name)]
            around: list[object] = [None]
            for value in literals:
                around += [value - 1, value, value + 1] if isinstance(value, int | float) else [value]
            options.append(tuple(dict.fromkeys(around)))
    for values in itertools.islice(itertools.product(*options), MOST_WORLDS):
        yield dict(zip(ordered, values, strict=True))


def _paths(
    questions: Sequence[Question],
    course: Course,
    fixed: Mapping[str, object],
    unread: frozenset[str] = frozenset(),
) -> Iterator[tuple[Question, ...]]:
    asked_here = [question for question in questions if course.has(question)]
    names = frozenset(name for question in asked_here if question.when for name in question.when.names())
    ids = {question.id for question in questions}
    for world in _worlds(questions, names, {**fixed, "part": course.part}, unread):
        path: list[Question] = []
        asked: dict[str, object] = {name: value for name, value in world.items() if value is not None}
        facts = {name: value for name, value in asked.items() if name not in ids}
        for question in asked_here:
            if question.when is None or question.when.holds(facts):
                path.append(question)
                if question.id in asked:
                    facts[question.id] = asked[question.id]
        yield tuple(path)


def _check_flow(
    flow: Flow, file: FlowFile, source: Source, instruments: Mapping[str, Instrument], unread: _Unread
) -> Iterator[Problem]:
    order = {question.id: index for index, question in enumerate(file.questions)}
    astray: set[str] = set()
    """Questions that depend on what cannot be known: whether they are ever asked is not asked."""
    for index, question in enumerate(file.questions):
        for name in sorted(question.when.names() if question.when else ()):
            message = _bad_name(name, order, index, f"question `{question.id}`")
            if not message and name in order and file.questions[order[name]].part != question.part:
                message = f"question `{question.id}` depends on `{name}`, which is asked in another session"
            if message:
                astray.add(question.id)
                yield source.problem(("questions", index, "when"), message)
        yield from _check_blanks(flow.question(question.id), order, index, source, own=question.text is not None)
    for index, ending in enumerate(file.endings):
        for name in sorted(ending.when.names() if ending.when else ()):
            message = _bad_name(name, order, len(order), "an ending")
            if message:
                yield source.problem(("endings", index, "when"), message)
        if ending.when is None and index < len(file.endings) - 1:
            yield source.problem(("endings", index + 1), "this ending is never reached: the one above has no `when`")
            break
    if file.endings[-1].when is not None and not unread.conditions:
        yield source.problem(
            ("endings", len(file.endings) - 1),
            "the last ending must have no `when`: it is for everybody else",
        )
    if len(set(file.exits)) != len(file.exits):
        yield source.problem(("exits",), "an exit stands twice")
    yield from _check_wave(flow, file, source, instruments)
    yield from _check_paths(flow, file, source, unread, astray)


def _bad_name(name: str, order: Mapping[str, int], index: int, whose: str) -> str:
    if name in order:
        if order[name] < index:
            return ""
        return f"{whose} depends on `{name}`, which is not asked before it"
    if "." in name or name in _DERIVED:
        return ""
    close = difflib.get_close_matches(name, list(order), n=1)
    hint = f"; did you mean `{close[0]}`?" if close else " (event data has a dot: order.amount)"
    return f"{whose} depends on `{name}`, and there is no such question{hint}"


def _check_blanks(
    question: Question, order: Mapping[str, int], index: int, source: Source, *, own: bool
) -> Iterator[Problem]:
    for lang in LANGS:
        for key, template in (
            ("text", question.wordings[lang].text),
            *((f"vars.{n}", w[lang]) for n, w in question.vars.items()),
        ):
            path: Path = ("questions", index, *key.split(".", 1))
            for name in sorted(template.blanks):
                if name in order and order[name] >= index:
                    yield source.problem(
                        path, f"{{{name}}} recalls a question that is not asked before `{question.id}`"
                    )
                elif name not in order and "." not in name and name not in GIVEN and name not in question.vars:
                    if key == "text" and not own and name not in template.required:
                        continue  # an instrument knows what to say where a flow gives nothing
                    yield source.problem(path, f"unknown blank {{{name}}} in `{question.id}`")
                elif key == "text" and name in template.required and (name in order or "." in name):
                    yield source.problem(
                        path, f"{{{name}}} may be missing; write {{{name}|other words}} in `{question.id}`"
                    )


def _check_wave(flow: Flow, file: FlowFile, source: Source, instruments: Mapping[str, Instrument]) -> Iterator[Problem]:
    wave = flow.wave
    if wave is None:
        return
    if wave.parts == 1:
        yield source.problem(("wave",), "a wave has several sessions; give questions `part: 2`, or remove `wave`")
    if file.wave is None:
        index = next(index for index, question in enumerate(file.questions) if question.part > 1)
        yield source.problem(
            ("questions", index, "part"), "`part` splits a survey into sessions; say how they follow: wave: {gap: 3d}"
        )
    if wave.parts > MOST_PARTS:
        index = next(index for index, question in enumerate(file.questions) if question.part > MOST_PARTS)
        message = f"session {file.questions[index].part} of a wave that may have {MOST_PARTS}"
        yield source.problem(("questions", index, "part"), message)
    elif wave.gap_ms * (wave.parts - 1) >= WAVE_MS:
        message = f"{wave.parts} sessions so far apart do not fit into the {WAVE_MS // DAY_MS} days of a wave"
        yield source.problem(("wave", "gap"), message)
    before = 0
    for index, question in enumerate(file.questions):
        if question.part not in (before, before + 1):
            message = f"question `{question.id}` is of session {question.part}; sessions are numbered in their order"
            yield source.problem(("questions", index, "part"), message)
        before = question.part
    for part in range(1, wave.parts + 1):
        items = [
            question
            for question in flow.questions
            if question.part == part and question.instrument in instruments and instruments[question.instrument].battery
        ]
        if len(items) > MOST_ITEMS:
            yield source.problem(
                ("questions", next(i for i, question in enumerate(file.questions) if question.id == items[-1].id)),
                f"{len(items)} items in session {part}; a session of a wave asks at most {MOST_ITEMS}",
            )
    if file.survey_kind != "relational":
        yield source.problem(("survey_kind",), "a wave is about the shop as a whole: survey_kind is relational")
    if file.blocks is not None:
        yield source.problem(("blocks",), "a survey in several sessions has no blocks; ask them in a survey of its own")


def _check_paths(flow: Flow, file: FlowFile, source: Source, unread: _Unread, astray: set[str]) -> Iterator[Problem]:
    order = {question.id: index for index, question in enumerate(file.questions)}
    unknown = frozenset(unread.questions)
    paths = [path for course in flow.courses() for path in _paths(flow.questions, course, {}, unknown)]
    reached = {question.id for path in paths for question in path}
    for question_id, index in order.items():
        if question_id not in reached and question_id not in astray:
            yield source.problem(
                ("questions", index, "when"),
                f"question `{question_id}` is never asked: its `when` cannot hold",
            )
    most = _LIMITS[flow.survey_kind]
    block = flow.blocks or any(question.instrument.startswith("exp_") for question in flow.questions)
    if block and flow.survey_kind == "transactional":
        most += 1
    longest = max(sum(1 for question in path if question.kind != "text") for path in paths)
    if longest > most and not unread.conditions:
        message = f"up to {longest} questions in one session, and at most {most} are allowed (free text not counted)"
        yield source.problem(("questions",), message)
    if any({"effort", "ease"} <= {question.unhappy for question in path} for path in paths):
        yield source.problem(("questions",), "effort and ease are both asked; one session asks one of them")
