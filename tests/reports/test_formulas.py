"""“How is this computed?” and docs/metrics.md tell the same formulas, with the days and levels of the code."""

from __future__ import annotations

import re
from pathlib import Path

from reports.formulas import figure_formula, formulas
from reports.kpi.customers import RETURN_HORIZON_MS
from reports.kpi.words import TARGETS, kpi_name, kpi_variant
from reports.page.page import render_page
from reports.render import page_words
from reports.sample import TZ, samples

METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_metrics_md_and_the_page_tell_every_formula_in_the_same_words() -> None:
    told = METRICS.read_text("utf-8")
    for name, formula in formulas("parts", "en").items():
        assert f"| `{name}` | {formula} |" in told, name
    plain = " ".join(told.split()).replace("`", "").replace("_", " ").replace(" / ", " ÷ ").casefold()
    for name, formula in formulas("figures", "en").items():
        metric, _, variant = name.partition(" ")
        lines = [line for line in told.splitlines() if f"`{metric}`" in line or (variant and f"`{variant}`" in line)]
        assert lines or metric in ("response_rate", "completion_rate"), name
        assert formula.casefold() in plain, name


def test_every_formula_is_told_in_both_languages_and_names_a_part_or_a_figure() -> None:
    context, _ = next(samples())
    assert formulas("parts", "ja").keys() == formulas("parts", "en").keys() == {*page_words(context)} - {
        "title", "head", "lead", "foot",
    } | {"drivers"}  # fmt: skip
    assert formulas("figures", "ja").keys() == formulas("figures", "en").keys()
    for name, formula in formulas("figures", "ja").items():
        metric, _, variant = name.partition(" ")
        assert kpi_name(metric, "ja"), name
        assert not variant or kpi_variant(metric, variant, "ja"), name
        assert not re.search(r"[a-z]{3}", formula), "words, not names of fields"
    assert {key for key in TARGETS if kpi_name(key, "ja")} <= {name.split()[0] for name in formulas("figures", "ja")}


def test_the_page_puts_the_counts_into_the_formula_of_a_figure() -> None:
    context, views = next(samples())
    html = render_page(context, views, tz=TZ)["html"]
    assert "期間内に2日以上購入したお客さま ÷ 購入したお客さま" in html
    assert f"{RETURN_HORIZON_MS // 86_400_000} days" in figure_formula("return_rate", "share", "en")
