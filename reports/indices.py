"""Indices of several questions: from respondents' items to result records. No I/O, no "today".

Which items make an index, in which order, reversed or weighted, is data of the instruments (`battery` in
flows/data/instruments); what a battery has besides its indices (classes, differences) is told in `battery_results`,
the only place that knows them by name. All of them are own calculations: `own_label` says so, and goes wherever a
score does.

Source: docs/metrics.md ("Indices of several questions"), where the published structures are named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports import procedures
from reports.metrics import SUPPRESS_BELOW, Form, InstrumentSpec, Result, Span, Stratum, sibling, status_of
from reports.procedures import Estimate
from reports.words import Language

TOLERANCE = 1e-9
"""A limit counts as reached when it is missed by less: sums of fractions are not exact."""
ALPHA_MIN = 10
LOW_RELIABILITY = 0.6

Engagement = Literal["fully", "actively_disengaged", "engaged", "not_engaged"]
CLASSES: tuple[Engagement, ...] = ("fully", "actively_disengaged", "engaged", "not_engaged")
"""In the order in which they are tried."""
Answers = Mapping[str, int]
"""Of one respondent: instrument → valid answer. Items without one are missing."""


@dataclass(frozen=True, slots=True)
class Index:
    """Items that make one number from 0 to 100 together."""

    name: str
    items: tuple[str, ...]
    low: int
    high: int
    reversed_items: frozenset[str] = frozenset()
    weights: tuple[float, ...] = ()
    """One for each item, adding up to 1; () is equal weights by the half rule."""
    needed: int = 0
    """Valid items without which there is no index; 0 is half of them, rounded up, and all of them with weights."""

    def __post_init__(self) -> None:
        if not self.items or self.low >= self.high:
            raise ValueError(f"index {self.name}: {len(self.items)} items from {self.low} to {self.high}")
        if self.weights and (
            len(self.weights) != len(self.items)
            or min(self.weights) < 0
            or abs(math.fsum(self.weights) - 1.0) > TOLERANCE
        ):
            raise ValueError(f"index {self.name}: its weights {self.weights} are not one for each item, adding up to 1")

    def _code(self, item: str, answers: Answers) -> int:
        return self.low + self.high - answers[item] if item in self.reversed_items else answers[item]

    def of(self, answers: Answers) -> float | None:
        """The index of one respondent: 100 · (mean of the valid items − low) / (high − low), reversed items mirrored;
        None with too few of them.

        >>> Index("sat", ("s1", "s2", "s3"), 1, 10).of({"s1": 7, "s3": 8})
        72.22222222222223
        """
        given = [item for item in self.items if item in answers]
        needed = self.needed or (len(self.items) if self.weights else -(-len(self.items) // 2))
        if len(given) < needed:
            return None
        if self.weights:
            pairs = zip(self.weights, self.items, strict=True)
            return (
                100.0
                * math.fsum(w * (self._code(item, answers) - self.low) for w, item in pairs)
                / (self.high - self.low)
            )
        total = sum(self._code(item, answers) for item in given)
        return 100.0 * (total / len(given) - self.low) / (self.high - self.low)

    def alpha(self, respondents: Iterable[Answers]) -> tuple[float | None, int]:
        """Cronbach's α over complete respondents, and their number; None below ten of them, for a single item, or when
        their sums are all equal."""
        items = range(len(self.items))
        rows = [
            [self._code(item, answers) for item in self.items]
            for answers in respondents
            if all(item in answers for item in self.items)
        ]
        if len(rows) < ALPHA_MIN or len(self.items) < 2:
            return None, len(rows)
        codes = np.array(rows, dtype=np.float64)
        total = float(codes.sum(axis=1).var(ddof=1))
        if total == 0.0:
            return None, len(rows)
        apart = math.fsum(float(codes[:, item].var(ddof=1)) for item in items)
        return len(self.items) / (len(self.items) - 1) * (1.0 - apart / total), len(rows)


def indices_of(specs: Mapping[str, InstrumentSpec]) -> dict[str, tuple[Index, ...]]:
    """Battery → its indices in the order of their first items, then the pairs that have a score of their own (both
    items needed).

    Raises:
        ValueError: weights that do not add up to 1.
    """
    members: dict[tuple[str, str, bool], list[InstrumentSpec]] = {}
    for spec in specs.values():
        if spec.item is not None:
            members.setdefault((spec.item.battery, spec.item.index, False), []).append(spec)
            if spec.item.pair:
                members.setdefault((spec.item.battery, spec.item.pair, True), []).append(spec)
    out: dict[str, tuple[Index, ...]] = {}
    for (battery, name, pair), items in sorted(members.items(), key=lambda entry: entry[0][2]):
        weights = tuple(spec.item.weight for spec in items if spec.item is not None and spec.item.weight is not None)
        found = Index(
            name,
            tuple(spec.id for spec in items),
            items[0].low,
            items[0].high,
            frozenset(spec.id for spec in items if spec.item is not None and spec.item.reverse),
            () if pair else weights,
            len(items) if pair else 0,
        )
        out[battery] = (*out.get(battery, ()), found)
    return out


# ------------------------------------------------------------------------------------ of one respondent, by battery


def engagement_class(l3: float, a8: float) -> Engagement:
    """The class of a customer by the loyalty and the attachment index. The limits are ours: Gallup's are not public.

    >>> engagement_class(91.6667, 71.875), engagement_class(100.0, 28.125)
    ('engaged', 'actively_disengaged')
    """
    if min(l3, a8) >= 87.5 - TOLERANCE:
        return "fully"
    if a8 < 37.5 - TOLERANCE:
        return "actively_disengaged"
    return "engaged" if min(l3, a8) >= 62.5 - TOLERANCE else "not_engaged"


def engagement_score(l3: float, a8: float) -> float:
    """(3 · L3 + 8 · A8) / 11: every item counts the same. 0…100."""
    return (3.0 * l3 + 8.0 * a8) / 11.0


def experience_net(index: Index, answers: Answers) -> float | None:
    """100 · (items at 4 or 5 − items at 1 or 2) / items, −100…100; None unless all were answered.

    Source: the formula that Forrester published in 2012, per respondent.
    """
    if any(item not in answers for item in index.items):
        return None
    good = sum(1 for item in index.items if answers[item] >= 4)
    bad = sum(1 for item in index.items if answers[item] <= 2)
    return 100.0 * (good - bad) / len(index.items)


# ---------------------------------------------------------------------------------------------- of many respondents


@dataclass(frozen=True, slots=True)
class Raw:
    """What stands beside the respondents of a battery: instrument → raw answers that were missing, that were no code,
    and valid ones that the unit rule dropped."""

    missing: Mapping[str, int]
    invalid: Mapping[str, int]
    superseded: Mapping[str, int]

    def of(self, items: Iterable[str]) -> tuple[int, int, int]:
        """The sums over these items."""
        wanted = tuple(items)
        three = (self.missing, self.invalid, self.superseded)
        missing, invalid, superseded = (sum(counts.get(item, 0) for item in wanted) for counts in three)
        return missing, invalid, superseded


NOTHING = Raw({}, {}, {})


class _Records:
    """Makes the records of one battery in one stratum."""

    def __init__(self, battery: str, stratum: Stratum, window: Span, raw: Raw) -> None:
        self._battery, self._stratum, self._window, self._raw = battery, stratum, window, raw
        self.made: list[Result] = []

    def add(
        self,
        variant: str,
        items: Sequence[str],
        n: int,
        estimate: Estimate,
        *,
        form: Form = "index",
        counts: Mapping[str, int] | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        missing, invalid, superseded = self._raw.of(items)
        self.made.append(
            Result(
                metric=self._battery,
                variant=variant,
                stratum=self._stratum,
                window=self._window,
                segment="",
                unit="latest_per_customer",
                n_valid=n,
                n_missing=missing,
                n_invalid=invalid,
                n_superseded=superseded,
                counts=counts or {},
                score=estimate.score,
                ci_low=estimate.low,
                ci_high=estimate.high,
                ci_method=estimate.method,
                status=status_of(n),
                flags=(*flags, *estimate.flags),
                form=form,
            )
        )

    def mean(
        self,
        variant: str,
        index: Sequence[str],
        scores: Sequence[float | None],
        *,
        low: float = 0.0,
        form: Form = "index",
        flags: tuple[str, ...] = (),
        high: float = 100.0,
    ) -> None:
        """The mean of the respondents' scores; those without one are counted as `partial_excluded`."""
        valid = [score for score in scores if score is not None]
        counts = {"partial_excluded": len(scores) - len(valid)}
        estimate = procedures.mean_of(valid, low, high)
        self.add(variant, index, len(valid), estimate, form=form, counts=counts, flags=flags)


