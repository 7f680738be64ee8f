"""Which experience goes with the rating: R² of the ranks, shared out among the touchpoints that were asked about.

The decomposition (LMG, Shapley) is our own: no maintained library has it. A driver's part is its average gain in R²
over all orders in which the drivers may enter; the parts are never negative and add up to R². No "today".

Source: docs/metrics.md ("What moves the recommendation"); Lindeman, Merenda & Gold 1980; Lipovetsky & Conklin 2001;
Grömping 2006; map: Martilla & James 1977.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta, tzinfo
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from reports.disclosure import Place
from reports.drivers.decomposition import lmg, rank_correlations, share_intervals
from reports.event_tables import local_days
from reports.metrics import InstrumentSpec, Result, Span, Stratum, status_of
from reports.procedures import Floats
from reports.sittings import Sitting, Words, sittings_of
from storage.store import Tx

OUTCOME = "nps"
EXPERIENCE = "exp_"
COMPANIONS = ("ces_effort", "ces_ease", "expect_gap")
"""Drivers beside the touchpoints, where they were asked in the same sitting."""
OTHER_BLOCK = "other"
"""Sittings whose touchpoints are in no block together, such as those of another tool."""

FEWEST = 100
FEWEST_PER_DRIVER = 10
FEWEST_DRIVERS, MOST_DRIVERS = 2, 12
SAME_ABOVE = 0.95
EXPLAINED_FROM = 0.10
ASKED_OF_MOST = 0.8
"""A driver asked of fewer sittings may be given up when too few sittings are complete with it."""
TOLERANCE = 1e-9


WhyNot = Literal["", "few", "few_drivers", "many_drivers", "constant_outcome", "not_explained"]
MapPlace = Literal["improve", "keep", "watch", "overdone"]


@dataclass(frozen=True, slots=True)
class Driver:
    """One touchpoint, or several that were merged, and what goes with it."""

    instruments: tuple[str, ...]
    lmg: float
    """Part of R², 0…1."""
    share: float
    """Part of what all drivers explain, 0…100, with its interval."""
    low: float | None
    high: float | None
    rho: float
    """Spearman with the rating, of the answers mirrored where low is good."""
    performance: float | None
    """Mean of the answers on 0–100, 100 being the good end; None where it would give the scores of a few away."""
    place: MapPlace
    undecided: bool
    """The interval contains the cut line: the class may be another."""
    priority: float | None
    """Share × distance of the performance from 100; None with it."""
    model_sign: int | None
    """Sign in the proportional-odds model of all drivers; None when it could not be fitted."""

    @property
    def name(self) -> str:
        """The ids, merged ones joined by "+"."""
        return "+".join(self.instruments)

    @property
    def opposite(self) -> bool:
        """Better answers go with lower ratings."""
        return self.rho < 0

    @property
    def contested(self) -> bool:
        """The model with all drivers sees it the other way round."""
        return self.model_sign is not None and self.model_sign * self.rho < 0


@dataclass(frozen=True, slots=True)
class DriverAnalysis:
    """What goes with the rating in one block of touchpoints; no drivers where `why_not` says why."""

    block: str
    stratum: Stratum
    window: Span
    n: int
    """Respondents whose answers are complete."""
    incomplete: int
    """Further respondents with a rating who left out one of the drivers."""
    minimum: int
    why_not: WhyNot
    r2: float | None = None
    drivers: tuple[Driver, ...] = ()
    """In order of priority."""
    constant: tuple[str, ...] = ()
    """Left out: everybody answered the same."""
    thin: tuple[str, ...] = ()
    """Left out: asked of too few."""
    flags: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    """Questions of which the mean is told, or that everybody gave the same answer."""
    places: Mapping[str, Mapping[Place, int]] = field(default_factory=dict)
    """Where the answers to each of these count."""

    @property
    def hidden(self) -> bool:
        """Whether performances are not told: beside the scores they would give those of a few away."""
        return any(driver.performance is None for driver in self.drivers)

    @property
    def contested(self) -> tuple[str, ...]:
        """The questions that the model with all drivers sees the other way round."""
        return tuple(name for driver in self.drivers if driver.contested for name in driver.instruments)

    def without_performance(self) -> DriverAnalysis:
        """What goes with the rating, and not how any touchpoint was rated: the rating of one would follow from those
        of the others and the line that cuts the map."""
        if self.constant or self.why_not == "constant_outcome":
            # that everybody gave the same rating is a score, too, and would follow from the touchpoint that is missing
            return replace(self, drivers=(), r2=None, constant=(), why_not="not_explained", told=(), places={})
        drivers = tuple(replace(driver, performance=None, priority=None) for driver in self.drivers)
        return replace(self, drivers=drivers, told=(), places={})

    def results(self) -> tuple[Result, ...]:
        """Result records: `{block}.r2`, then `{block}.{driver}`, the share of each in order of priority, 0–100."""
        flags = self.flags if not self.why_not else (*self.flags, f"drivers_{self.why_not}")
        overall = self._record("r2", None if self.r2 is None else 100.0 * self.r2, None, None, "none", flags)
        return (
            overall,
            *(self._record(d.name, d.share, d.low, d.high, "bootstrap", _flags(d, self.flags)) for d in self.drivers),
        )

    def _record(
        self, name: str, score: float | None, low: float | None, high: float | None, method: str, flags: tuple[str, ...]
    ) -> Result:
        return Result(
            metric=f"{OUTCOME}_drivers",
            variant=f"{self.block}.{name}",
            stratum=self.stratum,
            window=self.window,
            segment="",
            unit="latest_per_customer",
            n_valid=self.n,
            n_missing=self.incomplete,
            n_invalid=0,
            n_superseded=0,
            counts={},
            score=score,
            ci_low=low,
            ci_high=high,
            ci_method=method,
            status=status_of(self.n),
            flags=flags,
            form="share",
        )

    def to_json(self) -> list[dict[str, Any]]:
        """The records as plain JSON values; a driver's one carries in `driver` what else is known of it."""
        overall, *shares = (result.shown().to_json() for result in self.results())
        overall["minimum"] = self.minimum
        overall["left_out"] = {"constant": list(self.constant), "thin": list(self.thin)}
        for record, driver in zip(shares, self.drivers, strict=True):
            record["driver"] = {
                "block": self.block,
                "instruments": list(driver.instruments),
                "lmg": driver.lmg,
                "rho": driver.rho,
                "performance": driver.performance,
                "place": driver.place,
                "undecided": driver.undecided,
                "priority": driver.priority,
                "model_sign": driver.model_sign,
            }
        return [overall, *shares]


