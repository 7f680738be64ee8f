"""Who buys, comes back, stays or leaves, and what they spend.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from reports import procedures
from reports.disclosure import side_by_side
from reports.event_rows import SEVERAL
from reports.event_tables import LOOK_BACK_MS, EventTables, local_days
from reports.kpi.window import (
    MOST_PARTS,
    KpiSettings,
    Window,
    count_figure,
    figure,
    sampled,
    sampled_together,
    share_figure,
)
from reports.metrics import Result, hide_siblings, sibling
from reports.procedures import Estimate, Floats
from reports.segments import DAY_MS

RETURN_HORIZON_MS = 30 * DAY_MS
ENOUGH_GAPS = 30
REST = "(rest)"


def named_orders(purchases: pd.DataFrame) -> pd.DataFrame:
    """The orders of customers with an id."""
    return purchases[purchases["customer"] != ""]


def orders_in(tables: EventTables, window: Window) -> pd.DataFrame:
    """The orders of a window."""
    first, end = np.searchsorted(tables.purchases["at_ms"].to_numpy(), (window.start_ms, window.end_ms))
    return tables.purchases.iloc[first:end]


def new_customers(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """How many customers bought or signed for the first time ever in the window, with the orders of guests (who have no
    id and may be anybody) apart. Of all customers known by its end."""
    buying = tables.buying
    known = buying.first_ms < window.end_ms
    since = local_days(pd.Series([window.start_ms]), window.tz).iloc[0]
    orders = orders_in(tables, window)
    guests = int((orders["customer"] == "").sum())
    return (
        count_figure(
            window,
            "new_customers",
            int((known & (buying.first_day >= since)).sum()),
            int(known.sum()),
            unit="per_customer",
        ),
        count_figure(window, "new_customers", guests, len(orders), variant="guest_orders"),
    )


def repeat_customers(tables: EventTables, window: Window) -> Result:
    """How many customers bought in the window on a later day than that of their first purchase ever."""
    buying = tables.buying
    inside = buying.between(window.start_ms, window.end_ms)
    who = buying.who[inside]
    again = np.unique(who[buying.day[inside] > buying.first_day[who]])
    return count_figure(window, "repeat_customers", again.size, np.unique(who).size, unit="per_customer")


def repeat_rate(tables: EventTables, window: Window) -> Result:
    """Share of the window's customers who bought on two days or more in it."""
    inside = tables.buying.between(window.start_ms, window.end_ms)
    days = pd.Series(tables.buying.day[inside]).groupby(tables.buying.who[inside]).nunique()
    return share_figure(window, "repeat_rate", int((days >= 2).sum()), len(days), unit="per_customer")


