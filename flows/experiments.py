"""A/B tests as a shop registers them: which arm a customer gets, and what an arm changes. Pure, and without memory:
the same customer gets the same arm of an experiment on every machine and at any time.

Source: docs/metrics.md ("A/B tests").
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta, tzinfo
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from flows.days import midnight_ms
from flows.definitions import Text
from flows.flow import Flow
from flows.triggers import DAY_MS, Clock, Duration, Name, Span, TriggerRule

ALPHA = 0.05
"""Chance of calling a difference real that is none, over all looks of an experiment."""
MOST_LOOKS = 5
MEASUREMENT_DAYS = 28
"""Two wordings run side by side for at least so long: an offset between them must not be one week's weather."""
RESPONSE_MS = 7 * DAY_MS
RESPONSE_RATE, REVENUE = "response_rate", "revenue"
BEHAVIOURS = (RESPONSE_RATE, REVENUE)
"""Primary metrics that are no instrument: what customers did."""

_POWER_SQUARED = 7.848880
"""(1.959964 + 0.841621)²: a two-sided test at 5 % that finds a real difference four times out of five."""
_WEIGHT_SLACK = 1e-3
_TIMING = ("delay_ms", "at_minute", "remind_ms")


# ------------------------------------------------------------------------------------------------- sample sizes


def sample_size_shares(p1: float, p2: float) -> int:
    """S9: answers per group to tell two shares (0–1) apart with 80 % power.

    >>> sample_size_shares(0.5, 0.6)
    385
    """
    return math.ceil(_POWER_SQUARED * (p1 * (1 - p1) + p2 * (1 - p2)) / (p2 - p1) ** 2)


def sample_size_nets(variance: float, delta: float) -> int:
    """S9: answers per group to see a difference of `delta` between two nets with this variance, or between two means
    with this variance in the same unit. A net is a fraction here: 10 points = 0.10.

    >>> sample_size_nets(0.61, 0.10)
    958
    """
    return math.ceil(_POWER_SQUARED * 2 * variance / delta**2)


# -------------------------------------------------------------------------------------------- words in the file


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Detect(_Section):
    """The difference that the experiment is to find: what the number of answers per arm is reckoned from."""

    from_: Annotated[float, Field(ge=0, le=100)] | None = Field(None, alias="from")
    to: Annotated[float, Field(ge=0, le=100)] | None = None
    """A share, in percent, as it is and as it may become."""
    variance: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of a net: good + bad − (good − bad)², each as a share from 0 to 1."""
    sd: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of a mean or of revenue."""
    change: Annotated[float, Field(gt=0)] | None = None
    """With `variance` in points, with `sd` in the unit of the metric."""

    @model_validator(mode="after")
    def _one_kind(self) -> Detect:
        given = {name for name in ("from_", "to", "variance", "sd", "change") if getattr(self, name) is not None}
        if given not in ({"from_", "to"}, {"variance", "change"}, {"sd", "change"}):
            raise ValueError(
                "detect is {from: 50, to: 60} for a share, {variance: 0.61, change: 10} for a net, or "
                "{sd: 1.1, change: 0.3} for a mean; write one of the three"
            )
        if self.from_ is not None and self.from_ == self.to:
            raise ValueError("detect: from and to are equal; there is nothing to find")
        return self

    @property
    def form(self) -> str:
        """For which form of score: "share", "net" or "mean"."""
        return "share" if self.from_ is not None else "net" if self.variance is not None else "mean"

    @property
    def n_per_arm(self) -> int:
        """Outcomes each arm needs (S9)."""
        if self.from_ is not None and self.to is not None:
            return sample_size_shares(self.from_ / 100, self.to / 100)
        assert self.change is not None
        if self.variance is not None:
            return sample_size_nets(self.variance, self.change / 100)
        assert self.sd is not None
        return sample_size_nets(self.sd**2, self.change)


