"""All figures that business events can give (`reports.kpi.window` says what they share).

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from reports.event_tables import EventTables
from reports.kpi.customers import (
    churn_rate,
    conversion,
    lapse_rate,
    new_customers,
    repeat_customers,
    repeat_interval,
    repeat_rate,
    retention,
    return_rate,
    spending,
)
from reports.kpi.lifetime import lifetime_values
from reports.kpi.reach import click_through, page_dwell, posts, referrals, survey_rates
from reports.kpi.support import first_response, promises_kept, resolution, self_resolution
from reports.kpi.window import (
    KpiSettings,
    Window,
)
from reports.metrics import Result


def kpis(
    tables: EventTables,
    window: Window,
    settings: KpiSettings | None = None,
    *,
    given: pd.DataFrame | None = None,
    lifetime: bool = True,
) -> list[Result]:
    """Every figure that these events can give; one whose events the shop never sent is left out.

    Args:
        tables: what happened, in the window and before.
        window: the window.
        settings: what only the shop knows.
        given: answers, for the satisfaction by hours to resolution (`reports.linkage.given_answers`).
        lifetime: whether lifetime values of this window are wanted.
    """
    own = settings or KpiSettings()
    out: list[Result] = []
    bought, signed = len(tables.purchases) > 0, len(tables.contracts) > 0
    if bought or signed:
        out += new_customers(tables, window)
    if bought:
        out += [repeat_customers(tables, window), repeat_rate(tables, window)]
        out += repeat_interval(tables, window, own)
        out.append(lapse_rate(tables, window, own))
        out += spending(tables, window)
        if lifetime:
            out += lifetime_values(tables, window, own)
    if bought or signed:
        out.append(retention(tables, window))
    if signed:
        out.append(churn_rate(tables, window))
    for table, make in _BY_TABLE:
        if len(getattr(tables, table)):
            out += make(tables, window)
    if len(tables.tickets):
        out += first_response(tables, window, own)
        out += resolution(tables, window, given)
    if len(tables.searches) or len(tables.feedback):
        out += self_resolution(tables, window)
    if len(tables.surveys) or len(tables.cards):
        out += survey_rates(tables, window)
    return out


def _single(make: Callable[[EventTables, Window], Result]) -> Callable[[EventTables, Window], tuple[Result, ...]]:
    return lambda tables, window: (make(tables, window),)


_BY_TABLE: tuple[tuple[str, Callable[[EventTables, Window], Iterable[Result]]], ...] = (
    ("deliveries", _single(return_rate)),
    ("visits", conversion),
    ("referrals", referrals),
    ("posts", posts),
    ("promises", _single(promises_kept)),
    ("messages", click_through),
    ("views", page_dwell),
)
