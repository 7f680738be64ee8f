"""From counts of answers to numbers with their uncertainty: one result record per statistic.

A digest reads counts from the roll-up, a file of answers is counted by `reports.frames`: both meet here as
a `Tally`. No I/O, no "today". Which codes are good or bad, and which statistic leads, is data of the instrument
(flows/data/instruments); the table `statistics_of` is the only place that knows more than that.

Source: docs/metrics.md ("How many are enough", "The metrics").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from reports import procedures
from reports.procedures import Difference, Estimate
from reports.values import Parsed, parse_multi, parse_scale, parse_yes_no

SPEC_VERSION = "1.0"
SUPPRESS_BELOW = 10
CAUTION_BELOW = 30
CHECK_ALPHA = 0.05
"""How often a check of the data finds a difference where there is none."""
CLUSTERED_ABOVE = 0.10
"""Share of customers with several answers above which these are no independent sample."""

Status = Literal["no_data", "suppressed", "caution", "ok"]
Form = Literal["net", "share", "mean", "index", "count", "money", "days", "hours", "seconds", "per_100", "rho"]
"""How a score is written; an index is a number of points from 0 to 100, or a difference of two; money is yen."""
Unit = Literal["latest_per_customer", "per_event"]
Counted = Literal["latest_per_customer", "per_event", "per_customer"]
"""What one of `n_valid` is: an answer by either rule of `Unit`, or an event; or a customer with all they did."""


@dataclass(frozen=True, slots=True)
class Item:
    """Of which index an instrument is an item (`flows.definitions.Battery`)."""

    battery: str
    index: str
    pair: str = ""
    reverse: bool = False
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class InstrumentSpec:
    """What scoring must know of an instrument."""

    id: str
    kind: Literal["scale", "yes_no", "multi"]
    low: int = 0
    high: int = 1
    positive: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    statistic: Literal["net", "top2", "mean", "share", "distribution"] = "mean"
    better: Literal["high", "low"] = "high"
    """Of the raw answers: `ces_effort` is "low", though its net is better when high."""
    codes: tuple[str, ...] = ()
    """Of a multi-select, without "none"."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Language → name in a report."""
    code_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Language → code → name."""
    item: Item | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Counted answers of one instrument in one window.

    `codes` counts the codes of a scale (yes/no: 1 and 0), `sets` the selections of a multi-select; one of
    them is empty. `missing` and `invalid` are raw answers of the window, `superseded` those dropped by the
    unit rule.
    """

    codes: Mapping[int, int] = field(default_factory=dict)
    sets: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    missing: int = 0
    invalid: int = 0
    invalid_codes: int = 0
    superseded: int = 0

    @property
    def n(self) -> int:
        """Valid answers after the unit rule."""
        return sum(self.codes.values()) + sum(self.sets.values())

    def counting(self, wanted: Iterable[int]) -> int:
        """Answers with one of these codes."""
        return sum(self.codes.get(code, 0) for code in set(wanted))

    def selecting(self, code: str) -> int:
        """Answers to a multi-select that include this code."""
        return sum(count for chosen, count in self.sets.items() if code in chosen)


@dataclass(frozen=True, slots=True)
class Stratum:
    """What is never pooled: the answers of one result share all of these, but for `lang` when it says
    "mixed"."""

    survey_kind: str = ""
    touchpoint: str = ""
    wording_id: str = ""
    label_set: str = ""
    lang: str = ""


Key = tuple[str, Stratum]
"""Instrument, and what is never pooled; `lang` is left out of it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A window [start, end) as two local dates "2026-11-16", or texts as given by a file; "" when it has no
    bounds."""

    start: str = ""
    end: str = ""


_TELLING = frozenset({"zero_variance", "infinite", "negative"})
"""Flags that say what a hidden score is: that all answers were the same tells what each of them was to whoever knows
one; that nobody cancelled, that customers cost more than they bring."""


