"""Whether the answers can be trusted: who did not answer, who answered without reading, whether channels agree.
Checks of the data, not results: nothing is corrected, left out or filled in. No "today".

Source: docs/metrics.md ("Whether the answers can be trusted").
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import scipy

from reports.disclosure import Place
from reports.event_tables import EventTables
from reports.indices import battery_results, battery_scores, variant_name
from reports.metrics import (
    CAUTION_BELOW,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Statistic,
    Stratum,
    Tally,
    difference,
    estimate,
    hide_siblings,
    measure,
    parse_value,
    record,
    statistics_of,
    tally,
)
from reports.procedures import Difference, Estimate
from reports.respondents import Asked
from reports.rounding import rounded, signed
from reports.sittings import Sitting, sittings_of
from reports.words import Language, Words, number
from storage.records import Answer, DelayCount, Invited, RollupCell
from storage.store import Tx

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
EARLY_MS = DAY_MS
RIPE_MS = 7 * DAY_MS
"""An invitation may be answered so long; younger ones are neither answered nor not."""
BIASED_ABOVE = 0.2
SAME_ITEMS = 5
MS_PER_QUESTION = 1000
MATTERS_ABOVE = 2.0
"""Points by which a score must change without careless answers to be told."""
CHECK_ALPHA = 0.05
SATISFACTION = ("csat5", "csat10", "sat5")

Key = tuple[str, Stratum]
"""Instrument, and what is never pooled; `lang` is left out of it."""


# ---------------------------------------------------------------------------------------------------- non-response


@dataclass(frozen=True, slots=True)
class Profile:
    """What was known of one invited customer at the time of the invitation, and whether an answer came."""

    answered: bool
    orders: int
    """In the 365 days before."""
    tenure_days: float | None
    """Since the first event known; None when there was none before."""
    last_order: float | None
    """Value of the latest of these orders, None without one that has a value."""
    open_ticket: bool
    channel: str


def standardised_difference(m1: float, m2: float, s1: float, s2: float) -> float | None:
    """(m₁ − m₂) / √((s₁² + s₂²)/2) of two means and standard deviations; None when both deviations are 0.

    >>> standardised_difference(3.0, 2.0, 1.0, 1.0)
    1.0
    """
    pooled = math.sqrt((s1 * s1 + s2 * s2) / 2.0)
    return None if pooled == 0.0 else (m1 - m2) / pooled


def nonresponse(profiles: Sequence[Profile], *, window: Span) -> tuple[Result, ...]:
    """The standardised difference of customers who answered from those who did not, for each variable: a record
    `nonresponse` each, flagged `nonresponse_bias` above 0.2 in size.

    A channel is a variable of its own, in or not. Below ten customers on either side a record is suppressed.
    """
    channels = sorted({profile.channel for profile in profiles})
    variables: dict[str, list[tuple[bool, float]]] = {
        "orders_365d": [(p.answered, float(p.orders)) for p in profiles],
        "tenure_days": [(p.answered, p.tenure_days) for p in profiles if p.tenure_days is not None],
        "last_order_value": [(p.answered, p.last_order) for p in profiles if p.last_order is not None],
        "open_ticket": [(p.answered, float(p.open_ticket)) for p in profiles],
    }
    if len(channels) > 1:
        for channel in channels:
            variables[f"channel_{channel}"] = [(p.answered, float(p.channel == channel)) for p in profiles]
    return tuple(_difference_of(name, values, window) for name, values in variables.items())


def _difference_of(name: str, values: Sequence[tuple[bool, float]], window: Span) -> Result:
    came = [value for answered, value in values if answered]
    stayed_out = [value for answered, value in values if not answered]
    d: float | None = None
    if min(len(came), len(stayed_out)) >= SUPPRESS_BELOW:
        (m1, s1), (m2, s2) = _moments(came), _moments(stayed_out)
        d = standardised_difference(m1, m2, s1, s2)
    found = record(
        "nonresponse",
        name,
        Estimate(d, None, None, "none"),
        len(values),
        form="mean",
        window=window,
        unit="per_customer",
        counts={"answered": len(came), "silent": len(stayed_out)},
        flags=("nonresponse_bias",) if d is not None and abs(d) > BIASED_ABOVE else (),
    )
    few = len(values) > 0 and min(len(came), len(stayed_out)) < SUPPRESS_BELOW
    return replace(found, status="suppressed") if few else found


def _moments(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def profiles_of(invited: Iterable[Invited], tables: EventTables, now_ms: int) -> list[Profile]:
    """One profile per customer, of the latest invitation that can be judged: it arrived as far as anybody knows, and
    was answered or is a week old.

    Args:
        invited: of a window, in any order.
        tables: what happened from a year before on. An order that was cancelled later is none.
    """
    latest: dict[str, Invited] = {}
    for invitation in invited:
        ripe = invitation.answered or invitation.sent_ms + RIPE_MS <= now_ms
        before = latest.get(invitation.customer_id)
        if ripe and not invitation.undeliverable and (before is None or before.sent_ms <= invitation.sent_ms):
            latest[invitation.customer_id] = invitation
    people = [latest[customer] for customer in sorted(latest)]
    return [
        Profile(
            answered=person.answered,
            orders=orders,
            tenure_days=_tenure(person),
            last_order=last_order,
            open_ticket=waiting,
            channel=person.channel,
        )
        for person, (orders, last_order), waiting in zip(
            people, _orders_before(people, tables), _waiting(people, tables), strict=True
        )
    ]


def _tenure(invitation: Invited) -> float | None:
    first = invitation.first_event_ms
    return None if first is None or first >= invitation.sent_ms else (invitation.sent_ms - first) / DAY_MS


def _orders_before(people: Sequence[Invited], tables: EventTables) -> list[tuple[int, float | None]]:
    """(orders, amount of the latest that has one) of each in the 365 days before the invitation."""
    orders = tables.purchases[tables.purchases["customer"] != ""]
    customers = orders["customer"].cat
    who = customers.codes.to_numpy(dtype=np.int64)
    by_customer = np.argsort(who, kind="stable")  # orders stand in order of time
    amounts = orders["amount"].to_numpy()[by_customer]
    at_ms = orders["at_ms"].to_numpy()
    since_ms, span = (int(at_ms.min()), int(np.ptp(at_ms)) + 1) if at_ms.size else (0, 1)
    keys = (who * span + at_ms - since_ms)[by_customer]
    places = pd.Index(customers.categories).get_indexer([person.customer_id for person in people]) * span
    sent_ms = np.array([person.sent_ms for person in people], dtype=np.int64) - since_ms
    end = np.searchsorted(keys, places + sent_ms.clip(0, span))
    first = np.minimum(np.searchsorted(keys, places + (sent_ms - YEAR_MS).clip(0, span)), end)
    priced = np.maximum.accumulate(np.where(np.isnan(amounts), -1, np.arange(amounts.size)))
    priced = np.append(priced, -1)[end - 1]
    return [
        (e - f, float(amounts[p]) if f <= p < e else None) if e > f and place >= 0 else (0, None)
        for e, f, p, place in zip(end.tolist(), first.tolist(), priced.tolist(), places.tolist(), strict=True)
    ]


def _waiting(people: Sequence[Invited], tables: EventTables) -> list[bool]:
    """Whether each had an open ticket at the time of the invitation."""
    tickets: dict[str, list[tuple[float, float]]] = {}
    for customer, opened, resolved in tables.tickets[["customer", "opened_ms", "resolved_ms"]].itertuples(index=False):
        tickets.setdefault(customer, []).append((opened, resolved))
    return [
        any(
            opened < person.sent_ms and not resolved < person.sent_ms
            for opened, resolved in tickets.get(person.customer_id, ())
        )
        for person in people
    ]


# -------------------------------------------------------------------------------------------------- early and late


@dataclass(frozen=True, slots=True)
class Timing:
    """Those who answered within 24 hours against those who took longer."""

    spec: InstrumentSpec
    early: Result
    late: Result
    difference: Difference | None
    """Late minus early; None below ten answers on either side."""

    @property
    def differs(self) -> bool:
        """They score differently, so those who never answered may too."""
        return self.difference is not None and self.difference.p < CHECK_ALPHA


def early_and_late(spec: InstrumentSpec, early: Tally, late: Tally, *, stratum: Stratum, window: Span) -> Timing:
    """The leading statistic of both, and their difference (S2 for a net). Where one has fewer than ten answers, both
    are suppressed: the score of all stands in the digest."""
    results = [measure(spec, counted, stratum=stratum, window=window)[0] for counted in (early, late)]
    first, last = (result.shown() for result in hide_siblings(results))
    return Timing(spec, first, last, difference(statistics_of(spec)[0], early, late))


# ------------------------------------------------------------------------------------------------ careless answers


def is_straightline(sitting: Sitting, specs: Mapping[str, InstrumentSpec]) -> bool:
    """The same raw code on all items of a battery, five at least, one of them reversed: nobody means both."""
    codes: dict[str, list[int]] = {}
    turned: set[str] = set()
    for name, reply in sitting.replies.items():
        item = specs[name].item if name in specs else None
        if item is not None and reply.code is not None:
            codes.setdefault(item.battery, []).append(reply.code)
            if item.reverse:
                turned.add(item.battery)
    return any(len(codes[battery]) >= SAME_ITEMS and len(set(codes[battery])) == 1 for battery in turned)


@dataclass(frozen=True, slots=True)
class Careless:
    """Sittings that look as if nobody read the questions. They are kept in every score."""

    straightline: int = 0
    speeder: int = 0
    """Some may be both."""
    without: tuple[Without, ...] = ()


@dataclass(frozen=True, slots=True)
class Without:
    """A score that would be more than two points different without careless answers."""

    result: Result
    without: Result
    left_out: int


def score_without(spec: InstrumentSpec, counted: Tally, careless: Tally, result: Result) -> Without | None:
    """The leading result of an instrument without careless answers; None where `_without` says so.

    Args:
        counted: all answers of the result.
        careless: those among them that are careless.
    """
    rest = Tally(
        {code: count - careless.codes.get(code, 0) for code, count in counted.codes.items()},
        {chosen: count - careless.sets.get(chosen, 0) for chosen, count in counted.sets.items()},
    )
    without = measure(spec, rest, stratum=result.stratum, window=result.window, segment=result.segment)[0]
    return _without(result, without, careless.n)


def indices_without(asked: Asked, careless: Collection[str], *, window: Span) -> list[Without]:
    """The indices of a battery without careless respondents, as far as they differ.

    Args:
        asked: everybody who was asked the battery.
        careless: respondents, by the names they have there.
    """
    rest = {who: answers for who, answers in asked.people.items() if who not in careless}
    if len(asked.people) - len(rest) < SUPPRESS_BELOW:
        return []
    scored = battery_scores(asked.battery, asked.indices, list(asked.people.values())).keys()
    everybody, others = (
        {
            result.variant: result
            for result in battery_results(
                asked.battery, asked.indices, list(people.values()), stratum=asked.stratum, window=window
            )
        }
        for people in (asked.people, rest)
    )
    found = (
        _without(result, others[variant], result.n_valid - others[variant].n_valid)
        for variant, result in everybody.items()
        if variant in scored and variant in others
    )
    return [one for one in found if one is not None]


def _without(result: Result, without: Result, left_out: int) -> Without | None:
    """None when it does not matter: up to two points; when it cannot be said: fewer than ten careless answers could be
    read off the difference, and fewer than ten others too; or for a mean, which is not in points."""
    if min(left_out, without.n_valid) < SUPPRESS_BELOW or result.form == "mean":
        return None
    if result.score is None or without.score is None or abs(without.score - result.score) <= MATTERS_ABOVE:
        return None
    return Without(result, without, left_out)


def people_of(sittings: Iterable[Sitting]) -> list[dict[str, int]]:
    """Instrument → code of each customer, their latest replies from all sittings; who has no name is a sitting."""
    people: dict[str, Sitting] = {}
    for sitting in sittings:
        who = f"c{sitting.customer}" if sitting.customer else f"s{sitting.session}"
        if who not in people:
            people[who] = replace(sitting, replies=dict(sitting.replies))
        else:
            for name, reply in sitting.replies.items():
                people[who].reply(name, reply)
    return [
        {name: reply.code for name, reply in person.replies.items() if reply.code is not None}
        for person in people.values()
    ]


def acquiescence(
    people: Sequence[Mapping[str, int]], specs: Mapping[str, InstrumentSpec], *, window: Span
) -> tuple[Result, ...]:
    """Spearman's correlation of each reversed item with the first plain item of its index, of raw codes: people who
    mean what they say answer them oppositely. Above 0 it is flagged `acquiescence`. Metric: the battery.

    Args:
        people: instrument → raw code, one mapping per respondent.
    """
    out = []
    for spec in specs.values():
        plain = _counterpart(spec, specs)
        if plain is None or spec.item is None:
            continue
        pairs = [(person[plain], person[spec.id]) for person in people if plain in person and spec.id in person]
        if not pairs:
            continue
        rho = _spearman(pairs) if len(pairs) >= SUPPRESS_BELOW else None
        found = Estimate(rho, None, None, "spearman")
        flags = ("acquiescence",) if rho is not None and rho > 0 else ()
        variant = f"acquiescence_{plain}_{spec.id}"
        out.append(record(spec.item.battery, variant, found, len(pairs), form="mean", window=window, flags=flags))
    return tuple(out)


def _counterpart(spec: InstrumentSpec, specs: Mapping[str, InstrumentSpec]) -> str | None:
    """The first plain item of the index of a reversed one."""
    if spec.item is None or not spec.item.reverse:
        return None
    place = (spec.item.battery, spec.item.index)
    return next(
        (o.id for o in specs.values() if o.item and not o.item.reverse and (o.item.battery, o.item.index) == place),
        None,
    )


def _spearman(pairs: Sequence[tuple[int, int]]) -> float | None:
    one, other = zip(*pairs, strict=True)
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(scipy.stats.spearmanr(one, other).statistic)


# -------------------------------------------------------------------------------- use of the scale, and of channels


@dataclass(frozen=True, slots=True)
class Shape:
    """How the scale was used by those who answered in one channel and language: shares of the middle and of both
    ends."""

    channel: str
    results: tuple[Result, ...]


Spoken = tuple[str, str]
"""Channel and language."""


def shapes(
    places: Mapping[Key, Mapping[Spoken, Tally]], specs: Mapping[str, InstrumentSpec], *, window: Span
) -> tuple[Shape, ...]:
    """Per question, wording, channel and language, every answer counted: `share_midpoint` (0–10: 5; 1–5: 3; 1–7: 4;
    none on a scale without a middle), `share_low_end`, `share_high_end` (S3).

    What could be had by subtraction from the other channels and languages of a question is suppressed with its sibling;
    where both occur, all are suppressed with it: other tables tell channels by themselves.
    """
    out: list[Shape] = []
    for (instrument, stratum), counted in sorted(places.items(), key=lambda pair: str(pair[0])):
        spec = specs[instrument]
        order = sorted(counted)
        columns = [
            hide_siblings([_part(spec, statistic, counted[place], stratum, place[1], window) for place in order])
            for statistic in _scale_use(spec)
        ]
        crossed = len({channel for channel, _ in order}) > 1 and len({lang for _, lang in order}) > 1
        if crossed and any(0 < counted[place].n < SUPPRESS_BELOW for place in order):
            columns = [
                tuple(replace(r, status="suppressed") if r.status in ("caution", "ok") else r for r in column)
                for column in columns
            ]
        out += [Shape(channel, row) for (channel, _), row in zip(order, zip(*columns, strict=True), strict=True)]
    return tuple(out)


def places_of(cells: Iterable[RollupCell], specs: Mapping[str, InstrumentSpec]) -> dict[Key, dict[Spoken, Tally]]:
    """The answers on a scale in the roll-up, by question, wording, channel and language."""
    values: dict[Key, dict[Spoken, Counter[object]]] = {}
    for cell in cells:
        spec = specs.get(cell.instrument)
        if spec is None or spec.kind != "scale" or cell.missing or parse_value(spec, cell.value).code is None:
            continue
        key = (spec.id, Stratum(cell.survey_kind, cell.touchpoint, cell.wording_id, cell.label_set))
        where = values.setdefault(key, {}).setdefault((cell.channel, cell.lang), Counter())
        where[cell.value] += cell.answers
    return {
        key: {place: tally(specs[key[0]], sorted(found.items(), key=str)) for place, found in places.items()}
        for key, places in values.items()
    }


def _scale_use(spec: InstrumentSpec) -> tuple[Statistic, ...]:
    middle, odd = divmod(spec.low + spec.high, 2)
    named = {"share_low_end": spec.low, "share_high_end": spec.high}
    if not odd:
        named = {"share_midpoint": middle, **named}
    return tuple(Statistic(name, "share", positive=(code,)) for name, code in named.items())


def _part(
    spec: InstrumentSpec, statistic: Statistic, counted: Tally, stratum: Stratum, lang: str, window: Span
) -> Result:
    return record(
        spec.id,
        statistic.variant,
        estimate(statistic, counted),
        counted.n,
        form="share",
        stratum=replace(stratum, lang=lang),
        window=window,
        unit="per_event",
    )


@dataclass(frozen=True, slots=True)
class Consistency:
    """Whether a question is answered alike in all channels with thirty answers or more."""

    spec: InstrumentSpec
    stratum: Stratum
    channels: Mapping[str, Result]
    """Channel → share of the two best answers, best first."""
    spread: float
    """Largest minus smallest share, in points."""
    p: float
    """χ² of "the same share in all"."""

    @property
    def differs(self) -> bool:
        """More than chance makes of it."""
        return self.p < CHECK_ALPHA

    def result(self) -> Result:
        """The record `channel_spread`."""
        n = sum(result.n_valid for result in self.channels.values())
        window = next(iter(self.channels.values())).window
        found = Estimate(self.spread, None, None, "none")
        flags = ("channels_differ",) if self.differs else ()
        return record(
            self.spec.id, "channel_spread", found, n, form="index", stratum=self.stratum, window=window, flags=flags
        )


def channel_consistency(
    spec: InstrumentSpec, counted: Mapping[str, Tally], *, stratum: Stratum, window: Span
) -> Consistency | None:
    """None with fewer than two channels of thirty answers; channels below that are left out, together with the next
    smallest where it would else give a handful of answers away.

    Args:
        counted: channel → answers, each customer once.
    """
    top = next(statistic for statistic in statistics_of(spec) if statistic.variant == "top2")
    enough = sorted((found.n, channel) for channel, found in counted.items() if found.n >= CAUTION_BELOW)
    rest = sum(found.n for found in counted.values() if found.n < CAUTION_BELOW)
    if 0 < rest < SUPPRESS_BELOW:
        enough = enough[1:]
    if len(enough) < 2:
        return None
    shares = {
        channel: record(
            spec.id, "top2", estimate(top, counted[channel]), n, form="share", stratum=stratum, window=window,
            segment="",
        )
        for n, channel in enough
    }  # fmt: skip
    best = sorted(shares, key=lambda channel: (-(shares[channel].score or 0.0), channel))
    table = [[good := counted[c].counting(top.positive), counted[c].n - good] for c in best]
    # with nobody or everybody content there is nothing that could differ
    all_alike = any(sum(column) == 0 for column in zip(*table, strict=True))
    p = 1.0 if all_alike else float(scipy.stats.chi2_contingency(table, correction=False).pvalue)
    spread = (shares[best[0]].score or 0.0) - (shares[best[-1]].score or 0.0)
    return Consistency(spec, stratum, {channel: shares[channel] for channel in best}, spread, p)


# ---------------------------------------------------------------------------------------------------------- gather


@dataclass(frozen=True, slots=True)
class Quality:
    """The checks of one window."""

    window: Span = field(default_factory=Span)
    nonresponse: tuple[Result, ...] = ()
    timing: tuple[Timing, ...] = ()
    careless: Careless = Careless()
    acquiescence: tuple[Result, ...] = ()
    shapes: tuple[Shape, ...] = ()
    consistency: tuple[Consistency, ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """The checks as a flat list of result records, what else is known of one beside it: only what says more than
        the scores do."""
        careless = {"straightline": self.careless.straightline, "speeder": self.careless.speeder}
        counted = [
            record("careless", name, Estimate(float(n), None, None, "none"), n, form="count", window=self.window)
            for name, n in careless.items()
            if n
        ]
        out = [result.shown().to_json() for result in (*counted, *self.acquiescence)]
        for w in self.careless.without:
            beside = {"variant": f"{w.result.variant}_without_careless", "left_out": w.left_out, "all": w.result.score}
            out.append({**w.without.to_json(), **beside})
        if any(shape.channel or shape.results[0].stratum.lang for shape in self.shapes):
            out += self._scale_use()
        return out + self._channels()

    def _scale_use(self) -> list[dict[str, Any]]:
        return [
            {**result.shown().to_json(), "channel": shape.channel} for shape in self.shapes for result in shape.results
        ]

    def _channels(self) -> list[dict[str, Any]]:
        return [
            {
                **found.result().to_json(),
                "p": found.p,
                "channels": {channel: result.to_json() for channel, result in found.channels.items()},
            }
            for found in self.consistency
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: result records, with what else is known beside them."""
        return {
            "window": {"start": self.window.start or None, "end": self.window.end or None},
            "nonresponse": [result.shown().to_json() for result in self.nonresponse],
            "early_late": [_timing_json(timing) for timing in self.timing],
            "careless": {
                "straightline": self.careless.straightline,
                "speeder": self.careless.speeder,
                "without": [
                    {"left_out": w.left_out, "all": w.result.to_json(), "without": w.without.to_json()}
                    for w in self.careless.without
                ],
            },
            "acquiescence": [result.shown().to_json() for result in self.acquiescence],
            "scale_use": self._scale_use(),
            "channel_consistency": self._channels(),
        }


