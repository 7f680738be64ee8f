"""What a file of answers came to, for people and for programs: the table of a terminal, the JSON records, the notes."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reports.answers.report import Measured
from reports.benchmarks import Standing
from reports.comments.lines import free_text_lines
from reports.drivers.analysis import is_touchpoint
from reports.indices import own_label, variant_name
from reports.kpi.report import (
    Hint,
    KpiReport,
    metric_name,
    told_flags,
)
from reports.kpi.words import group_words, kpi_name, kpi_variant
from reports.metrics import (
    InstrumentSpec,
    Result,
    Span,
    Stratum,
)
from reports.segments import (
    group_name,
    group_variant,
)
from reports.templating import Sentences
from reports.words import Language, Words, number, sentences_in


def render_json(measured: Measured, lang: Language = "ja") -> str:
    """A JSON list of result records (docs/metrics.md, "A result record"). A suppressed one keeps its n and loses
    score, bounds and counts; those of the effort questions say in `direction` which way is good."""
    records: list[dict[str, Any]] = []
    for result in measured.told:
        record = result.to_json()
        if (direction := _direction(result, lang)) is not None:
            record["direction"] = direction
        if result.metric in measured.batteries:
            record["label"] = own_label(result.metric, lang)
        _add_hint(record, result, measured.hints, lang)
        if beside := [standing.to_json() for standing in measured.benchmarks if _belongs(standing, result)]:
            record["benchmarks"] = beside
        records.append(record)
    if measured.kpis is not None:
        for result in measured.kpis.results:
            records.append(result.to_json())
            _add_hint(records[-1], result, measured.hints, lang)
        for linkage in measured.kpis.linkages:
            records += linkage.to_json()
    for analysis in measured.drivers:
        records += analysis.to_json()
    for text in measured.free_text.found:
        records += [text.to_json(), *(result.to_json() for result in text.results())]
    records += measured.quality.records()
    return json.dumps(records, ensure_ascii=False, allow_nan=False, indent=2)


def _add_hint(record: dict[str, Any], result: Result, hints: Iterable[Hint], lang: Language) -> None:
    """What to do, beside the record of a figure on the wrong side of its target."""
    for hint in hints:
        mine = hint.result
        if (mine.metric, mine.variant, mine.segment, mine.stratum) == (
            result.metric,
            result.variant,
            result.segment,
            result.stratum,
        ):
            record["hint"] = {
                "target": hint.target,
                "id": hint.hint,
                "text": sentences_in(lang).said("kpi_advice", hint=hint),
            }


def _belongs(standing: Standing, result: Result) -> bool:
    ours = standing.result
    return (ours.metric, ours.variant, ours.stratum) == (result.metric, result.variant, result.stratum)


def render_table(measured: Measured, specs: Mapping[str, InstrumentSpec], lang: Language = "ja") -> str:
    """The records as a table for a terminal, a block per question and stratum, with the notes and notices below."""
    words, say = Words(lang), sentences_in(lang)
    own = _OWN[lang]
    blocks: list[str] = []
    shown: dict[tuple[str, Stratum], list[Result]] = {}
    for result in measured.told:
        shown.setdefault((result.metric, result.stratum), []).append(result)
    for (metric, stratum), results in sorted(shown.items(), key=_reading_order(shown, specs)):
        spec = specs.get(metric)
        name = words.metric(spec) if spec else group_name(metric, lang) or own_label(metric, lang)
        where = words.where(stratum)
        which = " · ".join(part for part in (stratum.wording_id, stratum.label_set, stratum.lang) if part)
        head = " ".join(part for part in (name, f"[{metric}]", where, which and f"({which})") if part)
        first = results[0]
        tallied = own["tallied"].format(
            n=number(first.n_valid),
            missing=number(first.n_missing),
            invalid=number(first.n_invalid),
            superseded=number(first.n_superseded),
        )
        lines = [head, f"  {tallied}"]
        lines += _block(spec, results, words, own)
        for standing in measured.benchmarks:
            if _belongs(standing, first) and standing.told:
                lines += [f"  {line}" for line in say.lines("benchmarks", standing=standing, first=False)]
        blocks.append("\n".join(lines))
    if measured.kpis is not None:
        blocks += _kpi_blocks(measured.kpis, words, say)
    for analysis in measured.drivers:
        title = say.said("drivers_title", analysis=analysis)
        lines = say.lines("drivers_lines", analysis=analysis, specs=specs)
        blocks.append("\n".join([title, *(f"  {line}" for line in lines)]))
    blocks += ["\n".join(free_text_lines(text, words)) for text in measured.free_text.found]
    if checks := say.lines("quality_lines", quality=measured.quality, specs=specs, index_name=variant_name):
        blocks.append("\n".join([own["quality"], *(f"  {line}" for line in checks)]))
    if not blocks:
        blocks.append(own["nothing"])
    window = measured.results[0].window if measured.results else Span()
    foot = [own["window"].format(start=window.start, end=window.end)] if window.start else []
    foot += [
        say.said("kpi_hint", hint=hint, name=metric_name(hint.result.metric, specs, words)) for hint in measured.hints
    ]
    if measured.kpis is not None:
        foot += [f"{flag}: {say.said('kpi_flag', flag=flag)}" for flag in told_flags(measured.kpis.results)]
        foot.append(say.said("kpi_census"))
    foot += notes(measured, lang)
    if any(result.metric == "nps" for result in measured.results):
        foot.append(say.said("owners_nps"))
    if any(result.metric in measured.batteries for result in measured.results):
        foot.append(say.said("owners_indices"))
    return "\n\n".join([*blocks, "\n".join(foot)]).rstrip() + "\n"


def _reading_order(
    shown: Iterable[tuple[str, Stratum]], specs: Mapping[str, InstrumentSpec]
) -> Callable[[tuple[tuple[str, Stratum], list[Result]]], tuple[object, ...]]:
    """What was asked together stands together, in the order in which the file comes to it; within it questions in the
    order in which they are defined, touchpoints, what is made of several questions, and single items of these last."""
    places = {place: n for n, place in enumerate(dict.fromkeys((s.survey_kind, s.touchpoint) for _, s in shown))}
    defined = {name: n for n, name in enumerate(specs)}

    def order(block: tuple[tuple[str, Stratum], list[Result]]) -> tuple[object, ...]:
        (metric, stratum), _ = block
        spec = specs.get(metric)
        rank = 2 if spec is None else 3 if spec.item is not None else 1 if is_touchpoint(metric) else 0
        where = places[(stratum.survey_kind, stratum.touchpoint)]
        return where, rank, defined.get(metric, 0), metric, stratum.wording_id, stratum.label_set, stratum.lang

    return order


def _kpi_blocks(report: KpiReport, words: Words, say: Sentences) -> list[str]:
    """A block per figure, and one per comparison of groups."""
    own = _OWN[words.lang]
    by_metric: dict[str, list[Result]] = {}
    for result in report.results:
        by_metric.setdefault(result.metric, []).append(result)
    blocks = [_kpi_block(results, words, own) for results in by_metric.values()]
    for linkage in report.linkages:
        shown = [result.shown() for result in (*linkage.groups, *linkage.medians)]
        said = [*say.lines("linkage_test", linkage=linkage), *say.lines("linkage_cause")]
        blocks.append("\n".join([_kpi_block(shown, words, own), *(f"  {line}" for line in said)]))
    return blocks


def _kpi_block(results: list[Result], words: Words, own: Mapping[str, str]) -> str:
    first = results[0]
    where = words.where(first.stratum)
    during = own["during"].format(start=first.window.start, end=first.window.end)
    head = " ".join(part for part in (kpi_name(first.metric, words.lang), f"[{first.metric}]", where, during) if part)
    return "\n".join([head, f"  n={number(first.n_valid)}", *_block(None, results, words, own)])


def _block(spec: InstrumentSpec | None, results: list[Result], words: Words, own: Mapping[str, str]) -> list[str]:
    first = results[0]
    rows: list[tuple[str, str, str, str]] = []
    for result in results:
        # a share of fewer people than the question itself (captive_share) has an n and a status of its own
        aside = own["n"].format(n=number(result.n_valid)) if result.n_valid != first.n_valid else ""
        about = " ".join(part for part in (_about(spec, result, words), aside) if part)
        named = " ".join(part for part in (result.variant, result.segment) if part)
        # a count of nothing is a number, 0
        if result.status == "suppressed" or (result.status == "no_data" and result.score is None):
            rows.append((named, own[_why_hidden(result, words.lang)], "", about))
            continue
        interval = "–"
        if result.ci_low is not None and result.ci_high is not None:
            interval = words.interval(result.ci_low, result.ci_high, result.form)
        # a ratio has no score when nobody is in its denominator
        score = "–" if result.score is None else words.score(result)
        rows.append((named, score, interval, about))
    for word in ("suppressed", "sibling", "no_data", "no_events"):
        if all(row[1] == own[word] for row in rows):
            return [f"  {own[word]}"]
    lines = [f"  {own['caution'].format(n=number(first.n_valid))}"] if first.status == "caution" else []
    table = [("", own["score"], own["interval"], ""), *rows]
    widths = [max(_width(row[column]) for row in table) for column in range(3)]
    lines += [
        "  "
        + "  ".join(
            (_pad(row[0], widths[0]), _pad(row[1], widths[1], right=True), _pad(row[2], widths[2]), row[3])
        ).rstrip()
        for row in table
    ]
    if first.counts:
        written = ", ".join(f"{code} × {number(count)}" for code, count in first.counts.items())
        lines.append(f"  {own['counts']} {written}")
    told = [first.counts.keys()]
    for result in results:
        # the parts of a table may count different people: those who moved, those who are price-driven
        if spec is None and result.counts and result.counts.keys() not in told:
            told.append(result.counts.keys())
            written = ", ".join(f"{code} × {number(count)}" for code, count in result.counts.items() if count)
            lines.append(f"  {result.variant}: {written}")
    flags = sorted({flag for result in results for flag in result.flags})
    if flags:
        lines.append(f"  {own['flags']} {', '.join(flags)}")
    return lines


def _why_hidden(result: Result, lang: Language) -> str:
    """The key of the words that stand in the place of a number."""
    if result.status == "no_data":
        return "no_events" if kpi_name(result.metric, lang) else "no_data"
    return "sibling" if "sibling" in result.flags else "suppressed"


def _about(spec: InstrumentSpec | None, result: Result, words: Words) -> str:
    """What the row's number is, in a few words; which way is good where it could be misread."""
    ja = words.lang == "ja"
    if spec is None:
        if kpi_name(result.metric, words.lang):
            return kpi_variant(result.metric, result.variant, words.lang) or group_words(result.segment, words.lang)
        if group_name(result.metric, words.lang):
            return group_variant(result.variant, words.lang)
        return variant_name(result.metric, result.variant, words.lang)
    if (direction := _direction(result, words.lang)) is not None:
        return direction
    if result.variant == "captive_share":
        return (
            "継続意向4〜5の方のうち、切り替えの手間がなければ3以下"
            if ja
            else "of those who say 4–5, 3 or less if switching were free"
        )
    if spec.kind == "multi" and result.variant.startswith("share_"):
        return words.code(spec, result.variant.removeprefix("share_"))
    if spec.kind == "multi" and result.variant == "count":
        return "選んだ数の平均" if ja else "mean number chosen"
    if result.variant in ("net", "top2", "mean", "any_positive", "share"):
        return words.basis(spec, result)
    return words.part(spec, result)


