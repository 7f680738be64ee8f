"""The figures put together: from the store week by week, from a file, and what is said below a target."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from report_history import DAY_MS, MONDAY, NOW_MS, TOKYO, History, monday_ms, weeks_ago
from shop_events import bought, happened, one, tables, window

from flows.state import State
from reports.answers.render import notes, render_json, render_table
from reports.answers.report import Measured, measure_file
from reports.instruments import bundled_instruments, specs_of
from reports.kpi import words as words
from reports.kpi.kpis import kpis
from reports.kpi.report import Hint, KpiReport, hints_of, kpi_report, read_kpis, report_of, to_json
from reports.kpi.window import KpiSettings, Window
from reports.linkage import Compared, GroupTest, Linkage
from reports.look_back import AnswerWeeks
from reports.metrics import record
from reports.procedures import share
from reports.segments import Deed
from reports.words import Language, Words, sentences_in
from storage.records import Event, Invitation, Session
from storage.store import Tx, open_store

SPECS = specs_of(bundled_instruments())
WEEK = Window(monday_ms(), monday_ms() + 7 * DAY_MS, NOW_MS, TOKYO)


def events_of(deeds: list[Deed]) -> list[Event]:
    return [
        Event(f"e{number:06}", deed.type, deed.at_ms, deed.at_ms, deed.customer, json.dumps(deed.data))
        for number, deed in enumerate(deeds)
    ]


def week(back: int, day: float = 1) -> int:
    """An instant of a week before the digest's."""
    return monday_ms(weeks_ago(back)) + int(day * DAY_MS)


async def gathered(
    folder: Path,
    deeds: list[Deed],
    *,
    history: History | None = None,
    more: Any = None,
    linked: bool = True,
    **asked: Any,
) -> KpiReport:
    store = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=NOW_MS)

    def unit(tx: Tx) -> None:
        for event in events_of(deeds):
            tx.note_event(event)
        if history is not None:
            history.store(tx)
        if more is not None:
            more(tx)

    async with store:
        await store.write(unit)
        reading = await store.read(
            lambda tx: read_kpis(tx, AnswerWeeks(tx, TOKYO), monday=MONDAY, now_ms=NOW_MS, specs=SPECS, linked=linked)
        )
    return kpi_report(reading, reading.events.tables(), **asked)


def shop() -> list[Deed]:
    """Twelve weeks of orders, a contract of long ago, and a customer who comes back after years."""
    deeds = [happened("old", "contract_start", week(300)), happened("back", "purchase", week(120))]
    for back in range(12):
        for i in range(40):
            deeds.append(
                happened(f"c{back}-{i}", "purchase", week(back, 1 + i / 20), amount=1000 + i, order=f"{back}-{i}")
            )
            if i % 4 == 0:
                deeds.append(happened(f"c{back}-{i}", "purchase", week(back, 5), amount=500))
    return [*deeds, happened("back", "purchase", week(0, 2)), happened("back", "purchase", week(0, 4))]


async def test_a_week_from_the_store_is_the_week_of_the_same_events_in_hand(tmp_path: Path) -> None:
    found = await gathered(tmp_path, shop())
    direct = [r for r in kpis(tables(shop()), WEEK) if r.metric != "ltv"]
    assert [r for r in found.results if r.metric != "ltv"] == [r.shown() for r in direct]
    # who bought long ago is not new, however far back that was
    assert one(found.results, "new_customers", "count").score == 40.0
    assert one(found.results, "churn_rate").counts == {}
    assert one(found.results, "churn_rate").n_valid == 1
    # the orders of the one who came back have no amount
    value = one(found.results, "ltv", "ltv_simple")
    assert (value.window.end, value.n_valid) == ((MONDAY + timedelta(weeks=1)).isoformat(), 480)


async def test_the_last_eight_weeks_stand_beside_it_and_the_time_of_computation(tmp_path: Path) -> None:
    found = await gathered(tmp_path, shop())
    rates = found.series[("repeat_rate", "share")]
    assert [r.window.start for r in rates] == [weeks_ago(back).isoformat() for back in range(7, -1, -1)]
    assert [r.counts["yes"] for r in rates] == [10] * 7 + [11]
    assert found.computed_ms == NOW_MS
    assert to_json(found)["computed_at"] == NOW_MS
    json.dumps(to_json(found), allow_nan=False)