@dataclass(frozen=True, slots=True)
class Result:
    """One statistic of one instrument in one window. Nets -100…100, shares 0…100, means on the scale."""

    metric: str
    variant: str
    stratum: Stratum
    window: Span
    segment: str
    unit: Counted
    n_valid: int
    n_missing: int
    n_invalid: int
    n_superseded: int
    counts: Mapping[str, int]
    score: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str
    status: Status
    flags: tuple[str, ...] = ()
    form: Form = "mean"
    """Decides how the score is written; not part of the record."""

    def __post_init__(self) -> None:
        if not self.metric or not self.variant:
            raise ValueError(f"a result needs a metric and a variant, got {self.metric!r}, {self.variant!r}")

    def shown(self) -> Result:
        """The record as it may leave the machine: a suppressed cell keeps its n and loses everything else."""
        if self.status != "suppressed":
            return self
        flags = tuple(flag for flag in self.flags if flag not in _TELLING)
        return replace(self, score=None, ci_low=None, ci_high=None, counts={}, flags=flags)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names of docs/metrics.md, "A result record"."""
        return {
            "metric": self.metric,
            "variant": self.variant,
            "survey_kind": self.stratum.survey_kind,
            "touchpoint": self.stratum.touchpoint,
            "wording_id": self.stratum.wording_id,
            "label_set": self.stratum.label_set,
            "lang": self.stratum.lang,
            "window": {"start": self.window.start or None, "end": self.window.end or None},
            "segment": self.segment,
            "unit": self.unit,
            "n_valid": self.n_valid,
            "n_missing": self.n_missing,
            "n_invalid": self.n_invalid,
            "n_superseded": self.n_superseded,
            "counts": dict(self.counts),
            "score": self.score,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "ci_method": self.ci_method,
            "status": self.status,
            "flags": list(self.flags),
            "spec_version": SPEC_VERSION,
        }


def status_of(n: int) -> Status:
    """Whether n answers may be shown, and how.

    >>> [status_of(n) for n in (0, 9, 10, 29, 30)]
    ['no_data', 'suppressed', 'caution', 'caution', 'ok']
    """
    if n == 0:
        return "no_data"
    if n < SUPPRESS_BELOW:
        return "suppressed"
    return "caution" if n < CAUTION_BELOW else "ok"


def record(
    metric: str,
    variant: str,
    found: Estimate,
    n: int,
    *,
    form: Form,
    stratum: Stratum | None = None,
    window: Span | None = None,
    segment: str = "",
    unit: Counted = "latest_per_customer",
    counts: Mapping[str, int] | None = None,
    missing: int = 0,
    invalid: int = 0,
    flags: tuple[str, ...] = (),
) -> Result:
    """The result record of an estimate that was made of n valid units; `flags` come before the estimate's own."""
    return Result(
        metric=metric,
        variant=variant,
        stratum=stratum or Stratum(),
        window=window or Span(),
        segment=segment,
        unit=unit,
        n_valid=n,
        n_missing=missing,
        n_invalid=invalid,
        n_superseded=0,
        counts=counts or {},
        score=found.score,
        ci_low=found.low,
        ci_high=found.high,
        ci_method=found.method,
        status=status_of(n),
        flags=(*flags, *found.flags),
        form=form,
    )


def sibling(result: Result) -> Result:
    """The record suppressed, with the flag `sibling`: another number would follow from it. One without a score to hide
    stays as it is."""
    if result.status not in ("caution", "ok"):
        return result
    return replace(result, status="suppressed", flags=(*result.flags, "sibling"))