def _direction(result: Result, lang: Language) -> str | None:
    """Which way is good: always said of effort and ease, whose raw ratings run against each other."""
    ja = lang == "ja"
    if result.metric == "ces_effort":
        if result.variant == "mean":
            return "平均点は低いほど良い" if ja else "mean of 1 to 7, lower = better"
        return "高いほど手間が少ない（良い）" if ja else "higher = less effort, better"
    if result.metric == "ces_ease":
        return "高いほど簡単（良い）" if ja else "higher = easier, better"
    return None


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _pad(text: str, width: int, *, right: bool = False) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


_OWN: dict[Language, dict[str, str]] = {
    "ja": {
        "tallied": "n={n}・未回答 {missing}・無効 {invalid}・同じ方の前の回答 {superseded}",
        "n": "（n={n}）",
        "suppressed": "n<10 のため非表示",
        "sibling": "差し引きで求められるため非表示",
        "no_data": "回答なし",
        "no_events": "記録なし",
        "caution": "参考値（n={n}）",
        "score": "値",
        "interval": "95%信頼区間",
        "counts": "内訳：",
        "flags": "注記：",
        "nothing": "集計できる回答がありません。",
        "window": "期間：{start} から {end} の前日まで",
        "quality": "回答の質",
        "during": "（{start} から {end} の前日まで）",
        "unknown": "不明な設問（集計していません）：{names}",
        "unscored": "点数のない設問（集計していません）：{names}",
        "unused": "使っていない列：{names}",
        "own": "お店独自の質問への回答：{count}件（集計していません）",
        "former": "訂正などで集計から外れた回答：{count}件（集計していません）",
        "bad": "読めなかった行：{count}行（集計していません）",
        "undated": "answered_at を読めなかった行：{count}行（回答は集計しています）",
        "incomplete": "必要な項目がない業務イベント：{count}件（集計していません）",
        "anonymous": "customer がないため、すべての回答を数えました。",
        "between": "、",
    },
    "en": {
        "tallied": "n={n}, missing {missing}, invalid {invalid}, earlier answers of the same customer {superseded}",
        "n": "(n={n})",
        "suppressed": "not shown, n<10",
        "sibling": "hidden because other values would give it away",
        "no_data": "no answers",
        "no_events": "no records",
        "caution": "for reference only (n={n})",
        "score": "score",
        "interval": "95% interval",
        "counts": "counts:",
        "flags": "flags:",
        "nothing": "There is no answer that can be scored.",
        "window": "Window: from {start}, before {end}",
        "quality": "Quality of the answers",
        "during": "(from {start}, before {end})",
        "unknown": "Unknown instruments, not counted: {names}",
        "unscored": "Questions without a score, not counted: {names}",
        "unused": "Columns not used: {names}",
        "own": "Answers to questions of the shop's own, not counted: {count}",
        "former": "Answers that were corrected or withdrawn, not counted: {count}",
        "bad": "Rows that could not be read, not counted: {count}",
        "undated": "Rows whose answered_at could not be read; their answers count: {count}",
        "incomplete": "Business events without a field that their figure needs, not counted: {count}",
        "anonymous": "No row names a customer: every answer counts.",
        "between": ", ",
    },
}


