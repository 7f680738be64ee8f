"""The same attack on the parts of a digest beside its scores: of whom is each number, and what follows from all of them
together? Shops are drawn with groups of one to nine everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pencil import digests_of, worked_out
from report_history import DAY_MS, TOKYO, History, digest_of, monday_ms, weeks_ago
from shop_events import MAY, bought, tables

from reports.digest import DigestRule
from reports.kpis import spending
from reports.linkage import FOLLOW_UP_MS, Said, compare_all, group_of
from reports.metrics import Span
from reports.portfolio import Account, portfolio_of
from reports.render import render_json, render_text
from reports.segments import Deed
from reports.trust import Entry, ledger

Units = frozenset[Hashable]


# -------------------------------------------------------------------------------------------------------- invitations


def told_of_invitations(
    found: dict[str, Any], weeks: list[int], sent: dict[int, int], held: dict[int, int]
) -> list[Units]:
    """Whose fate each number of a digest of these weeks tells."""
    response = found["response"]
    arrived = frozenset(("sent", week, n) for week in weeks for n in range(sent[week]))
    skipped = frozenset(("held", week, n) for week in weeks for n in range(held[week]))
    assert response["rate"]["n_valid"] == len(arrived)
    assert response["held"] == len(skipped)
    told = []
    if response["answered"] is not None or response["rate"]["score"] is not None:
        told.append(arrived)
    if response["skipped"]:
        assert sum(response["skipped"].values()) == len(skipped)
        told.append(skipped)
    return told


@pytest.mark.parametrize("seed", range(3))
async def test_what_became_of_a_handful_of_invitations_does_not_follow_from_a_month_and_its_weeks(
    seed: int, tmp_path: Path
) -> None:
    chance, history = random.Random(seed), History()
    # October 2026: the weeks from the 28th of September to the 26th
    backs = [7, 6, 5, 4]
    sent = {back: chance.choice([3, 12, 12, 30]) for back in backs}
    held = {back: chance.choice([2, 4, 11, 20]) for back in backs}
    for back in backs:
        reasons = [("min_gap", held[back] - held[back] // 3), ("opted_out", held[back] // 3)]
        history.invited(sent[back], monday=weeks_ago(back), skipped=reasons)
    history.answer("nps", 9, monday=weeks_ago(0))
    monthly = DigestRule("monthly", every="month")
    told: list[Units] = []
    for back, (context, _) in zip(backs, await digests_of(history, tmp_path, back=tuple(backs)), strict=True):
        told += told_of_invitations(render_json(context), [back], sent, held)
        text = render_text(context)
        assert ("日以内の再案内" in text) == (held[back] >= 10)
    (tmp_path / "month").mkdir()
    ((context, _),) = await digests_of(history, tmp_path / "month", back=(4,), rule=monthly)
    told += told_of_invitations(render_json(context), backs, sent, held)
    assert worked_out(told) == []


# ------------------------------------------------------------------------------------------------------ orders, trust


def drawn_orders(seed: int) -> list[Deed]:
    """Orders of four products; some customers buy several, guests have no name."""
    chance = random.Random(seed)
    out: list[Deed] = []
    for product, size in zip("abcd", (40, 15, chance.choice([4, 12]), chance.choice([3, 11])), strict=True):
        for _ in range(size):
            guest = chance.random() < chance.choice([0.0, 0.15])
            who = "" if guest else f"c{chance.randrange(chance.choice([8, 60]))}"
            out += bought(who, chance.uniform(2, 27), product=product, amount=chance.randrange(100, 9000))
    return out


@pytest.mark.parametrize("seed", range(12))
def test_what_a_handful_paid_does_not_follow_from_the_figures_of_orders(seed: int) -> None:
    orders = drawn_orders(seed)
    units = [(n, order.customer, order.data["product"]) for n, order in enumerate(orders)]
    told: list[Units] = []
    for result in spending(tables(orders), MAY):
        product = result.segment.removeprefix("product=")
        named = result.metric != "aov"
        mine = frozenset(u for u in units if (not product or u[2] == product) and (u[1] or not named))
        assert result.n_valid == (len({u[1] for u in mine}) if named else len(mine))
        if result.status in ("caution", "ok") and result.metric != "frequency":
            told.append(mine)

    def people(group: list[Any]) -> int:
        # who bought two products is a customer of each; each guest may be somebody else
        return len({(customer or n, product) for n, customer, product in group})

    assert worked_out(told, size=people) == []


@pytest.mark.parametrize("seed", range(8))
def test_what_a_handful_suffered_does_not_follow_from_the_balances_of_all(seed: int) -> None:
    chance = random.Random(seed)
    happenings = ["promise_kept", "late_delivery", "promise_broken", "personal_note", "billing_error", "opt_out",
                  "incident_disclosed", "terms_surprise", "feedback_acted_on", "over_promotion"]  # fmt: skip
    people = {
        who: sorted(chance.sample(happenings, chance.choice([1, 1, 2, 3]), counts=[chance.choice([1, 6, 20])] * 10))
        for who in range(chance.choice([15, 40]))
    }
    ledgers = {
        who: ledger([Entry(f"{who}-{n}", n * DAY_MS, type_) for n, type_ in enumerate(types)], 30 * DAY_MS)
        for who, types in people.items()
    }
    found = portfolio_of([Account(0.0, ledger_) for ledger_ in ledgers.values()], window=Span())
    lines = [(who, n, line) for who, found_ in ledgers.items() for n, line in enumerate(found_.lines)]
    told: list[Units] = []
    for result in found.results:
        name = result.variant
        if result.status not in ("caution", "ok") or name in ("median", "share_overdrawn", "crossed_below_zero"):
            continue
        mine = frozenset(
            (who, n) for who, n, line in lines if name in ("mean", f"sum_{line.behaviour}", f"withdrawal_{line.type}")
        )
        assert result.n_valid == len({who for who, _ in mine})
        told.append(mine)
    assert worked_out(told, size=lambda group: len({who for who, _ in group})) == []


# ---------------------------------------------------------------------------------- what is told again as time goes on


@pytest.mark.parametrize("seed", range(3))
def test_what_the_few_did_who_joined_a_group_since_last_month_does_not_follow(seed: int) -> None:
    chance = random.Random(seed)
    firsts = [int(datetime(2026, month, 1, tzinfo=TOKYO).timestamp() * 1000) for month in range(5, 11)]
    said = [
        Said(f"c{month}-{n}", "nps", chance.choice([10, 10, 8, 3]), firsts[month] - FOLLOW_UP_MS - 1 - n)
        for month in range(6)
        for n in range(chance.choice([30, 60]) if month == 0 else chance.choice([4, 12, 40]))
    ]
    told: list[Units] = []
    for month, as_of in enumerate(firsts):
        (linkage,) = compare_all(said, tables(bought("x", 3)), as_of, TOKYO, told_ms=firsts[:month])
        there = [one for one in said if one.at_ms + FOLLOW_UP_MS <= as_of]
        people = {one.customer: group_of("nps", int(str(one.answer))) for one in there}
        for name, result in zip(linkage.of.names, linkage.groups, strict=True):
            group = frozenset(who for who, mine in people.items() if mine == name)
            assert result.n_valid == len(group)
            if result.status in ("caution", "ok"):
                told.append(group)
    assert told
    assert worked_out(told) == []


@pytest.mark.parametrize(("more", "shown"), [(0, True), (4, False), (10, True)])
async def test_the_recovery_of_the_few_who_answered_again_this_week_does_not_follow(
    more: int, shown: bool, tmp_path: Path
) -> None:
    history = History()
    for n in range(12 + more):
        begin = monday_ms(weeks_ago(3)) + n
        history.answer("nps", 3, customer=f"k{n}", at_ms=begin)
        history.case(opened_ms=begin, settled_ms=begin + DAY_MS, customer=f"k{n}", session=history.sessions[-1].id)
        # the last ones answer again in the last week only
        again = monday_ms(weeks_ago(1 if n < 12 else 0)) + DAY_MS + n
        history.answer("nps", 8, customer=f"k{n}", at_ms=again, touchpoint="support")
    recovered = (await digest_of(history, tmp_path)).care.recovered
    assert (recovered.n_valid, recovered.score is not None) == (12 + more, shown)
    assert ("sibling" in recovered.flags) is not shown


# ------------------------------------------------------------------------------------------------------------- the mix


@pytest.mark.parametrize(("few", "shown"), [(0, True), (4, False)])
async def test_the_score_at_the_old_mix_is_not_told_where_it_gives_the_scores_of_channels_away(
    few: int, shown: bool, tmp_path: Path
) -> None:
    history = History()
    history.nps(40, 0, 40, monday=weeks_ago(1), channel="slack", segment="z")
    history.nps(2, 8, 10, monday=weeks_ago(1), channel="line", segment="z")
    # what Slack says in store x is told: with the whole of Slack, what the few of z said there
    history.nps(10, 0, 10, channel="slack", segment="x")
    history.nps(few, 0, few, channel="slack", segment="z")
    history.nps(5, 25, 30, channel="line", segment="z")
    mix = (await digest_of(history, tmp_path)).mix
    assert mix.moved
    assert (mix.standardised is not None) is shown
