"""Numbers, dates and names as people read them, in Japanese and English; rounding itself is in reports.rounding.

Source: docs/metrics.md ("How numbers are written").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from flows.experiments import RESPONSE_RATE
from reports.experiments import ExperimentReport
from reports.metrics import Form, InstrumentSpec, Result, Span, Stratum, statistics_of
from reports.rounding import rounded, signed
from reports.templating import Sentences

Language = Literal["ja", "en"]

_DIGITS: dict[Form, int] = {
    "net": 1,
    "share": 1,
    "mean": 2,
    "index": 1,
    "count": 0,
    "money": 0,
    "days": 1,
    "hours": 1,
    "seconds": 0,
    "per_100": 1,
    "rho": 2,
}
_UNITS: dict[Language, dict[Form, str]] = {
    "ja": {"share": "%", "money": "円", "days": "日", "hours": "時間", "seconds": "秒"},
    "en": {"share": "%", "money": " yen", "days": " days", "hours": " h", "seconds": " s"},
}
_LONG_DAYS = 183
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_NAMES: dict[Language, dict[str, str]] = {
    "ja": {
        "nps": "NPS®",
        "nrs": "継続利用意向（NRS）",
        "ces_effort": "手間の指標",
        "ces_ease": "簡単さ（CES）",
        "csat5": "満足度（CSAT 5段階）",
        "csat10": "満足度（CSAT 10段階）",
        "sat5": "満足度（5段階）",
        "repeat_intent": "リピート意向",
        "repeat_intent_noswitch": "リピート意向（切り替えの手間がない場合）",
        "affinity": "愛着度",
        "emotion": "ポジティブな感情",
        "pay_more": "多少高くても利用",
        "expect_gap": "期待との差",
        "delight": "感動",
    },
    "en": {
        "nps": "NPS®",
        "nrs": "Continued use (NRS)",
        "ces_effort": "Effort net",
        "ces_ease": "Ease (CES)",
        "csat5": "Satisfaction (CSAT, 5 points)",
        "csat10": "Satisfaction (CSAT, 10 points)",
        "sat5": "Satisfaction (5 points)",
        "repeat_intent": "Repeat intention",
        "repeat_intent_noswitch": "Repeat intention if switching were free",
        "affinity": "Attachment",
        "emotion": "Positive feelings",
        "pay_more": "Would pay a little more",
        "expect_gap": "Against expectation",
        "delight": "Delight",
    },
}

_TOUCHPOINTS: dict[Language, dict[str, str]] = {
    "ja": {
        "purchase": "ご購入後",
        "support": "お問い合わせ後",
        "unboxing": "開封時",
        "relationship": "お買い物全体",
    },
    "en": {
        "purchase": "after a purchase",
        "support": "after support",
        "unboxing": "unboxing",
        "relationship": "relationship",
    },
}

_KINDS: dict[Language, dict[str, str]] = {
    "ja": {"transactional": "取引ごとの調査", "relational": "定期調査"},
    "en": {"transactional": "transactional", "relational": "relational"},
}

_SKIPS: dict[Language, dict[str, str]] = {
    "ja": {
        "opted_out": "本人停止",
        "blocked": "ブロック中",
        "open_case": "お客さま対応中",
        "open_ticket": "お問い合わせ対応中",
        "after_complaint": "お申し出の直後",
        "quiet_hours": "時間外",
        "same_event": "同じ用件で案内済み",
        "min_gap": "{min_gap_days}日以内の再案内",
        "per_year": "年{per_year}回の上限",
        "relational_gap": "定期調査から{relational_gap_days}日以内",
        "relational_ahead": "定期調査の直前",
        "touchpoint_gap": "同じ場面で{touchpoint_gap_days}日以内",
        "sampled_out": "抽出の対象外",
        "paused": "アンケートの休止中",
        "unreachable": "宛先なし",
        "expired": "期限切れ",
        "unknown_flow": "調査の設定なし",
        "no_quota": "LINE通数の不足",
    },
    "en": {
        "opted_out": "opted out",
        "blocked": "blocked us",
        "open_case": "being looked after",
        "open_ticket": "open enquiry",
        "after_complaint": "just after a complaint",
        "quiet_hours": "outside hours",
        "same_event": "asked about it already",
        "min_gap": "asked within {min_gap_days} days",
        "per_year": "limit of {per_year} a year",
        "relational_gap": "within {relational_gap_days} days of a regular survey",
        "relational_ahead": "regular survey ahead",
        "touchpoint_gap": "same occasion within {touchpoint_gap_days} days",
        "sampled_out": "not in the sample",
        "paused": "survey paused",
        "unreachable": "no address",
        "expired": "too late",
        "unknown_flow": "survey not set up",
        "no_quota": "LINE messages used up",
    },
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The contact limits of the shop, as named by the words for skips. Days, and invitations in 365 days."""

    min_gap_days: int = 14
    per_year: int = 6
    relational_gap_days: int = 90
    touchpoint_gap_days: int = 30