def _timing_json(timing: Timing) -> dict[str, Any]:
    found = timing.difference
    return {
        "early": timing.early.to_json(),
        "late": timing.late.to_json(),
        "delta": None if found is None else found.delta,
        "ci_low": None if found is None else found.low,
        "ci_high": None if found is None else found.high,
        "p": None if found is None else found.p,
    }


@dataclass(frozen=True, slots=True)
class QualityReading:
    """What the checks of a window are made of. Nothing more is asked of the store."""

    window: Span
    invited: Sequence[Invited]
    batteries: Sequence[Sitting]
    """Of batteries with a reversed item."""
    straightline: int
    speeder: int
    careless: Mapping[Key, Tally]
    """The answers of both that count."""
    careless_places: Mapping[Key, Mapping[Place, int]]
    """Where these answers count."""
    careless_people: Collection[str]
    delays: Sequence[DelayCount]
    cells: Sequence[RollupCell]


def read_quality(
    tx: Tx, start_ms: int, end_ms: int, *, specs: Mapping[str, InstrumentSpec], window: Span
) -> QualityReading:
    """What the checks of a stored window [start, end) of whole weeks, `window` being its two Mondays, are made of.

    Reads the window's invitations, the roll-up, the sessions of batteries
    with a reversed item, and the sessions that were too quick: what it holds grows with these, not with all answers.
    """
    items = [spec for spec in specs.values() if spec.item is not None]
    turned = {spec.item.battery for spec in items if spec.item is not None and spec.item.reverse}
    battery_items = [spec.id for spec in items if spec.item is not None and spec.item.battery in turned]
    batteries = sittings_of(
        tx.answers_beside(start_ms, end_ms, anchors=battery_items, instruments=battery_items), specs
    )
    same = {sitting.session for sitting in batteries if is_straightline(sitting, specs)}
    quick = set(tx.quick_sessions(start_ms, end_ms, ms_per_question=MS_PER_QUESTION))
    careless, places, people = _careless_answers(tx, sorted(same | quick), start_ms, end_ms, specs)
    return QualityReading(
        window=window,
        invited=tx.invited_between(start_ms, end_ms),
        batteries=batteries,
        straightline=len(same),
        speeder=len(quick),
        careless=careless,
        careless_places=places,
        careless_people=people,
        delays=tx.values_by_delay("nps", start_ms, end_ms, early_ms=EARLY_MS) if "nps" in specs else (),
        cells=[cell for cell in tx.rollup(window.start, window.end) if cell.week < window.end],
    )


