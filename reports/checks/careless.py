"""Who answered without reading, and what the scores would be without them.

Checks of the data, not results: nothing is corrected, left out or filled in. No "today".
Source: docs/metrics.md ("Whether the answers can be trusted").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import scipy

from reports.indices import battery_results, battery_scores
from reports.metrics import (
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Tally,
    measure,
    record,
)
from reports.procedures import Estimate
from reports.respondents import Asked
from reports.sittings import Sitting

SAME_ITEMS = 5
MS_PER_QUESTION = 1000
MATTERS_ABOVE = 2.0
"""Points by which a score must change without careless answers to be told."""


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