def number(value: int) -> str:
    """A count with separators: 1,234."""
    return f"{value:,}"


class Words:
    """How one language writes the values of a digest."""

    def __init__(self, lang: Language, *, limits: Limits | None = None) -> None:
        self.lang: Language = lang
        self._limits = limits or Limits()

    def value(self, value: float, form: Form) -> str:
        """A score: "+26.7", "66.7%", "3.78", an index "77.3", "5,000円" or "5,000 yen"."""
        return self._plain(value, form) + _UNITS[self.lang].get(form, "")

    def _plain(self, value: float, form: Form) -> str:
        if form == "net":
            return signed(value, 1)
        written = rounded(value, _DIGITS[form])
        return f"{int(written):,}" if _DIGITS[form] == 0 else written

    def score(self, result: Result) -> str:
        """The score of a result that may be shown; one without a score is an error, not a blank."""
        if result.score is None or result.status in ("suppressed", "no_data"):
            raise ValueError(f"{result.metric} {result.variant}: there is no score to print")
        return self.value(result.score, result.form)

    def interval(self, low: float, high: float, form: Form, *, change: bool = False) -> str:
        """ "+17.3〜+32.3", "54.1〜77.3%", "4,800〜5,200円"; the bounds of a change carry a sign and no unit."""
        digits = _DIGITS[form]
        both = [signed(v, digits) if change else self._plain(v, form) for v in (low, high)]
        text = both[0] + ("〜" if self.lang == "ja" else " to ") + both[1]
        return text if change else text + _UNITS[self.lang].get(form, "")

    def weeks(self, results: Sequence[Result]) -> str:
        """Scores one after the other, the oldest first, with their unit once: "15.0 → – → 26.5日"; "–" is a week
        without one that may be shown."""
        shown = [r.status in ("caution", "ok") and r.score is not None for r in results]
        written = [
            self._plain(r.score, r.form) if may and r.score is not None else "–"
            for r, may in zip(results, shown, strict=True)
        ]
        unit = _UNITS[self.lang].get(results[0].form, "") if any(shown) else ""
        return " → ".join(written) + unit

    def delta(self, value: float, form: Form) -> str:
        """A change with its sign and unit: "+25.0ポイント", "+0.25", "+1200"; never a percent change."""
        if form in ("mean", "money"):
            return signed(value, _DIGITS[form])
        return signed(value, 1) + ("ポイント" if self.lang == "ja" else " points")

    def detectable(self, value: float, form: Form) -> str:
        """The minimum detectable change: "約39ポイント", "about 39 points"."""
        text = rounded(value, 2) if form == "mean" else rounded(value, 0)
        if self.lang == "ja":
            return f"約{text}" + ("" if form == "mean" else "ポイント")
        return f"about {text}" + ("" if form == "mean" else " points")

    def dates(self, first: date, last: date) -> str:
        """Both days included: "11/16〜11/22", "16–22 Nov"; with their years where these are half a year apart."""
        if (last - first).days > _LONG_DAYS:
            return f"{self.day(first)}{'〜' if self.lang == 'ja' else ' – '}{self.day(last)}"
        if self.lang == "ja":
            return f"{first.month}/{first.day}〜{last.month}/{last.day}"
        if (first.year, first.month) == (last.year, last.month):
            return f"{first.day}–{last.day} {_MONTHS[last.month - 1]}"
        return f"{first.day} {_MONTHS[first.month - 1]} – {last.day} {_MONTHS[last.month - 1]}"

    def day(self, at: date) -> str:
        """A day of some year: "2026年11月16日", "16 Nov 2026"."""
        if self.lang == "ja":
            return f"{at.year}年{at.month}月{at.day}日"
        return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"

    def moment(self, at: datetime) -> str:
        """A local time: "2026年11月16日（月）09:00", "Mon 16 Nov 2026, 09:00"."""
        clock = at.strftime("%H:%M")
        if self.lang == "ja":
            return f"{self.day(at)}（{'月火水木金土日'[at.weekday()]}）{clock}"
        return f"{_WEEKDAYS[at.weekday()]} {self.day(at)}, {clock}"

    def p_value(self, p: float) -> str:
        """ "p=0.044", "p<0.001"."""
        return "p<0.001" if p < 0.001 else f"p={rounded(p, 3)}"

    def confidence(self, level: float) -> str:
        """An interval's name: "95%信頼区間", "95% CI"; as many digits as the level has."""
        percent = rounded(100 * level, 2).rstrip("0").rstrip(".")
        return f"{percent}%信頼区間" if self.lang == "ja" else f"{percent}% CI"

    def outcome(self, report: ExperimentReport) -> str:
        """The name of an experiment's primary metric."""
        if report.spec is not None:
            return self.metric(report.spec)
        if report.trial.metric == RESPONSE_RATE:
            return "回答率" if self.lang == "ja" else "Response rate"
        days = (report.trial.within_ms or 0) // 86_400_000
        return f"{days}日以内の購入額（1人あたり）" if self.lang == "ja" else f"Revenue per customer within {days} days"

    def window(self, start: date, end: date) -> str:
        """The same for a half-open window [start, end)."""
        return self.dates(start, end - timedelta(days=1))

    def span(self, window: Span) -> str:
        """The same for the window of a record, as dates."""
        return self.window(date.fromisoformat(window.start), date.fromisoformat(window.end))

    def metric(self, spec: InstrumentSpec) -> str:
        """The name of a metric; a shop's own instrument brings its name, or is called by its id."""
        return _NAMES[self.lang].get(spec.id) or spec.names.get(self.lang) or spec.id

    def together(self, instruments: Iterable[str], specs: Mapping[str, InstrumentSpec]) -> str:
        """The names of metrics that are told as one: "商品の質・価格", "Quality and Price"."""
        return ("・" if self.lang == "ja" else " and ").join(self.metric(specs[name]) for name in instruments)

    def basis(self, spec: InstrumentSpec, result: Result) -> str:
        """What the number is, in a few words; the direction where it could be misread (CES always)."""
        ja = self.lang == "ja"
        if spec.id == "ces_effort" and result.variant == "net":
            return "高いほど手間が少ない（良い）" if ja else "higher = less effort, better"
        if spec.id == "ces_ease" and result.variant == "mean":
            return "平均（1〜7、高いほど簡単（良い））" if ja else "mean of 1 to 7, higher = easier, better"
        if result.variant == "any_positive":
            return "1つ以上選んだ方の割合" if ja else "chose at least one"
        if result.form == "mean":
            return f"平均（{spec.low}〜{spec.high}）" if ja else f"mean of {spec.low} to {spec.high}"
        if result.form == "net":
            return self._net_basis(spec)
        if spec.kind == "yes_no":
            return "「はい」の割合" if ja else "share of yes"
        codes = sorted(spec.positive)
        both = f"{codes[0]}〜{codes[-1]}" if ja else f"{codes[0]} to {codes[-1]}"
        return f"{both}の割合" if ja else f"share of {both}"

    def _net_basis(self, spec: InstrumentSpec) -> str:
        def names(codes: tuple[int, ...]) -> str:
            ends = sorted({min(codes), max(codes)}) if codes else []
            return ("〜" if self.lang == "ja" else "–").join(map(str, ends))

        if self.lang == "ja":
            return f"{names(spec.positive)}の割合から{names(spec.negative)}の割合を引いた値"
        return f"share of {names(spec.positive)} minus share of {names(spec.negative)}"

    def channel(self, channel: str) -> str:
        """The name of a platform."""
        return {"line": "LINE", "slack": "Slack", "web": "Web"}.get(channel, channel)

    def count(self, value: int) -> str:
        """A number of answers or invitations: "1,234"."""
        return number(value)

    def top_codes(self, spec: InstrumentSpec, others: Mapping[str, Result]) -> list[tuple[str, str]]:
        """The three choices of a multi-select named most, each with its share; equal ones in the question's
        order."""
        shares = [(code, others[f"share_{code}"]) for code in spec.codes]
        shares.sort(key=lambda pair: -(pair[1].score or 0.0))
        return [(self.code(spec, code), self.score(result)) for code, result in shares[:3] if result.score]

    def code(self, spec: InstrumentSpec, code: str) -> str:
        """The name of a choice of a multi-select."""
        return spec.code_names.get(self.lang, {}).get(code, code)

    def touchpoint(self, touchpoint: str) -> str:
        """Where it was asked."""
        return _TOUCHPOINTS[self.lang].get(touchpoint, touchpoint)

    def where(self, stratum: Stratum) -> str:
        """In which kind of survey and at which touchpoint it was asked; "" when a file says neither."""
        kind = _KINDS[self.lang].get(stratum.survey_kind, stratum.survey_kind)
        return " · ".join(part for part in (kind, self.touchpoint(stratum.touchpoint)) if part)

    def part(self, spec: InstrumentSpec, result: Result) -> str:
        """Which answers a share beside the leading score is of: "9〜10の割合"; "" for what is no share of codes."""
        statistic = next((found for found in statistics_of(spec) if found.variant == result.variant), None)
        if statistic is None or statistic.form != "share" or not statistic.positive:
            return ""
        first, last = min(statistic.positive), max(statistic.positive)
        if self.lang == "ja":
            return f"{first}の割合" if first == last else f"{first}〜{last}の割合"
        return f"share of {first}" if first == last else f"share of {first} to {last}"

    def skip(self, reason: str) -> str:
        """Why an invitation was held back."""
        text = _SKIPS[self.lang].get(reason)
        limits = self._limits
        if text is None:
            return ("その他：" if self.lang == "ja" else "other: ") + reason
        return text.format(
            min_gap_days=limits.min_gap_days,
            per_year=limits.per_year,
            relational_gap_days=limits.relational_gap_days,
            touchpoint_gap_days=limits.touchpoint_gap_days,
        )


def sentences_in(lang: Language) -> Sentences:
    """The sentences of a language in Koe's own words, for readers of anything but a digest."""
    return Sentences(lang, w=Words(lang))