def hide_siblings(parts: Sequence[Result], *, overlapping: bool = False) -> tuple[Result, ...]:
    """The parts of one whole, so many of them suppressed that none can be had by subtraction from the whole: once one
    has fewer than ten, the next smallest go with it until at least two are hidden that hold ten together.

    Hidden ones of ten and more carry the flag `sibling`; empty parts hide nothing.

    Args:
        parts: of the whole.
        overlapping: the same customers may be in several parts: then one of the hidden must hold ten by itself.
    """
    hidden = {index for index, part in enumerate(parts) if part.status == "suppressed"}
    if not hidden:
        return tuple(parts)
    n = [part.n_valid for part in parts]
    open_parts = sorted(
        (index for index, part in enumerate(parts) if index not in hidden and part.n_valid > 0),
        key=lambda index: (n[index], parts[index].segment, parts[index].variant),
    )
    also: list[int] = []
    together = max if overlapping else sum
    while open_parts and (len(hidden) + len(also) < 2 or together(n[i] for i in (*hidden, *also)) < SUPPRESS_BELOW):
        also.append(open_parts.pop(0))
    return tuple(sibling(part) if index in also else part for index, part in enumerate(parts))


# --------------------------------------------------------------------------------------------------- counting


def parse_value(spec: InstrumentSpec, value: object) -> Parsed:
    """One raw value read by the rules of the instrument's kind."""
    if spec.kind == "multi":
        return parse_multi(value, spec.codes)
    if spec.kind == "yes_no":
        return parse_yes_no(value)
    return parse_scale(value, spec.low, spec.high)


def tally(
    spec: InstrumentSpec, values: Iterable[tuple[object, int]], *, missing: int = 0, superseded: int = 0
) -> Tally:
    """Counts of raw values.

    Args:
        values: (raw value, how often), in any order; a value may come more than once.
        missing: further answers known to be missing (skipped, 「わからない」).
        superseded: valid answers that the caller has already dropped by the unit rule.
    """
    codes: dict[int, int] = {}
    sets: dict[tuple[str, ...], int] = {}
    invalid = invalid_codes = 0
    for value, count in values:
        parsed = parse_value(spec, value)
        invalid_codes += parsed.invalid_codes * count
        if parsed.kind == "missing":
            missing += count
        elif parsed.kind == "invalid":
            invalid += count
        elif parsed.code is not None:
            codes[parsed.code] = codes.get(parsed.code, 0) + count
        else:
            sets[parsed.codes] = sets.get(parsed.codes, 0) + count
    return Tally(
        {code: codes[code] for code in sorted(codes) if codes[code]},
        {chosen: sets[chosen] for chosen in sorted(sets) if sets[chosen]},
        missing,
        invalid,
        invalid_codes,
        superseded,
    )


