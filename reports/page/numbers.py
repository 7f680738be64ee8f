"""A number on the page, what stands around it and how it was made: formula, counts in and out, what was left out and
why. Of one that may not be shown, how it would be made, and never of how many answers.

Source: docs/report-page.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace

from reports.charts.charts import between
from reports.charts.labels import why
from reports.digest import Comparison
from reports.formulas import figure_formula
from reports.metrics import Form, InstrumentSpec, Result, statistics_of
from reports.page.how import Terms
from reports.page.labels import LABELS, METHODS
from reports.page.views import View
from reports.procedures import BOOTSTRAP_ROUNDS
from reports.words import Language, Words


@dataclass(slots=True)
class Number:
    """A number as the template shows it."""

    name: str
    score: str
    """What stands in its place when it is `off`."""
    how: Terms
    """Formula, counts in and out, what was left out and why."""
    off: bool = False
    """Not shown."""
    big: bool = False
    around: list[str] = field(default_factory=list)
    """Its interval and n."""
    notes: list[str] = field(default_factory=list)
    short: str = ""
    """Of a figure of the shop: what it is called …"""
    what: str = ""
    """… and what of it this is."""
    figures: list[SimpleNamespace] = field(default_factory=list)
    """Charts beside it."""


class Numbers:
    """Numbers in the language of a page."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._lang: Language = words.lang
        self._say = LABELS[words.lang]

    def of_view(self, name: str, view: View, spec: InstrumentSpec, *, big: bool = False) -> Number:
        """The leading number of a view, or why there is none."""
        if view.results:
            return self.of(name, view.results[0], spec, big=big)
        how = self._unmade(view.hidden, spec)
        return Number(name, why(view.hidden, self._lang), how, off=True, big=big)

    def of(self, name: str, result: Result, spec: InstrumentSpec | None, *, big: bool = False) -> Number:
        """A result as a number; `spec` is None for an index and for a figure of the shop."""
        say, words = self._say, self._words
        if result.status in ("suppressed", "no_data"):
            hidden = "few" if result.status == "suppressed" else "none"
            if "sibling" in result.flags:
                hidden = "derivable"
            how = self._unmade(hidden, spec, form=result.form, figure=self._figure_formula(result))
            return Number(name, why(hidden, self._lang), how, off=True, big=big)
        how = self._made(result, spec)
        if result.score is None:
            return Number(name, say["no_score"], how, off=True, big=big)
        around = [f"{say['ci']} {between(result, words)}"] if between(result, words) else []
        around.append(f"n={words.count(result.n_valid)}")
        if result.status == "caution":
            around.append(say["reference"])
        notes = [_first_up(words.basis(spec, result))] if spec is not None else []
        return Number(name, words.score(result), how, big=big, around=around, notes=notes)

    def _unmade(self, hidden: str, spec: InstrumentSpec | None, *, form: Form = "share", figure: str = "") -> Terms:
        """How a number that is not there would be made, and why it is not; never of how many answers."""
        say = self._say
        n = say[f"n_{hidden}"]
        plain = figure or say.get(f"formula_{form}_plain", say["formula_plain"]).format(n=n)
        return [
            (say["formula"], plain if spec is None else self.formula(spec)),
            (say["in_out"], say["counts_hidden"].format(n=n)),
            (say["not_shown"], say[f"why_{hidden}"]),
        ]

    def _made(self, result: Result, spec: InstrumentSpec | None) -> Terms:
        """Formula, counts in and out, what was left out and why."""
        say, words = self._say, self._words
        terms = [(say["formula"], self._counted_formula(result, spec))]
        if result.window.start and result.window.end:
            first, end = date.fromisoformat(result.window.start), date.fromisoformat(result.window.end)
            terms.append((say["window"], words.window(first, end)))
        terms.append((say["unit"], say[f"unit_{result.unit}"]))
        figure = bool(self._figure_formula(result))
        counted = say["counts_figure" if figure else "counts"].format(
            n=words.count(result.n_valid),
            missing=words.count(result.n_missing),
            invalid=words.count(result.n_invalid),
            superseded=words.count(result.n_superseded),
        )
        terms.append((say["in_out"], counted))
        method = METHODS[self._lang].get(result.ci_method, "").format(rounds=BOOTSTRAP_ROUNDS)
        if result.ci_low is not None and method:
            terms.append((say["ci"], method))
        elif result.ci_low is None:
            terms.append((say["ci"], say["no_ci_count" if result.form == "count" else "no_ci"]))
        terms.append((say["not_shown"], say["all_shown"] if result.status == "ok" else say["why_caution"]))
        return terms

    def _counted_formula(self, result: Result, spec: InstrumentSpec | None) -> str:
        say, words = self._say, self._words
        if spec is not None and result.counts and spec.kind == "scale" and result.form in ("net", "share"):
            good = [code for code in range(spec.low, spec.high + 1) if code in spec.positive]
            bad = [code for code in range(spec.low, spec.high + 1) if code in spec.negative]
            up = sum(result.counts.get(str(code), 0) for code in good)
            down = sum(result.counts.get(str(code), 0) for code in bad)
            numbers = {
                "good": _codes(good, self._lang),
                "bad": _codes(bad, self._lang),
                "up": words.count(up),
                "down": words.count(down),
                "n": words.count(result.n_valid),
                "score": words.score(result),
            }
            if result.form == "net":
                return say["formula_net"].format(**numbers)
            if result.variant == "top2":
                return say["formula_share"].format(**numbers)
        if spec is not None and spec.kind == "yes_no" and result.counts:
            return say["formula_yes"].format(
                up=words.count(result.counts["yes"]), n=words.count(result.n_valid), score=words.score(result)
            )
        n = words.count(result.n_valid)
        if figure := self._figure_formula(result):
            yes = result.counts.get("yes") if result.form == "share" else None
            shown = None if yes is None else say["formula_counts"].format(
                up=words.count(yes), n=n, score=words.score(result)
            )  # fmt: skip
            return figure if shown is None else f"{figure}{say['colon']}{shown}"
        return say.get(f"formula_{result.form}_plain", say["formula_plain"]).format(n=n)

    def _figure_formula(self, result: Result) -> str:
        return _first_up(figure_formula(result.metric, result.variant, self._lang))

    def moved(self, change: Comparison, result: Result) -> Terms:
        """How a number compares with the one before, or why it cannot be said."""
        say, words = self._say, self._words
        if change.delta is None or change.low is None or change.high is None or change.p is None:
            reason = f"moved_{change.why_not}"
            return [(say["change"], say[reason])] if reason in say else []
        told = say["moved"].format(
            verdict=say[change.verdict],
            delta=words.delta(change.delta, result.form),
            interval=words.interval(change.low, change.high, result.form, change=True),
            p=words.p_value(change.p),
        )
        if change.p_adjusted is not None:
            told += say["adjusted"].format(p=words.p_value(change.p_adjusted))
        return [(say["change"], told)]

    def formula(self, spec: InstrumentSpec) -> str:
        """The formula of an instrument's leading statistic, without the counts of one window."""
        leading = statistics_of(spec)[0]
        banded = spec.kind == "scale" and leading.form == "share" and leading.positive
        formula = self._say["plain_top" if banded else f"plain_{leading.form}"]
        return formula.format(good=_codes(leading.positive, self._lang), bad=_codes(leading.negative, self._lang))


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


def _codes(codes: Iterable[int], lang: Language) -> str:
    ends = sorted(codes)
    return ("〜" if lang == "ja" else "–").join(map(str, sorted({ends[0], ends[-1]}))) if ends else ""