def _flags(driver: Driver, more: tuple[str, ...]) -> tuple[str, ...]:
    own = {"opposite": driver.opposite, "undecided": driver.undecided, "contested": driver.contested}
    return (*more, *(name for name, holds in own.items() if holds))


def is_touchpoint(instrument: str) -> bool:
    """Whether the instrument rates a touchpoint: without one there is nothing to analyse."""
    return instrument.startswith(EXPERIENCE)


def is_wanted(instrument: str) -> bool:
    """Whether a driver analysis needs the answers to this instrument."""
    return instrument == OUTCOME or instrument in COMPANIONS or is_touchpoint(instrument)


def driver_sittings(tx: Tx, start_ms: int, end_ms: int, *, specs: Mapping[str, InstrumentSpec]) -> list[Sitting]:
    """What `analyse` takes of a stored window [start, end), by the time the touchpoints were rated; a quarter is a good
    length.

    Reads the sessions with a touchpoint in them, and of these the questions that matter here.
    """
    wanted = [name for name in specs if is_wanted(name)]
    rows = tx.answers_beside(
        start_ms, end_ms, anchors=[name for name in wanted if is_touchpoint(name)], instruments=wanted
    )
    return sittings_of(rows, specs)


def analyse(
    sittings: Iterable[Sitting],
    specs: Mapping[str, InstrumentSpec],
    *,
    window: Span,
    blocks: Mapping[str, tuple[str, ...]],
    tz: tzinfo | None = None,
) -> tuple[DriverAnalysis, ...]:
    """One analysis per kind of survey, touchpoint, wording of the rating and block, in order of these; blocks of which
    nobody was asked are left out.

    Of each customer the latest sitting with a rating counts; a sitting without a customer counts for itself.

    Args:
        blocks: block → its touchpoints, always asked about together.
        tz: zone of the weeks in which answers count; without one it is not said where they do (`places`).
    """
    groups: dict[tuple[str, str, Words, str], dict[str, Sitting]] = {}
    for sitting in sittings:
        rating = sitting.replies.get(OUTCOME)
        asked = [name for name in sitting.replies if is_touchpoint(name)]
        if rating is None or rating.code is None or not asked:
            continue
        key = (sitting.survey_kind, sitting.touchpoint, rating.words, _block_of(asked, blocks))
        people = groups.setdefault(key, {})
        who = f"c{sitting.customer}" if sitting.customer else f"s{sitting.session}"
        before = people.get(who)
        if before is None or (before.at_ms, before.session) <= (sitting.at_ms, sitting.session):
            people[who] = sitting
    return tuple(
        _analysis(key[3], _stratum(key, people), [people[who] for who in sorted(people)], specs, window, tz)
        for key, people in sorted(groups.items())
    )