def battery_scores(
    battery: str, indices: Sequence[Index], respondents: Sequence[Answers]
) -> dict[str, list[float | None]]:
    """Variant → the score of each respondent, None without one: every index, then `disconfirmation` of jcsi6, `cx11` of
    cx11, `cxi_net` of cxi6."""
    scores = {index.name: [index.of(answers) for answers in respondents] for index in indices}
    if battery == "jcsi6" and {"exp", "qual"} <= scores.keys():
        pairs = zip(scores["exp"], scores["qual"], strict=True)
        scores["disconfirmation"] = [None if exp is None or qual is None else qual - exp for exp, qual in pairs]
    if battery == "cx11" and {"l3", "a8"} <= scores.keys():
        both = zip(scores["l3"], scores["a8"], strict=True)
        scores["cx11"] = [None if l3 is None or a8 is None else engagement_score(l3, a8) for l3, a8 in both]
    quality = next((index for index in indices if battery == "cxi6" and index.name == "cx_quality"), None)
    if quality is not None:
        scores["cxi_net"] = [experience_net(quality, answers) for answers in respondents]
    return scores


def battery_results(
    battery: str,
    indices: Sequence[Index],
    respondents: Sequence[Answers],
    *,
    stratum: Stratum | None = None,
    window: Span | None = None,
    raw: Raw = NOTHING,
) -> tuple[Result, ...]:
    """The records of a battery: each index as the mean of the respondents' indices (S5, 0…100), then what this battery
    has besides: `disconfirmation` of jcsi6, the score, classes and `engagement_ratio` of cx11, `cxi_net` of cxi6.

    Every index with three items or more also has `<index>_alpha`, its internal consistency; below .6 the index is
    flagged `low_reliability`. `counts.partial_excluded` are respondents asked for too few of its items. A mean of two
    indices is suppressed (flag `sibling`) where it would give the one to nine away who have only one of them.

    Args:
        battery: its id.
        indices: of `indices_of`.
        respondents: one mapping each, also for those who left everything out.
    """
    records = _Records(battery, stratum or Stratum(), window or Span(), raw)
    scores = battery_scores(battery, indices, respondents)
    by_name = {index.name: index for index in indices}
    alphas: list[tuple[Index, float, int]] = []
    for index in indices:
        alpha, complete = index.alpha(respondents) if len(index.items) > 2 else (None, 0)
        if alpha is not None:
            alphas.append((index, alpha, complete))
        weak = alpha is not None and alpha < LOW_RELIABILITY - TOLERANCE
        records.mean(index.name, index.items, scores[index.name], flags=("low_reliability",) if weak else ())
    if "disconfirmation" in scores:
        items = (*by_name["exp"].items, *by_name["qual"].items)
        records.mean("disconfirmation", items, scores["disconfirmation"], low=-math.inf, high=math.inf, form="net")
    if battery == "cx11" and "cx11" in scores:
        _engagement(records, by_name, scores)
    if "cxi_net" in scores:
        records.mean("cxi_net", by_name["cx_quality"].items, scores["cxi_net"], low=-100.0, form="net")
    for index, alpha, complete in alphas:
        records.add(f"{index.name}_alpha", index.items, complete, Estimate(alpha, None, None, "none"), form="mean")
    hidden = give_few_away({name: sum(score is not None for score in found) for name, found in scores.items()})
    return tuple(sibling(made) if made.variant in hidden else made for made in records.made)


