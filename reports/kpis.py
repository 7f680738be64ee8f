"""Figures made of business events: from tidy tables to result records. No I/O, no "today", no mutation of the tables.

Every function takes the tables of `reports.event_tables` and a `Window`, and gives result records whose `n_valid` is
the denominator: customers (`unit` per_customer) or events. A share has its Wilson interval (S3); money, durations and
counts per customer have a bootstrap's (S7); a plain count has none. A ratio without a denominator has no score; a count
of nothing is 0.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from flows.days import local_date, midnight_ms
from reports import procedures
from reports.disclosure import side_by_side
from reports.event_tables import LOOK_BACK_MS, SEVERAL, EventTables, local_days
from reports.metrics import Counted, Form, Result, Span, hide_siblings, record, sibling
from reports.procedures import Estimate, Floats
from reports.segments import DAY_MS

HOUR_MS = 3_600_000
RETURN_HORIZON_MS = 30 * DAY_MS
RESPONSE_MS = 7 * DAY_MS
CSAT_AFTER_MS = 14 * DAY_MS
DWELL_AT_MOST_S = 1800.0
ENOUGH_GAPS = 30
ENOUGH_PAIRS = 30
MOST_PARTS = 20
"""Products, pages, messages and search terms that are listed; the rest is one more part."""
FEWEST_SEARCHES = 10
"""A search term that fewer people may have typed is nobody's business."""
REST = "(rest)"
BANDS: tuple[tuple[str, float], ...] = (("le_1h", 1.0), ("le_24h", 24.0), ("le_72h", 72.0), ("over_72h", math.inf))
SATISFACTION = ("csat5", "sat5")


@dataclass(frozen=True, slots=True)
class Window:
    """[start_ms, end_ms), seen from `as_of_ms`: what is still open then may yet change."""

    start_ms: int
    end_ms: int
    as_of_ms: int
    tz: tzinfo

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"a window from {self.start_ms} to {self.end_ms} holds no time: its end must come later")

    @property
    def span(self) -> Span:
        """From the local day of its start to the day on which it is over."""
        first, last = local_date(self.start_ms, self.tz), local_date(self.end_ms - 1, self.tz)
        return Span(first.isoformat(), (last + timedelta(days=1)).isoformat())

    @property
    def days(self) -> float:
        """Its length."""
        return (self.end_ms - self.start_ms) / DAY_MS

    def months(self) -> list[Window]:
        """Its parts by local calendar month; the first and the last may be cut."""
        found = []
        at = local_date(self.start_ms, self.tz).replace(day=1)
        while (begin := midnight_ms(at, self.tz)) < self.end_ms:
            at = (at.replace(day=28) + timedelta(days=4)).replace(day=1)
            start, end = max(begin, self.start_ms), min(midnight_ms(at, self.tz), self.end_ms)
            found.append(replace(self, start_ms=start, end_ms=end))
        return found

    def of(self, frame: pd.DataFrame, column: str = "at_ms") -> pd.DataFrame:
        """The rows whose time lies in it."""
        return frame[(frame[column] >= self.start_ms) & (frame[column] < self.end_ms)]


@dataclass(frozen=True, slots=True)
class KpiSettings:
    """What only the shop knows: section `kpis` of koe.yaml. Money in yen, rates as fractions of 1."""

    reply_within_h: float = 24.0
    """By when a first answer is promised."""
    repeat_interval_days: float | None = None
    """The usual time between purchases while fewer than thirty gaps were seen."""
    gross_margin: float | None = None
    """Where purchases carry no cost."""
    acquisition_cost: float | None = None
    retention_cost: float | None = None
    """Per customer, over `years`."""
    years: float | None = None
    """How long a customer stays."""


def _result(
    window: Window,
    metric: str,
    variant: str,
    found: Estimate,
    n: int,
    *,
    form: Form,
    unit: Counted = "per_event",
    segment: str = "",
    counts: Mapping[str, int] | None = None,
    missing: int = 0,
    flags: tuple[str, ...] = (),
) -> Result:
    return record(
        metric,
        variant,
        found,
        n,
        form=form,
        window=window.span,
        segment=segment,
        unit=unit,
        counts=counts,
        missing=missing,
        flags=flags,
    )


