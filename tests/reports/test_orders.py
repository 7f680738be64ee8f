"""Which orders stand: the same of a few events as of whole tables."""

from __future__ import annotations

import random
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.event_tables import event_tables
from reports.orders import Orders, sent
from reports.segments import Deed
from reports.values import amount_of
from tests.examples import of_each_hundred

_EVENTS = st.lists(
    st.fixed_dictionaries(
        {"amount": st.integers(0, 9_000)},
        optional={
            "order": st.sampled_from(["", "1", "1", "2", "3"]),
            "cancelled": st.sampled_from([True, False, "no"]),
            "test": st.sampled_from(["true", None]),
        },
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=of_each_hundred(12))
@given(_EVENTS, st.randoms(use_true_random=False))
def test_the_orders_that_stand_are_those_of_the_tables_in_whatever_order_their_events_come(
    events: list[dict[str, Any]], chance: random.Random
) -> None:
    deeds = [Deed("a", "purchase", 1_000 + at, data) for at, data in enumerate(events)]
    tables = event_tables(deeds, ZoneInfo("Asia/Tokyo")).purchases
    chance.shuffle(deeds)
    found = Orders(sent(deed.at_ms, deed.data, amount_of(deed.data["amount"])) for deed in deeds).standing()
    assert found == list(zip(tables["at_ms"], tables["amount"], strict=True))