_MADE_OF_TWO: Mapping[str, tuple[str, str]] = {"disconfirmation": ("exp", "qual"), "cx11": ("l3", "a8")}


def give_few_away(n: Mapping[str, int]) -> set[str]:
    """The means made of two indices where all who have the one have the other, too, and one to nine more have only the
    other: with the means of both, that of these few would follow.

    Args:
        n: variant → respondents with a score.

    >>> give_few_away({"l3": 30, "a8": 27, "cx11": 27}), give_few_away({"l3": 30, "a8": 29, "cx11": 27})
    ({'cx11'}, set())
    """
    rests = {made: [n[part] - n[made] for part in parts] for made, parts in _MADE_OF_TWO.items() if made in n}
    return {made for made, found in rests.items() if min(found) == 0 < max(found) < SUPPRESS_BELOW}


def _engagement(records: _Records, by_name: Mapping[str, Index], scores: Mapping[str, Sequence[float | None]]) -> None:
    items = (*by_name["l3"].items, *by_name["a8"].items)
    records.mean("cx11", items, scores["cx11"])
    both = zip(scores["l3"], scores["a8"], strict=True)
    classes = [engagement_class(l3, a8) for l3, a8 in both if l3 is not None and a8 is not None]
    counts: dict[str, int] = {name: classes.count(name) for name in CLASSES} if classes else {}
    for name in CLASSES:
        found = procedures.share(classes.count(name), len(classes))
        records.add(f"share_{name}", items, len(classes), found, form="share", counts=counts)
    away = classes.count("actively_disengaged")
    ratio = classes.count("fully") / away if away else None
    found = Estimate(ratio, None, None, "none")
    records.add("engagement_ratio", items, len(classes), found, form="mean", counts=counts)


