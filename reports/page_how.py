"""How each part of the page that is told in words came about: by which formula, what was counted and what was not, and
what is hidden and why. Numbers that may not be shown have left the digest already: of them only how many they are.

Source: docs/metrics.md, the part of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.digest import DigestContext
from reports.drivers import DriverAnalysis
from reports.metrics import Result
from reports.views import Point
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
        return self._terms(_FORMULAS[self._lang][part], results, counted)

    def drivers(self, found: DriverAnalysis) -> Terms:
        """The terms of what moves the recommendation."""
        counted = self._say["drivers_in_out"].format(
            n=self._n(found.n), incomplete=self._n(found.incomplete), minimum=self._n(found.minimum)
        )
        return self._terms(_FORMULAS[self._lang]["drivers"], [], counted)

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
_FORMULAS: dict[Language, dict[str, str]] = {
    "ja": {
        "numbers": "回答率 = 100 × 案内から7日以内に回答のあった案内 ÷ 届いた案内。"
        "完了率 = 100 × 最後まで進んだ回答 ÷ 開始した回答。",
        "benchmarks": "公表された件数がある場合は、2つの値の差の検定（5%）で判定します。"
        "ない場合は、自社の95%信頼区間に公表値が入るかで判定します。",
        "topics": "話題の割合 = 100 × その話題に触れた方 ÷ コメントを書いた方。増えた話題と言葉は、"
        "前の4週との差の検定"
        "（Benjamini–Hochberg法、10%）で残ったものです。推奨者・批判者に多い言葉は、対数オッズ比で比べています。",
        "segments": "過去365日の回答と購入を組み合わせ、各層の割合 = 100 × その層の人数 ÷ 両方が分かる人数。",
        "trust": "残高 = 出来事と回答の点数の合計。点数は時間とともに半減します（プラスよりマイナスが長く残ります）。"
        "平均と中央値の区間はブートストラップ法です。",
        "linkage": "回答の区分ごとに、回答後90日間の行動を集計します。"
        "違いの検定はカイ二乗検定またはKruskal–Wallis検定です。"
        "関連であり、原因とは限りません。",
        "drivers": "重み = 推薦の点数のばらつき（R²）への寄与を、質問を加える順序すべてで平均した値（LMG）。"
        "評価 = 回答の平均を0〜100に換算した値。",
        "experiments": "差 = 新しい方法 − 対照。判定の水準は、5% ÷ 予定した確認の回数（"
        "方法が複数ならHolm法で調整）です。",
        "care": "48時間以内に対応済みの割合 = 100 × 48時間以内に返信または解決した件 ÷ 開いてから48時間を過ぎた件。"
        "初回返信は中央値です。",
        "reach": "ブロックの割合 = 100 × 案内後3日以内にブロックした方 ÷ LINEで案内した方。案内できる購入者の割合 = "
        "100 × LINEで案内できる購入者 ÷ 期間内の購入者。月末の見込みは、月初からの1日平均で計算します。",
        "checks": "直近4週の回答を、回答した方としなかった方の差、早い回答と遅い回答の差、同じ番号だけの回答、"
        "経路による差の順に調べ、基準を超えたものを表示します。",
        "notes": "値の読み方に関わる条件に当てはまったときに表示します。計算はしていません。",
    },
    "en": {
        "numbers": "Response rate = 100 × invitations answered within 7 days ÷ invitations that arrived. "
        "Completion rate = 100 × completed ÷ started.",
        "benchmarks": "With published counts: a test of the difference (5%). Without: whether the published "
        "figure lies "
        "in our 95% interval.",
        "topics": "Share of a topic = 100 × customers who speak of it ÷ customers who commented. Topics and words "
        "that grew "
        "passed a test against the 4 weeks before (Benjamini–Hochberg, 10%). Words of promoters and detractors are "
        "compared by log-odds.",
        "segments": "Answers and purchases of 365 days together: share of a group = 100 × its customers ÷ "
        "customers of "
        "whom both are known.",
        "trust": "Balance = sum of the points of events and answers, which halve with time (withdrawals last "
        "longer than "
        "deposits). Intervals of mean and median by bootstrap.",
        "linkage": "What customers did in the 90 days after their answer, by group of the answer. Differences by "
        "χ² or "
        "Kruskal–Wallis. It is a connection, not necessarily a cause.",
        "drivers": "Weight = part of the variance of the rating (R²) that a question explains, averaged over "
        "all orders "
        "of adding the questions (LMG). Rating = mean of the answers on 0 to 100.",
        "experiments": "Difference = treatment − control. Level of the test: 5% ÷ planned looks (Holm for several "
        "treatments).",
        "care": "Within 48 hours = 100 × cases answered or settled within 48 hours ÷ cases opened at least 48 "
        "hours ago. "
        "The first reply is a median.",
        "reach": "Blocked = 100 × blocked within 3 days of an invitation ÷ invited on LINE. Linked = 100 × buyers "
        "who can "
        "be written to on LINE ÷ buyers of the period. Month end: the daily pace since the first of the month.",
        "checks": "The last 4 weeks are checked for differences between those who answered and those who did not, "
        "between "
        "early and late answers, for answers all alike, and between channels; what passes its limit is told.",
        "notes": "Told when a condition applies that matters for reading the numbers. Nothing is computed.",
    },
}
