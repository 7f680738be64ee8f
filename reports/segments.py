"""Customers in groups: recommendation against continued use, and liking the shop against buying from it again. No I/O,
no "today"; nothing here names a customer.

Source: docs/metrics.md ("Customers in groups").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

from reports import procedures
from reports.metrics import SUPPRESS_BELOW, Result, Span, Stratum, record, sibling
from reports.words import Language

TOLERANCE = 1e-9
DAY_MS = 86_400_000
LOOK_BACK_MS = 365 * DAY_MS
PAIR_MS = 30 * DAY_MS
PSY_INSTRUMENTS = ("affinity", "nps", "emotion", "pay_more")
PSY_HIGH = 60.0
MANY_PURCHASES = 2

Segment = Literal["truly_loyal", "latent_fan", "price_driven", "low_loyalty"]
SEGMENTS: tuple[Segment, ...] = ("truly_loyal", "latent_fan", "price_driven", "low_loyalty")
Given = Mapping[str, tuple[int, int | tuple[str, ...]]]
"""Customer → (milliseconds UTC, latest valid answer as a code, or the selected codes of a multi-select)."""

# ------------------------------------------------------------------------------------------------------- NPS × NRS


def nps_nrs_results(pairs: Mapping[tuple[int, int], int], *, stratum: Stratum, window: Span) -> tuple[Result, ...]:
    """Shares (S3) of customers in each of the nine cells of promoter/passive/detractor × repeater/neutral/leaver, led
    by `quiet_risk` (promoters and passives who will leave) and `locked_in` (detractors who will stay).

    Args:
        pairs: (nps, nrs) → customers with both answers valid.
    """
    cells: Counter[str] = Counter()
    for (nps, nrs), count in pairs.items():
        likely = "promoter" if nps >= 9 else "passive" if nps >= 7 else "detractor"
        stays = "repeater" if nrs == 5 else "neutral" if nrs == 4 else "leaver"
        cells[f"{likely}_{stays}"] += count
    names = [f"{likely}_{stays}" for likely in _LIKELY for stays in _STAYS]
    n = cells.total()
    counts = {name: cells[name] for name in names} if n else {}
    made = [
        ("quiet_risk", cells["promoter_leaver"] + cells["passive_leaver"]),
        ("locked_in", cells["detractor_repeater"]),
        *((f"share_{name}", cells[name]) for name in names),
    ]
    return tuple(
        record(
            "nps_nrs", variant, procedures.share(k, n), n, form="share", stratum=stratum, window=window, counts=counts
        )
        for variant, k in made
    )


def crossed_shown(results: Sequence[Result], *, apart: bool = False) -> tuple[Result, ...]:
    """The records of one crossing – of `nps_nrs_results`, or of `segment_results` – as they may be told: where a row or
    a column holds one to nine customers, what these few said of the one would be told by the other. Then cells and
    counts are suppressed (flag `sibling`), and a sum of cells where its own two rows or columns do.

    Args:
        apart: the cells may not be told anyway: their sums would differ by a handful from what is told of one side.
    """
    results = [_moved_shown(result) if result.variant == "moved" else result for result in results]
    shares = [result for result in results if result.variant in _CROSSED]
    if not shares or shares[0].status not in ("caution", "ok"):
        return tuple(results)
    counts = {name: n for name, n in shares[0].counts.items() if f"share_{name}" in _CROSSED}
    n = sum(counts.values())
    cut = {name: sum(counts.get(cell, 0) for cell in cells) for name, cells in _MARGINS.items()}
    small = {name for name, size in cut.items() if 0 < size < SUPPRESS_BELOW or 0 < n - size < SUPPRESS_BELOW}
    whole = apart or bool(small & {name for name in _MARGINS if any(cell in counts for cell in _MARGINS[name])})
    out = []
    for result in results:
        if result.variant not in _CROSSED:
            out.append(result)
        elif small & set(_CROSSED[result.variant]) or (whole and not _CROSSED[result.variant]):
            out.append(sibling(result).shown())
        else:
            out.append(replace(result, counts={}) if whole else result)
    return tuple(out)


def _moved_shown(result: Result) -> Result:
    """The share of those who moved, without its matrix where a segment of either date holds one to nine of them."""
    sides: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for cell, n in result.counts.items():
        for side, name in zip(sides, cell.split(">"), strict=True):
            side[name] += n
    few = any(0 < n < SUPPRESS_BELOW for side in sides for n in side.values())
    return replace(result, counts={}) if few else result


_LIKELY, _STAYS = ("promoter", "passive", "detractor"), ("repeater", "neutral", "leaver")
_MARGINS: Mapping[str, tuple[str, ...]] = {
    **{row: tuple(f"{row}_{column}" for column in _STAYS) for row in _LIKELY},
    **{column: tuple(f"{row}_{column}" for row in _LIKELY) for column in _STAYS},
    "psy_high": ("truly_loyal", "latent_fan"),
    "beh_high": ("truly_loyal", "price_driven"),
}
"""Row or column of a crossing → its cells."""
_CROSSED: Mapping[str, tuple[str, ...]] = {
    "quiet_risk": ("detractor", "leaver"),
    "locked_in": ("detractor", "repeater"),
    **{f"share_{row}_{column}": () for row in _LIKELY for column in _STAYS},
    **{f"share_{name}": () for name in SEGMENTS},
}
"""Share → the rows and columns that it crosses; () is all of them."""


def close_pairs(nps: Given, nrs: Given) -> Iterator[tuple[str, int, int]]:
    """(customer, nps, nrs) of everybody whose latest answers to both are at most 30 days apart."""
    for customer, (at, likely) in nps.items():
        other = nrs.get(customer)
        if (
            other is not None
            and abs(other[0] - at) <= PAIR_MS
            and isinstance(likely, int)
            and isinstance(other[1], int)
        ):
            yield customer, likely, other[1]


# ------------------------------------------------------------------------------------------------------- PSY × BEH


@dataclass(frozen=True, slots=True)
class Attitude:
    """The latest answers of one customer within 365 days; None where there is none."""

    affinity: int | None = None
    nps: int | None = None
    emotions: int | None = None
    """Selected feelings, "none" not counted."""
    pay_more: bool | None = None

    def psy(self) -> float | None:
        """Psychological loyalty 0…100: affinity 25·(a − 1) with weight .4; NPS rating × 10, feelings 100·min(count,
        3)/3 and pay-more 100/0 with .2 each, the weights shared out anew over those that are there.

        None (unclassified) without affinity, or with nothing beside it.

        >>> Attitude(affinity=5, nps=9, emotions=2, pay_more=True).psy()
        91.33333333333333
        """
        if self.affinity is None:
            return None
        parts = [(0.4, 25.0 * (self.affinity - 1))]
        if self.nps is not None:
            parts.append((0.2, 10.0 * self.nps))
        if self.emotions is not None:
            parts.append((0.2, 100.0 * min(self.emotions, 3) / 3.0))
        if self.pay_more is not None:
            parts.append((0.2, 100.0 if self.pay_more else 0.0))
        if len(parts) < 2:
            return None
        return sum(weight * part for weight, part in parts) / sum(weight for weight, _ in parts)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one customer did in the 365 days before a date."""

    purchases: int = 0
    """Days with an order: several orders of one day are one purchase."""
    orders: int = 0
    discounted: int = 0
    """Orders with a discount or points."""
    renewals: int = 0
    referrals: int = 0
    """Customers who came through this one."""

    @property
    def loyal(self) -> bool:
        """Bought repeatedly, renewed, or brought somebody."""
        return self.purchases >= MANY_PURCHASES or self.renewals >= 1 or self.referrals >= 1


