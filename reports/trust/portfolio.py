"""Trust balances of all customers together: where the accounts stand, and what brought them down.

Source: docs/metrics.md ("Trust balance", "All customers together").
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

import numpy as np

from reports import procedures
from reports.disclosure import told_as_it_grows
from reports.metrics import Result, Span, hide_siblings, record, sibling
from reports.procedures import Estimate
from reports.trust import account as trust
from reports.trust.entries import RELEVANT_TYPES, entries_of
from reports.trust.words import behaviour_name, type_name
from reports.words import Language
from storage.store import Tx

METRIC = "trust_balance"
TOP_WITHDRAWALS = 5
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Account:
    """What the portfolio needs of one customer: the account at the end of the window, and its balance at the start."""

    before: float
    ledger: trust.Ledger


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The accounts of a window's end, as result records. One unit is a customer with at least one line."""

    mean: Result
    """Mean balance (S7)."""
    median: Result
    overdrawn: Result
    """Share of balances below 0 (S3)."""
    crossed: Result
    """How many were at 0 or above when the window began and are below 0 at its end."""
    behaviours: tuple[Result, ...]
    """Sum of the contributions by behaviour, in the order of trust.BEHAVIOURS; n is the customers with such a line."""
    withdrawals: tuple[Result, ...]
    """The types that take most from the accounts, the heaviest first; n as above."""

    def shown(self) -> Portfolio:
        """As it may leave the machine: suppressed records keep their n and lose everything else."""
        behaviours, withdrawals = (
            tuple(part.shown() for part in parts) for parts in (self.behaviours, self.withdrawals)
        )
        mean, median, overdrawn, crossed = (
            one.shown() for one in (self.mean, self.median, self.overdrawn, self.crossed)
        )
        return Portfolio(mean, median, overdrawn, crossed, behaviours, withdrawals)

    def told(self, variants: Collection[str]) -> Portfolio:
        """As it may leave the machine where balances and sums told before would give the newest few away: all but these
        variants suppressed (flag `sibling`), and everything where the mean is."""

        def beside(result: Result) -> Result:
            return result if "mean" in variants and result.variant in variants else sibling(result)

        def like_the_mean(result: Result) -> Result:
            return result if "mean" in variants else sibling(result)

        return Portfolio(
            like_the_mean(self.mean),
            like_the_mean(self.median),
            like_the_mean(self.overdrawn),
            like_the_mean(self.crossed),
            tuple(map(beside, self.behaviours)),
            tuple(map(beside, self.withdrawals)),
        )

    @property
    def results(self) -> tuple[Result, ...]:
        """All of them."""
        return (self.mean, self.median, self.overdrawn, self.crossed, *self.behaviours, *self.withdrawals)


def gather_portfolio(
    tx: Tx,
    start_ms: int,
    end_ms: int,
    *,
    rules: trust.Rules = trust.DEFAULT,
    tz: tzinfo,
    window: Span | None = None,
    told_ms: Sequence[int] = (),
    begins: Sequence[int] = (0,),
) -> Portfolio:
    """The portfolio of [start, end), read from the store; for `told_ms` and `begins` see `portfolio_of`.

    Walks over the customers page by page and reads what each has within the horizon of the rules: time grows with the
    number of relevant events and answers, memory with the number of customers (some numbers for each).
    """
    accounts = _accounts(tx, start_ms, end_ms, rules, tz)
    return portfolio_of(accounts, window=window or Span(), told_ms=told_ms, begins=begins)


def _accounts(tx: Tx, start_ms: int, end_ms: int, rules: trust.Rules, tz: tzinfo) -> Iterator[Account]:
    instruments = tuple(rules.survey)
    last = ""
    while page := tx.customers_after(last, limit=_PAGE):
        last = page[-1]
        for history in tx.relationships(
            page[0],
            last,
            types=RELEVANT_TYPES,
            instruments=instruments,
            since_ms=end_ms - rules.horizon_ms,
        ):
            entries = entries_of(history, rules=rules, tz=tz)
            # the last instants that belong to the window and to the time before it
            at_end = trust.ledger(entries, end_ms - 1, rules)
            if at_end.lines:
                yield Account(trust.ledger(entries, start_ms - 1, rules).balance, at_end)


