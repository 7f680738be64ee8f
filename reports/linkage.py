"""What customers did after they answered: behaviour of the 90 days after an answer, by group of that answer. No I/O, no
"today"; behaviour before the answer is never used, and nothing here says that one caused the other.

Source: docs/metrics.md ("Attitudes and what came after").
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta, tzinfo
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy

from flows.days import local_date
from reports import procedures
from reports.disclosure import side_by_side, told_when_ten_are_new
from reports.event_tables import EventTables, behaviours
from reports.kpi.customers import margins
from reports.kpi.window import sampled
from reports.metrics import CHECK_ALPHA, SUPPRESS_BELOW, Result, Span, Stratum, hide_siblings, record, sibling
from reports.procedures import Estimate
from reports.segments import DAY_MS, LOOK_BACK_MS, PSY_INSTRUMENTS, Given, attitudes, segments

FOLLOW_UP_DAYS = 90
FOLLOW_UP_MS = FOLLOW_UP_DAYS * DAY_MS
KEPT_MS = LOOK_BACK_MS + FOLLOW_UP_MS
"""How long an answer stays in the comparison."""
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

    @property
    def differs(self) -> bool:
        """More than chance makes of it."""
        return self.p < CHECK_ALPHA


@dataclass(frozen=True, slots=True)
class Compared:
    """Whose groups are compared."""

    by: Literal["nps", "nrs", "psy_beh"]
    stratum: Stratum = field(default_factory=Stratum)
    """Kind of survey and touchpoint of the answers, which are never pooled."""
    window: Span = field(default_factory=Span)
    untold: frozenset[str] = frozenset()
    """Groups of which one to nine customers came or went since they were told before: theirs would follow."""

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, in the order in which they are given and printed."""
        return GROUPS[self.by]


@dataclass(frozen=True, slots=True)
class Linkage:
    """One outcome by the groups of one question: a record per group (segment "nps=promoter"), in the order of GROUPS,
    each with fewer than ten customers suppressed together with its smallest sibling; and the test over the printed
    ones."""

    of: Compared
    outcome: Outcome
    groups: tuple[Result, ...]
    medians: tuple[Result, ...]
    """margin_obs only."""
    test: GroupTest | None
    why_no_test: Literal["", "few_customers", "few_groups", "few_expected", "no_variance"] = ""

    def shown(self) -> Linkage:
        """As it may leave the machine: suppressed groups keep their n and lose everything else."""
        groups, medians = (tuple(result.shown() for result in results) for results in (self.groups, self.medians))
        return replace(self, groups=groups, medians=medians)

    def to_json(self) -> list[dict[str, Any]]:
        """The records of the groups, as they may leave the machine, each with `test` (null where there is none, then
        `why_no_test` says why)."""
        test = None if self.test is None else asdict(self.test)
        more = {"test": test, "why_no_test": self.why_no_test or None}
        return [result.shown().to_json() | more for result in (*self.groups, *self.medians)]


class Said(NamedTuple):
    """One valid answer of a named customer."""

    customer: str
    instrument: str
    answer: int | tuple[str, ...]
    at_ms: int
    survey_kind: str = ""
    touchpoint: str = ""


def given_answers(said: Iterable[Said]) -> pd.DataFrame:
    """The answers that are codes as a table, oldest first: customer, instrument, code, at_ms, survey_kind,
    touchpoint."""
    columns = {
        "customer": "str",
        "instrument": "str",
        "code": "int64",
        "at_ms": "int64",
        "survey_kind": "str",
        "touchpoint": "str",
    }
    rows = [one for one in said if isinstance(one.answer, int)]
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    return frame.sort_values("at_ms", kind="stable", ignore_index=True)


def latest_before(said: Iterable[Said], at_ms: int) -> dict[str, list[Given]]:
    """Instrument → each customer's latest answer before an instant, as `reports.segments.attitudes` takes them."""
    found: dict[str, dict[str, tuple[int, int | tuple[str, ...]]]] = {}
    for one in said:
        if one.instrument in PSY_INSTRUMENTS and one.at_ms < at_ms:
            answers = found.setdefault(one.instrument, {})
            if one.customer not in answers or answers[one.customer][0] <= one.at_ms:
                answers[one.customer] = (one.at_ms, one.answer)
    return {instrument: [answers] for instrument, answers in found.items()}


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