def segment_of(psy: float | None, behaviour: Behaviour) -> Segment | None:
    """The segment of one customer; None (unclassified) without a PSY. 60 is high."""
    if psy is None:
        return None
    if psy >= PSY_HIGH - TOLERANCE:
        return "truly_loyal" if behaviour.loyal else "latent_fan"
    return "price_driven" if behaviour.loyal else "low_loyalty"


def discount_evidence(attitude: Attitude, behaviour: Behaviour) -> bool:
    """Whether it looks like the price that makes a `price_driven` customer buy: half of the orders or more were
    discounted, or they would not pay a little more. Otherwise it may be habit, or being locked in."""
    bought_cheap = behaviour.orders > 0 and 2 * behaviour.discounted >= behaviour.orders
    return bought_cheap or attitude.pay_more is False


def attitudes(latest: Mapping[str, Iterable[Given]], before_ms: int) -> dict[str, Attitude]:
    """Customer → attitude at an instant: answers of the 365 days before it.

    Args:
        latest: instrument → each customer's latest answers, one mapping for each touchpoint.
        before_ms: the instant; answers at it or later do not count.
    """
    found: dict[str, dict[str, tuple[int, int | tuple[str, ...]]]] = {}
    for instrument in PSY_INSTRUMENTS:
        for given in latest.get(instrument, ()):
            for customer, (at, answer) in given.items():
                if not before_ms - LOOK_BACK_MS <= at < before_ms:
                    continue
                answers = found.setdefault(customer, {})
                if instrument not in answers or answers[instrument][0] <= at:
                    answers[instrument] = (at, answer)

    def code(answers: Mapping[str, tuple[int, int | tuple[str, ...]]], instrument: str) -> int | None:
        answer = answers[instrument][1] if instrument in answers else None
        return len(answer) if isinstance(answer, tuple) else answer

    return {
        customer: attitude_of(*(code(answers, instrument) for instrument in PSY_INSTRUMENTS))
        for customer, answers in found.items()
    }