def check_quality(
    found: QualityReading,
    tables: EventTables,
    *,
    now_ms: int,
    specs: Mapping[str, InstrumentSpec],
    scored: Iterable[tuple[Result, Tally]] = (),
    by_channel: Iterable[tuple[InstrumentSpec, Stratum, Mapping[str, Tally]]] = (),
    asked: Iterable[Asked] = (),
) -> Quality:
    """All checks of a window.

    Args:
        found: of `read_quality`.
        tables: what happened in the window and in the year before.
        now_ms: invitations younger than seven days by then are not judged yet.
        specs: instrument → how it is scored.
        scored: leading results with their answers, to be looked at without careless ones.
        by_channel: satisfaction, each customer once, by channel.
        asked: respondents to batteries, to be looked at without careless ones.
    """
    window = found.window
    without = []
    for result, counted in scored:
        key = (result.metric, replace(result.stratum, lang=""))
        one = score_without(specs[result.metric], counted, found.careless.get(key, Tally()), result)
        if one is not None:
            without.append(one)
    for battery in asked:
        without += indices_without(battery, found.careless_people, window=window)
    consistent = (
        channel_consistency(spec, tallies, stratum=stratum, window=window) for spec, stratum, tallies in by_channel
    )
    return Quality(
        window=window,
        nonresponse=_shown(nonresponse(profiles_of(found.invited, tables, now_ms), window=window)),
        timing=_timings(found.delays, specs, window),
        careless=Careless(found.straightline, found.speeder, tuple(without)),
        acquiescence=_shown(acquiescence(people_of(found.batteries), specs, window=window)),
        shapes=tuple(
            replace(shape, results=_shown(shape.results))
            for shape in shapes(places_of(found.cells, specs), specs, window=window)
        ),
        consistency=tuple(one for one in consistent if one is not None),
    )