def notes(measured: Measured, lang: Language) -> list[str]:
    """What a reader of the numbers should know of the file, in sentences."""
    own = _OWN[lang]

    def names(counts: Mapping[str, int]) -> str:
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = own["between"].join(f"{name[:60]} × {number(count)}" for name, count in most[:20])
        return listed + (" …" if len(most) > 20 else "")

    out: list[str] = []
    if measured.unknown:
        out.append(own["unknown"].format(names=names(measured.unknown)))
    if measured.unscored:
        out.append(own["unscored"].format(names=names(measured.unscored)))
    if measured.free_text.unread:
        out += sentences_in(lang).lines("unread", unread=measured.free_text.unread, first=False)
    if measured.unused:
        out.append(own["unused"].format(names=own["between"].join(measured.unused[:20])))
    if measured.own:
        out.append(own["own"].format(count=number(measured.own)))
    if measured.former:
        out.append(own["former"].format(count=number(measured.former)))
    if measured.bad:
        out.append(own["bad"].format(count=number(measured.bad)))
    if measured.undated:
        out.append(own["undated"].format(count=number(measured.undated)))
    if measured.kpis is not None and measured.kpis.incomplete:
        out.append(own["incomplete"].format(count=number(measured.kpis.incomplete)))
    if measured.anonymous:
        out.append(own["anonymous"])
    return out
