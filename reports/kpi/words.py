"""The figures made of business events by name: what each is called, which way is good, and what to do below a target.
The standard library only: the server checks koe.yaml with it.

Source: docs/metrics.md ("Figures from business events", "What to do below a target").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_Lang = Literal["ja", "en"]


@dataclass(frozen=True, slots=True)
class Kpi:
    """A figure that may have a target: `variant` of `metric`."""

    metric: str
    variant: str
    better: Literal["high", "low"] = "high"
    most: float | None = 100.0
    """The highest target that makes sense; None for money, hours, days and counts."""


TARGETS: Mapping[str, Kpi] = {
    "repeat_rate": Kpi("repeat_rate", "share"),
    "cvr": Kpi("cvr", "share"),
    "return_rate": Kpi("return_rate", "share", "low"),
    "churn_rate": Kpi("churn_rate", "share", "low"),
    "lapse_rate": Kpi("lapse_rate", "share", "low"),
    "crr": Kpi("crr", "share"),
    "repeat_interval": Kpi("repeat_interval", "median", "low", None),
    "aov": Kpi("aov", "mean", most=None),
    "spend_per_customer": Kpi("spend_per_customer", "mean", most=None),
    "frequency": Kpi("frequency", "mean", most=None),
    "referrals": Kpi("referrals", "per_100", most=None),
    "first_response_h": Kpi("first_response_h", "median", "low", None),
    "reply_in_promise": Kpi("first_response_h", "reply_in_promise"),
    "resolution_h": Kpi("resolution_h", "median", "low", None),
    "promise_kept_rate": Kpi("promise_kept_rate", "share"),
    "self_resolution": Kpi("self_resolution", "share"),
    "zero_result_rate": Kpi("zero_result_rate", "share", "low"),
    "response_rate": Kpi("response_rate", "share"),
    "completion_rate": Kpi("completion_rate", "share"),
    "ltv_simple": Kpi("ltv", "ltv_simple", most=None),
    "ltv_churn": Kpi("ltv", "ltv_churn", most=None),
    "ltv_net_split": Kpi("ltv", "ltv_net_split", most=None),
    "ltv_net_total": Kpi("ltv", "ltv_net_total", most=None),
    "captive_share": Kpi("repeat_intent", "captive_share", "low"),
}
"""Name under `targets` of koe.yaml → the figure, beside the instruments."""

HINTS: Mapping[str, str] = {
    "nps": "nps",
    "ces_effort": "simplify",
    "zero_result_rate": "simplify",
    "ltv_simple": "ltv",
    "ltv_churn": "ltv",
    "ltv_net_split": "ltv",
    "ltv_net_total": "ltv",
    "repeat_rate": "repeat",
    "return_rate": "cohort",
    "churn_rate": "cohort",
    "promise_kept_rate": "promises",
    "captive_share": "captive",
}
"""Name of a target → the hint that is given on its wrong side, by the template `kpi_advice`; the others have none."""


FLAGS = frozenset((
    "immature", "inconsistent", "infinite", "negative", "missing_input", "no_interval", "default_interval", "sibling",
))  # fmt: skip
"""The flags of figures; what each means is said by the template `kpi_flag`."""


def kpi_name(metric: str, lang: _Lang) -> str:
    """What a figure is called; "" for any other metric."""
    return _NAMES[lang].get(metric, "")


def kpi_variant(metric: str, variant: str, lang: _Lang) -> str:
    """What one record of a figure says; "" for one that speaks for itself."""
    words = _VARIANTS[lang]
    return words.get(f"{metric} {variant}") or words.get(variant, "")


def group_words(segment: str, lang: _Lang) -> str:
    """The group of customers that a segment names, in words: 推奨者, "promoters" for "nps=promoter"; "" for any
    other."""
    by, _, group = segment.partition("=")
    return _GROUPS[lang].get(group, "") if by in ("nps", "nrs", "psy_beh") else ""


_NAMES: Mapping[_Lang, Mapping[str, str]] = {
    "ja": {
        "new_customers": "新規顧客数",
        "repeat_customers": "リピート顧客数",
        "repeat_rate": "リピート率",
        "cvr": "コンバージョン率",
        "return_rate": "返品率",
        "churn_rate": "解約率（チャーンレート）",
        "lapse_rate": "休眠率",
        "crr": "顧客維持率",
        "repeat_interval": "リピート間隔",
        "aov": "購入単価",
        "spend_per_customer": "顧客単価",
        "frequency": "利用頻度",
        "ltv": "LTV（顧客生涯価値）",
        "referrals": "紹介数",
        "ugc_posts": "投稿数（SNS）",
        "first_response_h": "初回応答時間",
        "resolution_h": "解決時間",
        "promise_kept_rate": "約束履行率",
        "self_resolution": "FAQ自己解決率",
        "zero_result_rate": "検索結果なしの割合",
        "ctr": "クリック率",
        "page_dwell": "閲覧",
        "response_rate": "回答率",
        "completion_rate": "完了率",
        "linkage_repeat_rate": "回答後90日の購入率",
        "linkage_margin_obs": "回答後90日の粗利（1人あたり）",
        "linkage_referrals": "回答後90日の紹介数（100人あたり）",
        "linkage_churn_rate": "回答後90日の解約率",
    },
    "en": {
        "new_customers": "New customers",
        "repeat_customers": "Repeat customers",
        "repeat_rate": "Repeat rate",
        "cvr": "Conversion rate",
        "return_rate": "Return rate",
        "churn_rate": "Churn rate",
        "lapse_rate": "Lapse rate",
        "crr": "Customer retention",
        "repeat_interval": "Time between purchases",
        "aov": "Order value",
        "spend_per_customer": "Spend per customer",
        "frequency": "Orders per customer",
        "ltv": "Lifetime value",
        "referrals": "Referrals",
        "ugc_posts": "Public posts",
        "first_response_h": "First response",
        "resolution_h": "Time to resolution",
        "promise_kept_rate": "Promises kept",
        "self_resolution": "Solved by the FAQ",
        "zero_result_rate": "Searches without a result",
        "ctr": "Click-through rate",
        "page_dwell": "Pages",
        "response_rate": "Response rate",
        "completion_rate": "Completion rate",
        "linkage_repeat_rate": "Bought in the 90 days after answering",
        "linkage_margin_obs": "Gross margin per customer in the 90 days after answering",
        "linkage_referrals": "Referrals per 100 customers in the 90 days after answering",
        "linkage_churn_rate": "Cancelled in the 90 days after answering",
    },
}
_VARIANTS: Mapping[_Lang, Mapping[str, str]] = {
    "ja": {
        "mean": "平均",
        "median": "中央値",
        "p90": "90パーセンタイル",
        "guest_orders": "会員でない方の注文（別に集計）",
        "km_median": "2回目の購入までの中央値（まだの方も含む推定）",
        "per_100": "顧客100人あたり",
        "rewarded": "うち特典つきの紹介",
        "organic": "特典なしの投稿",
        "incentivised": "特典つきの投稿",
        "unknown": "特典の有無が不明の投稿",
        "reply_in_promise": "約束の時間内に返信した割合",
        "top_terms": "結果が出なかった主な検索語の数",
        "views": "閲覧数",
        "page_dwell median": "滞在時間の中央値（30分で打ち切り）",
        "drop_off": "その質問で離れた割合",
        "qr": "QRカードからの回答開始／発送した枚数",
        "ltv_simple": "平均購入単価 × 平均購入回数（売上であり利益ではありません）",
        "ltv_churn": "期間の平均単価 × 粗利率 ÷ 解約率",
        "ltv_net_split": "平均単価 × 利益率 × 年間購入回数 × 年数 －（獲得費用＋維持費用）",
        "ltv_net_total": "購入単価 × 粗利率 × 頻度 × 期間 － 獲得・維持費用",
        "csat5_le_1h": "1時間以内に解決したときの満足（4〜5）",
        "csat5_le_24h": "24時間以内に解決したときの満足（4〜5）",
        "csat5_le_72h": "72時間以内に解決したときの満足（4〜5）",
        "csat5_over_72h": "72時間を超えたときの満足（4〜5）",
        "sat5_le_1h": "1時間以内に解決したときの満足（4〜5）",
        "sat5_le_24h": "24時間以内に解決したときの満足（4〜5）",
        "sat5_le_72h": "72時間以内に解決したときの満足（4〜5）",
        "sat5_over_72h": "72時間を超えたときの満足（4〜5）",
        "spearman_csat5": "解決時間と満足の順位相関（スピアマン）",
        "spearman_sat5": "解決時間と満足の順位相関（スピアマン）",
    },
    "en": {
        "mean": "mean",
        "median": "median",
        "p90": "90th percentile",
        "guest_orders": "orders of guests, counted apart",
        "km_median": "median time to the second purchase, those still to come included",
        "per_100": "per 100 customers",
        "rewarded": "of these against a reward",
        "organic": "posts for which nothing was given",
        "incentivised": "posts for which something was given",
        "unknown": "posts of which nobody knows",
        "reply_in_promise": "answered within the promised time",
        "top_terms": "terms often searched in vain",
        "views": "views",
        "page_dwell median": "median time on the page, cut at 30 minutes",
        "drop_off": "left at this question",
        "qr": "surveys begun by a QR card / cards shipped",
        "ltv_simple": "mean order value × mean number of orders (revenue, not profit)",
        "ltv_churn": "mean spend per period × gross margin ÷ churn rate",
        "ltv_net_split": "mean spend × profit rate × orders a year × years − (acquisition + retention cost)",
        "ltv_net_total": "spend per order × gross margin × frequency × duration − acquisition-and-retention cost",
        "csat5_le_1h": "satisfied (4–5) when solved within 1 hour",
        "csat5_le_24h": "satisfied (4–5) when solved within 24 hours",
        "csat5_le_72h": "satisfied (4–5) when solved within 72 hours",
        "csat5_over_72h": "satisfied (4–5) when it took longer than 72 hours",
        "sat5_le_1h": "satisfied (4–5) when solved within 1 hour",
        "sat5_le_24h": "satisfied (4–5) when solved within 24 hours",
        "sat5_le_72h": "satisfied (4–5) when solved within 72 hours",
        "sat5_over_72h": "satisfied (4–5) when it took longer than 72 hours",
        "spearman_csat5": "rank correlation of hours and satisfaction (Spearman)",
        "spearman_sat5": "rank correlation of hours and satisfaction (Spearman)",
    },
}
_GROUPS: Mapping[_Lang, Mapping[str, str]] = {
    "ja": {
        "promoter": "推奨者",
        "passive": "中立者",
        "detractor": "批判者",
        "repeater": "継続者",
        "neutral": "中立者",
        "leaver": "離脱者",
        "truly_loyal": "真のロイヤル顧客",
        "latent_fan": "潜在ファン",
        "price_driven": "価格・惰性層",
        "low_loyalty": "低ロイヤル層",
    },
    "en": {
        "promoter": "promoters",
        "passive": "passives",
        "detractor": "detractors",
        "repeater": "will stay",
        "neutral": "undecided",
        "leaver": "will leave",
        "truly_loyal": "like us and buy again",
        "latent_fan": "like us, have not bought again",
        "price_driven": "buy again without liking us",
        "low_loyalty": "neither",
    },
}