def _shown(results: Sequence[Result]) -> tuple[Result, ...]:
    return tuple(result.shown() for result in results)


def _timings(delays: Iterable[DelayCount], specs: Mapping[str, InstrumentSpec], window: Span) -> tuple[Timing, ...]:
    spec = specs.get("nps")
    if spec is None:
        return ()
    values: dict[Stratum, dict[bool, list[tuple[object, int]]]] = {}
    for counted in delays:
        stratum = Stratum(counted.survey_kind, counted.touchpoint, counted.wording_id, counted.label_set)
        values.setdefault(stratum, {True: [], False: []})[counted.early].append((counted.value, counted.customers))
    return tuple(
        early_and_late(spec, tally(spec, found[True]), tally(spec, found[False]), stratum=stratum, window=window)
        for stratum, found in sorted(values.items(), key=lambda pair: str(pair[0]))
    )


def _careless_answers(
    tx: Tx, sessions: Sequence[str], start_ms: int, end_ms: int, specs: Mapping[str, InstrumentSpec]
) -> tuple[dict[Key, Tally], dict[Key, Counter[Place]], set[str]]:
    """The answers of these sessions that count, the latest of their customer in the window; where they count; and who
    gave them, as `reports.respondents` names them."""
    values: dict[Key, Counter[object]] = {}
    places: dict[Key, Counter[Place]] = {}
    people: set[str] = set()
    for session in sessions:
        for answer in tx.answers_of_session(session):
            if not _counts(answer, start_ms, end_ms, specs):
                continue
            people.add(f"c{answer.customer_id}" if answer.customer_id else f"s{session}")
            others = tx.answers_of(answer.customer_id) if answer.customer_id else [answer]
            alike = [o for o in others if _counts(o, start_ms, end_ms, specs) and _kind(o) == _kind(answer)]
            if max(alike, key=lambda o: (o.answered_ms, o.id)).id == answer.id:
                stratum = Stratum(answer.survey_kind, answer.touchpoint, answer.wording_id, answer.label_set)
                key = (answer.instrument, stratum)
                values.setdefault(key, Counter())[answer.value] += 1
                places.setdefault(key, Counter())[place_of(answer, answer.instrument)] += 1
    tallies = {key: tally(specs[key[0]], sorted(found.items(), key=str)) for key, found in values.items()}
    return tallies, places, people