def attitude_of(affinity: int | None, nps: int | None, emotions: int | None, pay_more: int | None) -> Attitude:
    """The attitude of these codes, in the order of PSY_INSTRUMENTS; of feelings the number of those selected."""
    return Attitude(affinity, nps, emotions, None if pay_more is None else pay_more == 1)


class Deed(NamedTuple):
    """A business event; `customer` is "" for one about nobody."""

    customer: str
    type: str
    at_ms: int
    data: Mapping[str, Any]


def psy_results(people: Mapping[str, Attitude], *, stratum: Stratum, window: Span) -> tuple[Result, ...]:
    """PSY of the customers who have one: the mean (S5, 0…100) and the share of 60 and more (S3). `counts.unclassified`
    are customers without affinity, or with nothing beside it."""
    scores = [score for score in (attitude.psy() for attitude in people.values()) if score is not None]
    high = sum(1 for score in scores if score >= PSY_HIGH - TOLERANCE)
    n = len(scores)
    counts = {"high": high, "low": n - high, "unclassified": len(people) - n}
    made = partial(record, "psy", stratum=stratum, window=window, counts=counts)
    return (
        made("mean", procedures.mean_of(scores, 0.0, 100.0), n, form="index"),
        made("share_high", procedures.share(high, n), n, form="share"),
    )