async def test_an_event_that_comes_late_changes_its_week(tmp_path: Path) -> None:
    late = happened("c3-1", "purchase", week(3, 6), amount=1)
    (tmp_path / "with").mkdir()
    before = (await gathered(tmp_path, shop())).series[("repeat_rate", "share")]
    after = (await gathered(tmp_path / "with", [*shop(), late])).series[("repeat_rate", "share")]
    assert [b.counts["yes"] - a.counts["yes"] for a, b in zip(before, after, strict=True)] == [0, 0, 0, 0, 1, 0, 0, 0]


async def test_events_go_through_in_pages_and_none_is_lost_or_read_twice(tmp_path: Path) -> None:
    visits = [happened("", "visit", week(0, 1), visitor=f"v{i}", converted=i % 3 == 0) for i in range(4_100)]
    found = one((await gathered(tmp_path, visits, linked=False)).results, "cvr")
    assert (found.n_valid, found.counts["yes"]) == (4_100, 1_367)


async def test_what_customers_did_after_answering_comes_from_stored_answers(tmp_path: Path) -> None:
    history = History()
    for i in range(60):
        rating = 10 if i < 30 else 3
        history.answer("nps", rating, customer=f"p{i}", at_ms=week(16) + i, monday=weeks_ago(16))
        history.answer("affinity", 5 if i < 30 else 1, customer=f"p{i}", at_ms=week(16) + i, monday=weeks_ago(16))
    history.answer("nps", 10, customer="young", at_ms=week(2), monday=weeks_ago(2))
    deeds = [event for i in range(40) for event in (happened(f"p{i}", "purchase", week(15)),)]
    found = await gathered(tmp_path, deeds, history=history)
    (by_nps, by_segment) = found.linkages
    assert [(r.n_valid, r.score) for r in by_nps.groups] == [(30, 100.0), (0, None), (30, pytest.approx(100 / 3))]
    assert by_nps.test is not None
    assert by_nps.test.p < 0.001
    assert by_segment.of.by == "psy_beh"
    assert [r.n_valid for r in by_segment.groups] == [0, 30, 0, 30]
    (tmp_path / "plain").mkdir()
    assert (await gathered(tmp_path / "plain", deeds, history=history, linked=False)).linkages == ()


async def test_where_a_conversation_was_left_is_read_from_its_state(tmp_path: Path) -> None:
    from flows.state import Recorded

    def talks(tx: Tx) -> None:
        for i in range(12):
            state = State("ja", {}, {}, shown={"sat": 1, "nps": 2}, answers={"sat": Recorded("5", "", 1, 2)})
            if i >= 9:
                state.answers["nps"] = Recorded(None, "skipped", 2, 3)
            text = "" if i == 0 else state.dump()
            at_ms = week(0, 1)
            tx.put_invitation(
                Invitation(
                    f"i{i:02}", "t", "after_purchase", "transactional", "purchase", f"c{i}", "", "line", "", "sent", "",
                    at_ms, at_ms, None, at_ms, f"s{i:02}",
                )
            )  # fmt: skip
            tx.new_session(
                Session(
                    f"s{i:02}", f"i{i:02}", "after_purchase", "r", "transactional", "purchase", "", f"c{i}", "line",
                    "w", f"c{i}", "ja", text, "expired", 1, at_ms, at_ms, None, None,
                )
            )  # fmt: skip

    found = (await gathered(tmp_path, [], more=talks)).results
    left = {r.segment: r.counts for r in found if r.variant == "drop_off"}
    assert left == {
        "question=after_purchase/nps": {"yes": 8, "no": 3},
        "question=after_purchase/sat": {"yes": 0, "no": 11},
    }


# ------------------------------------------------------------------------------------------------------- a file


def measured(folder: Path, deeds: list[Deed], rows: list[str], **more: Any) -> Measured:
    path = folder / "answers.csv"
    head = "answered_at,customer,survey_kind,touchpoint,instrument,value\n"
    path.write_text(head + "\n".join(rows), encoding="utf-8")
    return measure_file(path, SPECS, tz=TOKYO, deeds=deeds, **more)


def answered(n: int = 40) -> list[str]:
    return [f"2026-05-0{1 + i % 7},c{i:04},relational,relationship,nps,{(10, 8, 3)[i % 3]}" for i in range(n)]