def _block_of(asked: Sequence[str], blocks: Mapping[str, tuple[str, ...]]) -> str:
    """The smallest block that holds all of them: a question may have been left out, none comes from elsewhere."""
    holding = [(len(items), name) for name, items in blocks.items() if set(asked) <= set(items)]
    return min(holding)[1] if holding else OTHER_BLOCK


def _stratum(key: tuple[str, str, Words, str], people: Mapping[str, Sitting]) -> Stratum:
    langs = {sitting.lang for sitting in people.values()}
    lang = langs.pop() if len(langs) == 1 else "mixed"
    return Stratum(key[0], key[1], key[2].wording_id, key[2].label_set, lang)


def _analysis(
    block: str,
    stratum: Stratum,
    people: list[Sitting],
    specs: Mapping[str, InstrumentSpec],
    window: Span,
    tz: tzinfo | None,
) -> DriverAnalysis:
    asked = _most_common_words(people)
    names = [name for name in specs if name in asked and is_wanted(name) and name != OUTCOME]
    complete, thin = _complete(people, names, asked)
    names = [name for name in names if name not in thin]
    table = {name: _good_way_up(specs[name], [_code(s, name, asked) for s in complete]) for name in names}
    ratings = np.array([_code(sitting, OUTCOME, asked) for sitting in complete], dtype=np.float64)
    constant = tuple(name for name in names if not complete or np.ptp(table[name]) == 0)
    columns: _Columns = {(name,): table[name] for name in names if name not in constant}
    while (pair := _same(columns)) is not None:
        columns = _merged(columns, pair)
    p = len(columns)
    minimum = max(FEWEST, FEWEST_PER_DRIVER * p)
    why_not: WhyNot = ""
    if len(complete) < minimum:
        why_not = "few"
        constant = ()  # among few, that all agree would tell what each of them said
    elif np.ptp(ratings) == 0:
        why_not = "constant_outcome"
    elif p < FEWEST_DRIVERS:
        why_not = "few_drivers"
    elif p > MOST_DRIVERS:
        why_not = "many_drivers"
    r2: float | None = None
    drivers: tuple[Driver, ...] = ()
    if not why_not:
        r2, drivers = _decomposed(columns, ratings, table)
        if r2 < EXPLAINED_FROM:
            why_not, drivers = "not_explained", ()
    told = (*constant, *(name for driver in drivers for name in driver.instruments))
    if why_not == "constant_outcome":
        told = (*told, OUTCOME)
    return DriverAnalysis(
        block=block,
        stratum=stratum,
        window=window,
        n=len(complete),
        incomplete=len(people) - len(complete),
        minimum=minimum,
        why_not=why_not,
        r2=r2,
        drivers=drivers,
        constant=constant,
        thin=thin,
        flags=("mixed_lang",) if stratum.lang == "mixed" else (),
        told=told,
        places={} if tz is None else {name: _places(name, asked[name], complete, tz) for name in told},
    )


