"""How each part of the page that is told in words came about: by which formula, what was counted and what was not, and
what is hidden and why. Numbers that may not be shown have left the digest already: of them only how many they are.

Source: reports/formulas.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.digest import DigestContext
from reports.drivers.analysis import DriverAnalysis
from reports.formulas import part_formula
from reports.metrics import Result
from reports.page.views import Point
from reports.words import Language, Words

Terms = list[tuple[str, str]]
"""(what it is about, what there is to say)."""


class How:
    """The terms behind “How is this computed?” of a part; `of` for parts in words, the others for charts.

    Args:
        labels: what the terms are called: "formula", "in_out", "not_shown".
    """

    def __init__(self, context: DigestContext, labels: Mapping[str, str]) -> None:
        self._context = context
        self._labels = labels
        self._lang: Language = context.language
        self._words = Words(context.language)
        self._say = _SAY[context.language]

    def of(self, part: str) -> Terms:
        """The terms of a part by its name among `reports.render.page_words`."""
        results, counted = self._found(part)
        return self._terms(part_formula(part, self._lang), results, counted)

    def drivers(self, found: DriverAnalysis) -> Terms:
        """The terms of what moves the recommendation."""
        counted = self._say["drivers_in_out"].format(
            n=self._n(found.n), incomplete=self._n(found.incomplete), minimum=self._n(found.minimum)
        )
        return self._terms(part_formula("drivers", self._lang), [], counted)

    def points(self, formula: str, points: Iterable[Point]) -> Terms:
        """The terms of a chart of weeks, each week a number of its own."""
        found = list(points)
        reasons = [point.hidden for point in found]
        shown = [point.result for point in found if point.result is not None]
        return self._written(
            formula, self._range(shown), reasons.count("few"), reasons.count("derivable"), reasons.count("none")
        )

    def numbers(self, formula: str, results: Iterable[Result | None], hidden: Iterable[str]) -> Terms:
        """The terms of numbers side by side, a reason for each that is not there."""
        reasons = list(hidden)
        shown = [result for result in results if result is not None]
        return self._written(
            formula, self._range(shown), reasons.count("few"), reasons.count("derivable"), reasons.count("none")
        )

    def _terms(self, formula: str, results: Sequence[Result], counted: str) -> Terms:
        hidden = [result for result in results if result.status == "suppressed"]
        derivable = sum("sibling" in result.flags for result in hidden)
        shown = [result for result in results if result.status in ("caution", "ok")]
        none = sum(result.status == "no_data" for result in results)
        said = " ".join(part for part in (counted, self._range(shown)) if part)
        return self._written(formula, said, len(hidden) - derivable, derivable, none)

    def _written(self, formula: str, counted: str, few: int, derivable: int, none: int) -> Terms:
        reasons = {"few": few, "derivable": derivable, "none": none}
        hidden = [self._say[reason].format(n=n) for reason, n in reasons.items() if n]
        return [
            (self._labels["formula"], formula),
            (self._labels["in_out"], counted or self._say["nothing_counted"]),
            (self._labels["not_shown"], "".join(hidden) if self._lang == "ja" else " ".join(hidden))
            if hidden
            else (self._labels["not_shown"], self._say["nothing_hidden"]),
        ]

    def _range(self, shown: Sequence[Result]) -> str:
        if not shown:
            return ""
        least, most = (self._n(pick(result.n_valid for result in shown)) for pick in (min, max))
        span = least if least == most else f"{least}〜{most}" if self._lang == "ja" else f"{least}–{most}"
        return self._say["shown"].format(values=self._n(len(shown)), n=span)

    def _n(self, value: int) -> str:
        return self._words.count(value)

    def _found(self, part: str) -> tuple[Sequence[Result], str]:
        """The numbers of a part, and what else was counted."""
        context, say, n = self._context, self._say, self._n

        def known(value: int | None) -> str:
            return say["not_told"] if value is None else n(value)

        match part:
            case "numbers":
                counts = context.response.counts
                counted = say["numbers_in_out"].format(
                    invited=n(counts.invited), undeliverable=n(counts.undeliverable), answered=known(counts.answered),
                    started=n(counts.started), completed=known(counts.completed), held=n(counts.held),
                )  # fmt: skip
                return (context.response.rate, context.response.completion), counted
            case "benchmarks":
                apart = sum(not standing.comparable for standing in context.benchmarks)
                return [standing.result for standing in context.benchmarks], say["benchmarks_in_out"].format(n=n(apart))
            case "topics":
                found = () if context.texts is None else context.texts.found
                lines = [
                    say["topics_in_out"].format(n=n(text.n), missing=n(text.n_missing), superseded=n(text.n_superseded))
                    for text in found
                ]
                return [result for text in found for result in text.results()], " ".join(lines)
            case "segments":
                return context.segments, ""
            case "trust":
                return (() if context.trust is None else context.trust.results), ""
            case "linkage":
                linkages = () if context.kpis is None else context.kpis.linkages
                return [result for linkage in linkages for result in (*linkage.groups, *linkage.medians)], ""
            case "experiments":
                arms = [arm for found in context.experiments for arm in found.arms]
                counted = say["experiments_in_out"].format(
                    entered=n(sum(arm.entered for arm in arms)), n=n(sum(arm.n for arm in arms if arm.score))
                )
                return [], counted if arms else ""
            case "care":
                care = context.care
                counted = say["care_in_out"].format(opened=n(care.opened), open_now=n(care.open_now))
                return (care.closed_loop, care.first_reply, care.solved, care.recovered), counted
            case "reach":
                line = context.reach.line
                counted = "" if line is None else say["reach_in_out"].format(used=n(line.used))
                return (context.reach.blocked, context.reach.linked), counted
            case "checks":
                quality = context.quality
                return (*quality.nonresponse, *quality.acquiescence), ""
            case _:
                return (), ""


_SAY: dict[Language, dict[str, str]] = {
    "ja": {
        "shown": "{values}個の値を表示しています（n={n}）。",
        "nothing_counted": "表示できる値はありません。",
        "not_told": "（非表示）",
        "few": "10件未満の{n}個を非表示にしています。",
        "derivable": "ほかの値との引き算で10件未満の値が分かる{n}個を非表示にしています。",
        "none": "記録のない値が{n}個あります。",
        "nothing_hidden": "件数による非表示はありません。",
        "numbers_in_out": "案内 {invited}（届いた確認なし {undeliverable} は回答率から除外）・回答 "
        "{answered}・開始 {started}・"
        "完了 {completed}。見送り {held} は案内に数えません。",
        "benchmarks_in_out": "尺度・区切り・国・調査の種類が異なる公表値 {n}件は、判定しません。",
        "topics_in_out": "コメント {n}（書かずに進んだ {missing}・同じ方の以前のコメント {superseded} は除外）。",
        "experiments_in_out": "割り付け {entered}人、うち表示中の結果に使用 {n}件。",
        "care_in_out": "期間内に開いた件 {opened}・現在対応中 {open_now}。お客さまが取り消した件は除きます。",
        "reach_in_out": "LINEの送信済み通数 {used}は、LINEの集計（他の用途を含む）です。",
        "drivers_in_out": "すべてに答えた方 {n}人。一部が無回答の {incomplete}人は除外（必要な人数 {minimum}人）。",
    },
    "en": {
        "shown": "{values} numbers are shown (n={n}).",
        "nothing_counted": "No number that may be shown.",
        "not_told": "(hidden)",
        "few": "Hidden because made of fewer than 10: {n}.",
        "derivable": "Hidden because one under 10 could be computed by subtraction: {n}.",
        "none": "Nothing recorded for {n}.",
        "nothing_hidden": "Nothing is hidden for being few.",
        "numbers_in_out": "Invited {invited} ({undeliverable} known not to have arrived are left out of the "
        "response rate), "
        "answered {answered}, started {started}, completed {completed}. The {held} held back are no invitations.",
        "benchmarks_in_out": "Published figures with another scale, cut-offs, country or kind of survey, without a "
        "verdict: {n}.",
        "topics_in_out": "{n} comments (left out: {missing} who wrote none, {superseded} earlier ones of the same "
        "customers).",
        "experiments_in_out": "{entered} customers came in; {n} outcomes are in the results shown.",
        "care_in_out": "Opened in the period {opened}, being looked after {open_now}. Cases that customers took "
        "back are "
        "left out.",
        "reach_in_out": "The {used} LINE messages sent are LINE's own count, other uses included.",
        "drivers_in_out": "{n} customers answered everything; {incomplete} with a gap are left out ({minimum} needed).",
    },
}
