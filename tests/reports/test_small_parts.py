"""The same attack on the parts of a digest beside its scores: of whom is each number, and what follows from all of them
together? Shops are drawn with groups of one to nine everywhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Hashable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pencil import Known, digests_of, question_of, worked_out
from report_history import DAY_MS, SHOP, TOKYO, WEEKLY, History, digest_of, monday_ms, weeks_ago
from shop_events import MAY, at, bought, happened, tables

from flows.days import midnight_ms
from reports.digest import DigestRule
from reports.digest.care import CASES_BACK_MS
from reports.kpi.customers import churn_rate, spending
from reports.kpi.lifetime import lifetime_values
from reports.kpi.support import resolution
from reports.kpi.window import KpiSettings
from reports.linkage import FOLLOW_UP_MS, KEPT_MS, Said, compare_all, given_answers, group_of
from reports.metrics import Span
from reports.render import render_json, render_text
from reports.segments import Deed
from reports.trust.account import Entry, ledger
from reports.trust.portfolio import Account, named, portfolio_of
from reports.words import sentences_in
from storage.records import Event

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


@pytest.mark.parametrize("seed", [0, 2])
async def test_how_a_handful_was_looked_after_and_reached_does_not_follow_from_a_month_and_its_weeks(
    seed: int, tmp_path: Path
) -> None:
    chance, history = random.Random(seed), History()
    backs = [7, 6, 5, 4]
    sizes = {name: {back: chance.choice([3, 12, 30]) for back in backs} for name in ("closed", "solved", "linked")}
    for back in backs:
        begin = monday_ms(weeks_ago(back))
        for n in range(sizes["closed"][back]):
            history.case(opened_ms=begin + n, replied_ms=begin + n + chance.randrange(4) * DAY_MS)
        for n in range(sizes["solved"][back]):
            # opened before the month, asked in it
            opened = monday_ms(weeks_ago(8)) + n
            history.case(opened_ms=opened, settled_ms=begin, asked_ms=begin + n, after=chance.choice(["solved", "not"]))
        for n in range(sizes["linked"][back]):
            data = json.dumps({"order": f"{back}-{n}", "amount": 100})
            history.events.append(Event(f"e{back}-{n}", "purchase", begin + n, begin + n, f"b{back}-{n}", data))
    history.answer("nps", 9, monday=weeks_ago(0))
    told: dict[str, list[Units]] = {name: [] for name in sizes}

    def read(found: dict[str, Any], weeks: list[int]) -> None:
        for name, record in (
            ("closed", found["care"]["closed_loop"]),
            ("solved", found["care"]["solved"]),
            ("linked", found["reach"]["linked"]),
        ):
            mine = frozenset((week, n) for week in weeks for n in range(sizes[name][week]))
            assert record["n_valid"] == len(mine)
            if record["score"] is not None:
                told[name].append(mine)

    for back, (context, _) in zip(backs, await digests_of(history, tmp_path, back=tuple(backs)), strict=True):
        read(render_json(context), [back])
    (tmp_path / "month").mkdir()
    monthly = DigestRule("monthly", every="month")
    ((context, _),) = await digests_of(history, tmp_path / "month", back=(4,), rule=monthly)
    found = render_json(context)
    read(found, backs)
    hidden = found["reach"]["linked"]["score"] is None
    for language, words in (
        ("ja", "LINEで案内できる購入者：差し引きで求められるため非表示"),
        ("en", "Buyers who can be reached on LINE: hidden because other values would give it away"),
    ):
        assert (words in render_text(replace(context, language=language))) is hidden  # type: ignore[arg-type]
    assert any(told.values())
    for name, totals in told.items():
        assert worked_out(totals) == [], name


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


def told_of_orders(found: dict[str, Any], orders: list[tuple[str, str, int]]) -> list[Units]:
    """The orders of each figure of money in the JSON of the shop's figures, however deep."""
    told: list[Units] = []

    def read(value: Any) -> None:
        if isinstance(value, list):
            for part in value:
                read(part)
        elif isinstance(value, dict):
            figure = (value.get("metric"), value.get("variant"))
            if figure in (("aov", "mean"), ("spend_per_customer", "mean"), ("ltv", "ltv_simple")) and value["n_valid"]:
                begin, end = (midnight_ms(date.fromisoformat(value["window"][at]), TOKYO) for at in ("start", "end"))
                guests = figure[0] == "aov"
                mine = frozenset(order for order in orders if begin <= order[2] < end and (order[1] or guests))
                assert value["n_valid"] == (len(mine) if guests else len({who for _, who, _ in mine}))
                if value["score"] is not None:
                    told.append(mine)
            for part in value.values():
                read(part)

    read(found)
    return told