def beside_scores(
    analyses: Sequence[DriverAnalysis], may_tell: Callable[[list[Mapping[Place, int]]], Sequence[bool]]
) -> tuple[DriverAnalysis, ...]:
    """The analyses, without performances where they would give the scores of a few away: a driver is rated by those who
    answered its whole block, and its own score is of everybody.

    Args:
        may_tell: where the answers of several numbers count → of each whether it may be told.
    """
    hidden: set[int] = set()
    for name in sorted({name for analysis in analyses for name in analysis.told}):
        mine = [number for number, analysis in enumerate(analyses) if name in analysis.told]
        told = may_tell([analyses[number].places[name] for number in mine])
        hidden.update(number for number, may in zip(mine, told, strict=True) if not may)
    return tuple(
        analysis.without_performance() if number in hidden else analysis for number, analysis in enumerate(analyses)
    )


def _places(name: str, words: Words, complete: Sequence[Sitting], tz: tzinfo) -> Counter[Place]:
    """Where the answers to one question count."""
    days = local_days(pd.Series([sitting.replies[name].at_ms for sitting in complete]), tz)
    mondays = days - (days + _EPOCH.weekday()) % 7
    where = Counter(
        (monday, sitting.survey_kind, sitting.touchpoint, sitting.segment, sitting.channel)
        for monday, sitting in zip(mondays.tolist(), complete, strict=True)
    )
    return Counter(
        {
            Place(name, kind, touchpoint, *words, _EPOCH + timedelta(days=monday), segment, channel): n
            for (monday, kind, touchpoint, segment, channel), n in where.items()
        }
    )


_EPOCH = date(1970, 1, 1)


def _most_common_words(people: Iterable[Sitting]) -> dict[str, Words]:
    """Instrument → the words most were asked in. Answers to others are left out: they are another question."""
    counts: dict[str, Counter[Words]] = {}
    for sitting in people:
        for name, reply in sitting.replies.items():
            if reply.code is not None:
                counts.setdefault(name, Counter())[reply.words] += 1
    return {name: min(found, key=lambda words: (-found[words], words)) for name, found in counts.items()}


def _code(sitting: Sitting, name: str, asked: Mapping[str, Words]) -> int | None:
    reply = sitting.replies.get(name)
    return None if reply is None or reply.words != asked[name] else reply.code


def _complete(
    people: list[Sitting], names: Sequence[str], asked: Mapping[str, Words]
) -> tuple[list[Sitting], tuple[str, ...]]:
    """(respondents with all drivers, drivers given up for it).

    While there are too few, the driver asked of fewest is given up, if it was not asked of most: a question for some
    situations only would else leave no complete respondent.
    """
    kept = list(names)
    thin: list[str] = []
    answered = {name: sum(_code(s, name, asked) is not None for s in people) for name in names}
    while True:
        complete = [s for s in people if all(_code(s, name, asked) is not None for name in kept)]
        if not kept or len(complete) >= max(FEWEST, FEWEST_PER_DRIVER * min(len(kept), MOST_DRIVERS)):
            return complete, tuple(thin)
        fewest = min(kept, key=lambda name: answered[name])
        if answered[fewest] >= ASKED_OF_MOST * len(people):
            return complete, tuple(thin)
        kept.remove(fewest)
        thin.append(fewest)


def _good_way_up(spec: InstrumentSpec, codes: Sequence[int | None]) -> Floats:
    """Codes on 0–100, 100 being the good end."""
    values = 100.0 * (np.array(codes, dtype=np.float64) - spec.low) / (spec.high - spec.low)
    return 100.0 - values if spec.better == "low" else values