def segment_members(said: Iterable[Said], tables: EventTables, at_ms: int) -> pd.DataFrame:
    """(customer, group, at_ms) of the customers classified in PSY × BEH at an instant, from which the 90 days count.

    Args:
        said: their answers; those at the instant or later do not count.
        tables: what they did, likewise.
        at_ms: the instant, 90 days ago or longer.
    """
    found = segments(attitudes(latest_before(said, at_ms), at_ms), behaviours(tables, at_ms))
    rows = [(customer, group, at_ms) for customer, group in sorted(found.items()) if group is not None]
    columns = {"customer": "str", "group": "str", "at_ms": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def compare_all(
    said: Sequence[Said], tables: EventTables, as_of_ms: int, tz: tzinfo, *, told_ms: Sequence[int] = ()
) -> list[Linkage]:
    """Every comparison that these answers and events can give: by the groups of nps and nrs per kind of survey and
    touchpoint, and by the segments of 90 days ago per kind of survey. Without a customer whose 90 days are over: none.

    Args:
        said: valid answers of named customers.
        tables: what happened.
        as_of_ms: until when it is known what happened.
        tz: of local days.
        told_ms: when the groups of nps and nrs were told before, once a month, the oldest first: one that would give
            away the few who came since is suppressed (flag `sibling`).
    """
    until = as_of_ms - FOLLOW_UP_MS
    given = given_answers(one for one in said if one.instrument in ("nps", "nrs") and one.at_ms <= until)
    asked: defaultdict[Stratum, list[tuple[Compared, pd.DataFrame]]] = defaultdict(list)
    for (instrument, kind, touchpoint), part in given.groupby(["instrument", "survey_kind", "touchpoint"]):
        people = members(part, str(instrument), as_of_ms)
        by: Literal["nps", "nrs"] = "nps" if instrument == "nps" else "nrs"
        untold = frozenset(
            str(group)
            for group, mine in people.groupby("group")
            if told_ms and not _may_tell(mine["at_ms"].tolist(), [*told_ms, as_of_ms], tz)
        )
        of = Compared(by, Stratum(str(kind), str(touchpoint)), _span(people, until, tz), untold)
        asked[of.stratum].append((of, follow_up(people, tables)))
    out: list[Linkage] = []
    for of, followed in sorted(
        (one for both in asked.values() for one in both),
        key=lambda one: (one[0].by, one[0].stratum.survey_kind, one[0].stratum.touchpoint),
    ):
        out += linkages(followed, of, tables, asked[of.stratum])
    for kind in sorted({one.survey_kind for one in said if one.instrument == "affinity" and one.at_ms < until}):
        people = segment_members((one for one in said if one.survey_kind == kind), tables, until)
        if len(people):
            of = Compared("psy_beh", Stratum(kind), _span(people, until, tz))
            out += linkages(follow_up(people, tables), of, tables)
    return out


def _may_tell(answered_ms: Iterable[int], told_ms: Sequence[int], tz: tzinfo) -> bool:
    """Whether a group may be told at the last of these times, one a month."""
    came = Counter(bisect_left(told_ms, at_ms + FOLLOW_UP_MS) for at_ms in answered_ms)
    day = local_date(told_ms[-1], tz)
    return told_when_ten_are_new([came[place] for place in range(1, len(told_ms))], day.year * 12 + day.month)


def _span(people: pd.DataFrame, until_ms: int, tz: tzinfo) -> Span:
    """From the day of the first answer to the day after the last that is followed."""
    first, last = local_date(int(people["at_ms"].min()), tz), local_date(until_ms, tz)
    return Span(first.isoformat(), (last + timedelta(days=1)).isoformat())


def follow_up(people: pd.DataFrame, tables: EventTables) -> pd.DataFrame:
    """What each did in the 90 days after the answer.

    Args:
        people: customer, group, at_ms; a row per customer.
        tables: what happened.

    Returns:
        The rows of `people` with `bought` (on how many days; a day on which the customer had bought before answering is
        the earlier purchase), `margin` (yen; 0 without an order, NaN where an order has no cost), `referred` (new
        customers brought) and `churned` (1 or 0; NaN for who was not under contract when answering).
    """
    named = tables.purchases[tables.purchases["customer"].isin(people["customer"])].assign(margin=margins)
    named = named.assign(customer=named["customer"].astype("str"))
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


def linkages(
    followed: pd.DataFrame,
    of: Compared,
    tables: EventTables,
    together: Sequence[tuple[Compared, pd.DataFrame]] = (),
) -> list[Linkage]:
    """Every outcome that these events can tell, by group.

    Args:
        followed: of `follow_up`.
        of: whose groups they are.
        tables: which kinds of events there are: an outcome without any is left out.
        together: all comparisons of those who were asked together, this one among them: two questions answered by
            nearly the same customers part them twice, and what the few did who answered one only would follow.
    """
    parts = [followed[followed["group"] == name] for name in of.names]

    def beside(column: str) -> Compared:
        return replace(of, untold=of.untold | _untold_beside(of, column, together))

    out: list[Linkage] = []
    if len(tables.purchases):
        bought = [(part["bought"] > 0).to_numpy() for part in parts]
        out.append(link_rates(beside("bought"), "repeat_rate", bought))
        if tables.purchases["cost"].notna().any():
            margin = [part["margin"].to_numpy(dtype=np.float64) for part in parts]
            out.append(link_margins(beside("margin"), margin))
    if len(tables.referrals):
        referred = [part["referred"].to_numpy(dtype=np.float64) for part in parts]
        out.append(link_referrals(beside("referred"), referred))
    if len(tables.contracts):
        churned = [part["churned"].dropna().to_numpy(dtype=np.float64) > 0 for part in parts]
        out.append(link_rates(beside("churned"), "churn_rate", churned))
    return out


def _untold_beside(of: Compared, column: str, together: Sequence[tuple[Compared, pd.DataFrame]]) -> frozenset[str]:
    """The groups of which an outcome may not be told beside all groups of these comparisons."""
    known = [followed[followed[column].notna()] for _, followed in together]
    group_of_each = [dict(zip(some["customer"], some["group"], strict=True)) for some in known]
    everybody = dict.fromkeys(customer for groups in group_of_each for customer in groups)
    sizes = Counter(tuple(groups.get(customer, "") for groups in group_of_each) for customer in everybody)
    wanted = {
        (one.by, name): [cell for cell in sizes if cell[place] == name]
        for place, (one, _) in enumerate(together)
        for name in one.names
        if name not in one.untold
    }
    enough = {key: cells for key, cells in wanted.items() if sum(sizes[cell] for cell in cells) >= SUPPRESS_BELOW}
    told = dict(zip(enough, side_by_side(sizes, enough.values()), strict=True))
    return frozenset(name for (by, name), may in told.items() if by == of.by and not may)


def link_rates(of: Compared, outcome: Literal["repeat_rate", "churn_rate"], groups: Sequence[np.ndarray]) -> Linkage:
    """Share of yes per group (S3), and χ² without continuity correction over the printed groups where every cell
    expects five or more.

    Args:
        of: whose groups they are.
        outcome: what the yes is.
        groups: one array of yes and no per group, in their order.
    """
    tables = [(int(group.sum()), int(group.size)) for group in groups]
    found = [
        _cell(of, outcome, "share", name, procedures.share(yes, n), n, {"yes": yes, "no": n - yes})
        for name, (yes, n) in zip(of.names, tables, strict=True)
    ]
    shown = _printed(of, found)
    table = [(yes, n - yes) for (yes, n), cell in zip(tables, shown, strict=True) if _open(cell)]
    test, why = _chi2(table, sum(n for _, n in tables))
    return Linkage(of, outcome, shown, (), test, why)


def link_margins(of: Compared, groups: Sequence[np.ndarray]) -> Linkage:
    """margin_obs: mean and median gross margin per customer in the 90 days (S7), and Kruskal–Wallis over the printed
    groups. Who has an order without a cost is missing."""
    known = [group[np.isfinite(group)] for group in groups]
    missing = [int(group.size - some.size) for group, some in zip(groups, known, strict=True)]
    means, medians = (
        tuple(
            _cell(of, "margin_obs", variant, name, sampled(values, variant), int(values.size), {}, gone)
            for name, values, gone in zip(of.names, known, missing, strict=True)
        )
        for variant in ("mean", "median")
    )
    shown = _printed(of, means)
    test, why = _kruskal([values for values, cell in zip(known, shown, strict=True) if _open(cell)], known)
    return Linkage(of, "margin_obs", shown, _printed(of, medians), test, why)


def link_referrals(of: Compared, groups: Sequence[np.ndarray]) -> Linkage:
    """New customers brought in the 90 days per 100 customers (S7), and Kruskal–Wallis over the printed groups."""
    found = [
        _cell(of, "referrals", "per_100", name, sampled(values, "mean", 100.0), int(values.size), {})
        for name, values in zip(of.names, groups, strict=True)
    ]
    shown = _printed(of, found)
    test, why = _kruskal([values for values, cell in zip(groups, shown, strict=True) if _open(cell)], groups)
    return Linkage(of, "referrals", shown, (), test, why)


def _cell(
    of: Compared,
    outcome: Outcome,
    variant: str,
    group: str,
    found: Estimate,
    n: int,
    counts: Mapping[str, int],
    missing: int = 0,
) -> Result:
    return record(
        f"linkage_{outcome}",
        variant,
        found,
        n,
        form="money" if outcome == "margin_obs" else "per_100" if outcome == "referrals" else "share",
        stratum=of.stratum,
        window=of.window,
        segment=f"{of.by}={group}",
        unit="per_customer",
        counts=counts if n else {},
        missing=missing,
    )


def _printed(of: Compared, groups: Sequence[Result]) -> tuple[Result, ...]:
    """All suppressed below thirty customers in total; else those untold, and as `hide_siblings`."""
    if sum(group.n_valid for group in groups) < ENOUGH_CUSTOMERS:
        return tuple(replace(group, status="suppressed") if group.n_valid else group for group in groups)
    return hide_siblings(
        [sibling(one) if name in of.untold else one for name, one in zip(of.names, groups, strict=True)]
    )


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
    found = scipy.stats.chi2_contingency(cells, correction=False)
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
    found = scipy.stats.kruskal(*printed)
    return GroupTest("kruskal", float(found.statistic), len(printed) - 1, float(found.pvalue)), ""