def conversion(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """Share of unique visitors, bots left out, who bought or applied; by month too when the window has several."""

    def rate(part: Window, segment: str) -> Result:
        found = part.of(tables.visits).groupby("visitor")["converted"].max()
        return share_figure(part, "cvr", int(found.sum()), len(found), segment=segment)

    months = window.months()
    trend = [rate(part, f"month={part.span.start[:7]}") for part in months] if len(months) > 1 else []
    return (rate(window, ""), *hide_siblings(trend))


def return_rate(tables: EventTables, window: Window) -> Result:
    """Returned units of all units delivered in the window, whenever within 30 days of the delivery they came back.
    `immature` while some of those 30 days are still to come.

    Units of a delivery are its own, else those of its order, else 1; a return without units is the whole order.
    """
    delivered = window.of(tables.deliveries)
    ordered = tables.purchases[tables.purchases["order"] != ""].set_index("order")["units"]
    units = delivered["units"].fillna(delivered["order"].map(ordered)).fillna(1.0)
    cohort = delivered.assign(sent=units)
    back = tables.returns.merge(cohort[["order", "at_ms", "sent"]], on="order", suffixes=("", "_sent"))
    back = back[back["at_ms"] < back["at_ms_sent"] + RETURN_HORIZON_MS]
    each = back["units"].fillna(back["sent"]).groupby(back["order"]).sum()
    limit = back.groupby("order")["sent"].first()
    returned = int(np.minimum(each, limit).round().sum())
    total = int(cohort["sent"].round().sum())
    young = bool((delivered["at_ms"] > window.as_of_ms - RETURN_HORIZON_MS).any())
    return share_figure(window, "return_rate", min(returned, total), total, flags=("immature",) if young else ())


def _under_contract(tables: EventTables, at_ms: int) -> set[str]:
    before = tables.contracts[tables.contracts["at_ms"] < at_ms]
    last = before.groupby("customer")["what"].last()
    return set(last[last != "cancel"].index)


def churn_rate(tables: EventTables, window: Window) -> Result:
    """Share of the customers under contract at the start who cancelled in the window. Who joined inside it is in
    neither."""
    active = _under_contract(tables, window.start_ms)
    inside = window.of(tables.contracts)
    left = set(inside.loc[inside["what"] == "cancel", "customer"]) & active
    return share_figure(window, "churn_rate", len(left), len(active), unit="per_customer")


def _bought_by(tables: EventTables, at_ms: int) -> np.ndarray:
    """Whether each customer bought within the 365 days before an instant."""
    found = np.zeros(len(tables.buying.ids), dtype=bool)
    found[tables.buying.who[tables.buying.between(at_ms - LOOK_BACK_MS, at_ms)]] = True
    return found


def retention_of(at_start: int, new: int, at_end: int) -> Estimate:
    """(at_end - new) / at_start in percent with the Wilson interval; none without customers at the start, and none with
    the flag `inconsistent` when the three cannot belong together.

    >>> retention_of(100, 30, 120).score
    90.0
    """
    if min(at_start, new, at_end) < 0:
        raise ValueError(f"{at_start} customers at the start, {new} new, {at_end} at the end: none can be negative")
    if at_start == 0:
        return Estimate(None, None, None, "wilson")
    if not 0 <= at_end - new <= at_start:
        return Estimate(None, None, None, "wilson", ("inconsistent",))
    return procedures.share(at_end - new, at_start)


def retention(tables: EventTables, window: Window) -> Result:
    """crr: share of the customers at the start who are customers at the end. A customer is who is under contract, or in
    a shop without contracts who bought within the 365 days before. New is who was none at the start."""
    if len(tables.contracts):
        first, last = _under_contract(tables, window.start_ms), _under_contract(tables, window.end_ms)
        start, new, end = len(first), len(last - first), len(last)
    else:
        before, after = _bought_by(tables, window.start_ms), _bought_by(tables, window.end_ms)
        start, new, end = int(before.sum()), int((after & ~before).sum()), int(after.sum())
    found = retention_of(start, new, end)
    counts = {"start": start, "new": new, "end": end} if start else {}
    return figure(window, "crr", "share", found, start, form="share", unit="per_customer", counts=counts)


def gaps(tables: EventTables, start_ms: int, end_ms: int) -> Floats:
    """Days between consecutive purchases of one customer, of every gap that ended in [start, end); orders of one day
    are one purchase."""
    buying = tables.buying
    ended = (buying.days_ms >= start_ms) & (buying.days_ms < end_ms) & ~np.isnan(buying.days_gap)
    return buying.days_gap[ended]


def usual_interval(tables: EventTables, end_ms: int, default_days: float | None) -> tuple[float | None, bool]:
    """(days, whether they were seen): the median gap of the 365 days before, of thirty gaps or more; the shop's own
    figure otherwise, None without one."""
    seen = gaps(tables, end_ms - LOOK_BACK_MS, end_ms)
    return (float(np.median(seen)), True) if seen.size >= ENOUGH_GAPS else (default_days, False)


def second_purchases(tables: EventTables, end_ms: int) -> tuple[Floats, Floats]:
    """(days, 1 or 0) per customer: from the first purchase to the second, or to `end_ms` without one (0)."""
    buying = tables.buying
    first = np.flatnonzero(np.isnan(buying.days_gap))
    first = first[buying.days_ms[first] < end_ms]
    following = np.append(buying.days_gap, np.nan)[first + 1]  # no gap: the first day of the next customer
    happened = ~np.isnan(following) & (np.append(buying.days_ms, end_ms)[first + 1] < end_ms)
    waited = (end_ms - buying.days_ms[first]) / DAY_MS
    return np.where(happened, following, waited), happened.astype(np.float64)


def kaplan_meier_median(days: Sequence[float] | Floats, happened: Sequence[float] | Floats) -> Estimate:
    """The first day by which more than half have come back (Kaplan–Meier; those who have not yet are censored), with
    the interval of the complementary log-log transformation. None while fewer than half have."""
    times, status = np.asarray(days, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    empty = Estimate(None, None, None, "kaplan_meier")
    if times.size == 0 or not status.any():
        return empty
    from statsmodels.duration.survfunc import SurvfuncRight

    curve = SurvfuncRight(times, status)
    median = float(curve.quantile(0.5))
    if not math.isfinite(median):
        return empty
    with np.errstate(divide="ignore", invalid="ignore"):  # at the ends of the curve, 0 and 1
        low, high = (float(bound) for bound in curve.quantile_ci(0.5))
    bounds = [bound if math.isfinite(bound) else None for bound in (low, high)]
    if bounds[0] is None or not bounds[0] <= median:
        bounds[0] = None
    return Estimate(median, bounds[0], bounds[1], "kaplan_meier")


def repeat_interval(tables: EventTables, window: Window, settings: KpiSettings) -> tuple[Result, ...]:
    """Mean and median days between purchases, of the gaps that ended in the window; they are biased short, because who
    never comes back has no gap, so the Kaplan–Meier median of the time to the second purchase stands beside them.
    `default_interval` says that the shop's own figure is used elsewhere while fewer than thirty gaps were seen."""
    seen = gaps(tables, window.start_ms, window.end_ms)
    times, happened = second_purchases(tables, window.end_ms)
    few = ("default_interval",) if seen.size < ENOUGH_GAPS and settings.repeat_interval_days is not None else ()
    made = partial(figure, window, "repeat_interval", form="days")
    second = int(happened.sum())
    median, mean = sampled_together((seen, "median"), (seen, "mean"))
    return (
        made("median", median, int(seen.size), flags=few),
        made("mean", mean, int(seen.size), flags=few),
        made(
            "km_median",
            kaplan_meier_median(times, happened),
            int(times.size),
            unit="per_customer",
            counts={"second": second, "not_yet": int(times.size) - second} if times.size else {},
        ),
    )


def lapse_rate(tables: EventTables, window: Window, settings: KpiSettings) -> Result:
    """Share of the customers of the last 365 days whose silence at the end of the window is longer than twice the usual
    interval. Who is under contract then is not asked for silence. None while no interval is known."""
    buying = tables.buying
    inside = buying.between(window.end_ms - LOOK_BACK_MS, window.end_ms)
    last_ms = np.full(len(buying.ids), -1, dtype=np.int64)
    last_ms[buying.who[inside]] = buying.at_ms[inside]  # of several orders the last one stays
    if under := _under_contract(tables, window.end_ms):
        last_ms[buying.ids.isin(under)] = -1
    last = last_ms[last_ms >= 0]
    interval, was_seen = usual_interval(tables, window.end_ms, settings.repeat_interval_days)
    flags = () if was_seen or interval is None else ("default_interval",)
    if interval is None:
        empty = Estimate(None, None, None, "wilson", ("no_interval",))
        return figure(window, "lapse_rate", "share", empty, len(last), form="share", unit="per_customer")
    silent = int((window.end_ms - last > 2 * interval * DAY_MS).sum())
    return share_figure(window, "lapse_rate", silent, len(last), unit="per_customer", flags=flags)


def spending(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """aov (revenue / orders), spend_per_customer and frequency (revenue, orders / customers), in all and by product.

    Orders without an amount are missing and count nowhere; those of guests in aov only. An order of several products
    belongs to none of them; products beyond the twenty that are ordered most are one part. What would give away how
    much one to nine customers, or guests, paid is suppressed (flag `sibling`).
    """
    inside = orders_in(tables, window)
    product = inside["product"].astype("str")
    often = product[~product.isin(["", SEVERAL])].value_counts()
    names = sorted(often.index, key=lambda name: (-often[name], name))[:MOST_PARTS]
    if len(names) < 2:
        return _beside([_spending(inside, window, "")])
    part = product.where(product.isin(names), REST)
    each = [
        _spending(inside[part == name], window, f"product={name}") for name in [*names, REST] if (part == name).any()
    ]
    return _beside([_spending(inside, window, ""), *each])


_Spending = tuple[Result, Result, Result, int]
"""aov, spend_per_customer, frequency; and how many orders are those of guests."""


def _beside(found: Sequence[_Spending]) -> tuple[Result, ...]:
    """The figures of all orders and of the products among them, each suppressed (flag `sibling`) where it would give
    away what one to nine customers or guests paid."""
    total, *products = found
    cells = {(place, guests): (one[3] if guests else one[1].n_valid)
             for place, one in enumerate(products or [total]) for guests in (False, True)}  # fmt: skip
    wanted = [(total, list(cells)), *((one, [(place, False), (place, True)]) for place, one in enumerate(products))]
    totals: list[list[tuple[int, bool]]] = []
    for (price, spend, *_), own in wanted:
        totals.append(own if price.status in ("caution", "ok") else [])
        totals.append([cell for cell in own if not cell[1]] if spend.status in ("caution", "ok") else [])
    told = iter(side_by_side(cells, totals))
    out: list[Result] = []
    for (price, spend, often, _), _ in wanted:
        out.append(price if next(told) else sibling(price))
        out += (spend, often) if next(told) else (sibling(spend), sibling(often))
    return tuple(out)


def _spending(orders: pd.DataFrame, window: Window, segment: str) -> _Spending:
    priced = orders[orders["amount"].notna()]
    spent, bought = spent_and_bought(priced)
    aov = sampled(priced["amount"].to_numpy(), "mean")
    spend, often = sampled_together((spent, "mean"), (bought, "mean"))
    made = partial(figure, window, segment=segment, missing=len(orders) - len(priced))
    return (
        made("aov", "mean", aov, len(priced), form="money"),
        made("spend_per_customer", "mean", spend, spent.size, form="money", unit="per_customer"),
        made("frequency", "mean", often, spent.size, form="mean", unit="per_customer"),
        int((priced["customer"] == "").sum()),
    )


def spent_and_bought(priced: pd.DataFrame) -> tuple[Floats, Floats]:
    """(yen, orders) of each customer with an id."""
    found = named_orders(priced).groupby("customer", observed=True)["amount"].agg(["sum", "count"])
    return found["sum"].to_numpy(dtype=np.float64), found["count"].to_numpy(dtype=np.float64)


def margins(purchases: pd.DataFrame) -> pd.Series:
    """Gross margin (amount - cost) of each order; NaN where one of the two is not known."""
    found: pd.Series = purchases["amount"] - purchases["cost"]
    return found