def _share(
    window: Window,
    metric: str,
    yes: int,
    n: int,
    *,
    unit: Counted = "per_event",
    variant: str = "share",
    segment: str = "",
    counts: Mapping[str, int] | None = None,
    flags: tuple[str, ...] = (),
) -> Result:
    more = {**({"yes": yes, "no": n - yes} if n else {}), **(counts or {})}
    found = procedures.share(yes, n)
    return _result(
        window, metric, variant, found, n, form="share", unit=unit, segment=segment, counts=more, flags=flags
    )


def _count(
    window: Window,
    metric: str,
    number: int,
    n: int,
    *,
    variant: str = "count",
    unit: Counted = "per_event",
    counts: Mapping[str, int] | None = None,
) -> Result:
    return _result(
        window,
        metric,
        variant,
        Estimate(float(number), None, None, "none"),
        n,
        form="count",
        unit=unit,
        counts=counts,
    )


# ------------------------------------------------------------------------------------------------ S7 of one number


Which = Literal["mean", "median", "p90"]
_STATISTICS: Mapping[Which, procedures.Statistic] = {
    "mean": procedures.means,
    "median": procedures.medians,
    "p90": procedures.p90s,
}


def sampled(values: Sequence[float] | Floats, statistic: Which, scale: float = 1.0) -> Estimate:
    """Mean, median or 90th percentile of numbers with the interval of S7. The numbers are put in order first: who came
    when must not move an interval."""
    return sampled_together((values, statistic), scale=scale)[0]


def sampled_together(*asked: tuple[Sequence[float] | Floats, Which], scale: float = 1.0) -> tuple[Estimate, ...]:
    """`sampled` of each, of equally many numbers: the resamples are drawn once for all."""
    ordered = [(np.sort(np.asarray(values, dtype=np.float64)), _STATISTICS[which]) for values, which in asked]
    return procedures.sampled_together(*ordered, scale=scale)


# ---------------------------------------------------------------------------------------------- customers and orders


def _named(purchases: pd.DataFrame) -> pd.DataFrame:
    return purchases[purchases["customer"] != ""]


def _orders(tables: EventTables, window: Window) -> pd.DataFrame:
    """The orders of a window."""
    first, end = np.searchsorted(tables.purchases["at_ms"].to_numpy(), (window.start_ms, window.end_ms))
    return tables.purchases.iloc[first:end]