class Arm(_Section):
    """One way of treating customers. What it does not name stays as the rule and the survey have it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
    weight: Annotated[float, Field(gt=0, lt=1)]
    """Share of customers."""
    flow: Annotated[str, Field(min_length=1)] | None = None
    questions: dict[str, str | dict[str, JsonValue]] = Field(default_factory=dict)
    """Question → another instrument, or keys of the question that change: {sat: csat5}, {nps: {variant: family}}."""
    texts: dict[str, Text] = Field(default_factory=dict)
    """Text of the copy deck → other words, for the surveys of this arm."""
    delay_ms: Duration | None = Field(default=None, alias="delay")
    at_minute: Clock | None = Field(default=None, alias="at")
    remind_ms: Span | None = Field(default=None, alias="remind")
    """null: no reminder."""
    act: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What the shop's own people do for customers of this arm: reship, a handwritten note."""
    metric: Annotated[str, Field(min_length=1)] | None = None
    """The instrument that the primary metric is read from in this arm, where it is another one."""

    @property
    def timing(self) -> dict[str, int | None]:
        """The times of the rule that this arm sets, by their names there."""
        return {name: getattr(self, name) for name in _TIMING if name in self.model_fields_set}

    @property
    def changes(self) -> dict[str, object]:
        """Everything that makes this arm what it is."""
        return self.model_dump(mode="json", exclude={"id", "weight", "metric"}, exclude_unset=True)

    @property
    def rewrites(self) -> bool:
        """Whether this arm asks a survey that stands in no file."""
        return bool(self.questions or self.texts)


