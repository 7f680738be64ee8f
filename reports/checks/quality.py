"""Whether the answers can be trusted, all checks together: who did not answer (`nonresponse`), who answered without
reading (`careless`), how scales are used and whether channels agree (`scale_use`). The template `quality_lines` tells
of them.

Source: docs/metrics.md ("Whether the answers can be trusted").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from reports.checks.careless import (
    MS_PER_QUESTION,
    Careless,
    acquiescence,
    indices_without,
    is_straightline,
    people_of,
    score_without,
)
from reports.checks.nonresponse import (
    EARLY_MS,
    Timing,
    nonresponse,
    profiles_of,
    timings_of,
)
from reports.checks.scale_use import Consistency, Shape, channel_consistency, places_of, shapes
from reports.disclosure import Place
from reports.event_tables import EventTables
from reports.metrics import (
    InstrumentSpec,
    Key,
    Result,
    Span,
    Stratum,
    Tally,
    parse_value,
    record,
    tally,
)
from reports.procedures import Estimate
from reports.respondents import Asked
from reports.sittings import Sitting, sittings_of
from storage.records import Answer, DelayCount, Invited, RollupCell
from storage.store import Tx


@dataclass(frozen=True, slots=True)
class Quality:
    """The checks of one window."""

    window: Span = field(default_factory=Span)
    nonresponse: tuple[Result, ...] = ()
    timing: tuple[Timing, ...] = ()
    careless: Careless = field(default_factory=Careless)
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
        timing=timings_of(found.delays, specs, window),
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