@pytest.mark.parametrize("seed", [0, 5])
async def test_what_a_handful_paid_in_a_week_does_not_follow_from_lifetime_values_of_a_year_that_moves_on(
    seed: int, tmp_path: Path
) -> None:
    chance, history = random.Random(seed), History()
    usual, weeks, people = chance.choice([3, 6, 12]), chance.choice([6, 10, 20, 70]), chance.choice([10, 1000])
    orders: list[tuple[str, str, int]] = []
    for back in range(weeks):
        for n in range(chance.choice([usual, usual, chance.randint(0, 9), 2 * usual])):
            at_ms = monday_ms(weeks_ago(back)) + chance.randrange(7 * DAY_MS)
            who = f"b{chance.randrange(people)}" if chance.random() < 0.95 else ""
            orders.append((f"{back}-{n}", who, at_ms))
            data = json.dumps({"order": f"{back}-{n}", "amount": 100})
            history.events.append(Event(f"e{back}-{n}", "purchase", at_ms, at_ms, who, data))
    history.nps(10, 10, 30)
    told: list[Units] = []
    for context, _ in await digests_of(history, tmp_path, back=(5, 4, 3, 2, 1, 0)):
        told += told_of_orders(render_json(context)["kpis"], orders)
    assert told
    assert worked_out(told, size=lambda group: len({who or order for order, who, _ in group})) == []


@pytest.mark.parametrize(("signed", "costed", "hidden"), [
    (0, 0, set()),
    (5, 0, {"ltv_churn"}),
    (12, 0, set()),
    (12, 4, {"ltv_churn", "ltv_net_split", "ltv_net_total"}),
    (12, 12, set()),
])  # fmt: skip
@pytest.mark.parametrize("left", [0, 1])
def test_who_of_a_handful_cancelled_or_what_they_brought_does_not_follow_from_lifetime_values(
    signed: int, costed: int, hidden: set[str], left: int
) -> None:
    # 30 customers of 1,000 yen; of those with a cost it is 700
    orders = [bought(f"c{n}", 3, order=f"{n}", amount=1000, **({"cost": 700} if n < costed else {})) for n in range(30)]
    contracts = [happened(f"k{n}", "contract_start", at(-9)) for n in range(signed)]
    contracts += [happened(f"k{n}", "contract_cancel", at(9)) for n in range(min(left, signed))]
    own = KpiSettings(gross_margin=0.4, acquisition_cost=500, retention_cost=0, years=1)
    events = tables(*orders, *contracts)
    found = {result.variant: result.shown() for result in lifetime_values(events, MAY, own)}
    assert {name for name, result in found.items() if result.status == "suppressed"} == hidden
    assert all(found[name].score is None and found[name].flags == ("sibling",) for name in hidden)
    assert found["ltv_simple"].score == 1000
    churn = churn_rate(events, MAY).shown()
    if (value := found["ltv_churn"].score) is not None:
        # the margin of those with a cost, else the shop's own
        assert 100 * 1000 * (0.3 if costed else 0.4) / value == pytest.approx(churn.score)
    if "infinite" in found["ltv_churn"].flags:
        assert churn.score == 0


@pytest.mark.parametrize(("outside", "bands"), [(0, 2), (4, 1), (12, 2)])
def test_how_content_the_few_without_a_ticket_are_does_not_follow_from_the_bands_of_hours(
    outside: int, bands: int
) -> None:
    groups = {"le_1h": range(20), "le_24h": range(20, 45), "": range(45, 45 + outside)}
    deeds, said = [], []
    for band, people in groups.items():
        for n in people:
            if band:
                deeds.append(happened(f"c{n}", "ticket_opened", at(3), ticket=f"t{n}"))
                solved = at(3.02 if band == "le_1h" else 3.5)
                deeds.append(happened(f"c{n}", "ticket_resolved", solved, ticket=f"t{n}"))
            said.append(Said(f"c{n}", "csat5", 1 + n % 5, at(5), "transactional", "support"))
    # everybody's score stands beside the bands
    told: list[Units] = [frozenset(n for people in groups.values() for n in people)]
    told += [
        frozenset(groups[result.variant.removeprefix("csat5_")])
        for result in resolution(tables(*deeds), MAY, given_answers(said))
        if result.variant.startswith("csat5") and result.status in ("caution", "ok")
    ]
    assert len(told) == 1 + bands
    assert worked_out(told) == []


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