# ------------------------------------------------------------------------------------------------- statistics


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number made of a tally: the rule that `variant` names."""

    variant: str
    form: Form
    positive: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    low: int = 0
    high: int = 0
    selected: str = ""
    """Multi-select only: a code, or "*" for any of them."""


def _pair(statistic: Statistic, counted: Tally) -> tuple[int, int]:
    if statistic.selected == "*":
        return sum(count for chosen, count in counted.sets.items() if chosen), counted.n
    if statistic.selected:
        return counted.selecting(statistic.selected), counted.n
    return counted.counting(statistic.positive), counted.n


def _triple(statistic: Statistic, counted: Tally) -> tuple[int, int, int]:
    return counted.counting(statistic.positive), counted.counting(statistic.negative), counted.n


def _numbers(counted: Tally) -> Mapping[int, int]:
    if not counted.sets:
        return counted.codes
    lengths: dict[int, int] = {}
    for chosen, count in counted.sets.items():
        lengths[len(chosen)] = lengths.get(len(chosen), 0) + count
    return lengths


def estimate(statistic: Statistic, counted: Tally) -> Estimate:
    """The statistic with its interval: S1 for nets, S3 for shares, S5 for means."""
    if statistic.form == "net":
        return procedures.net(*_triple(statistic, counted))
    if statistic.form == "share":
        return procedures.share(*_pair(statistic, counted))
    return procedures.mean(_numbers(counted), statistic.low, statistic.high)


def difference(
    statistic: Statistic, earlier: Tally, later: Tally, *, confidence: float = procedures.CONFIDENCE
) -> Difference | None:
    """Later minus earlier with its test: S2, S4 or S6. None below ten answers on either side, or without
    variance."""
    if min(earlier.n, later.n) < SUPPRESS_BELOW:
        return None
    if statistic.form == "net":
        return procedures.net_difference(_triple(statistic, earlier), _triple(statistic, later), confidence=confidence)
    if statistic.form == "share":
        return procedures.share_difference(_pair(statistic, earlier), _pair(statistic, later), confidence=confidence)
    return procedures.mean_difference(_numbers(earlier), _numbers(later), confidence=confidence)


_GROUPS = {"nps": ("promoter", "passive", "detractor"), "nrs": ("repeater", "neutral", "leaver")}


def statistics_of(spec: InstrumentSpec) -> tuple[Statistic, ...]:
    """Every statistic reported for an instrument, the leading one first."""
    if spec.kind == "multi":
        return (
            Statistic("any_positive", "share", selected="*"),
            *(Statistic(f"share_{code}", "share", selected=code) for code in spec.codes),
            Statistic("count", "mean", low=0, high=len(spec.codes)),
        )
    if spec.kind == "yes_no":
        return (Statistic("share", "share", positive=spec.positive or (1,)),)
    average = Statistic("mean", "mean", low=spec.low, high=spec.high)
    top = Statistic("top2", "share", positive=spec.positive)
    if spec.statistic == "net":
        return (Statistic("net", "net", spec.positive, spec.negative), *_net_companions(spec), average)
    if spec.id == "ces_ease":
        # the share is the instrument's positive set 5–7; the net mirrors effort's 1–2 (8 − x), so it starts
        # at 6
        return (
            average,
            Statistic("share", "share", positive=spec.positive),
            Statistic("net", "net", (6, 7), spec.negative),
        )
    if spec.statistic == "distribution":
        codes = range(spec.high, spec.low - 1, -1)
        return (
            top,
            Statistic("bottom2", "share", positive=spec.negative),
            average,
            *(Statistic(f"share_{code}", "share", positive=(code,)) for code in codes),
        )
    if spec.statistic == "mean":
        return (average, top) if spec.positive else (average,)
    extra = (Statistic("top3", "share", positive=(8, 9, 10)),) if spec.id == "csat10" else ()
    return (top, *extra, average)


def _net_companions(spec: InstrumentSpec) -> tuple[Statistic, ...]:
    if spec.id not in _GROUPS:
        return ()
    upper, middle, lower = _GROUPS[spec.id]
    between = tuple(c for c in range(spec.low, spec.high + 1) if c not in spec.positive and c not in spec.negative)
    shares = (
        Statistic(f"share_{upper}", "share", positive=spec.positive),
        Statistic(f"share_{middle}", "share", positive=between),
        Statistic(f"share_{lower}", "share", positive=spec.negative),
    )
    if spec.id != "nps":
        return shares
    # cut-offs are not shifted for Japan; the shares of exactly 5 and 6 are printed instead
    return (
        *shares,
        Statistic("share_5", "share", positive=(5,)),
        Statistic("share_6", "share", positive=(6,)),
        Statistic("near_miss", "share", positive=(8,)),
    )


def measure(
    spec: InstrumentSpec,
    counted: Tally,
    *,
    stratum: Stratum | None = None,
    window: Span | None = None,
    segment: str = "",
    unit: Unit = "latest_per_customer",
    flags: tuple[str, ...] = (),
) -> tuple[Result, ...]:
    """The result records of an instrument, the leading statistic first; n = 0 gives records without
    scores."""
    counts = _written_counts(spec, counted)
    results = []
    for statistic in statistics_of(spec):
        found = estimate(statistic, counted)
        extra = (*flags, *found.flags, *(("invalid_codes",) if counted.invalid_codes else ()))
        results.append(
            Result(
                metric=spec.id,
                variant=statistic.variant,
                stratum=stratum or Stratum(),
                window=window or Span(),
                segment=segment,
                unit=unit,
                n_valid=counted.n,
                n_missing=counted.missing,
                n_invalid=counted.invalid,
                n_superseded=counted.superseded,
                counts=counts,
                score=found.score,
                ci_low=found.low,
                ci_high=found.high,
                ci_method=found.method,
                status=status_of(counted.n),
                flags=extra,
                form=statistic.form,
            )
        )
    return tuple(results)


def _written_counts(spec: InstrumentSpec, counted: Tally) -> dict[str, int]:
    if spec.kind == "multi":
        chosen = {code: counted.selecting(code) for code in spec.codes}
        return {**chosen, "none": counted.sets.get((), 0)} if counted.n else {}
    if spec.kind == "yes_no":
        return {"yes": counted.codes.get(1, 0), "no": counted.codes.get(0, 0)} if counted.n else {}
    return {str(code): count for code, count in counted.codes.items()}


def clustered(
    found: tuple[Result, ...], spec: InstrumentSpec, customers: Mapping[str, Mapping[int, int]]
) -> tuple[Result, ...]:
    """The results of `measure` for answers that all count, with the interval of a bootstrap over customers (S7) and
    the flag `clustered` when more than a tenth of them gave two answers or more; as they were otherwise.

    Args:
        found: of `measure`, in its order.
        customers: customer → code → number of valid answers; a nameless answer is a customer of its own.
    """
    repeated = sum(1 for counts in customers.values() if sum(counts.values()) >= 2)
    if not customers or repeated / len(customers) <= CLUSTERED_ABOVE:
        return found
    out = []
    for result, statistic in zip(found, statistics_of(spec), strict=True):
        bounds = procedures.cluster_bootstrap(customers, partial(_score, statistic))
        low, high = bounds or (None, None)
        alike = ("zero_variance",) if low is not None and low == high else ()
        flags = (*(flag for flag in result.flags if flag != "zero_variance"), *alike, "clustered")
        out.append(replace(result, ci_low=low, ci_high=high, ci_method="cluster_bootstrap", flags=flags))
    return tuple(out)


def _score(statistic: Statistic, counts: Mapping[int, int]) -> float:
    return estimate(statistic, Tally(counts)).score or 0.0


INTERVAL_BOUND = frozenset({"repeat_intent", "repeat_intent_noswitch"})
"""Instruments whose answer can be read only near the time when a customer usually buys again."""


def is_off_interval(answered_ms: int, bought_ms: int | None, interval_ms: int) -> bool:
    """Whether the answer was given before half, or after one and a half, of the usual interval between two purchases,
    reckoned from the customer's last one. Without a known purchase nobody can say so: False."""
    if bought_ms is None:
        return False
    age = (answered_ms - bought_ms) / interval_ms
    return not 0.5 <= age <= 1.5


def off_interval(results: Sequence[Result], excluded: int) -> tuple[Result, ...]:
    """The results of an instrument of which so many answers were left out for their time: flagged `off_interval`, their
    number among the counts of the leading one."""
    if not excluded:
        return tuple(results)
    lead, *others = (replace(result, flags=("off_interval", *result.flags)) for result in results)
    return (replace(lead, counts={**lead.counts, "off_interval": excluded}), *others)


def captive_share(pairs: Mapping[tuple[int, int], int]) -> Estimate:
    """Share of customers who say they will buy again (4–5) and would not if switching cost nothing (1–3).

    Args:
        pairs: (repeat_intent, repeat_intent_noswitch) → customers with both answers valid.
    """
    willing = {pair: count for pair, count in pairs.items() if pair[0] >= 4}
    captive = sum(count for pair, count in willing.items() if pair[1] <= 3)
    return procedures.share(captive, sum(willing.values()))