def _counts(answer: Answer, start_ms: int, end_ms: int, specs: Mapping[str, InstrumentSpec]) -> bool:
    spec = specs.get(answer.instrument)
    if spec is None or answer.missing or answer.replaced_ms is not None:
        return False
    return start_ms <= answer.answered_ms < end_ms and parse_value(spec, answer.value).kind == "valid"


def place_of(counted: Answer | DelayCount | RollupCell, instrument: str) -> Place:
    """Where it counts in the digests."""
    asked = (counted.survey_kind, counted.touchpoint, counted.wording_id, counted.label_set)
    return Place(instrument, *asked, date.fromisoformat(counted.week), counted.segment, counted.channel)


def _kind(answer: Answer) -> tuple[str, str, str]:
    return answer.instrument, answer.survey_kind, answer.touchpoint


# ----------------------------------------------------------------------------------------------------------- words


def sentences(quality: Quality, specs: Mapping[str, InstrumentSpec], lang: Language) -> list[str]:
    """What a reader of the scores should know; nothing where every check is fine."""
    own, words = _WORDS[lang], Words(lang)
    lines: list[str] = []
    for result in quality.nonresponse:
        if "nonresponse_bias" in result.flags and result.score is not None:
            channel = words.channel(result.variant.removeprefix("channel_"))
            name = (
                own["channel"].format(channel=channel) if result.variant.startswith("channel_") else own[result.variant]
            )
            n = {part: number(result.counts[part]) for part in ("answered", "silent")}
            lines.append(own["nonresponse"].format(name=name, d=signed(result.score, 2), **n))
    for timing in quality.timing:
        found = timing.difference
        if found is not None and timing.differs:
            form = timing.early.form
            lines.append(
                own["timing"].format(
                    metric=_named(timing.early, specs, words),
                    delta=words.delta(found.delta, form),
                    interval=words.interval(found.low, found.high, form, change=True),
                    early=number(timing.early.n_valid),
                    late=number(timing.late.n_valid),
                )
            )
    lines += _careless_lines(quality.careless, specs, words)
    for result in quality.acquiescence:
        if "acquiescence" in result.flags and result.score is not None:
            battery = result.variant.removeprefix("acquiescence_")
            names = [spec for spec in specs.values() if spec.item and spec.id in battery]
            both = own["and"].join(words.metric(spec) for spec in names)
            lines.append(own["acquiescence"].format(names=both, rho=signed(result.score, 2), n=number(result.n_valid)))
    lines += [_consistency_line(found, specs, words) for found in quality.consistency]
    return lines