# ------------------------------------------------------------------------------------------------------------ words


def own_label(metric: str, lang: Language) -> str:
    """What must stand beside every score of a battery: whose calculation it is, and whose it is not."""
    return _LABELS[lang].get(metric, "自社算出" if lang == "ja" else "own calculation")


def variant_name(metric: str, variant: str, lang: Language) -> str:
    """What one record of a battery is called; the variant itself when it has no name (a shop's own battery)."""
    names = _NAMES[lang]
    if variant.endswith("_alpha"):
        of = names.get(variant.removesuffix("_alpha"), variant.removesuffix("_alpha"))
        return f"{of}：α（項目の一貫性）" if lang == "ja" else f"{of}: α (do the items agree)"
    return names.get(variant, variant)


_LABELS: dict[Language, dict[str, str]] = {
    "ja": {
        "jcsi6": "JCSIの6指標を参考にした自社指標（公式のJCSIの値ではありません）",
        "csi3": "顧客満足度指数（自社算出。ACSI®の値ではありません）",
        "cx11": "顧客エンゲージメント（参考：自社算出。Gallup® CE11®の値ではありません）",
        "cxi6": "CX Index（参考：自社算出。Forrester CX Index™の値ではありません）",
        "trust6": "信頼の認知（自社算出）",
    },
    "en": {
        "jcsi6": "own indices after the six of the JCSI (not official JCSI values)",
        "csi3": "satisfaction index (own calculation, not an ACSI® score)",
        "cx11": "customer engagement (own calculation, not a Gallup® CE11® score)",
        "cxi6": "CX Index (own calculation for reference, not a Forrester CX Index™ score)",
        "trust6": "perceived trust (own calculation)",
    },
}

_NAMES: dict[Language, dict[str, str]] = {
    "ja": {
        "exp": "顧客期待",
        "qual": "知覚品質",
        "value": "知覚価値",
        "sat": "顧客満足",
        "rec": "推奨意向",
        "loy": "ロイヤルティ",
        "disconfirmation": "期待との差（知覚品質 − 顧客期待）",
        "csi3": "総合満足・期待との一致・理想への近さ",
        "cx11": "（3 × L3 + 8 × A8）÷ 11",
        "l3": "ロイヤルティ（L3）",
        "a8": "愛着（A8）",
        "confidence": "信頼",
        "integrity": "公平・誠実",
        "pride": "誇らしさ",
        "passion": "依存度・愛着",
        "share_fully": "L3・A8とも87.5以上",
        "share_actively_disengaged": "A8が37.5未満",
        "share_engaged": "L3・A8とも62.5以上",
        "share_not_engaged": "その他",
        "engagement_ratio": "fully ÷ actively_disengaged（人数の比）",
        "cx_quality": "体験の質（有効性・容易さ・感情）",
        "cx_loyalty": "体験後の意向（維持・拡大・推奨）",
        "cxi_net": "4〜5の項目の割合から1〜2の項目の割合を引いた値",
        "trust6": "6つの姿勢への信頼",
    },
    "en": {
        "exp": "expectation",
        "qual": "perceived quality",
        "value": "perceived value",
        "sat": "satisfaction",
        "rec": "recommendation",
        "loy": "loyalty",
        "disconfirmation": "against expectation (perceived quality − expectation)",
        "csi3": "satisfaction, expectation, ideal",
        "cx11": "(3 × L3 + 8 × A8) ÷ 11",
        "l3": "loyalty (L3)",
        "a8": "attachment (A8)",
        "confidence": "confidence",
        "integrity": "integrity",
        "pride": "pride",
        "passion": "passion",
        "share_fully": "L3 and A8 at 87.5 or more",
        "share_actively_disengaged": "A8 below 37.5",
        "share_engaged": "L3 and A8 at 62.5 or more",
        "share_not_engaged": "the others",
        "engagement_ratio": "fully ÷ actively_disengaged (customers)",
        "cx_quality": "quality (effectiveness, ease, emotion)",
        "cx_loyalty": "loyalty (retention, enrichment, advocacy)",
        "cxi_net": "share of items at 4–5 minus share at 1–2",
        "trust6": "trust in six behaviours",
    },
}
