"""What moves the recommendation, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reports.drivers import Driver, DriverAnalysis
from reports.metrics import InstrumentSpec
from reports.rounding import rounded
from reports.words import Language, number
from reports.words import Words as Written


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
