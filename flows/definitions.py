"""What files may say: surveys, instruments, blocks and texts as their authors write them, each checked by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from flows.conditions import Condition
from flows.questions import QuestionKind
from flows.triggers import DAY_MS, Span

SurveyKind = Literal["transactional", "relational"]


ID = r"[a-z][a-z0-9_]{0,39}"
_Id = Annotated[str, Field(pattern=f"^{ID}$")]
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
