"""How customers are looked after: answers, solutions, promises, and what they find out by themselves.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import scipy

from reports import procedures
from reports.event_tables import EventTables
from reports.kpi.window import (
    HOUR_MS,
    MOST_PARTS,
    KpiSettings,
    Window,
    count_figure,
    figure,
    sampled_together,
    share_figure,
)
from reports.metrics import Result, hide_siblings
from reports.procedures import Estimate, Floats
from reports.segments import DAY_MS

CSAT_AFTER_MS = 14 * DAY_MS
ENOUGH_PAIRS = 30
FEWEST_SEARCHES = 10
"""A search term that fewer people may have typed is nobody's business."""
BANDS: tuple[tuple[str, float], ...] = (("le_1h", 1.0), ("le_24h", 24.0), ("le_72h", 72.0), ("over_72h", math.inf))
SATISFACTION = ("csat5", "sat5")


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
    made = partial(figure, window, "first_response_h", form="hours", counts=counts)
    median, mean, p90 = sampled_together((replied, "median"), (replied, "mean"), (replied, "p90"))
    return (
        made("median", median, n),
        made("mean", mean, n),
        made("p90", p90, n),
        share_figure(
            window, "first_response_h", in_time, n + late, variant="reply_in_promise", counts={"open_late": late}
        ),
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
    made = partial(figure, window, "resolution_h", form="hours", counts=counts)
    median, mean, p90 = sampled_together((hours, "median"), (hours, "mean"), (hours, "p90"))
    out = [made("median", median, n), made("mean", mean, n), made("p90", p90, n)]
    if given is not None:
        for instrument in SATISFACTION:
            about = given[(given["instrument"] == instrument) & given["touchpoint"].isin(["support", ""])]
            rated = _rated(solved, about)
            if len(rated):
                hours, codes = rated["hours"].to_numpy(), rated["code"].to_numpy()
                outside = about["customer"].nunique() - rated["customer"].nunique()
                out += satisfaction_by_hours(hours, codes, instrument, window, outside=outside)
    return tuple(out)


def _rated(solved: pd.DataFrame, about: pd.DataFrame) -> pd.DataFrame:
    """(hours, code) of each ticket with an answer; one answer belongs to one ticket, the latest resolved before it."""
    both = solved[solved["customer"] != ""].merge(about, on="customer", suffixes=("", "_answer"))
    wait = both["at_ms"] - both["resolved_ms"]
    both = both.assign(wait=wait)[(wait >= 0) & (wait <= CSAT_AFTER_MS)]
    both = both.sort_values(["wait", "ticket"], kind="stable")
    both = both.drop_duplicates(["customer", "at_ms"]).drop_duplicates("ticket")
    return both.assign(hours=(both["resolved_ms"] - both["opened_ms"]) / HOUR_MS).sort_values(["opened_ms", "ticket"])


def satisfaction_by_hours(
    hours: Sequence[float] | Floats,
    codes: Sequence[float] | Floats,
    instrument: str,
    window: Window,
    *,
    outside: int = 0,
) -> tuple[Result, ...]:
    """Share of 4–5 among the tickets of each band (up to 1, 24, 72 hours, longer), and Spearman's ρ of hours and
    rating (S7 over tickets): suppressed below thirty, none when all are equal.

    Args:
        outside: customers who answered without such a ticket: with the bands they make up the score of everybody, so
            they count as one more part of it.
    """
    x, y = np.asarray(hours, dtype=np.float64), np.asarray(codes, dtype=np.float64)
    shares, floor = [], -math.inf
    for name, most in BANDS:
        inside = (x > floor) & (x <= most)
        floor = most
        satisfied = int((y[inside] >= 4).sum())
        shares.append(
            share_figure(window, "resolution_h", satisfied, int(inside.sum()), variant=f"{instrument}_{name}")
        )
    rho = figure(window, "resolution_h", f"spearman_{instrument}", spearman(x, y), int(x.size), form="rho")
    if 0 < x.size < ENOUGH_PAIRS:
        rho = replace(rho, status="suppressed")
    rest = share_figure(window, "resolution_h", 0, outside)
    return (*hide_siblings([*shares, rest])[:-1], rho)


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
    return share_figure(window, "promise_kept_rate", int(kept.sum()), len(due), counts=by_kind)


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
        share_figure(window, "self_resolution", int(told["resolved"].sum()), len(told)),
        share_figure(window, "zero_result_rate", len(empty), len(searched)),
        count_figure(
            window,
            "zero_result_rate",
            len(often),
            len(empty),
            variant="top_terms",
            counts={term: int(terms[term]) for term in often},
        ),
    )
