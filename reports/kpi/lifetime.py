"""Lifetime value: four formulas, and the figures of one window that go into them.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from reports.disclosure import side_by_side
from reports.event_tables import LOOK_BACK_MS, EventTables
from reports.kpi.customers import churn_rate, margins, named_orders, orders_in, spent_and_bought
from reports.kpi.window import (
    KpiSettings,
    Window,
    figure,
    sampled,
)
from reports.metrics import SUPPRESS_BELOW, Result, sibling
from reports.procedures import Estimate


def _money(product: float | None, flags: tuple[str, ...] = ()) -> Estimate:
    if product is None:
        return Estimate(None, None, None, "none", flags or ("missing_input",))
    return Estimate(product, None, None, "none", ("negative",) if product < 0 else ())


def _refuse_negative(**inputs: float | None) -> None:
    for name, value in inputs.items():
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value}: lifetime value takes numbers of 0 or more")


def ltv_simple(price: float | None, purchases: float | None) -> Estimate:
    """Average purchase price × average number of purchases, in yen: revenue, not profit.

    >>> ltv_simple(5000, 6).score
    30000
    """
    _refuse_negative(price=price, purchases=purchases)
    return _money(None if price is None or purchases is None else price * purchases)


def ltv_churn(price: float | None, gross_margin: float | None, churn: float | None) -> Estimate:
    """Average price per period × gross margin ÷ churn rate per period (both fractions of 1, one period); none with the
    flag `infinite` without churn."""
    _refuse_negative(price=price, gross_margin=gross_margin, churn=churn)
    if price is None or gross_margin is None or churn is None:
        return _money(None)
    return _money(None, ("infinite",)) if churn == 0 else _money(price * gross_margin / churn)


def ltv_net_split(
    spend: float | None,
    profit_rate: float | None,
    per_year: float | None,
    years: float | None,
    *,
    acquisition_cost: float | None,
    retention_cost: float | None,
) -> Estimate:
    """Average spend × profit rate × purchases per year × years - (acquisition cost + retention cost); may be
    `negative`."""
    inputs = (spend, profit_rate, per_year, years, acquisition_cost, retention_cost)
    _refuse_negative(
        spend=spend,
        profit_rate=profit_rate,
        per_year=per_year,
        years=years,
        acquisition_cost=acquisition_cost,
        retention_cost=retention_cost,
    )
    if any(value is None for value in inputs):
        return _money(None)
    a, b, c, d, e, f = (float(value or 0.0) for value in inputs)
    return _money(a * b * c * d - (e + f))


def ltv_net_total(
    spend: float | None,
    gross_margin: float | None,
    frequency: float | None,
    duration: float | None,
    *,
    cost: float | None,
) -> Estimate:
    """Spend per purchase × gross margin × frequency × duration - acquisition-and-retention cost, one figure; may be
    `negative`."""
    inputs = (spend, gross_margin, frequency, duration, cost)
    _refuse_negative(spend=spend, gross_margin=gross_margin, frequency=frequency, duration=duration, cost=cost)
    if any(value is None for value in inputs):
        return _money(None)
    a, b, c, d, e = (float(value or 0.0) for value in inputs)
    return _money(a * b * c * d - e)


def lifetime_values(tables: EventTables, window: Window, settings: KpiSettings) -> tuple[Result, ...]:
    """The four variants of ltv, in yen, from one window; `ltv_simple` has the interval of the spend per customer, which
    it equals, the others none. The margin is that of the orders that carry a cost, else the shop's own figure.

    Variants made of the margin of one to nine customers, or of their cancellations, would tell these beside the others:
    they are suppressed (flag `sibling`).
    """
    named = named_orders(orders_in(tables, window))
    named = named[named["amount"].notna()]
    spent, bought = spent_and_bought(named)
    spend = sampled(spent, "mean")
    often = float(bought.mean()) if bought.size else None
    price = float(named["amount"].mean()) if len(named) else None
    known = named[named["cost"].notna()]
    revenue = float(known["amount"].sum())
    margin = settings.gross_margin
    if revenue > 0:
        margin = max(0.0, float(margins(known).sum()) / revenue)
    churn = churn_rate(tables, window)
    hidden = {"ltv_churn"} if churn.status == "suppressed" else set()
    if 0 < known["customer"].nunique() < SUPPRESS_BELOW:
        hidden |= {"ltv_churn", "ltv_net_split", "ltv_net_total"}
    per_year = None if often is None else often * 365.0 / window.days
    costs = (settings.acquisition_cost, settings.retention_cost)
    cost = None if costs[0] is None or costs[1] is None else costs[0] + costs[1]
    simple = replace(ltv_simple(price, often), low=spend.low, high=spend.high, method="bootstrap")
    split = ltv_net_split(price, margin, per_year, settings.years, acquisition_cost=costs[0], retention_cost=costs[1])
    made = {
        "ltv_simple": simple,
        "ltv_churn": ltv_churn(spend.score, margin, None if churn.score is None else churn.score / 100.0),
        "ltv_net_split": split,
        "ltv_net_total": ltv_net_total(price, margin, per_year, settings.years, cost=cost),
    }
    found = {
        variant: figure(window, "ltv", variant, value, spent.size, form="money", unit="per_customer")
        for variant, value in made.items()
    }
    return tuple(sibling(one) if variant in hidden else one for variant, one in found.items())


def may_tell_lifetime(tables: EventTables, weeks: Sequence[Window], begins: Sequence[int] = (0,)) -> bool:
    """Whether lifetime values of the 365 days before the end of the last week may be told, beside what the orders of
    each week came to, and those values at the ends of the weeks before as far as they might be: not where what one to
    nine customers or guests paid would follow, in a week that came, left, or is hidden itself.

    Args:
        tables: what happened in all of these years.
        weeks: those of which orders were told, the oldest first.
        begins: places among them from which on an account of the years is kept.
    """
    orders = tables.purchases
    years = [(week.end_ms - LOOK_BACK_MS, week.end_ms) for week in weeks[min(begins) :]]
    edges = np.unique([edge for span in (*years, *((week.start_ms, week.end_ms) for week in weeks)) for edge in span])
    priced = orders["amount"].notna().to_numpy()
    guest = (orders["customer"] == "").to_numpy()
    customers = orders["customer"].cat.codes.to_numpy()
    # orders stand in order of time
    cuts = [0, *np.searchsorted(orders["at_ms"].to_numpy(), edges).tolist(), len(orders)]
    sizes: dict[tuple[int, bool], int] = {}
    for place, (first, last) in enumerate(pairwise(cuts)):
        by_guests = guest[first:last]
        counted = priced[first:last]
        sizes[place, False] = np.unique(customers[first:last][counted & ~by_guests]).size
        sizes[place, True] = int((counted & by_guests).sum())

    def total(start_ms: int, end_ms: int, *, guests: bool = False) -> list[tuple[int, bool]]:
        first, last = np.searchsorted(edges, (start_ms, end_ms), side="right").tolist()
        mine = [cell for cell in sizes if first <= cell[0] < last and (guests or not cell[1])]
        return mine if sum(sizes[cell] for cell in mine) >= SUPPRESS_BELOW else []

    def admitted(begin: int) -> bool:
        totals = []
        for place, week in enumerate(weeks):
            totals += [total(week.start_ms, week.end_ms, guests=guests) for guests in (True, False)]
            if place >= begin:
                totals.append(total(week.end_ms - LOOK_BACK_MS, week.end_ms))
        return side_by_side(sizes, totals)[-1]

    return all(map(admitted, begins))
