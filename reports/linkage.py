"""What customers did after they answered: behaviour of the 90 days after an answer, by group of that answer. No I/O, no
"today"; behaviour before the answer is never used, and nothing here says that one caused the other.

Source: docs/metrics.md ("Attitudes and what came after").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from reports import procedures
from reports.event_tables import EventTables
from reports.kpis import Window, margins, sampled
from reports.metrics import Counted, Result, hide_siblings, record
from reports.procedures import Estimate
from reports.segments import DAY_MS, PSY_INSTRUMENTS, Deed, Given, attitudes, behaviours, segments

FOLLOW_UP_DAYS = 90
FOLLOW_UP_MS = FOLLOW_UP_DAYS * DAY_MS
ENOUGH_CUSTOMERS = 30
EXPECTED_AT_LEAST = 5.0

Outcome = Literal["repeat_rate", "margin_obs", "referrals", "churn_rate"]
GROUPS: Mapping[str, tuple[str, ...]] = {
    "nps": ("promoter", "passive", "detractor"),
    "nrs": ("repeater", "neutral", "leaver"),
    "psy_beh": ("truly_loyal", "latent_fan", "price_driven", "low_loyalty"),
}


@dataclass(frozen=True, slots=True)
class GroupTest:
    """Whether the printed groups differ: "chi2" over a table of yes and no, "kruskal" over amounts."""

    method: Literal["chi2", "kruskal"]
    statistic: float
    df: int
    p: float


@dataclass(frozen=True, slots=True)
class Linkage:
    """One outcome by the groups of one question: a record per group (segment "nps=promoter"), in the order of GROUPS,
    each with fewer than ten customers suppressed together with its smallest sibling; and the test over the printed
    ones."""

    by: str
    outcome: Outcome
    groups: tuple[Result, ...]
    medians: tuple[Result, ...]
    """margin_obs only."""
    test: GroupTest | None
    why_no_test: Literal["", "few_customers", "few_groups", "few_expected", "no_variance"] = ""


def given_answers(rows: Iterable[tuple[str, str, int, int, str, str]]) -> pd.DataFrame:
    """Valid answers as a table, oldest first.

    Args:
        rows: (customer, instrument, code, milliseconds UTC, survey_kind, touchpoint) of named customers.
    """
    columns = {
        "customer": "str",
        "instrument": "str",
        "code": "int64",
        "at_ms": "int64",
        "survey_kind": "str",
        "touchpoint": "str",
    }
    frame = pd.DataFrame(list(rows), columns=list(columns)).astype(columns)
    return frame.sort_values("at_ms", kind="stable", ignore_index=True)


def group_of(instrument: str, code: int) -> str:
    """The group of an answer to nps or nrs.

    >>> group_of("nps", 9), group_of("nps", 6), group_of("nrs", 3)
    ('promoter', 'detractor', 'leaver')
    """
    upper, middle, lower = GROUPS[instrument]
    if instrument == "nps":
        return upper if code >= 9 else middle if code >= 7 else lower
    return upper if code == 5 else middle if code == 4 else lower


def members(given: pd.DataFrame, instrument: str, as_of_ms: int, since_ms: int | None = None) -> pd.DataFrame:
    """(customer, group, at_ms) of everybody with an answer to nps or nrs whose 90 days are over: the latest such
    answer, not before `since_ms`."""
    asked = given[(given["instrument"] == instrument) & (given["at_ms"] + FOLLOW_UP_MS <= as_of_ms)]
    if since_ms is not None:
        asked = asked[asked["at_ms"] >= since_ms]
    last = asked.drop_duplicates("customer", keep="last")
    groups = [group_of(instrument, int(code)) for code in last["code"]]
    return pd.DataFrame({"customer": last["customer"], "group": groups, "at_ms": last["at_ms"]}).reset_index(drop=True)


def segment_members(
    latest: Mapping[str, Iterable[Given]], deeds: Iterable[Deed], window: Window, at_ms: int
) -> pd.DataFrame:
    """(customer, group, at_ms) of the customers classified in PSY × BEH at an instant, whose 90 days are over by then:
    the follow-up begins at that instant.

    Args:
        latest: instrument → each customer's latest answers before `at_ms`, as `reports.segments.attitudes` takes them.
        deeds: what customers did.
        window: for its time zone and `as_of_ms`; nobody is a member while the 90 days are not over.
        at_ms: the instant.
    """
    found = {}
    if at_ms + FOLLOW_UP_MS <= window.as_of_ms:
        people = attitudes({name: latest.get(name, ()) for name in PSY_INSTRUMENTS}, at_ms)
        found = segments(people, behaviours(deeds, at_ms, window.tz))
    rows = [(customer, group, at_ms) for customer, group in sorted(found.items()) if group is not None]
    return pd.DataFrame(rows, columns=["customer", "group", "at_ms"]).astype(
        {"customer": "str", "group": "str", "at_ms": "int64"}
    )


def follow_up(people: pd.DataFrame, tables: EventTables, window: Window) -> pd.DataFrame:
    """What each did in the 90 days after the answer.

    Args:
        people: customer, group, at_ms; a row per customer.
        tables: what happened.
        window: for its time zone.

    Returns:
        The rows of `people` with `bought` (on how many days; a day on which the customer had bought before answering is
        the earlier purchase), `margin` (yen; 0 without an order, NaN where an order has no cost), `referred` (new
        customers brought) and `churned` (1 or 0; NaN for who was not under contract when answering).
    """
    named = tables.purchases[tables.purchases["customer"] != ""].assign(margin=margins)
    both = people.rename(columns={"at_ms": "answered_ms"}).merge(named, on="customer")
    before = both[both["at_ms"] <= both["answered_ms"]]
    after = both[(both["at_ms"] > both["answered_ms"]) & (both["at_ms"] < both["answered_ms"] + FOLLOW_UP_MS)]
    days = pd.MultiIndex.from_frame(after[["customer", "day"]])
    fresh = after[~days.isin(pd.MultiIndex.from_frame(before[["customer", "day"]]))]
    out = people.copy()
    bought = fresh.groupby("customer")["day"].nunique()
    out["bought"] = out["customer"].map(bought).fillna(0).astype("int64")
    margin = after.groupby("customer")["margin"].agg(lambda values: values.sum(skipna=False))
    out["margin"] = out["customer"].map(margin).where(out["customer"].isin(margin.index), 0.0).astype("float64")
    brought = people.rename(columns={"at_ms": "answered_ms"}).merge(
        tables.referrals[["referrer", "at_ms"]], left_on="customer", right_on="referrer"
    )
    late = (brought["at_ms"] > brought["answered_ms"]) & (brought["at_ms"] < brought["answered_ms"] + FOLLOW_UP_MS)
    out["referred"] = out["customer"].map(brought[late].groupby("customer").size()).fillna(0).astype("int64")
    steps = people.rename(columns={"at_ms": "answered_ms"}).merge(tables.contracts, on="customer")
    was = steps[steps["at_ms"] <= steps["answered_ms"]].groupby("customer")["what"].last()
    under = set(was[was != "cancel"].index)
    gone = steps[
        (steps["at_ms"] > steps["answered_ms"])
        & (steps["at_ms"] < steps["answered_ms"] + FOLLOW_UP_MS)
        & (steps["what"] == "cancel")
    ]
    left = set(gone["customer"])
    out["churned"] = [float(customer in left) if customer in under else float("nan") for customer in out["customer"]]
    return out


def linkages(followed: pd.DataFrame, by: str, window: Window, tables: EventTables) -> list[Linkage]:
    """Every outcome that these events can tell, by the groups of `by` ("nps", "nrs", "psy_beh").

    Args:
        followed: of `follow_up`.
        by: what the groups are of.
        window: what the records say of their window.
        tables: which kinds of events there are: an outcome without any is left out.
    """
    names = GROUPS[by]
    parts = [followed[followed["group"] == name] for name in names]
    out: list[Linkage] = []
    if len(tables.purchases):
        bought = [(part["bought"] > 0).to_numpy() for part in parts]
        out.append(link_rates(by, "repeat_rate", bought, window))
        if tables.purchases["cost"].notna().any():
            out.append(link_margins(by, [part["margin"].to_numpy(dtype=np.float64) for part in parts], window))
    if len(tables.referrals):
        out.append(link_referrals(by, [part["referred"].to_numpy(dtype=np.float64) for part in parts], window))
    if len(tables.contracts):
        churned = [part["churned"].dropna().to_numpy(dtype=np.float64) > 0 for part in parts]
        out.append(link_rates(by, "churn_rate", churned, window))
    return out


def link_rates(
    by: str, outcome: Literal["repeat_rate", "churn_rate"], groups: Sequence[np.ndarray], window: Window
) -> Linkage:
    """Share of yes per group (S3), and χ² without continuity correction over the printed groups where every cell
    expects five or more.

    Args:
        by: "nps", "nrs" or "psy_beh".
        outcome: what the yes is.
        groups: one array of yes and no per group, in the order of GROUPS.
        window: of the records.
    """
    tables = [(int(group.sum()), int(group.size)) for group in groups]
    found = [
        _cell(by, outcome, "share", name, procedures.share(yes, n), n, window, {"yes": yes, "no": n - yes})
        for name, (yes, n) in zip(GROUPS[by], tables, strict=True)
    ]
    shown = _printed(found)
    table = [(yes, n - yes) for (yes, n), cell in zip(tables, shown, strict=True) if _open(cell)]
    test, why = _chi2(table, sum(n for _, n in tables))
    return Linkage(by, outcome, shown, (), test, why)


def link_margins(by: str, groups: Sequence[np.ndarray], window: Window) -> Linkage:
    """margin_obs: mean and median gross margin per customer in the 90 days (S7), and Kruskal–Wallis over the printed
    groups. Who has an order without a cost is missing."""
    known = [group[np.isfinite(group)] for group in groups]
    missing = [int(group.size - some.size) for group, some in zip(groups, known, strict=True)]
    means, medians = (
        tuple(
            _cell(by, "margin_obs", variant, name, sampled(values, variant), int(values.size), window, {}, gone)
            for name, values, gone in zip(GROUPS[by], known, missing, strict=True)
        )
        for variant in ("mean", "median")
    )
    shown = _printed(means)
    test, why = _kruskal([values for values, cell in zip(known, shown, strict=True) if _open(cell)], known)
    return Linkage(by, "margin_obs", shown, _printed(medians), test, why)


def link_referrals(by: str, groups: Sequence[np.ndarray], window: Window) -> Linkage:
    """New customers brought in the 90 days per 100 customers (S7), and Kruskal–Wallis over the printed groups."""
    found = [
        _cell(by, "referrals", "per_100", name, sampled(values, "mean", 100.0), int(values.size), window, {})
        for name, values in zip(GROUPS[by], groups, strict=True)
    ]
    shown = _printed(found)
    test, why = _kruskal([values for values, cell in zip(groups, shown, strict=True) if _open(cell)], groups)
    return Linkage(by, "referrals", shown, (), test, why)


def _cell(
    by: str,
    outcome: Outcome,
    variant: str,
    group: str,
    found: Estimate,
    n: int,
    window: Window,
    counts: Mapping[str, int],
    missing: int = 0,
) -> Result:
    unit: Counted = "per_customer"
    return record(
        f"linkage_{outcome}",
        variant,
        found,
        n,
        form="money" if outcome == "margin_obs" else "per_100" if outcome == "referrals" else "share",
        window=window.span,
        segment=f"{by}={group}",
        unit=unit,
        counts=counts if n else {},
        missing=missing,
    )


def _printed(groups: Sequence[Result]) -> tuple[Result, ...]:
    """All suppressed below thirty customers in total; else as `hide_siblings`."""
    if sum(group.n_valid for group in groups) < ENOUGH_CUSTOMERS:
        return tuple(replace(group, status="suppressed") if group.n_valid else group for group in groups)
    return hide_siblings(groups)


def _open(group: Result) -> bool:
    return group.status in ("caution", "ok")


_Why = Literal["", "few_customers", "few_groups", "few_expected", "no_variance"]


def _chi2(table: Sequence[tuple[int, int]], total: int) -> tuple[GroupTest | None, _Why]:
    if total < ENOUGH_CUSTOMERS:
        return None, "few_customers"
    if len(table) < 2:
        return None, "few_groups"
    cells = np.array(table, dtype=np.float64)
    if (cells.sum(axis=0) == 0).any():
        return None, "no_variance"
    found = stats.chi2_contingency(cells, correction=False)
    if found.expected_freq.min() < EXPECTED_AT_LEAST:
        return None, "few_expected"
    return GroupTest("chi2", float(found.statistic), int(found.dof), float(found.pvalue)), ""


def _kruskal(printed: Sequence[np.ndarray], groups: Sequence[np.ndarray]) -> tuple[GroupTest | None, _Why]:
    if sum(group.size for group in groups) < ENOUGH_CUSTOMERS:
        return None, "few_customers"
    if len(printed) < 2:
        return None, "few_groups"
    if np.ptp(np.concatenate(printed)) == 0:
        return None, "no_variance"
    found = stats.kruskal(*printed)
    return GroupTest("kruskal", float(found.statistic), len(printed) - 1, float(found.pvalue)), ""