def year() -> list[Deed]:
    again = [event for i in range(0, 40, 2) for event in bought(f"c{i:04}", 60, amount=900)]
    return [*(event for i in range(40) for event in bought(f"c{i:04}", 1, amount=1000)), *again, *bought("x", 120)]


def test_a_file_of_events_is_one_window_and_its_figures_are_records_like_any_other(tmp_path: Path) -> None:
    found = json.loads(render_json(measured(tmp_path, year(), answered())))
    (rate,) = [r for r in found if r["metric"] == "repeat_rate"]
    assert (rate["score"], rate["n_valid"], rate["unit"]) == (pytest.approx(2000 / 41), 41, "per_customer")
    assert rate["window"] == {"start": "2026-05-01", "end": "2026-08-29"}
    groups = [r for r in found if r["metric"] == "linkage_repeat_rate"]
    assert [(r["segment"], r["n_valid"]) for r in groups] == [
        ("nps=promoter", 14),
        ("nps=passive", 13),
        ("nps=detractor", 13),
    ]
    assert groups[0]["test"]["method"] == "chi2"
    assert groups[0]["survey_kind"] == "relational"


def test_since_begins_the_window_and_what_was_before_is_history(tmp_path: Path) -> None:
    since = window(20).start_ms
    report = measured(tmp_path, year(), answered(), since_ms=since).kpis
    assert report is not None
    assert (one(report.results, "new_customers", "count").score, report.window.start_ms) == (1.0, since)


def test_groups_of_few_customers_are_hidden_in_every_format(tmp_path: Path) -> None:
    small = measured(tmp_path, year(), answered(24))
    records = [r for r in json.loads(render_json(small)) if r["metric"] == "linkage_repeat_rate"]
    assert [(r["n_valid"], r["score"], r["counts"], r["why_no_test"]) for r in records] == [
        (8, None, {}, "few_customers")
    ] * 3
    block = render_table(small, SPECS, "en").split("[linkage_repeat_rate]")[1].split("\n\n")[0]
    assert "not shown, n<10" in block
    assert "%" not in block


def test_a_file_without_events_that_count_has_no_figures(tmp_path: Path) -> None:
    assert measured(tmp_path, [happened("a", "unheard", 1)], answered()).kpis is None
    found = measured(tmp_path, year(), ["2026-05-01,,relational,relationship,nps,9"])
    assert found.kpis is not None
    assert found.kpis.linkages == ()


def test_events_without_a_field_they_need_are_counted_and_named(tmp_path: Path) -> None:
    found = measured(tmp_path, [*year(), happened("a", "return", window().start_ms)], answered())
    assert "Business events without a field that their figure needs, not counted: 1" in notes(found, "en")
    assert notes(measured(tmp_path, year(), answered()), "ja") == []


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_table_says_what_to_do_and_that_its_intervals_are_a_guide(tmp_path: Path, lang: Language) -> None:
    found = measured(tmp_path, year(), answered(), targets={"repeat_rate": 90, "nps": 90, "aov": 1})
    text = render_table(found, SPECS, lang)
    say = sentences_in(lang)
    assert {hint.hint for hint in found.hints} == {"repeat", "nps"}
    assert all(say.said("kpi_advice", hint=hint) in text for hint in found.hints)
    assert say.said("kpi_census") in text
    assert say.said("linkage_cause") in text
    assert ("円" if lang == "ja" else " yen") in text


# ------------------------------------------------------------------------------------------------- targets and hints


def figure(metric: str, yes: int, n: int, variant: str = "share") -> Any:
    return record(metric, variant, share(yes, n), n, form="share")


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ({"repeat_rate": 60}, ["repeat"]),
        ({"repeat_rate": 50}, []),
        ({"return_rate": 40}, ["cohort"]),
        ({"return_rate": 60}, []),
        ({"captive_share": 10}, ["captive"]),
        ({"promise_kept_rate": 99}, []),
        ({"cvr": 99}, []),
    ],
)
def test_a_hint_is_given_on_the_wrong_side_of_a_target_only(targets: dict[str, float], expected: list[str]) -> None:
    found = [
        figure("repeat_rate", 20, 40),
        figure("return_rate", 20, 40),
        figure("promise_kept_rate", 1, 9),
        figure("cvr", 1, 90),
        figure("repeat_intent", 1, 90, "top2"),
        figure("repeat_intent", 20, 40, "captive_share"),
    ]
    assert [hint.hint for hint in hints_of(found, targets)] == expected