def segment_results(
    people: Mapping[str, Attitude],
    deeds: Mapping[str, Behaviour],
    *,
    stratum: Stratum,
    window: Span,
    before: Mapping[str, Segment | None] | None = None,
) -> tuple[Result, ...]:
    """Shares (S3) of classified customers in the four segments; the share of `price_driven` customers with
    `discount_evidence`; and with `before`, the share of customers classified at both dates who moved, with the matrix
    `from>to` as its counts.

    Args:
        people: of `attitudes`.
        deeds: of `reports.event_tables.behaviours`; a customer who is not there did nothing.
        before: of `segments`, at the earlier date.
    """
    now = segments(people, deeds)
    sizes = Counter(found for found in now.values() if found is not None)
    n = sizes.total()
    share = partial(record, "psy_beh", form="share", stratum=stratum, window=window)
    counts: dict[str, int] = {**{name: sizes[name] for name in SEGMENTS}, "unclassified": len(now) - n}
    made = [share(f"share_{name}", procedures.share(sizes[name], n), n, counts=counts) for name in SEGMENTS]
    driven = [customer for customer, found in now.items() if found == "price_driven"]
    cheap = sum(1 for customer in driven if discount_evidence(people[customer], deeds.get(customer, Behaviour())))
    evidence = procedures.share(cheap, len(driven))
    made.append(
        share(
            "discount_evidence",
            evidence,
            len(driven),
            counts={"discount": cheap, "habit_or_locked_in": len(driven) - cheap},
        )
    )
    if before is not None:
        matrix = movement(before, now)
        total = sum(matrix.values())
        moved = sum(count for (start, end), count in matrix.items() if start != end)
        written = {f"{start}>{end}": matrix[(start, end)] for start in SEGMENTS for end in SEGMENTS}
        made.append(share("moved", procedures.share(moved, total), total, counts=written))
    return tuple(made)


def segments(people: Mapping[str, Attitude], deeds: Mapping[str, Behaviour]) -> dict[str, Segment | None]:
    """Customer → segment, None for the unclassified."""
    nothing = Behaviour()
    return {customer: segment_of(found.psy(), deeds.get(customer, nothing)) for customer, found in people.items()}


def movement(
    before: Mapping[str, Segment | None], after: Mapping[str, Segment | None]
) -> Counter[tuple[Segment, Segment]]:
    """(from, to) → customers classified at both dates."""
    out: Counter[tuple[Segment, Segment]] = Counter()
    for customer, end in after.items():
        start = before.get(customer)
        if start is not None and end is not None:
            out[(start, end)] += 1
    return out


# ----------------------------------------------------------------------------------------------------------- words


def group_name(metric: str, lang: Language) -> str:
    """What `nps_nrs`, `psy` and `psy_beh` are called; "" for any other metric."""
    return _NAMES[lang].get(metric, "")


def group_variant(variant: str, lang: Language) -> str:
    """What one record of them says; "" for one that speaks for itself."""
    return _VARIANTS[lang].get(variant.removeprefix("share_"), "")


_NAMES: dict[Language, dict[str, str]] = {
    "ja": {
        "nps_nrs": "NPS® × 継続利用意向",
        "psy": "心理ロイヤルティ（0〜100、自社算出）",
        "psy_beh": "心理ロイヤルティ × 行動ロイヤルティ（自社算出）",
    },
    "en": {
        "nps_nrs": "NPS® by continued use",
        "psy": "Psychological loyalty (0 to 100, own calculation)",
        "psy_beh": "Psychological by behavioural loyalty (own calculation)",
    },
}
_VARIANTS: dict[Language, dict[str, str]] = {
    "ja": {
        "quiet_risk": "薦める・どちらでもないが、使い続けない方",
        "locked_in": "薦めないが、使い続ける方",
        "mean": "平均（0〜100）",
        "high": "60以上の割合",
        "truly_loyal": "真のロイヤル顧客",
        "latent_fan": "潜在ファン",
        "price_driven": "価格・惰性層",
        "low_loyalty": "低ロイヤル層",
        "discount_evidence": "価格・惰性層のうち、値引きで動く方（ほかは惰性・囲い込みの可能性）",
        "moved": "前の日付から層が変わった方",
    },
    "en": {
        "quiet_risk": "Promoters and passives who will leave",
        "locked_in": "Detractors who will stay",
        "mean": "Mean, 0 to 100",
        "high": "Share of 60 or more",
        "truly_loyal": "Like us and buy again",
        "latent_fan": "Like us, have not bought again",
        "price_driven": "Buy again without liking us",
        "low_loyalty": "Neither",
        "discount_evidence": "Buy for the price, of those who buy again without liking us (else habit or lock-in)",
        "moved": "In another segment than at the earlier date",
    },
}
