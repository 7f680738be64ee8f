"""How each number comes about, in words: from one file for the page of a digest and for docs/metrics.md, with the days
and levels of the code that computes.

Source: reports/data/formulas.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from flows.experiments import ALPHA
from flows.source import parse_yaml
from reports.benchmarks import TEST_ALPHA
from reports.digest.care import CLOSED_LOOP_MS
from reports.digest.reach import BLOCKED_WITHIN_MS
from reports.digest.response import RESPONSE_MS
from reports.event_tables import LOOK_BACK_DAYS
from reports.kpi.customers import RETURN_HORIZON_MS
from reports.kpi.reach import DWELL_AT_MOST_S
from reports.linkage import FOLLOW_UP_DAYS
from reports.procedures import FAMILY_Q

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_VALUES = {
    "answer_days": RESPONSE_MS // _DAY_MS,
    "benchmark_level": f"{TEST_ALPHA:.0%}",
    "block_days": BLOCKED_WITHIN_MS // _DAY_MS,
    "dwell_s": f"{DWELL_AT_MOST_S:,.0f}",
    "family_level": f"{FAMILY_Q:.0%}",
    "follow_days": FOLLOW_UP_DAYS,
    "loop_hours": CLOSED_LOOP_MS // _HOUR_MS,
    "return_days": RETURN_HORIZON_MS // _DAY_MS,
    "test_level": f"{ALPHA:.0%}",
    "year_days": LOOK_BACK_DAYS,
}

Kind = Literal["parts", "figures"]


@cache
def _texts() -> Mapping[str, Any]:
    text = (files("reports") / "data" / "formulas.yaml").read_bytes()
    found: Mapping[str, Any] = parse_yaml(text, "formulas.yaml").data
    return found


def formulas(kind: Kind, lang: str) -> dict[str, str]:
    """Name → formula of all parts of a page, or of all figures ("metric", or "metric variant")."""
    return {name: said[lang].format(**_VALUES) for name, said in _texts()[kind].items()}


def part_formula(part: str, lang: str) -> str:
    """How a part of the page is made, as sentences."""
    return formulas("parts", lang)[part]


def figure_formula(metric: str, variant: str, lang: str) -> str:
    """How a figure is made, without a closing mark; "" for a metric that is no figure."""
    found = formulas("figures", lang)
    return found.get(f"{metric} {variant}") or found.get(metric, "")