def _careless_lines(careless: Careless, specs: Mapping[str, InstrumentSpec], words: Words) -> list[str]:
    own = _WORDS[words.lang]
    lines = []
    if careless.straightline or careless.speeder:
        lines.append(own["careless"].format(same=number(careless.straightline), quick=number(careless.speeder)))
    for found in careless.without:
        assert found.result.score is not None
        assert found.without.score is not None
        lines.append(
            own["without"].format(
                metric=_named(found.result, specs, words),
                all=words.value(found.result.score, found.result.form),
                without=words.value(found.without.score, found.without.form),
                n=number(found.without.n_valid),
                left_out=number(found.left_out),
            )
        )
    return lines


def _consistency_line(found: Consistency, specs: Mapping[str, InstrumentSpec], words: Words) -> str:
    own = _WORDS[words.lang]
    each = own["comma"].join(
        own["of_channel"].format(channel=words.channel(channel), share=words.score(result), n=number(result.n_valid))
        for channel, result in found.channels.items()
    )
    verdict = own["differ" if found.differs else "alike"]
    return own["consistency"].format(
        metric=_named(found.result(), specs, words), spread=rounded(found.spread, 1), each=each, verdict=verdict
    )


def _named(result: Result, specs: Mapping[str, InstrumentSpec], words: Words) -> str:
    """What a score is called, and where it was asked."""
    spec, where = specs.get(result.metric), words.touchpoint(result.stratum.touchpoint)
    if spec is None:
        name = variant_name(result.metric, result.variant, words.lang)
        # of an index of several questions it must always be said whose calculation it is
        details = ["自社指標" if words.lang == "ja" else "own calculation", where]
    else:
        name, details = words.metric(spec), [where]
    said = " · ".join(part for part in details if part)
    if not said:
        return name
    return f"{name}（{said}）" if words.lang == "ja" else f"{name} ({said})"