def portfolio_of(
    accounts: Iterable[Account], *, window: Span, told_ms: Sequence[int] = (), begins: Sequence[int] = (0,)
) -> Portfolio:
    """The records of these accounts; the order in which they come decides the resamples of S7 (by customer id).

    Args:
        told_ms: when balances are told, the oldest first and the end of the window last; () where nothing was told
            before. What would give away the one to nine who have had something recorded since, all of it or of one
            kind, is suppressed (flag `sibling`): everything else fades as is known.
        begins: places in it with which an account of what was told begins.
    """
    balances: list[float] = []
    crossed = 0
    sums: defaultdict[str, float] = defaultdict(float)
    taken: defaultdict[str, float] = defaultdict(float)
    customers: Counter[str] = Counter()
    recorded: list[set[tuple[str, int]]] = []
    for account in accounts:
        found = account.ledger
        balances.append(found.balance)
        crossed += account.before >= 0 > found.balance
        touched: set[str] = set()
        mine: set[tuple[str, int]] = set()
        for line in found.lines:
            kind = ""
            if line.behaviour is not None:
                kind = line.type if line.contribution < 0 else _deposits(line.behaviour)
                touched.update((line.behaviour, kind))
                sums[line.behaviour] += line.contribution
                if line.contribution < 0:
                    taken[line.type] += line.contribution
            mine.add((kind, bisect_left(told_ms, line.at_ms)))
        customers.update(touched)
        recorded.append(mine)
    n = len(balances)
    below = sum(balance < 0 for balance in balances)
    may_tell = _may_tell(recorded, len(told_ms), begins) if told_ms else None
    found_together = Portfolio(
        mean=record(METRIC, "mean", _centre(balances, "mean"), n, form="mean", window=window, unit="per_customer"),
        median=record(
            METRIC, "median", _centre(balances, "median"), n, form="mean", window=window, unit="per_customer"
        ),
        overdrawn=record(
            METRIC,
            "share_overdrawn",
            procedures.share(below, n),
            n,
            form="share",
            window=window,
            unit="per_customer",
            counts={"overdrawn": below} if n else {},
        ),
        crossed=record(
            METRIC,
            "crossed_below_zero",
            _counted(float(crossed), n),
            n,
            form="count",
            window=window,
            unit="per_customer",
        ),
        behaviours=hide_siblings(
            [_sum(f"sum_{name}", sums[name], customers[name], window) for name in trust.BEHAVIOURS], overlapping=True
        ),
        withdrawals=_heaviest(taken, customers, window),
    )
    return found_together if may_tell is None else found_together.told(may_tell)


def _may_tell(recorded: Collection[Collection[tuple[str, int]]], times: int, begins: Sequence[int]) -> frozenset[str]:
    """The variants that may be told at the last of some times.

    Args:
        recorded: of each account (kind, place of the time when it was told first) of its lines; an answer has no kind.
    """
    kinds = {kind for mine in recorded for kind, _ in mine}
    of: defaultdict[str, set[str]] = defaultdict(set)
    for kind in kinds - {""}:
        of[f"sum_{trust.behaviour_of(kind) or kind.removesuffix(_DEPOSITS)}"].add(kind)
    withdrawals = {f"withdrawal_{kind}": {kind} for kind in sorted(kinds) if kind and not kind.endswith(_DEPOSITS)}
    return told_as_it_grows(recorded, {"mean": kinds, **dict(sorted(of.items())), **withdrawals}, times, begins)


def _centre(balances: list[float], which: Literal["mean", "median"]) -> Estimate:
    function = np.mean if which == "mean" else np.median
    return procedures.sampled(balances, lambda drawn: np.asarray(function(drawn, axis=1)))


def _counted(score: float, n: int) -> Estimate:
    # every account is in it: a sum or a number of all has no sampling error of its own
    return Estimate(score if n else None, None, None, "census")


def _sum(variant: str, points: float, n: int, window: Span) -> Result:
    return record(METRIC, variant, _counted(points, n), n, form="net", window=window, unit="per_customer")


_DEPOSITS = " +"


def _deposits(behaviour: str) -> str:
    """The kind of the deposits of a behaviour, beside the types of withdrawals."""
    return behaviour + _DEPOSITS


def _heaviest(taken: Mapping[str, float], customers: Mapping[str, int], window: Span) -> tuple[Result, ...]:
    by_behaviour: defaultdict[str, list[Result]] = defaultdict(list)
    for name in sorted(taken):
        behaviour = trust.behaviour_of(name) or ""
        by_behaviour[behaviour].append(_sum(f"withdrawal_{name}", taken[name], customers[name], window))
    # within a behaviour, whose sum is printed, one small type could be had by subtraction, and so could its deposits
    parts: list[Result] = []
    for found, group in by_behaviour.items():
        rest = _sum("deposits", 0.0, customers[_deposits(found)], window)
        parts += hide_siblings([*group, rest], overlapping=True)[: len(group)]
    shown = sorted(
        (part for part in parts if part.status != "suppressed"), key=lambda part: (part.score or 0.0, part.variant)
    )
    return tuple(shown[:TOP_WITHDRAWALS])


# ----------------------------------------------------------------------------------------------------------- words


def named(found: Portfolio, lang: Language) -> dict[str, object]:
    """What the template `trust_lines` is given: `portfolio`, and (name, result) of its `behaviours` and `withdrawals`,
    of behaviours those with anything recorded."""
    sums = zip(trust.BEHAVIOURS, found.behaviours, strict=True)
    return {
        "portfolio": found,
        "behaviours": [(behaviour_name(name, lang), part) for name, part in sums if part.status != "no_data"],
        "withdrawals": [
            (type_name(part.variant.removeprefix("withdrawal_"), lang), part) for part in found.withdrawals
        ],
    }