@pytest.mark.parametrize("seed", [0, 5, 9, 16])
def test_what_was_recorded_of_a_handful_since_does_not_follow_from_the_sums_of_behaviours(seed: int) -> None:
    chance, week_ms = random.Random(seed), 7 * DAY_MS
    kinds = ["promise_kept", "late_delivery", "promise_broken", "personal_note", "billing_error", "opt_out", "nps"]
    people, busy = chance.choice([15, 30, 60, 150]), chance.choice([3, 8, 30])
    entries: dict[int, list[Entry]] = {who: [] for who in range(people)}
    for week in range(6):
        for n in range(people if week == 0 else chance.choice([busy, 2 * busy])):
            kind = chance.choice(kinds)
            at_ms = week * week_ms + chance.randrange(week_ms)
            mine = entries[chance.randrange(people)]
            mine.append(Entry(f"{week}-{n}", at_ms, kind, code=3 if kind == "nps" else None))
    told: list[Units] = []
    times = [week * week_ms for week in range(1, 7)]
    for place, at_ms in enumerate(times):
        ledgers = {who: ledger(mine, at_ms - 1) for who, mine in entries.items()}
        accounts = [Account(0.0, found) for found in ledgers.values() if found.lines]
        lines = [(who, line) for who, found in ledgers.items() for line in found.lines]
        for result in portfolio_of(accounts, window=Span(), told_ms=times[: place + 1]).results:
            name = result.variant
            if result.status not in ("caution", "ok") or name in ("median", "share_overdrawn", "crossed_below_zero"):
                continue
            told.append(
                frozenset(
                    (who, line.at_ms)
                    for who, line in lines
                    if name in ("mean", f"sum_{line.behaviour}", f"withdrawal_{line.type}")
                )
            )
    assert len(told) > len(times), "hiding everything would be safe, too"
    assert worked_out(told) == []


