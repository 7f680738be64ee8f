"""All trust balances together: the records, what they hide, and the same numbers read from a store."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from reports import procedures
from reports.metrics import Span
from reports.trust.account import DAY_MS, Entry, ledger
from reports.trust.portfolio import Account, Portfolio, gather_portfolio, named, portfolio_of
from reports.trust.words import notice
from reports.words import Language, sentences_in
from storage.records import Customer, Event
from storage.store import Tx, open_store

WINDOW = Span("2026-11-16", "2026-11-23")
TOKYO = ZoneInfo("Asia/Tokyo")
START = 1_794_754_800_000
"""2026-11-16 00:00 in Tokyo."""
END = START + 7 * DAY_MS


def portfolio_lines(found: Portfolio, lang: Language) -> list[str]:
    return sentences_in(lang).lines("trust_lines", **named(found, lang))


def account(*entries: tuple[str, float]) -> Account:
    """Of (type, days before the end of the window)."""
    made = [Entry(f"e{n}", int(END - ago * DAY_MS), type_) for n, (type_, ago) in enumerate(entries)]
    return Account(ledger(made, START - 1).balance, ledger(made, END))


def test_the_records_of_a_portfolio_are_those_worked_by_hand() -> None:
    accounts = [
        *(account(("promise_kept", 30)) for _ in range(20)),
        *(account(("promise_kept", 30), ("billing_error", 2)) for _ in range(12)),
        *(account(("late_delivery", 20)) for _ in range(10)),
    ]
    found = portfolio_of(accounts, window=WINDOW)
    kept, error, late = 2 * 2 ** (-30 / 180), -8 * 2 ** (-2 / 360), -4 * 2 ** (-20 / 360)
    balances = [kept] * 20 + [kept + error] * 12 + [late] * 10
    assert found.mean.score == pytest.approx(statistics.mean(balances), abs=1e-9)
    assert found.median.score == pytest.approx(statistics.median(balances), abs=1e-9)
    rng = np.random.default_rng(12345)
    drawn = np.array(balances)[rng.integers(0, 42, size=(2000, 42))]
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    assert (found.mean.ci_low, found.mean.ci_high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    assert (found.median.ci_low, found.median.ci_high) == (pytest.approx(low), pytest.approx(high))
    share = procedures.share(22, 42)
    assert (found.overdrawn.score, found.overdrawn.ci_low) == (share.score, share.low)
    assert (found.crossed.score, found.crossed.n_valid) == (12, 42)
    sums = {part.variant: (part.score, part.n_valid) for part in found.behaviours if part.n_valid}
    assert sums == {
        "sum_promise": (pytest.approx(32 * kept + 10 * late), 42),
        "sum_honesty": (pytest.approx(12 * error), 12),
    }
    assert [(part.variant, part.score, part.n_valid) for part in found.withdrawals] == [
        ("withdrawal_billing_error", pytest.approx(12 * error), 12),
        ("withdrawal_late_delivery", pytest.approx(10 * late), 10),
    ]
    assert all(part.to_json()["window"] == {"start": "2026-11-16", "end": "2026-11-23"} for part in found.results)


def test_nobody_is_no_data_and_a_few_are_hidden() -> None:
    nobody = portfolio_of([], window=WINDOW)
    assert {part.status for part in nobody.results} == {"no_data"}
    assert {part.score for part in nobody.results} == {None}
    few = portfolio_of([account(("billing_error", 2))] * 9, window=WINDOW)
    assert {part.status for part in few.results} == {"suppressed", "no_data"}
    assert all(part.shown().score is None for part in few.results)
    assert few.withdrawals == ()
    assert few.mean.ci_low is None
    for found, ja, en in ((nobody, "記録のあるお客さまはいません", "No customer"), (few, "n<10 のため非表示", "n<10")):
        assert ja in portfolio_lines(found, "ja")[0]
        assert en in portfolio_lines(found, "en")[0]
        assert len(portfolio_lines(found, "ja")) == 1


def test_what_a_few_customers_suffered_cannot_be_had_by_subtraction() -> None:
    accounts = [
        *(account(("late_delivery", 2)) for _ in range(40)),
        *(account(("promise_broken", 2), ("personal_note", 3)) for _ in range(15)),
        *(account(("reply_overdue", 2)) for _ in range(3)),
        *(account(("terms_surprise", 2)) for _ in range(4)),
    ]
    found = portfolio_of(accounts, window=WINDOW)
    hidden = {part.variant for part in found.behaviours if part.status == "suppressed"}
    assert hidden == {"sum_clarity", "sum_care"}
    assert [part.variant for part in found.withdrawals] == ["withdrawal_late_delivery"]
    told = "\n".join(portfolio_lines(found, "ja"))
    assert "期待を明確にする n<10 のため非表示" in told
    assert "約束の不履行" not in told


def test_the_words_carry_number_interval_n_and_what_it_is_not() -> None:
    accounts = [account(("promise_kept", 30))] * 20 + [account(("billing_error", 2))] * 12
    found = portfolio_of(accounts, window=WINDOW)
    ja, en = portfolio_lines(found, "ja"), portfolio_lines(found, "en")
    assert ja[0].startswith("平均 -1.87（95%信頼区間 -3.")
    assert ja[0].endswith("・n=32")
    assert ja[1].startswith("赤字のお客さま 37.5%（95%信頼区間 ")
    assert ja[1].endswith("この期間に0を下回った方 12人")
    assert ja[2] == "行動別の合計：約束を守る +35.6（20人）、誠実さを示す -95.6（12人）"
    assert ja[3] == "おもな引き出し：請求の誤り -95.6（12人）"
    assert en[3] == "Heaviest withdrawals: a billing error -95.6 (12 customers)"
    assert (ja[-1], en[-1]) == (notice("ja"), notice("en"))
    caution = portfolio_of(accounts[:15], window=WINDOW)
    assert portfolio_lines(caution, "ja")[0].startswith("参考値（n=15） ")
    assert "+1.78" in portfolio_lines(caution, "en")[0]


async def test_the_portfolio_of_a_store_is_that_of_its_customers(tmp_path: Path) -> None:
    def unit(tx: Tx) -> None:
        for number in range(12):
            customer = f"C{number:02}"
            tx.put_customer(Customer(customer, "", "", START))
            due = {"order": str(number), "due": "2026-11-17"}
            at_ms = START + (1 if number < 8 else 3) * DAY_MS
            tx.note_event(Event(f"d{number}", "delivery", at_ms, at_ms, customer, json.dumps(due)))
        tx.put_customer(Customer("quiet", "", "", START))
        tx.note_event(Event("later", "billing_error", END, END, "quiet", "{}"))
        old_ms = END - 4000 * DAY_MS
        tx.note_event(Event("ancient", "billing_error", old_ms, old_ms, "C00", "{}"))

    async with await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=END) as store:
        await store.write(unit)
        found = await store.read(lambda tx: gather_portfolio(tx, START, END, tz=TOKYO, window=WINDOW))
    assert (found.mean.n_valid, found.crossed.score, found.overdrawn.counts["overdrawn"]) == (12, 4, 4)
    on_time, late = 2 ** (-6 / 180), -4 * 2 ** (-4 / 360)
    assert found.mean.score == pytest.approx((8 * on_time + 4 * late) / 12, abs=1e-6)
