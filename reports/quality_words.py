"""What the checks of the answers come to, in words."""

from __future__ import annotations

from collections.abc import Mapping

from reports.careless import (
    Careless,
)
from reports.indices import variant_name
from reports.metrics import (
    InstrumentSpec,
    Result,
)
from reports.quality import Quality
from reports.rounding import rounded, signed
from reports.scale_use import Consistency
from reports.words import Language, Words, number


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
