"""Which experience goes with the rating: R² of the ranks, shared out among the touchpoints that were asked about.

The decomposition (LMG, Shapley) is our own: no maintained library has it. A driver's part is its average gain in R²
over all orders in which the drivers may enter; the parts are never negative and add up to R². No "today".

Source: docs/metrics.md ("What moves the recommendation"); Lindeman, Merenda & Gold 1980; Lipovetsky & Conklin 2001;
Grömping 2006; map: Martilla & James 1977.
"""

from __future__ import annotations

import math
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
from reports.event_tables import local_days
from reports.metrics import InstrumentSpec, Result, Span, Stratum, status_of
from reports.procedures import Floats, Ints, resamples
from reports.rounding import rounded
from reports.sittings import Sitting, Words, sittings_of
from reports.words import Language, number
from reports.words import Words as Written
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

_TINY = 1e-10
_NUMBERS_AT_ONCE = 4_000_000

WhyNot = Literal["", "few", "few_drivers", "many_drivers", "constant_outcome", "not_explained"]
MapPlace = Literal["improve", "keep", "watch", "overdone"]


# --------------------------------------------------------------------------------------------------- decomposition


def explained(correlations: Floats) -> Floats:
    """R² of the last variable by every subset of the others.

    Args:
        correlations: (…, p + 1, p + 1), symmetric, ones on the diagonal. A driver without variance has a row of zeros
            and explains nothing; one that the others determine adds nothing to them.

    Returns:
        (…, 2^p); bit j of the place stands for driver j, so the last one is R² by all of them.
    """
    state = correlations[..., None, :, :]
    for _ in range(correlations.shape[-1] - 1):
        pivot = state[..., 0, 0]
        inverse = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=pivot > _TINY)
        column = state[..., 1:, 0]
        without = state[..., 1:, 1:]
        given = without - column[..., :, None] * column[..., None, :] * inverse[..., None, None]
        state = np.concatenate((without, given), axis=-3)
    found: Floats = 1.0 - state[..., 0, 0]
    return found


def _orders(p: int) -> Floats:
    """(2^p, p): R² of all subsets times this is each driver's average gain over all orders of entry."""
    subsets = np.arange(2**p)
    inside = ((subsets[:, None] >> np.arange(p)) & 1).astype(bool)
    size = inside.sum(axis=1)
    share = np.array([math.factorial(k) * math.factorial(p - 1 - k) / math.factorial(p) for k in range(p)])
    joined, stayed_out = share[np.maximum(size - 1, 0)], share[np.minimum(size, p - 1)]
    weights: Floats = np.where(inside, joined[:, None], -stayed_out[:, None])
    return weights


def lmg(with_outcome: Sequence[float] | Floats, among: Sequence[Sequence[float]] | Floats) -> tuple[Floats, float]:
    """(each driver's part of R², R²), both 0…1; the parts add up to R².

    Args:
        with_outcome: rank correlation of each of p drivers with the outcome.
        among: p × p rank correlations of the drivers.

    >>> parts, r2 = lmg([0.6, 0.4], [[1.0, 0.5], [0.5, 1.0]])
    >>> [round(float(part), 4) for part in parts], round(r2, 4)
    ([0.2867, 0.0867], 0.3733)
    """
    drivers = np.asarray(among, dtype=np.float64)
    last = np.append(np.asarray(with_outcome, dtype=np.float64), 1.0)
    whole = np.empty((last.size, last.size))
    whole[:-1, :-1] = drivers
    whole[-1, :] = whole[:, -1] = last
    parts, r2 = _parts(whole[None])
    return parts[0], float(r2[0])


def _parts(correlations: Floats) -> tuple[Floats, Floats]:
    """(rounds, p) and (rounds,) of (rounds, p + 1, p + 1)."""
    r2 = explained(correlations)
    return np.maximum(r2 @ _orders(correlations.shape[-1] - 1), 0.0), r2[..., -1]