def new_customers(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """How many customers bought or signed for the first time ever in the window, with the orders of guests (who have no
    id and may be anybody) apart. Of all customers known by its end."""
    buying = tables.buying
    known = buying.first_ms < window.end_ms
    since = local_days(pd.Series([window.start_ms]), window.tz).iloc[0]
    orders = _orders(tables, window)
    guests = int((orders["customer"] == "").sum())
    return (
        _count(
            window,
            "new_customers",
            int((known & (buying.first_day >= since)).sum()),
            int(known.sum()),
            unit="per_customer",
        ),
        _count(window, "new_customers", guests, len(orders), variant="guest_orders"),
    )


def repeat_customers(tables: EventTables, window: Window) -> Result:
    """How many customers bought in the window on a later day than that of their first purchase ever."""
    buying = tables.buying
    inside = buying.between(window.start_ms, window.end_ms)
    who = buying.who[inside]
    again = np.unique(who[buying.day[inside] > buying.first_day[who]])
    return _count(window, "repeat_customers", again.size, np.unique(who).size, unit="per_customer")


def repeat_rate(tables: EventTables, window: Window) -> Result:
    """Share of the window's customers who bought on two days or more in it."""
    inside = tables.buying.between(window.start_ms, window.end_ms)
    days = pd.Series(tables.buying.day[inside]).groupby(tables.buying.who[inside]).nunique()
    return _share(window, "repeat_rate", int((days >= 2).sum()), len(days), unit="per_customer")


def conversion(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """Share of unique visitors, bots left out, who bought or applied; by month too when the window has several."""

    def rate(part: Window, segment: str) -> Result:
        found = part.of(tables.visits).groupby("visitor")["converted"].max()
        return _share(part, "cvr", int(found.sum()), len(found), segment=segment)

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
    return _share(window, "return_rate", min(returned, total), total, flags=("immature",) if young else ())


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
    return _share(window, "churn_rate", len(left), len(active), unit="per_customer")


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
    return _result(window, "crr", "share", found, start, form="share", unit="per_customer", counts=counts)


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
    made = partial(_result, window, "repeat_interval", form="days")
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
        return _result(window, "lapse_rate", "share", empty, len(last), form="share", unit="per_customer")
    silent = int((window.end_ms - last > 2 * interval * DAY_MS).sum())
    return _share(window, "lapse_rate", silent, len(last), unit="per_customer", flags=flags)


def spending(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """aov (revenue / orders), spend_per_customer and frequency (revenue, orders / customers), in all and by product.

    Orders without an amount are missing and count nowhere; those of guests in aov only. An order of several products
    belongs to none of them; products beyond the twenty that are ordered most are one part. What would give away how
    much one to nine customers, or guests, paid is suppressed (flag `sibling`).
    """
    inside = _orders(tables, window)
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
    spent, bought = _by_customer(priced)
    aov = sampled(priced["amount"].to_numpy(), "mean")
    spend, often = sampled_together((spent, "mean"), (bought, "mean"))
    made = partial(_result, window, segment=segment, missing=len(orders) - len(priced))
    return (
        made("aov", "mean", aov, len(priced), form="money"),
        made("spend_per_customer", "mean", spend, spent.size, form="money", unit="per_customer"),
        made("frequency", "mean", often, spent.size, form="mean", unit="per_customer"),
        int((priced["customer"] == "").sum()),
    )


def _by_customer(priced: pd.DataFrame) -> tuple[Floats, Floats]:
    """(yen, orders) of each customer with an id."""
    found = _named(priced).groupby("customer", observed=True)["amount"].agg(["sum", "count"])
    return found["sum"].to_numpy(dtype=np.float64), found["count"].to_numpy(dtype=np.float64)


def margins(purchases: pd.DataFrame) -> pd.Series:
    """Gross margin (amount - cost) of each order; NaN where one of the two is not known."""
    found: pd.Series = purchases["amount"] - purchases["cost"]
    return found


# ------------------------------------------------------------------------------------------- referrals and posts


def referrals(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """New customers who came through a customer: how many, how many of them against a reward, and how many per 100
    customers known by the end of the window."""
    inside = window.of(tables.referrals)
    by_referrer = inside["referrer"].value_counts()
    known = tables.buying.first_ms < window.end_ms
    places = tables.buying.ids.get_indexer(by_referrer.index)
    strangers = sum(1 for place in places.tolist() if place < 0 or not known[place])
    n = int(known.sum()) + strangers
    brought = np.zeros(n)
    brought[: len(by_referrer)] = by_referrer.to_numpy()
    kinds = inside["rewarded"].value_counts()
    counts = {
        name: int(kinds.get(code, 0)) for name, code in (("unrewarded", "no"), ("rewarded", "yes"), ("unknown", ""))
    }
    per_100 = sampled(brought, "mean", 100.0)
    return (
        _count(window, "referrals", len(inside), n, unit="per_customer", counts=counts if len(inside) else {}),
        _count(window, "referrals", counts["rewarded"], n, variant="rewarded", unit="per_customer"),
        _result(window, "referrals", "per_100", per_100, n, form="per_100", unit="per_customer"),
    )


def posts(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """ugc_posts: public posts, those for which something was given apart, and those of which nobody knows."""
    kinds = window.of(tables.posts)["incentivised"].value_counts()
    n = int(kinds.sum())
    return tuple(
        _count(window, "ugc_posts", int(kinds.get(code, 0)), n, variant=name)
        for name, code in (("organic", "no"), ("incentivised", "yes"), ("unknown", ""))
    )


# ------------------------------------------------------------------------------------------------------- support


def first_response(tables: EventTables, window: Window, settings: KpiSettings) -> tuple[Result, ...]:
    """first_response_h: hours from opening a ticket in the window to the first reply by a person: median, mean, 90th
    percentile, and the share answered within the promised hours. A ticket that waits longer than promised counts as
    late in that share; one that waits less long is left out of everything."""
    opened = window.of(tables.tickets, "opened_ms")
    hours = (opened["replied_ms"] - opened["opened_ms"]) / HOUR_MS
    waiting = (window.as_of_ms - opened["opened_ms"]) / HOUR_MS
    replied = hours.dropna().to_numpy(dtype=np.float64)
    late = int((hours.isna() & (waiting > settings.reply_within_h)).sum())
    young = int(hours.isna().sum()) - late
    counts = {"replied": int(replied.size), "open_late": late, "open_young": young}
    in_time = int((replied <= settings.reply_within_h).sum())
    n = int(replied.size)
    made = partial(_result, window, "first_response_h", form="hours", counts=counts)
    median, mean, p90 = sampled_together((replied, "median"), (replied, "mean"), (replied, "p90"))
    return (
        made("median", median, n),
        made("mean", mean, n),
        made("p90", p90, n),
        _share(window, "first_response_h", in_time, n + late, variant="reply_in_promise", counts={"open_late": late}),
    )


def resolution(tables: EventTables, window: Window, given: pd.DataFrame | None = None) -> tuple[Result, ...]:
    """resolution_h: hours from opening a ticket in the window to its last resolution: median, mean, 90th percentile;
    open tickets are counted and left out. With answers: satisfaction by band of hours (share of 4–5, S3), and
    Spearman's ρ of hours and rating, from thirty tickets on.

    Args:
        tables: the tables.
        window: the window.
        given: answers as `reports.linkage.given_answers` gives them. A ticket's answer is its customer's first to
            csat5 (or sat5) about support within 14 days after the resolution.
    """
    opened = window.of(tables.tickets, "opened_ms")
    solved = opened[opened["resolved_ms"].notna()]
    hours = ((solved["resolved_ms"] - solved["opened_ms"]) / HOUR_MS).to_numpy(dtype=np.float64)
    n = int(hours.size)
    counts = {"resolved": n, "open": len(opened) - n}
    made = partial(_result, window, "resolution_h", form="hours", counts=counts)
    median, mean, p90 = sampled_together((hours, "median"), (hours, "mean"), (hours, "p90"))
    out = [made("median", median, n), made("mean", mean, n), made("p90", p90, n)]
    if given is not None:
        for instrument in SATISFACTION:
            rated = _rated(solved, given[given["instrument"] == instrument])
            if len(rated):
                out += satisfaction_by_hours(rated["hours"].to_numpy(), rated["code"].to_numpy(), instrument, window)
    return tuple(out)


def _rated(solved: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """(hours, code) of each ticket with an answer; one answer belongs to one ticket, the latest resolved before it."""
    about = answers[answers["touchpoint"].isin(["support", ""])]
    both = solved[solved["customer"] != ""].merge(about, on="customer", suffixes=("", "_answer"))
    wait = both["at_ms"] - both["resolved_ms"]
    both = both.assign(wait=wait)[(wait >= 0) & (wait <= CSAT_AFTER_MS)]
    both = both.sort_values(["wait", "ticket"], kind="stable")
    both = both.drop_duplicates(["customer", "at_ms"]).drop_duplicates("ticket")
    return both.assign(hours=(both["resolved_ms"] - both["opened_ms"]) / HOUR_MS).sort_values(["opened_ms", "ticket"])


def satisfaction_by_hours(
    hours: Sequence[float] | Floats, codes: Sequence[float] | Floats, instrument: str, window: Window
) -> tuple[Result, ...]:
    """Share of 4–5 among the tickets of each band (up to 1, 24, 72 hours, longer), and Spearman's ρ of hours and
    rating (S7 over tickets): suppressed below thirty, none when all are equal."""
    x, y = np.asarray(hours, dtype=np.float64), np.asarray(codes, dtype=np.float64)
    shares, floor = [], -math.inf
    for name, most in BANDS:
        inside = (x > floor) & (x <= most)
        floor = most
        satisfied = int((y[inside] >= 4).sum())
        shares.append(_share(window, "resolution_h", satisfied, int(inside.sum()), variant=f"{instrument}_{name}"))
    rho = _result(window, "resolution_h", f"spearman_{instrument}", spearman(x, y), int(x.size), form="rho")
    if 0 < x.size < ENOUGH_PAIRS:
        rho = replace(rho, status="suppressed")
    return (*hide_siblings(shares), rho)


def spearman(x: Floats, y: Floats) -> Estimate:
    """Spearman's ρ with the interval of S7 over pairs; none without variance."""
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(None, None, None, "bootstrap")
    order = np.lexsort((y, x))
    bounds = procedures.paired_bootstrap(x[order], y[order], _rhos)
    low, high = (None, None) if bounds is None else bounds
    return Estimate(float(scipy.stats.spearmanr(x, y).statistic), low, high, "bootstrap")


def _rhos(x: Floats, y: Floats) -> Floats:
    a, b = scipy.stats.rankdata(x, axis=1), scipy.stats.rankdata(y, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # a resample of equal values has no ρ
        found = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(found, dtype=np.float64)


def promises_kept(tables: EventTables, window: Window) -> Result:
    """promise_kept_rate: share of the promises due in the window, by now, that were met on time: promised dates and
    times of the shop, and deliveries with a due date."""
    due = window.of(tables.promises, "due_ms")
    due = due[due["due_ms"] < window.as_of_ms]
    kept = due["kept_ms"] <= due["due_ms"]
    by_kind = {f"{kind}_due": int(count) for kind, count in due["kind"].value_counts().sort_index().items()}
    return _share(window, "promise_kept_rate", int(kept.sum()), len(due), counts=by_kind)


def self_resolution(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """self_resolution: share of FAQ and bot sessions with an answer that solved it; zero_result_rate: share of searches
    without a hit, with the terms searched in vain ten times or more as `counts` of its `top_terms`."""
    told = window.of(tables.feedback)
    searched = window.of(tables.searches)
    empty = searched[searched["hits"] <= 0]
    terms = empty.loc[empty["query"] != "", "query"].value_counts()
    terms = terms[terms >= FEWEST_SEARCHES]
    often = sorted(terms.index, key=lambda term: (-terms[term], term))[:MOST_PARTS]
    return (
        _share(window, "self_resolution", int(told["resolved"].sum()), len(told)),
        _share(window, "zero_result_rate", len(empty), len(searched)),
        _count(
            window,
            "zero_result_rate",
            len(often),
            len(empty),
            variant="top_terms",
            counts={term: int(terms[term]) for term in often},
        ),
    )


# ------------------------------------------------------------------------------------------- messages and pages


def click_through(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """ctr: share of the people a message was delivered to in the window who clicked in it, per message."""
    delivered = window.of(tables.messages[tables.messages["what"] == "delivered"])
    reached = delivered.drop_duplicates(["message", "customer"])
    clicked = tables.messages[tables.messages["what"] == "click"].drop_duplicates(["message", "customer"])
    both = reached.merge(clicked[["message", "customer"]].assign(clicked=True), how="left", on=["message", "customer"])
    found = both.groupby("message")["clicked"].agg(["size", "count"])
    most = sorted(found.index, key=lambda name: (-found.loc[name, "size"], name))[:MOST_PARTS]
    if not most:
        return (_share(window, "ctr", 0, 0, unit="per_customer"),)
    return tuple(
        _share(
            window,
            "ctr",
            int(found.loc[name, "count"]),
            int(found.loc[name, "size"]),
            segment=f"message={name}",
            unit="per_customer",
        )
        for name in most
    )


def page_dwell(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """Views and median dwell in seconds of each page; longer than 1800 s is cut to 1800, views without a time are
    missing."""
    inside = window.of(tables.views)
    views = inside["page"].value_counts()
    out: list[Result] = []
    for page in sorted(views.index, key=lambda name: (-views[name], name))[:MOST_PARTS]:
        seconds = inside.loc[inside["page"] == page, "seconds"].dropna().clip(upper=DWELL_AT_MOST_S)
        segment, total = f"page={page}", int(views[page])
        found = sampled(seconds.to_numpy(dtype=np.float64), "median")
        out.append(
            _result(
                window,
                "page_dwell",
                "median",
                found,
                len(seconds),
                form="seconds",
                segment=segment,
                missing=total - len(seconds),
            )
        )
        out.append(
            _result(
                window,
                "page_dwell",
                "views",
                Estimate(float(total), None, None, "none"),
                total,
                form="count",
                segment=segment,
            )
        )
    return tuple(out)


# -------------------------------------------------------------------------------------------------------- surveys


def survey_rates(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """response_rate (answered within 7 days / delivered), completion_rate (came to the end / answered anything), the
    drop-off of each question (1 - answered / shown), and apart the response to QR cards (sessions / cards shipped):
    of surveys of another tool, by their events."""
    steps = tables.surveys
    cards = window.of(tables.cards)["cards"].sum()
    by_card = set(steps.loc[steps["via"] == "qr", "session"])
    answered = steps[steps["what"] == "answered"].groupby("session")["at_ms"].min()
    delivered = steps[(steps["what"] == "delivered") & ~steps["session"].isin(by_card)]
    sent = window.of(delivered).groupby("session")["at_ms"].min()
    first = answered.reindex(sent.index)
    responded = int(((first >= sent) & (first < sent + RESPONSE_MS)).sum())
    young = bool((sent > window.as_of_ms - RESPONSE_MS).any())
    begun = answered[(answered >= window.start_ms) & (answered < window.end_ms)]
    ended = set(steps.loc[steps["what"] == "completed", "session"])
    completed = sum(1 for session in begun.index if session in ended)
    out = [
        _share(window, "response_rate", responded, len(sent), flags=("immature",) if young else ()),
        _share(window, "completion_rate", completed, len(begun)),
    ]
    asked = steps[(steps["question"] != "") & steps["what"].isin(["shown", "answered"])]
    shown = window.of(asked[asked["what"] == "shown"]).drop_duplicates(["session", "question"])
    told = asked.loc[asked["what"] == "answered", ["session", "question"]].drop_duplicates().assign(answered=True)
    both = shown.merge(told, how="left", on=["session", "question"])
    counted = both.groupby("question", sort=False)["answered"].agg(["size", "count"])
    out += drop_off({str(name): (int(row["size"]), int(row["count"])) for name, row in counted.iterrows()}, window)
    started = window.of(steps[(steps["what"] == "started") & (steps["via"] == "qr")])["session"].nunique()
    if by_card or cards:
        out.append(card_rate(started, int(cards), window))
    return tuple(out)


def drop_off(questions: Mapping[str, tuple[int, int]], window: Window) -> tuple[Result, ...]:
    """completion_rate's `drop_off` per question, in the order given: who was shown it and never answered or skipped it.

    Args:
        questions: question → (sessions in which it was shown, those of them in which it was answered or skipped).
        window: the window.
    """
    return tuple(
        _share(window, "completion_rate", shown - answered, shown, variant="drop_off", segment=f"question={name}")
        for name, (shown, answered) in questions.items()
    )


def card_rate(sessions: int, cards: int, window: Window) -> Result:
    """response_rate's `qr`: sessions begun by a card / cards shipped; none and `inconsistent` with more sessions than
    cards."""
    if sessions > cards > 0:
        found = Estimate(None, None, None, "wilson", ("inconsistent",))
        return _result(window, "response_rate", "qr", found, cards, form="share")
    return _share(window, "response_rate", sessions if cards else 0, cards, variant="qr")


# ------------------------------------------------------------------------------------------------- lifetime value


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
    it equals, the others none. The margin is that of the orders that carry a cost, else the shop's own figure."""
    named = _named(_orders(tables, window))
    named = named[named["amount"].notna()]
    spent, bought = _by_customer(named)
    spend = sampled(spent, "mean")
    often = float(bought.mean()) if bought.size else None
    price = float(named["amount"].mean()) if len(named) else None
    known = named[named["cost"].notna()]
    revenue = float(known["amount"].sum())
    margin = settings.gross_margin
    if revenue > 0:
        margin = max(0.0, float(margins(known).sum()) / revenue)
    churn = churn_rate(tables, window).score
    per_year = None if often is None else often * 365.0 / window.days
    costs = (settings.acquisition_cost, settings.retention_cost)
    cost = None if costs[0] is None or costs[1] is None else costs[0] + costs[1]
    simple = replace(ltv_simple(price, often), low=spend.low, high=spend.high, method="bootstrap")
    split = ltv_net_split(price, margin, per_year, settings.years, acquisition_cost=costs[0], retention_cost=costs[1])
    made = {
        "ltv_simple": simple,
        "ltv_churn": ltv_churn(spend.score, margin, None if churn is None else churn / 100.0),
        "ltv_net_split": split,
        "ltv_net_total": ltv_net_total(price, margin, per_year, settings.years, cost=cost),
    }
    return tuple(
        _result(window, "ltv", variant, found, spent.size, form="money", unit="per_customer")
        for variant, found in made.items()
    )


# ---------------------------------------------------------------------------------------------------- all of them


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
