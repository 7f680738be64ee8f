"""A survey as it is asked: its questions with their words, and every path a customer may take through them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from flows.conditions import Condition
from flows.definitions import SurveyKind
from flows.questions import QuestionKind, Reader, Value
from flows.source import Plain
from flows.texts import LANGS, Deck, Lang, Template, quote
from flows.triggers import DAY_MS

MOST_WORLDS = 20_000
WAVE_MS = 14 * DAY_MS
"""From the first answer of a wave to its last: what is further apart is not one look at things."""
DERIVED: Mapping[str, tuple[object, ...]] = {
    "unhappy": (True, False),
    "open_case": (True, False),
    "lang": LANGS,
    "part": (1, 2, 3),
}
"""Names a condition may use besides questions and event data, and what they can be."""


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


class Course(NamedTuple):
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
        self.text = Template(words_in(data["text"], lang))
        self.note = Template(words_in(data["note"], lang)) if data["note"] else None
        self.small = Template(words_in(data["small"], lang)) if data["small"] else None
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
                self.labels[str(choice["value"])] = words_in(choice["text"], lang)
            if question.kind == "yes_no" and not self.labels:
                self.labels = {code: deck.text(f"label.{code}", lang) for code in ("yes", "no")}
            self.buttons = tuple((code, self.labels[code], self.labels[code]) for code in codes)
        self.quoted: dict[int | str, str] = {code: quote(deck, lang, [label]) for code, label in self.labels.items()}
        """Code → the answer inside a sentence: 「8点」 without marks for a number, a label in 「」."""
        if question.kind == "scale" and not labels:
            self.quoted = self.labels


def words_in(words: Plain, lang: Lang) -> str:
    """Of words in every language, those in this one."""
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
    _by_course: dict[Course, tuple[Question, ...]] = field(default_factory=dict, repr=False)
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

    def asked_in(self, course: Course) -> tuple[Question, ...]:
        """The questions that can be asked in such a session, whatever is answered."""
        found = self._by_course.get(course)
        if found is None:
            found = self._by_course[course] = tuple(question for question in self.questions if course.has(question))
        return found

    def longest(self, course: Course, facts: Mapping[str, object], counts: Callable[[Question], bool]) -> int:
        """The number of questions for which `counts` is true on the longest path of such a session."""
        return max(
            sum(1 for question in path if counts(question))
            for path in paths_of(self.questions, course, {name: facts.get(name) for name in self.fact_names})
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
        elif name in DERIVED and name not in by_id:
            options.append(DERIVED[name])
        else:
            literals = [value for condition in conditions for value in condition.literals(name)]
            around: list[object] = [None]
            for value in literals:
                around += [value - 1, value, value + 1] if isinstance(value, int | float) else [value]
            options.append(tuple(dict.fromkeys(around)))
    for values in itertools.islice(itertools.product(*options), MOST_WORLDS):
        yield dict(zip(ordered, values, strict=True))


def paths_of(
    questions: Sequence[Question],
    course: Course,
    fixed: Mapping[str, object],
    unread: frozenset[str] = frozenset(),
) -> Iterator[tuple[Question, ...]]:
    """Every way through the questions that answers and facts can lead a customer; one may come more than once.

    Args:
        course: of which session, week and block.
        fixed: facts that are known; others take every value that a condition can tell apart.
        unread: ids of questions of which nothing is known.
    """
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