def rank_correlations(columns: Sequence[Floats], index: Ints) -> Floats:
    """(rounds, q, q) Spearman correlations with average ranks, ranked anew in every round; zeros in the row of a column
    without variance.

    Args:
        columns: q columns of n numbers.
        index: (rounds, n) rows drawn.
    """
    rounds, n = index.shape
    ranks = np.empty((rounds, len(columns), n))
    first = np.arange(rounds)[:, None]
    for place, column in enumerate(columns):
        levels, codes = np.unique(column, return_inverse=True)
        drawn = codes[index]
        counts = np.bincount((drawn + levels.size * first).ravel(), minlength=rounds * levels.size)
        counts = counts.reshape(rounds, levels.size)
        average = counts.cumsum(axis=1) - (counts - 1) / 2.0
        ranks[:, place] = np.take_along_axis(average, drawn, axis=1)
    ranks -= (n + 1) / 2.0
    products = ranks @ ranks.transpose(0, 2, 1)
    scale = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    both = scale[:, :, None] * scale[:, None, :]
    found: Floats = np.divide(products, both, out=np.zeros_like(products), where=both > 0)
    return found


def share_intervals(columns: Sequence[Floats]) -> tuple[Floats, Floats] | None:
    """S7 over respondents: (lower, upper) bounds of each driver's share of R², 0…1. Every round ranks, correlates and
    decomposes anew; the set of drivers stays. None when the outcome, the last column, varies in no round.

    Time grows with n and with 2^p: 0.2 s for 5 drivers and 500 respondents, 1 s for 12 and 1,000, 5 s for 5 and 50,000
    (one core).
    """
    n, q = columns[0].size, len(columns)
    rows = max(1, _NUMBERS_AT_ONCE // (max(n, 2 ** (q - 1)) * q))
    shares = []
    for index in resamples(n, rows=rows):
        parts, r2 = _parts(rank_correlations(columns, index))
        # a round in which the outcome does not vary has nothing to share out
        shares.append(parts[r2 > _TINY] / r2[r2 > _TINY, None])
    drawn = np.concatenate(shares)
    if not drawn.size:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high


# -------------------------------------------------------------------------------------------------------- analysis


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


# ----------------------------------------------------------------------------------------------------------- words


def name_of(driver: Driver, specs: Mapping[str, InstrumentSpec], lang: Language) -> str:
    """What a driver is called."""
    written = Written(lang)
    return _WORDS[lang]["and"].join(written.metric(specs[name]) for name in driver.instruments)


def title(analysis: DriverAnalysis, lang: Language) -> str:
    """What the analysis is of, with its n."""
    words = _WORDS[lang]
    block = words.get(f"block_{analysis.block}", analysis.block)
    return words["title"].format(block=block, n=number(analysis.n))


def sentences(analysis: DriverAnalysis, specs: Mapping[str, InstrumentSpec], lang: Language) -> list[str]:
    """One line per driver in order of priority, then what a reader must know; the last sentence, that this is no
    cause, stands below every list of drivers."""
    words, written = _WORDS[lang], Written(lang)

    def called(names: Iterable[str]) -> str:
        return words["and"].join(written.metric(specs[name]) for name in names)

    if analysis.why_not:
        return [words[analysis.why_not].format(minimum=number(analysis.minimum), n=number(analysis.n))]
    assert analysis.r2 is not None
    lines = [_line(driver, called(driver.instruments), lang) for driver in analysis.drivers]
    rated = words["hidden" if analysis.hidden else "scale"]
    lines.append(words["r2"].format(r2=rounded(100.0 * analysis.r2, 1), rated=rated))
    lines += [words["merged"].format(names=called(d.instruments)) for d in analysis.drivers if len(d.instruments) > 1]
    if analysis.constant:
        lines.append(words["constant"].format(names=called(analysis.constant)))
    if analysis.thin:
        lines.append(words["thin"].format(names=called(analysis.thin)))
    if contested := [name for d in analysis.drivers if d.contested for name in d.instruments]:
        lines.append(words["contested"].format(names=called(contested)))
    return [*lines, words["no_cause"]]


def _line(driver: Driver, name: str, lang: Language) -> str:
    words = _WORDS[lang]
    interval = ""
    if driver.low is not None and driver.high is not None:
        interval = words["interval"].format(low=rounded(driver.low, 1), high=rounded(driver.high, 1))
    return words["driver"].format(
        name=name,
        share=rounded(driver.share, 1),
        interval=interval,
        rated="" if driver.performance is None else words["rated"].format(rated=rounded(driver.performance, 1)),
        place=words[f"place_{driver.place}"] + (words["undecided"] if driver.undecided else ""),
        opposite=words["opposite"] if driver.opposite else "",
    )


_WORDS: dict[Language, dict[str, str]] = {
    "ja": {
        "title": "推奨度に関わる体験（{block}、n={n}）",
        "block_purchase": "ご購入",
        "block_digital": "サイト・アプリ",
        "block_support": "お問い合わせ",
        "block_brand": "ブランド",
        "block_other": "その他の組み合わせ",
        "and": "・",
        "driver": "{name}：重要度 {share}%{interval}{rated}・{place}{opposite}",
        "rated": "・評価 {rated}",
        "interval": "（95%信頼区間 {low}〜{high}%）",
        "place_improve": "最優先で改善",
        "place_keep": "強みとして維持",
        "place_watch": "様子見",
        "place_overdone": "過剰の可能性",
        "undecided": "（判定保留）",
        "opposite": "・逆方向",
        "r2": "これらの体験で、推奨度の順位のばらつきの{r2}%を説明できます。{rated}",
        "scale": "評価は0〜100です。",
        "hidden": "評価の値は、差し引きで求められるため非表示です。",
        "merged": "{names}は回答がほぼ同じため、平均して1つにまとめました。",
        "constant": "{names}は全員の回答が同じため、除きました。",
        "thin": "{names}はうかがった方が少ないため、除きました。",
        "contested": "{names}は、ほかの体験も合わせたモデルでは向きが逆になります。",
        "no_cause": "相関であり、因果関係ではありません。改善の効果はA/Bテストで確かめてください。",
        "few": "要因の分析には、すべての項目に答えた方が{minimum}人以上必要です（今回 n={n}）。",
        "few_drivers": "比べられる体験項目が2つ以上ないため、要因は分析できません。",
        "many_drivers": "体験項目が12を超えるため、要因は分析できません。",
        "constant_outcome": "推奨度が全員同じため、要因は分析できません。",
        "not_explained": "今回の体験項目では説明できませんでした。",
    },
    "en": {
        "title": "What goes with the recommendation ({block}, n={n})",
        "block_purchase": "purchase",
        "block_digital": "site and app",
        "block_support": "support",
        "block_brand": "brand",
        "block_other": "other combination",
        "and": " and ",
        "driver": "{name}: importance {share}%{interval}{rated}, {place}{opposite}",
        "rated": ", rated {rated}",
        "interval": " (95% CI {low} to {high}%)",
        "place_improve": "improve first",
        "place_keep": "keep as a strength",
        "place_watch": "watch",
        "place_overdone": "possibly more than needed",
        "undecided": " (undecided)",
        "opposite": ", opposite direction",
        "r2": "These touchpoints explain {r2}% of the variance of the ranked ratings. {rated}",
        "scale": "They are rated from 0 to 100.",
        "hidden": "How they are rated is hidden because other values would give it away.",
        "merged": "{names} were answered almost alike and are taken together as their mean.",
        "constant": "{names} left out: everybody answered the same.",
        "thin": "{names} left out: too few were asked.",
        "contested": "{names}: a model of all touchpoints together sees the opposite direction.",
        "no_cause": "A correlation, not a cause. Confirm what an improvement does with an A/B test.",
        "few": "Drivers need {minimum} people or more who answered every item (this time n={n}).",
        "few_drivers": "Drivers need at least two touchpoints whose answers differ.",
        "many_drivers": "Drivers cannot be told apart with more than 12 touchpoints.",
        "constant_outcome": "Everybody gave the same rating, so there is nothing to explain.",
        "not_explained": "The touchpoints asked about do not explain it this time.",
    },
}
