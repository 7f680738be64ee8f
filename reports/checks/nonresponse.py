"""Who did not answer: what was known of them against those who did, and what those say who took long to answer.

Checks of the data, not results: nothing is corrected, left out or filled in. No "today".
Source: docs/metrics.md ("Whether the answers can be trusted").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from reports.event_tables import EventTables
from reports.metrics import (
    CHECK_ALPHA,
    SUPPRESS_BELOW,
    InstrumentSpec,
    Result,
    Span,
    Stratum,
    Tally,
    difference,
    hide_siblings,
    measure,
    record,
    statistics_of,
    tally,
)
from reports.procedures import Difference, Estimate
from storage.records import DelayCount, Invited

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
EARLY_MS = DAY_MS
RIPE_MS = 7 * DAY_MS
"""An invitation may be answered so long; younger ones are neither answered nor not."""
BIASED_ABOVE = 0.2


@dataclass(frozen=True, slots=True)
class Profile:
    """What was known of one invited customer at the time of the invitation, and whether an answer came."""

    answered: bool
    orders: int
    """In the 365 days before."""
    tenure_days: float | None
    """Since the first event known; None when there was none before."""
    last_order: float | None
    """Value of the latest of these orders, None without one that has a value."""
    open_ticket: bool
    channel: str


def standardised_difference(m1: float, m2: float, s1: float, s2: float) -> float | None:
    """(m₁ − m₂) / √((s₁² + s₂²)/2) of two means and standard deviations; None when both deviations are 0.

    >>> standardised_difference(3.0, 2.0, 1.0, 1.0)
    1.0
    """
    pooled = math.sqrt((s1 * s1 + s2 * s2) / 2.0)
    return None if pooled == 0.0 else (m1 - m2) / pooled


def nonresponse(profiles: Sequence[Profile], *, window: Span) -> tuple[Result, ...]:
    """The standardised difference of customers who answered from those who did not, for each variable: a record
    `nonresponse` each, flagged `nonresponse_bias` above 0.2 in size.

    A channel is a variable of its own, in or not. Below ten customers on either side a record is suppressed.
    """
    channels = sorted({profile.channel for profile in profiles})
    variables: dict[str, list[tuple[bool, float]]] = {
        "orders_365d": [(p.answered, float(p.orders)) for p in profiles],
        "tenure_days": [(p.answered, p.tenure_days) for p in profiles if p.tenure_days is not None],
        "last_order_value": [(p.answered, p.last_order) for p in profiles if p.last_order is not None],
        "open_ticket": [(p.answered, float(p.open_ticket)) for p in profiles],
    }
    if len(channels) > 1:
        for channel in channels:
            variables[f"channel_{channel}"] = [(p.answered, float(p.channel == channel)) for p in profiles]
    return tuple(_difference_of(name, values, window) for name, values in variables.items())


def _difference_of(name: str, values: Sequence[tuple[bool, float]], window: Span) -> Result:
    came = [value for answered, value in values if answered]
    stayed_out = [value for answered, value in values if not answered]
    d: float | None = None
    if min(len(came), len(stayed_out)) >= SUPPRESS_BELOW:
        (m1, s1), (m2, s2) = _moments(came), _moments(stayed_out)
        d = standardised_difference(m1, m2, s1, s2)
    found = record(
        "nonresponse",
        name,
        Estimate(d, None, None, "none"),
        len(values),
        form="mean",
        window=window,
        unit="per_customer",
        counts={"answered": len(came), "silent": len(stayed_out)},
        flags=("nonresponse_bias",) if d is not None and abs(d) > BIASED_ABOVE else (),
    )
    few = len(values) > 0 and min(len(came), len(stayed_out)) < SUPPRESS_BELOW
    return replace(found, status="suppressed") if few else found


def _moments(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def profiles_of(invited: Iterable[Invited], tables: EventTables, now_ms: int) -> list[Profile]:
    """One profile per customer, of the latest invitation that can be judged: it arrived as far as anybody knows, and
    was answered or is a week old.

    Args:
        invited: of a window, in any order.
        tables: what happened from a year before on. An order that was cancelled later is none.
    """
    latest: dict[str, Invited] = {}
    for invitation in invited:
        ripe = invitation.answered or invitation.sent_ms + RIPE_MS <= now_ms
        before = latest.get(invitation.customer_id)
        if ripe and not invitation.undeliverable and (before is None or before.sent_ms <= invitation.sent_ms):
            latest[invitation.customer_id] = invitation
    people = [latest[customer] for customer in sorted(latest)]
    return [
        Profile(
            answered=person.answered,
            orders=orders,
            tenure_days=_tenure(person),
            last_order=last_order,
            open_ticket=waiting,
            channel=person.channel,
        )
        for person, (orders, last_order), waiting in zip(
            people, _orders_before(people, tables), _waiting(people, tables), strict=True
        )
    ]


def _tenure(invitation: Invited) -> float | None:
    first = invitation.first_event_ms
    return None if first is None or first >= invitation.sent_ms else (invitation.sent_ms - first) / DAY_MS


def _orders_before(people: Sequence[Invited], tables: EventTables) -> list[tuple[int, float | None]]:
    """(orders, amount of the latest that has one) of each in the 365 days before the invitation."""
    orders = tables.purchases[tables.purchases["customer"] != ""]
    customers = orders["customer"].cat
    who = customers.codes.to_numpy(dtype=np.int64)
    by_customer = np.argsort(who, kind="stable")  # orders stand in order of time
    amounts = orders["amount"].to_numpy()[by_customer]
    at_ms = orders["at_ms"].to_numpy()
    since_ms, span = (int(at_ms.min()), int(np.ptp(at_ms)) + 1) if at_ms.size else (0, 1)
    keys = (who * span + at_ms - since_ms)[by_customer]
    places = pd.Index(customers.categories).get_indexer([person.customer_id for person in people]) * span
    sent_ms = np.array([person.sent_ms for person in people], dtype=np.int64) - since_ms
    end = np.searchsorted(keys, places + sent_ms.clip(0, span))
    first = np.minimum(np.searchsorted(keys, places + (sent_ms - YEAR_MS).clip(0, span)), end)
    priced = np.maximum.accumulate(np.where(np.isnan(amounts), -1, np.arange(amounts.size)))
    priced = np.append(priced, -1)[end - 1]
    return [
        (e - f, float(amounts[p]) if f <= p < e else None) if e > f and place >= 0 else (0, None)
        for e, f, p, place in zip(end.tolist(), first.tolist(), priced.tolist(), places.tolist(), strict=True)
    ]


def _waiting(people: Sequence[Invited], tables: EventTables) -> list[bool]:
    """Whether each had an open ticket at the time of the invitation."""
    tickets: dict[str, list[tuple[float, float]]] = {}
    for customer, opened, resolved in tables.tickets[["customer", "opened_ms", "resolved_ms"]].itertuples(index=False):
        tickets.setdefault(customer, []).append((opened, resolved))
    return [
        any(
            opened < person.sent_ms and not resolved < person.sent_ms
            for opened, resolved in tickets.get(person.customer_id, ())
        )
        for person in people
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """Those who answered within 24 hours against those who took longer."""

    spec: InstrumentSpec
    early: Result
    late: Result
    difference: Difference | None
    """Late minus early; None below ten answers on either side."""

    @property
    def differs(self) -> bool:
        """They score differently, so those who never answered may too."""
        return self.difference is not None and self.difference.p < CHECK_ALPHA


def early_and_late(spec: InstrumentSpec, early: Tally, late: Tally, *, stratum: Stratum, window: Span) -> Timing:
    """The leading statistic of both, and their difference (S2 for a net). Where one has fewer than ten answers, both
    are suppressed: the score of all stands in the digest."""
    results = [measure(spec, counted, stratum=stratum, window=window)[0] for counted in (early, late)]
    first, last = (result.shown() for result in hide_siblings(results))
    return Timing(spec, first, last, difference(statistics_of(spec)[0], early, late))


def timings_of(delays: Iterable[DelayCount], specs: Mapping[str, InstrumentSpec], window: Span) -> tuple[Timing, ...]:
    """`early_and_late` of the recommendation, per kind of survey, touchpoint and wording."""
    spec = specs.get("nps")
    if spec is None:
        return ()
    values: dict[Stratum, dict[bool, list[tuple[object, int]]]] = {}
    for counted in delays:
        stratum = Stratum(counted.survey_kind, counted.touchpoint, counted.wording_id, counted.label_set)
        values.setdefault(stratum, {True: [], False: []})[counted.early].append((counted.value, counted.customers))
    return tuple(
        early_and_late(spec, tally(spec, found[True]), tally(spec, found[False]), stratum=stratum, window=window)
        for stratum, found in sorted(values.items(), key=lambda pair: str(pair[0]))
    )
