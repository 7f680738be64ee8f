"""What came of an A/B test: counts while it runs, and a comparison of its arms once it may be looked at.

Customers are compared by the arm they were assigned, one outcome each. No I/O beside the transaction, no words.

Source: docs/metrics.md ("A/B tests").
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta, tzinfo
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from flows.days import local_date
from flows.experiments import ALPHA, RESPONSE_RATE, REVENUE
from reports import procedures
from reports.disclosure import Place
from reports.metrics import (
    SUPPRESS_BELOW,
    Form,
    InstrumentSpec,
    Status,
    Tally,
    difference,
    estimate,
    parse_value,
    statistics_of,
    status_of,
    tally,
)
from reports.orders import Orders, Sent, sent
from reports.procedures import Difference, Estimate
from reports.values import amount_of
from storage.store import Tx

SAMPLE_RATIO_ALPHA = 0.001
"""A split of customers less likely than this is a fault of the machinery, and no result is given."""

State = Literal["planned", "counting", "blocked", "few", "look", "decided"]
"""planned: not begun; counting: may not be looked at yet; blocked: customers were not shared out as registered; few:
over, with an arm too small to show; look: a registered look that decided nothing; decided: the result."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmPlan(_Model):
    """An arm as it was registered."""

    id: str
    weight: float
    metric: str
    """The instrument (or behaviour) that its outcome is read from."""
    revision: str
    """Of the survey it asks."""