_WORDS: dict[Language, dict[str, str]] = {
    "ja": {
        "nonresponse": "答えた方と答えていない方で、{name}に差があります（標準化差 {d}、n={answered}と{silent}）。"
        "回答は全体を代表しない可能性があります。",
        "orders_365d": "1年間の注文回数",
        "tenure_days": "お付き合いの長さ",
        "last_order_value": "直近の注文金額",
        "open_ticket": "対応中のお問い合わせの有無",
        "channel": "経路（{channel}）の割合",
        "timing": "{metric}は、24時間以内に答えた方と後から答えた方で差があります"
        "（{delta}、95%信頼区間 {interval}、n={early}と{late}）。",
        "careless": "読まずに答えた可能性のある回答：同じ番号の連続 {same}件、1問1秒未満 {quick}件。"
        "集計には含めています。",
        "without": "{metric}は、その{left_out}件を除くと {all} から {without} になります（n={n}）。",
        "acquiescence": "{names}は逆向きの質問ですが、同じ向きに答えられています（相関 {rho}、n={n}）。",
        "consistency": "経路による違い：{metric}は最大{spread}ポイントの差（{each}）。{verdict}",
        "of_channel": "{channel} {share} n={n}",
        "differ": "有意な差です。",
        "alike": "誤差の範囲です。",
        "and": "と",
        "comma": "、",
    },
    "en": {
        "nonresponse": "Customers who answered differ from those who did not in {name} (standardised difference {d},"
        " n={answered} and {silent}): the answers may not speak for all.",
        "orders_365d": "orders in a year",
        "tenure_days": "how long they have been customers",
        "last_order_value": "the value of the last order",
        "open_ticket": "having an open enquiry",
        "channel": "the share of {channel}",
        "timing": "{metric}: those who answered within 24 hours and those who took longer differ ({delta}, 95% CI"
        " {interval}, n={early} and {late}).",
        "careless": "Answers that may have been given without reading: the same number throughout {same}, less than a"
        " second a question {quick}. They are counted.",
        "without": "{metric}: without these {left_out} it would be {without} instead of {all} (n={n}).",
        "acquiescence": "{names} ask opposite things and were answered alike (correlation {rho}, n={n}).",
        "consistency": "Channels: {metric} differs by up to {spread} points ({each}). {verdict}",
        "of_channel": "{channel} {share}, n={n}",
        "differ": "A significant difference.",
        "alike": "Within noise.",
        "and": " and ",
        "comma": ", ",
    },
}