_Columns = dict[tuple[str, ...], Floats]


def _same(columns: _Columns) -> tuple[tuple[str, ...], tuple[str, ...], float] | None:
    """The two that are most alike, when they are too much alike to be told apart."""
    if len(columns) < 2 or next(iter(columns.values())).size == 0:
        return None
    names = list(columns)
    index = np.arange(columns[names[0]].size)[None]
    found = rank_correlations(list(columns.values()), index)[0]
    one, other = max(combinations(range(len(names)), 2), key=lambda pair: abs(found[pair]))
    rho = float(found[one, other])
    return (names[one], names[other], rho) if abs(rho) > SAME_ABOVE else None


def _merged(columns: _Columns, pair: tuple[tuple[str, ...], tuple[str, ...], float]) -> _Columns:
    """Both replaced by their mean; one that runs against the other is mirrored first."""
    one, other, rho = pair
    mirrored = columns[other] if rho > 0 else 100.0 - columns[other]
    # a mean of three is that of three answers, not of a mean and an answer
    mean = (len(one) * columns[one] + len(other) * mirrored) / (len(one) + len(other))
    return {((*one, *other) if name == one else name): (mean if name == one else column)
            for name, column in columns.items() if name != other}  # fmt: skip


def _decomposed(columns: _Columns, ratings: Floats, table: Mapping[str, Floats]) -> tuple[float, tuple[Driver, ...]]:
    p = len(columns)
    everything = [*columns.values(), ratings]
    correlations = rank_correlations(everything, np.arange(ratings.size)[None])[0]
    parts, r2 = lmg(correlations[-1, :-1], correlations[:-1, :-1])
    if r2 < EXPLAINED_FROM:
        return r2, ()
    bounds = share_intervals(everything)
    signs = _model_signs(list(columns.values()), ratings)
    performance = [float(np.mean([table[name].mean() for name in names])) for names in columns]
    cut, average = 100.0 / p, sum(performance) / p
    found = []
    for place, names in enumerate(columns):
        share = 100.0 * float(parts[place]) / r2
        low, high = (None, None) if bounds is None else (100.0 * float(b[place]) for b in bounds)
        found.append(
            Driver(
                instruments=names,
                lmg=float(parts[place]),
                share=share,
                low=low,
                high=high,
                rho=float(correlations[-1, place]),
                performance=performance[place],
                place=_place(share >= cut - TOLERANCE, performance[place] >= average - TOLERANCE),
                undecided=low is None or high is None or low <= cut <= high,
                priority=share / 100.0 * (100.0 - performance[place]),
                model_sign=None if signs is None else signs[place],
            )
        )
    return r2, tuple(sorted(found, key=lambda driver: (-(driver.priority or 0.0), driver.name)))


def _place(important: bool, good: bool) -> MapPlace:
    if important:
        return "keep" if good else "improve"
    return "overdone" if good else "watch"


def _model_signs(drivers: Sequence[Floats], ratings: Floats) -> list[int] | None:
    """Signs of the drivers in a proportional-odds model of the rating; None when it does not converge."""
    # a quarter of a second, and only shops with a hundred such sittings need it
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    _, levels = np.unique(ratings, return_inverse=True)
    table = np.column_stack([(column - column.mean()) / column.std() for column in drivers])
    with warnings.catch_warnings():
        # what matters of a fit that fails is that it failed: the result says so
        warnings.simplefilter("ignore")
        try:
            fitted = OrderedModel(levels, table, distr="logit").fit(method="bfgs", maxiter=200, disp=False)
        except (np.linalg.LinAlgError, ValueError, FloatingPointError):
            return None
    slopes = np.asarray(fitted.params)[: len(drivers)]
    if not fitted.mle_retvals["converged"] or not np.isfinite(slopes).all():
        return None
    return [int(sign) for sign in np.sign(slopes)]