class Trial(_Model):
    """An experiment as far as its analysis depends on it. Times are milliseconds UTC, windows half-open."""

    id: str
    name: dict[str, str]
    touchpoint: str
    metric: str
    arms: tuple[ArmPlan, ...] = Field(min_length=2)
    """The first is the control."""
    n_per_arm: int
    start_ms: int
    end_ms: int
    looks: int = Field(ge=1, le=5)
    within_ms: int | None
    """For revenue: how long after coming in a customer's purchases count."""
    response_ms: int
    """How long after coming in an answer counts for the response rate."""
    from_planning: bool
    """Customers come in when their invitation is planned, not when it is sent."""
    measurement: bool
    """The arms ask in other words: a difference is one of measurement."""
    asides: tuple[tuple[str, str, str], ...]
    """(instrument, wording, label set) that only a treatment asks: no wording to lead a digest with."""

    @property
    def confidence(self) -> float:
        """Of the interval of each look: 1 − α/K."""
        return 1 - self.alpha

    @property
    def alpha(self) -> float:
        """The level of each look: α/K."""
        return ALPHA / self.looks

    def look_ms(self, number: int) -> int:
        """When look 1 … K is: spaced evenly, the last one at the end."""
        return self.start_ms + (self.end_ms - self.start_ms) * number // self.looks


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm at the time of the report. `score` and `response` are None while they may not be shown."""

    id: str
    entered: int
    """Customers who came into the arm."""
    n: int
    """Customers with an outcome."""
    status: Status
    score: Estimate | None = None
    response: Estimate | None = None
    """Share of those whose time to answer is over that gave a valid answer in it."""
    ripe: int = 0
    """How many those are."""
    flags: tuple[str, ...] = ()
    """`sibling`: not shown for what could be computed with it."""
    places: Mapping[Place, int] = field(default_factory=dict)
    """Where the outcomes were given, for questions."""
    weeks: Mapping[date, int] = field(default_factory=dict)
    """Mondays of when those came in whose time to answer is over."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A treatment against the control, treatment minus control."""

    arm: str
    found: Difference | None
    """None where the scores of the arms may not be shown: they could be worked out."""
    p_adjusted: float | None
    """Holm over all treatments; the p-value itself when there is one."""
    real: bool
    """Below the level of this look."""
    higher: bool
    """The treatment's score is the higher one."""


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """One experiment, as far as it may be told."""

    trial: Trial
    spec: InstrumentSpec | None
    """Of the control's outcome; None for what customers did."""
    form: Form
    state: State
    until_ms: int
    """Data up to here are in it."""
    starts: date
    last_day: date
    """The last day of the experiment as registered."""
    until_day: date
    """The last day of the data."""
    look: int
    """Number of the look, from 1; 0 for none."""
    arms: tuple[ArmResult, ...]
    primary: tuple[Contrast, ...] = ()
    response: tuple[Contrast, ...] = ()
    sample_p: float | None = None
    changed: bool = False
    """The survey of an arm was changed while the experiment ran."""
    response_hidden: Literal["", "few", "sibling"] = ""
    """Why no response rate is told beside the result."""

    def without_scores(self) -> ExperimentReport:
        """The report with the verdict alone: the scores of its arms would give away what a few others said."""
        arms = tuple(replace(arm, score=None, status="suppressed", flags=("sibling",)) for arm in self.arms)
        verdicts = tuple(replace(contrast, found=None, p_adjusted=None) for contrast in self.primary)
        return replace(self, arms=arms, primary=verdicts)

    def without_response(self, why: Literal["few", "sibling"]) -> ExperimentReport:
        """The report without the response rates beside its result."""
        arms = tuple(replace(arm, response=None) for arm in self.arms)
        return replace(self, arms=arms, response=(), response_hidden=why)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what may not be shown is not in them."""
        return {
            "id": self.trial.id,
            "name": dict(self.trial.name),
            "metric": self.trial.metric,
            "variant": self.form if self.spec is None else statistics_of(self.spec)[0].variant,
            "touchpoint": self.trial.touchpoint,
            "state": self.state,
            "start_ms": self.trial.start_ms,
            "end_ms": self.trial.end_ms,
            "until_ms": self.until_ms,
            "look": self.look,
            "looks": self.trial.looks,
            "confidence": self.trial.confidence,
            "n_per_arm": self.trial.n_per_arm,
            "measurement": self.trial.measurement,
            "changed": self.changed,
            "sample_ratio_p": self.sample_p,
            "arms": [
                {
                    "id": arm.id,
                    "entered": arm.entered,
                    "n": arm.n,
                    "status": arm.status,
                    "flags": list(arm.flags),
                    **_estimate_json("", arm.score),
                    "ripe": arm.ripe,
                    **_estimate_json("response_", arm.response),
                }
                for arm in self.arms
            ],
            "comparisons": [_contrast_json(contrast) for contrast in self.primary],
            "response_comparisons": [_contrast_json(contrast) for contrast in self.response],
            "response_hidden": self.response_hidden or None,
        }


def _estimate_json(prefix: str, found: Estimate | None) -> dict[str, float | None]:
    return {
        f"{prefix}score": None if found is None else found.score,
        f"{prefix}ci_low": None if found is None else found.low,
        f"{prefix}ci_high": None if found is None else found.high,
    }


def _contrast_json(contrast: Contrast) -> dict[str, Any]:
    found = contrast.found
    return {
        "arm": contrast.arm,
        "delta": None if found is None else found.delta,
        "ci_low": None if found is None else found.low,
        "ci_high": None if found is None else found.high,
        "p": None if found is None else found.p,
        "p_adjusted": contrast.p_adjusted,
        "method": None if found is None else found.method,
        "real": contrast.real,
        "higher": contrast.higher,
    }


# ------------------------------------------------------------------------------------------------------ reading


class Outcome(NamedTuple):
    """A valid answer to the primary question."""

    at_ms: int
    value: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Participant:
    """A customer in an experiment: when they came in, and everything that may count of what they did since."""

    arm: str
    entered_ms: int
    answered_ms: int | None = None
    """First valid answer in time, to any question."""
    outcomes: tuple[Outcome, ...] = ()
    """Each valid answer to the primary question, oldest first."""
    purchases: tuple[Sent[float | None], ...] = ()
    """What was sent about their orders, with the amount where it is known."""


def read_participants(
    tx: Tx, trial: Trial, *, until_ms: int, instruments: Mapping[str, InstrumentSpec]
) -> tuple[dict[str, Participant], bool]:
    """Customer → participant, and whether an arm asked more than one revision of its survey."""
    measured = {arm.id: arm.metric for arm in trial.arms}
    entered: dict[str, tuple[str, int]] = {}
    for exposure in tx.exposures(trial.id):
        at_ms = exposure.planned_ms if trial.from_planning else exposure.sent_ms
        if at_ms is not None and at_ms < min(until_ms, trial.end_ms) and exposure.arm in measured:
            entered[exposure.customer_id] = (exposure.arm, at_ms)
    responded: dict[str, int] = {}
    outcomes: dict[str, list[Outcome]] = {}
    revisions: set[tuple[str, str]] = set()
    for answer in tx.answers_in_experiment(trial.id):
        if answer.customer_id not in entered or answer.answered_ms >= until_ms:
            continue
        arm, since_ms = entered[answer.customer_id]
        revisions.add((arm, answer.revision))
        if answer.missing:
            continue
        if not answer.late and answer.answered_ms - since_ms < trial.response_ms:
            responded.setdefault(answer.customer_id, answer.answered_ms)
        spec = instruments.get(answer.instrument)
        if answer.instrument == measured[arm] and spec and parse_value(spec, answer.value).kind == "valid":
            place = Place(
                answer.instrument,
                answer.survey_kind,
                answer.touchpoint,
                answer.wording_id,
                answer.label_set,
                date.fromisoformat(answer.week),
                answer.segment,
                answer.channel,
            )
            given = Outcome(answer.answered_ms, answer.value, place)
            outcomes.setdefault(answer.customer_id, []).append(given)
    bought = _purchases(tx, trial, entered, until_ms) if trial.metric == REVENUE else {}
    people = {
        customer: Participant(
            arm,
            at_ms,
            responded.get(customer),
            tuple(outcomes.get(customer, ())),
            tuple(bought.get(customer, ())),
        )
        for customer, (arm, at_ms) in entered.items()
    }
    return people, bool(revisions - {(arm.id, arm.revision) for arm in trial.arms})


def _purchases(
    tx: Tx, trial: Trial, entered: Mapping[str, tuple[str, int]], until_ms: int
) -> dict[str, list[Sent[float | None]]]:
    found: dict[str, list[Sent[float | None]]] = {}
    for event in tx.events_between(trial.start_ms, until_ms, type="purchase"):
        if event.customer_id in entered:
            data = json.loads(event.data)
            purchase = sent(event.occurred_ms, data, amount_of(data.get("amount")))
            found.setdefault(event.customer_id, []).append(purchase)
    return found


# ----------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class _Cut:
    """The experiment with the data up to an instant."""

    trial: Trial
    spec: InstrumentSpec | None
    people: Mapping[str, Participant]
    """In order of customer."""
    at_ms: int

    @cached_property
    def _arms(self) -> dict[str, list[Participant]]:
        found: dict[str, list[Participant]] = {arm.id: [] for arm in self.trial.arms}
        for person in self.people.values():
            if person.entered_ms < self.at_ms:
                found[person.arm].append(person)
        return found

    def of(self, arm: str) -> list[Participant]:
        return self._arms[arm]

    def ripe(self, arm: str, window_ms: int) -> list[Participant]:
        return [person for person in self.of(arm) if person.entered_ms + window_ms <= self.at_ms]

    def latest(self, person: Participant) -> Outcome | None:
        """The answer that counts: the latest before the cut."""
        return next((outcome for outcome in reversed(person.outcomes) if outcome.at_ms < self.at_ms), None)

    @cached_property
    def _tallies(self) -> dict[str, Tally]:
        assert self.spec is not None
        found: dict[str, Tally] = {}
        for arm, mine in self._arms.items():
            counted = Counter(outcome.value for person in mine if (outcome := self.latest(person)) is not None)
            found[arm] = tally(self.spec, counted.items())
        return found

    def tally(self, arm: str) -> Tally:
        """One answer of each customer."""
        return self._tallies[arm]

    def spent(self, arm: str) -> list[float]:
        """What each customer bought in their time, as far as it was known at the cut; nothing is 0."""
        return [self._spent(person) for person in self.ripe(arm, self.trial.within_ms or 0)]

    def _spent(self, person: Participant) -> float:
        return sum(
            amount or 0.0
            for at_ms, amount in Orders(one for one in person.purchases if one.at_ms < self.at_ms).standing()
            if 0 <= at_ms - person.entered_ms < (self.trial.within_ms or 0)
        )

    def responses(self, arm: str) -> tuple[int, int]:
        """(answered, could have) of those whose time to answer is over."""
        ripe = self.ripe(arm, self.trial.response_ms)
        return sum(1 for person in ripe if person.answered_ms is not None), len(ripe)

    def adds_few(self, earlier: _Cut, *, response: bool = False) -> bool:
        """Whether in some arm it differs from an earlier cut in one to nine customers: what these few did would follow
        from both.

        Args:
            response: look at who answered in time, instead of the primary metric.
        """
        new = Counter(
            person.arm
            for person in self.people.values()
            if self._outcome(person, response) != earlier._outcome(person, response)
        )
        return any(0 < n < SUPPRESS_BELOW for n in new.values())

    def _outcome(self, person: Participant, response: bool) -> object:
        """What counts of a customer; None for nothing yet."""
        if person.entered_ms >= self.at_ms:
            return None
        if response or self.trial.metric == RESPONSE_RATE:
            return person.answered_ms is not None if person.entered_ms + self.trial.response_ms <= self.at_ms else None
        if self.trial.metric == REVENUE:
            ripe = person.entered_ms + (self.trial.within_ms or 0) <= self.at_ms
            return self._spent(person) if ripe else None
        latest = self.latest(person)
        return None if latest is None else latest.value

    @cached_property
    def sample_p(self) -> float | None:
        arms = self.trial.arms
        return procedures.sample_ratio([len(self.of(arm.id)) for arm in arms], [arm.weight for arm in arms])

    @property
    def broken(self) -> bool:
        return self.sample_p is not None and self.sample_p < SAMPLE_RATIO_ALPHA

    def n(self, arm: str) -> int:
        """Outcomes of an arm."""
        if self.trial.metric == RESPONSE_RATE:
            return self.responses(arm)[1]
        return len(self.spent(arm)) if self.trial.metric == REVENUE else self.tally(arm).n

    def estimate(self, arm: str) -> Estimate:
        if self.trial.metric == RESPONSE_RATE:
            return procedures.share(*self.responses(arm))
        if self.spec is None:
            return procedures.sampled(self.spent(arm), _averages)
        return estimate(statistics_of(self.spec)[0], self.tally(arm))

    @cached_property
    def differences(self) -> tuple[Contrast, ...]:
        """Each treatment against the control."""
        level = self.trial.confidence
        control, *others = (arm.id for arm in self.trial.arms)
        if self.trial.metric == RESPONSE_RATE:
            return self.response_differences
        if self.spec is None:
            found = [
                procedures.money_difference(self.spent(control), self.spent(arm), confidence=level) for arm in others
            ]
        else:
            statistic, counted = statistics_of(self.spec)[0], self.tally(control)
            found = [difference(statistic, counted, self.tally(arm), confidence=level) for arm in others]
        return self._judged(others, found)

    @cached_property
    def response_differences(self) -> tuple[Contrast, ...]:
        control, *others = (arm.id for arm in self.trial.arms)
        first = self.responses(control)
        found = [
            procedures.share_difference(first, mine, confidence=self.trial.confidence)
            if min(first[1], mine[1]) >= SUPPRESS_BELOW
            else None
            for mine in map(self.responses, others)
        ]
        return self._judged(others, found)

    def _judged(self, arms: Sequence[str], found: Sequence[Difference | None]) -> tuple[Contrast, ...]:
        tested = [(arm, one) for arm, one in zip(arms, found, strict=True) if one is not None]
        adjusted = procedures.holm([one.p for _, one in tested])
        return tuple(
            Contrast(arm, one, p, p < self.trial.alpha, one.delta > 0)
            for (arm, one), p in zip(tested, adjusted, strict=True)
        )

    def reached(self) -> bool:
        """Whether every arm has the planned number of outcomes."""
        return all(self.n(arm.id) >= self.trial.n_per_arm for arm in self.trial.arms)


def _averages(rows: procedures.Floats) -> procedures.Floats:
    found: procedures.Floats = rows.mean(axis=1)
    return found


def judge(
    trial: Trial,
    people: Mapping[str, Participant],
    *,
    now_ms: int,
    tz: tzinfo,
    instruments: Mapping[str, InstrumentSpec],
    changed: bool = False,
) -> ExperimentReport:
    """What may be told of an experiment at `now_ms`.

    With one look it is decided once, with the data of the moment at which every arm had its planned number of outcomes,
    or of the end; later answers do not change that. With K looks each is made with the data of its day, at α/K, until
    one finds a difference or is the last. Between them there are counts only. A look that adds the outcomes of one to
    nine customers of an arm to those told before is passed over: at the end the last one that was told decides.
    """
    spec = None if trial.metric in (RESPONSE_RATE, REVENUE) else instruments[trial.arms[0].metric]
    form: Form = "share" if trial.metric == RESPONSE_RATE else "money"
    if spec is not None:
        form = statistics_of(spec)[0].form
    ordered = {customer: people[customer] for customer in sorted(people)}
    cut = partial(_Cut, trial, spec, ordered)

    def report(state: State, at: _Cut, look: int = 0, *, rated: _Cut | None = None) -> ExperimentReport:
        told = state in ("look", "decided")
        found = ExperimentReport(
            trial,
            spec,
            form,
            state,
            at.at_ms,
            local_date(trial.start_ms, tz),
            local_date(trial.end_ms - 1, tz),
            local_date(at.at_ms - 1, tz),
            look,
            tuple(_arm(at, arm.id, told=told, tz=tz) for arm in trial.arms),
            at.differences if told else (),
            at.response_differences if told and trial.metric != RESPONSE_RATE else (),
            at.sample_p,
            changed,
        )
        if not told or trial.metric == RESPONSE_RATE:
            return found
        if any(arm.ripe < SUPPRESS_BELOW for arm in found.arms):
            return found.without_response("few")
        return found if rated is at else found.without_response("sibling")

    present = cut(min(now_ms, trial.end_ms))
    if now_ms < trial.start_ms:
        return report("planned", present)
    looks = [(trial.look_ms(number), number) for number in range(1, trial.looks + 1)]
    if trial.looks == 1:
        looks = [(min(trial.end_ms, _reached_ms(trial, spec, ordered)), 1)]
    due = [(at_ms, number) for at_ms, number in looks if at_ms <= now_ms]
    if not due or present.broken:
        return report("blocked" if present.broken else "counting", present)
    told: tuple[_Cut, int] | None = None
    rated: _Cut | None = None
    for at_ms, number in due:
        at, look = cut(at_ms), number
        if at.broken:
            return report("blocked", at, number)
        last = number == trial.looks or at.reached()
        if min(at.n(arm.id) for arm in trial.arms) < SUPPRESS_BELOW:
            state: State = "few" if last else "counting"
        else:
            if told is not None and at.adds_few(told[0]):
                at, look = told
            told = at, look
            enough = all(at.responses(arm.id)[1] >= SUPPRESS_BELOW for arm in trial.arms)
            if enough and (rated is None or not at.adds_few(rated, response=True)):
                rated = at
            found = last or any(contrast.real for contrast in at.differences)
            state = "decided" if found else "look"
        if state in ("few", "decided") or number == due[-1][1]:
            return report(state, at, look, rated=rated)
    raise AssertionError("a look that is due is the last one that is due")


def _reached_ms(trial: Trial, spec: InstrumentSpec | None, people: Mapping[str, Participant]) -> int:
    """The instant at which every arm had its planned number of outcomes; that of the end when it never had."""
    latest_ms = 0
    for arm in trial.arms:
        mine = [person for person in people.values() if person.arm == arm.id]
        if spec is None:
            window_ms = trial.response_ms if trial.within_ms is None else trial.within_ms
            known = sorted(person.entered_ms + window_ms for person in mine)
        else:
            # data before an instant are in it: the answer itself is in from the next millisecond on
            known = sorted(person.outcomes[0].at_ms + 1 for person in mine if person.outcomes)
        if len(known) < trial.n_per_arm:
            return trial.end_ms
        latest_ms = max(latest_ms, known[trial.n_per_arm - 1])
    return latest_ms


def _arm(at: _Cut, arm: str, *, told: bool, tz: tzinfo) -> ArmResult:
    n = at.n(arm)
    if not told:
        return ArmResult(arm, len(at.of(arm)), n, status_of(n))
    answered, ripe = at.responses(arm)
    counted = [outcome.place for person in at.of(arm) if (outcome := at.latest(person)) is not None]
    since = (local_date(person.entered_ms, tz) for person in at.ripe(arm, at.trial.response_ms))
    return ArmResult(
        arm,
        len(at.of(arm)),
        n,
        status_of(n),
        at.estimate(arm),
        procedures.share(answered, ripe),
        ripe,
        places=Counter(place for place in counted if place is not None),
        weeks=Counter(day - timedelta(days=day.weekday()) for day in since),
    )


def reports_of(
    tx: Tx, trials: Sequence[Trial], *, now_ms: int, tz: tzinfo, instruments: Mapping[str, InstrumentSpec]
) -> tuple[ExperimentReport, ...]:
    """Every experiment as of `now_ms`, in the order given; days are those of `tz`.

    Raises:
        ValueError: the primary metric of one is no instrument that is scored.
    """
    found = []
    for trial in trials:
        missing = [arm.metric for arm in trial.arms if arm.metric not in (*instruments, RESPONSE_RATE, REVENUE)]
        if missing:
            raise ValueError(f"experiment {trial.id}: {missing[0]} is no instrument that is scored")
        people, changed = read_participants(tx, trial, until_ms=now_ms, instruments=instruments)
        found.append(judge(trial, people, now_ms=now_ms, tz=tz, instruments=instruments, changed=changed))
    return tuple(found)