class Experiment(_Section):
    """One entry of `experiments` in koe.yaml, registered before it starts and unchanged from then on."""

    id: Name
    name: Text | None = None
    """What a digest calls it; at most 60 characters in each language."""
    trigger: Name | None = None
    """The rule whose invitations take part; or `flow`: all rules that ask it."""
    flow: Annotated[str, Field(min_length=1)] | None = None
    metric: Annotated[str, Field(min_length=1)]
    """The one primary metric: an instrument of the survey, response_rate, or revenue."""
    within_ms: Span | None = Field(default=None, alias="within")
    """For revenue: purchases this long after a customer came into the experiment count."""
    detect: Detect | None = None
    n_per_arm: Annotated[int, Field(ge=10, le=10_000_000)] | None = None
    start: date
    end: date
    """The last day."""
    looks: Annotated[int, Field(ge=1, le=MOST_LOOKS)] = 1
    arms: Annotated[tuple[Arm, ...], Field(min_length=2, max_length=6)]
    """The first is the control."""

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if (self.trigger is None) == (self.flow is None):
            raise ValueError("an experiment is about either `trigger: <rule>` or `flow: <survey>`; write exactly one")
        if self.name is not None and max(len(self.name.ja), len(self.name.en)) > 60:
            raise ValueError("name is longer than 60 characters; a digest has no room for it")
        ids = [arm.id for arm in self.arms]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"the arm {twice[0]} stands twice; each needs its own id")
        total = sum(arm.weight for arm in self.arms)
        if abs(total - 1.0) > _WEIGHT_SLACK:
            raise ValueError(f"the weights of the arms add up to {total:g}; they must add up to 1, such as 0.5 and 0.5")
        for index, arm in enumerate(self.arms):
            for other in self.arms[:index]:
                if arm.changes == other.changes:
                    raise ValueError(f"the arms {other.id} and {arm.id} do the same; there is nothing to compare")
        if self.end <= self.start:
            raise ValueError(f"end {self.end} must come after start {self.start}")
        if (self.within_ms is None) == (self.metric == REVENUE):
            raise ValueError("`within` says how long purchases count: revenue needs it, such as within: 30d, "
                             "other metrics have none")  # fmt: skip
        if self.detect is None and self.n_per_arm is None:
            raise ValueError("say how many answers each arm needs: detect, from which it is reckoned, or n_per_arm")
        if self.detect is not None and self.n_per_arm is not None and self.n_per_arm < self.detect.n_per_arm:
            raise ValueError(
                f"n_per_arm is {self.n_per_arm}, but {self.detect.n_per_arm} answers per arm are needed to find the "
                "difference under detect four times out of five; raise it, or leave it out"
            )
        return self

    @property
    def planned_n(self) -> int:
        """Outcomes per arm at which the experiment is decided."""
        if self.n_per_arm is not None:
            return self.n_per_arm
        assert self.detect is not None
        return self.detect.n_per_arm

    @property
    def acts_early(self) -> bool:
        """Whether arms differ before the invitation goes out: its time, or what the shop does. Customers are in the
        experiment from the planning of their invitation then, else from its sending."""
        return any(arm.act is not None or {"delay_ms", "at_minute"} & arm.timing.keys() for arm in self.arms)

    def days(self, tz: tzinfo) -> tuple[int, int]:
        """(first instant, first instant after it) in milliseconds."""
        return midnight_ms(self.start, tz), midnight_ms(self.end + timedelta(days=1), tz)

    def overlaps(self, other: Experiment) -> bool:
        """Whether both run on some day."""
        return self.start <= other.end and other.start <= self.end

    def arm(self, arm_id: str) -> Arm | None:
        """The arm of this id."""
        return next((arm for arm in self.arms if arm.id == arm_id), None)

    def metric_of(self, arm: Arm) -> str:
        """The instrument (or behaviour) that the primary metric is read from in an arm."""
        return arm.metric or self.metric

    def definition(self) -> str:
        """All that is registered, as text: equal texts are the same experiment."""
        written = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return json.dumps(written, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def start_of(definition: str) -> date:
    """The first day of an experiment, from the text of `Experiment.definition`."""
    return date.fromisoformat(json.loads(definition)["start"])


# --------------------------------------------------------------------------------------------------- assignment


def draw(experiment_id: str, customer_id: str) -> float:
    """0 ≤ u < 1 of a customer in an experiment: the first 64 bits of SHA-256("experiment:customer") as a fraction.

    >>> round(draw("guarantee-2025", "C001"), 6)
    0.727056
    """
    digest = hashlib.sha256(f"{experiment_id}:{customer_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest[:16], 16) / 2**64


def assign(experiment: Experiment, customer_id: str) -> Arm:
    """The arm of a customer: the first whose cumulative weight exceeds their draw."""
    u, reached = draw(experiment.id, customer_id), 0.0
    for arm in experiment.arms:
        reached += arm.weight
        if u < reached:
            return arm
    return experiment.arms[-1]  # thirds written as 0.333 leave a little at the end


def running(experiments: Iterable[Experiment], rule: TriggerRule, *, now_ms: int, tz: tzinfo) -> Experiment | None:
    """The experiment that an invitation planned now by this rule takes part in."""
    for experiment in experiments:
        first_ms, end_ms = experiment.days(tz)
        if first_ms <= now_ms < end_ms and (experiment.trigger == rule.id or experiment.flow == rule.flow):
            return experiment
    return None


def treated(rule: TriggerRule, arm: Arm) -> TriggerRule:
    """The rule as it is for customers of an arm."""
    changed: dict[str, object] = dict(arm.timing)
    if arm.flow is not None:
        changed["flow"] = arm.flow
    return rule.model_copy(update=changed) if changed else rule


def response_ms(experiment: Experiment, rules: Sequence[TriggerRule]) -> int:
    """How long after a customer came into the experiment an answer counts for the response rate: seven days from the
    sending, and where arms differ before it, as much more as the slowest arm waits."""
    if not experiment.acts_early:
        return RESPONSE_MS
    slowest = max((treated(rule, arm).delay_ms for rule in rules for arm in experiment.arms), default=0)
    return RESPONSE_MS + slowest + DAY_MS


def measures_words(experiment: Experiment, flows: Mapping[str, Flow]) -> bool:
    """Whether the arms ask the primary metric in other words, with other labels, or after other questions: what they
    differ by is then an effect of measurement first.

    Args:
        flows: arm → the survey it asks.
    """
    if experiment.metric in BEHAVIOURS:
        return False
    return len({_leading_to(flows[arm.id], experiment.metric_of(arm)) for arm in experiment.arms}) > 1


def _leading_to(flow: Flow, instrument: str) -> tuple[tuple[str, str, str], ...]:
    asked: list[tuple[str, str, str]] = []
    for question in flow.questions:
        asked.append((question.instrument, question.wording_id, question.label_set))
        if question.instrument == instrument:
            break
    return tuple(asked)