@pytest.mark.parametrize(("new", "shown"), [(0, True), (4, False), (9, False), (10, True)])
def test_what_the_few_answered_since_the_digest_before_does_not_follow_from_balances_that_fade(
    new: int, shown: bool
) -> None:
    week_ms = 7 * DAY_MS
    entries = {n: [Entry(f"old{n}", week_ms // 2 + n, "nps", code=3)] for n in range(20)}
    entries |= {100 + n: [Entry(f"new{n}", 3 * week_ms // 2 + n, "nps", code=3)] for n in range(new)}
    told: list[float | None] = []
    for weeks in (1, 2):
        ledgers = [ledger(mine, weeks * week_ms - 1) for mine in entries.values()]
        accounts = [Account(0.0, found) for found in ledgers if found.lines]
        times = [week * week_ms for week in range(1, weeks + 1)]
        found = portfolio_of(accounts, window=Span(), told_ms=times)
        assert found.mean.n_valid == len(accounts)
        assert {result.score is None for result in found.shown().results if result.status != "no_data"} == {
            weeks == 2 and not shown
        }
        told += [result.score for result in found.shown().withdrawals if result.variant == "withdrawal_nps"] or [None]
        if weeks == 2 and not shown:
            assert sentences_in("ja").lines("trust_lines", **named(found, "ja")) == ["差し引きで求められるため非表示"]
            assert sentences_in("en").lines("trust_lines", **named(found, "en")) == [
                "Hidden because other values would give it away"
            ]
    if shown:
        assert told[0] is not None
        assert told[1] is not None
        # withdrawals halve in 360 days; what is left is of the new ones, four points for each detractor
        left = told[1] - told[0] * 2 ** (-7 / 360)
        assert left == pytest.approx(-4.0 * new, rel=0.01, abs=1e-9)


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


@pytest.mark.parametrize("seed", [7, 15])
def test_what_the_few_did_who_joined_or_left_a_group_does_not_follow_from_the_months_of_a_shop_of_years(
    seed: int,
) -> None:
    chance = random.Random(seed)
    firsts = [
        int(datetime(2023 + month // 12, month % 12 + 1, 1, tzinfo=TOKYO).timestamp() * 1000) for month in range(46)
    ]
    often, since = chance.choice([2, 4, 6, 12]), chance.choice([0, 6, 12])
    said = [
        Said(f"c{month}-{n}", "nps", 3, firsts[month] - FOLLOW_UP_MS - chance.randrange(28 * DAY_MS))
        for month in range(since, 46)
        for n in range(30 if month == since else chance.choice([often, often, 2 * often, 0]))
    ]
    told: list[Units] = []
    for month in range(32, 46):
        as_of = firsts[month]
        there = [one for one in said if as_of - KEPT_MS <= one.at_ms <= as_of - FOLLOW_UP_MS]
        (linkage,) = compare_all(there, tables(bought("x", 3)), as_of, TOKYO, told_ms=firsts[month - 12 : month])
        if linkage.groups[2].status in ("caution", "ok"):
            told.append(frozenset(one.customer for one in there))
    assert told
    assert worked_out(told) == []


@pytest.mark.parametrize("seed", [13, 20, 33, 41])
def test_what_the_few_did_who_answered_one_of_two_questions_does_not_follow_from_the_groups_of_both(seed: int) -> None:
    chance, said = random.Random(seed), []
    as_of_ms = int(datetime(2026, 11, 1, tzinfo=TOKYO).timestamp() * 1000)
    people, left_out = chance.choice([40, 80, 160]), chance.choice([0, 0.03, 0.1, 0.4])
    groups: dict[str, dict[str, str]] = {"nps": {}, "nrs": {}}
    for n in range(people):
        at_ms = as_of_ms - FOLLOW_UP_MS - DAY_MS + n
        likely = chance.choice([10, 10, 8, 3])
        alike = {10: 5, 8: 4, 3: 2}[likely]
        stays = chance.choices([5, 4, 2], [4, 2, 1])[0] if chance.random() < 0.5 else alike
        for name, code in (("nps", likely), ("nrs", stays)):
            if name == "nps" or chance.random() >= left_out:
                groups[name][f"c{n}"] = group_of(name, code)
                said.append(Said(f"c{n}", name, code, at_ms))
    told: list[Units] = []
    for linkage in compare_all(said, tables(bought("x", 3)), as_of_ms, TOKYO):
        for name, result in zip(linkage.of.names, linkage.groups, strict=True):
            mine = frozenset(who for who, group in groups[linkage.of.by].items() if group == name)
            assert result.n_valid == len(mine)
            if result.status in ("caution", "ok"):
                told.append(mine)
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
    context = await digest_of(history, tmp_path)
    recovered = context.care.recovered
    assert (recovered.n_valid, recovered.score is not None) == (12 + more, shown)
    assert ("sibling" in recovered.flags) is not shown
    for language, words in (
        ("ja", "\n差し引きで求められるため非表示：対応後の薦める可能性の変化\n"),
        ("en", "\nHidden because other values would give it away: likelihood to recommend since\n"),
    ):
        assert (words in render_text(replace(context, language=language))) is not shown  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [2])
async def test_the_recovery_of_the_few_does_not_follow_from_digests_of_a_quarter(seed: int, tmp_path: Path) -> None:
    chance, history = random.Random(seed), History()
    often, since = chance.choice([1, 2, 3, 5, 8]), chance.choice([0, 20, 34])
    first_ms = monday_ms(weeks_ago(50))
    again: list[tuple[int, int]] = []
    for week in range(since, 52):
        for _ in range(chance.choice([often, often, 2 * often, 0])):
            opened_ms = first_ms + (week * 7 + chance.randrange(7)) * DAY_MS
            again_ms = opened_ms + chance.randrange(3, 60) * DAY_MS
            who = f"k{len(again)}"
            again.append((opened_ms, again_ms))
            history.answer("nps", 3, customer=who, at_ms=opened_ms, monday=monday_of(opened_ms))
            session = history.sessions[-1].id
            history.case(opened_ms=opened_ms, settled_ms=opened_ms + DAY_MS, customer=who, session=session)
            history.answer("nps", 8, customer=who, at_ms=again_ms, monday=monday_of(again_ms), touchpoint="support")
    told: list[Units] = []
    for context, _ in await digests_of(history, tmp_path, back=tuple(range(10, -1, -1))):
        recovered, now_ms = context.care.recovered, context.computed_ms
        mine = frozenset(
            place
            for place, (opened_ms, again_ms) in enumerate(again)
            if now_ms - CASES_BACK_MS <= opened_ms and again_ms <= now_ms
        )
        assert recovered.n_valid == len(mine)
        if recovered.score is not None:
            told.append(mine)
    assert told
    assert worked_out(told) == []


# ---------------------------------------------------------------------------------------- what moves the recommendation


def sat(history: History, replies: dict[str, int], *, at_ms: int) -> None:
    """One customer's answers in one session; a question that is not among them was left out."""
    history.answer("nps", replies["nps"], monday=monday_of(at_ms), at_ms=at_ms)
    rated = history.answers[-1]
    for name, value in replies.items():
        if name != "nps":
            history.answers.append(
                structs.replace(
                    rated, id=f"{rated.id}{name}", question=name, instrument=name, wording_id=f"{name}.1",
                    value=str(value),
                )
            )  # fmt: skip


def monday_of(at_ms: int) -> date:
    day = datetime.fromtimestamp(at_ms / 1000, TOKYO).date()
    return day - timedelta(days=day.weekday())


@pytest.mark.parametrize(
    ("outside", "left_out", "shown"), [(0, 0, True), (0, 4, False), (0, 12, True), (4, 0, False), (12, 0, True)]
)
async def test_what_the_few_said_who_did_not_answer_the_whole_block_does_not_follow_from_how_touchpoints_are_rated(
    outside: int, left_out: int, shown: bool, tmp_path: Path
) -> None:
    chance, history = random.Random(outside + left_out), History()
    complete: set[str] = set()
    for back in range(20, 6, -1):
        # Wednesdays, from the 1st of July to the 30th of September 2026: a quarter of whole weeks
        at_ms = monday_ms(weeks_ago(back)) + 2 * DAY_MS
        for n in range(22 if back == 12 else 10):
            price, product = chance.randint(1, 5), chance.randint(1, 5)
            replies = {"nps": price + product, "exp_price": price, "exp_product": product}
            if back == 12 and n < left_out:
                del replies["exp_product"]
            sat(history, replies, at_ms=at_ms + n)
            if "exp_product" in replies:
                complete.add(history.answers[-1].session_id)
    for n in range(outside):
        # the day before the quarter begins, in its first week
        replies = {"nps": 1, "exp_price": 1, "exp_product": 1}
        sat(history, replies, at_ms=monday_ms(weeks_ago(20)) + DAY_MS + n)
    known, performances = Known(history), []
    for context, views in await digests_of(history, tmp_path, back=(13, 7)):
        told = render_json(context)
        known.read(told)
        known.views(views)
        for record in told["drivers"]:
            if "driver" in record:
                performances.append(record["driver"]["performance"])
                (name,) = record["driver"]["instruments"]
                mine = [a for a in history.answers if a.instrument == name and a.session_id in complete]
                assert record["n_valid"] == len(mine)
                if performances[-1] is not None:
                    known.totals[question_of(mine[0])].append(frozenset(a.id for a in mine))
        text = render_text(context)
        assert ("評価の値は、差し引きで求められるため非表示です。" in text) == (not shown and bool(told["drivers"]))
    assert [performance is not None for performance in performances] == [shown, shown]
    for question, totals in known.totals.items():
        assert worked_out(totals) == [], question


def rated(history: History, told: list[dict[str, Any]]) -> list[Units]:
    """Whose answers the performances of an analysis are of: those of everybody who has answered until then."""
    return [
        frozenset(answer.id for answer in history.answers if answer.instrument == record["driver"]["instruments"][0])
        for record in told
        if "driver" in record and record["driver"]["performance"] is not None
    ]


@pytest.mark.parametrize(("since", "shown"), [(0, True), (4, False), (12, True)])
async def test_what_the_few_said_whom_a_digest_of_months_did_not_wait_for_does_not_follow_from_the_next_of_weeks(
    since: int, shown: bool, tmp_path: Path
) -> None:
    chance, history = random.Random(since), History()

    def rate(n: int, *, at_ms: int) -> None:
        price, product = chance.randint(1, 5), chance.randint(1, 5)
        sat(history, {"nps": price + product, "exp_price": price, "exp_product": product}, at_ms=at_ms + n)

    for back in range(20, 8, -1):
        for n in range(12):
            rate(n, at_ms=monday_ms(weeks_ago(back)) + 2 * DAY_MS)
    monthly = DigestRule("monthly", every="month")
    shop = replace(SHOP, digests=(WEEKLY, monthly))
    told: list[Units] = []
    # the weeks of September are over on the 28th, its quarter two days later
    for rule, back in ((monthly, 8), (WEEKLY, 7)):
        (tmp_path / rule.id).mkdir()
        if rule is WEEKLY:
            for n in range(since):
                rate(n, at_ms=monday_ms(weeks_ago(7)) + DAY_MS)
        ((context, _),) = await digests_of(history, tmp_path / rule.id, back=(back,), rule=rule, shop=shop)
        found = rated(history, render_json(context)["drivers"])
        assert bool(found) == (shown or rule is monthly)
        told += found
    assert worked_out(told) == []


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