def test_a_hint_names_the_figure_and_its_target() -> None:
    (hint,) = hints_of([figure("repeat_rate", 1, 40)], {"repeat_rate": 30})
    assert sentences_in("ja").said("kpi_hint", hint=hint, name="リピート率") == (
        "リピート率 2.5%（目標 30.0%）：初回購入後のフォローや、クーポン・ポイントの検討をおすすめします。"
    )


def test_money_days_and_counts_are_written_with_their_units() -> None:
    ja, en = Words("ja"), Words("en")
    assert [ja.value(1234.5, form) for form in ("money", "days", "hours", "seconds", "count", "per_100", "rho")] == [
        "1,235円", "1234.5日", "1234.5時間", "1,235秒", "1,235", "1234.5", "1234.50",
    ]  # fmt: skip
    assert (en.value(-1200, "money"), en.interval(4800, 5200, "money")) == ("-1,200 yen", "4,800 to 5,200 yen")


def test_groups_are_said_to_go_together_and_never_that_one_caused_the_other() -> None:
    plain = Linkage(Compared("nps"), "repeat_rate", (), (), GroupTest("chi2", 5.8, 2, 0.0538))
    ja, en = sentences_in("ja"), sentences_in("en")
    assert ja.said("linkage_test", linkage=plain) == "グループによる差があるとは言えません（p=0.054）。"
    sure = replace(plain, test=GroupTest("chi2", 50.0, 2, 1e-9))
    assert ja.said("linkage_test", linkage=sure) == "グループと関連があります（p<0.001）。"
    assert en.said("linkage_test", linkage=replace(plain, test=None)).startswith("There are too few")


# ------------------------------------------------------------------------------------------------------------ words


def test_every_sentence_exists_in_both_languages_and_in_the_houses_tone() -> None:
    for table in (words._NAMES, words._VARIANTS, words._GROUPS):
        assert table["ja"].keys() == table["en"].keys()
        for name in table["ja"].values():
            assert not set("!！?") & set(name)
    assert set(words.HINTS) - set(words.TARGETS) == {"nps", "ces_effort"}
    hints = [Hint(name, figure("repeat_rate", 1, 40), 30, hint) for name, hint in words.HINTS.items()]
    for lang in ("ja", "en"):
        say = sentences_in(lang)  # type: ignore[arg-type]
        said = [say.said("kpi_advice", hint=hint) for hint in hints]
        said += [say.said("kpi_flag", flag=flag) for flag in words.FLAGS]
        assert not [sentence for sentence in said if not sentence or set("!！?") & set(sentence)]


def test_every_figure_has_a_name_and_every_target_is_a_figure() -> None:
    everything = [
        *bought("a", 1, order="1"),
        *(happened("a", type_, window().start_ms, **data) for type_, data in _ONE_EACH),
    ]
    found = kpis(tables(everything), window(), KpiSettings())
    assert {r.metric for r in found if not words.kpi_name(r.metric, "ja")} == set()
    made = {(r.metric, r.variant) for r in found} | {("repeat_intent", "captive_share")}
    assert {(kpi.metric, kpi.variant) for kpi in words.TARGETS.values()} <= made


_ONE_EACH: list[tuple[str, dict[str, Any]]] = [
    ("contract_start", {}),
    ("delivery", {"order": "1", "due": "2026-05-09"}),
    ("visit", {"visitor": "v"}),
    ("referral", {"new_customer": "n", "referrer": "a"}),
    ("ugc", {}),
    ("ticket_opened", {"ticket": "t"}),
    ("faq_search", {"query": "x", "hits": 0}),
    ("faq_feedback", {"resolved": True}),
    ("message_delivered", {"message": "m"}),
    ("page_view", {"page": "/"}),
    ("survey_delivered", {"session": "s"}),
]


def test_a_report_of_events_in_hand_has_no_weeks_before() -> None:
    report = report_of(tables(bought("a", 3)), window(), computed_ms=5)
    assert (report.series, report.linkages, report.computed_ms) == ({}, (), 5)
