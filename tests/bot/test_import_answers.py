"""`koe import answers`: history from another tool in the real store, once, and in the digest of its week."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bot.clock import StoryClock
from bot.events.answers import Imported, import_answers
from bot.standins.demo import DAY_MS, PRESENT, open_world
from flows.builtin import builtin_library
from reports.__main__ import make_digest, read_request
from reports.answers.file import AnswersFileError
from storage.records import Answer, Customer, RollupCell
from storage.store import Store, open_store
from tests.nursery import run

TOKYO = ZoneInfo("Asia/Tokyo")
NOW_MS = int(datetime(2026, 11, 23, 9, tzinfo=TOKYO).timestamp() * 1000)
LIBRARY = builtin_library()
_NPS = [9] * 50 + [7] * 30 + [0] * 20
HEAD = "answered_at,customer,instrument,value\n"
FULL = "answered_at,customer,survey_kind,touchpoint,channel,segment,session,instrument,value,lang,wording_id\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS) as opened:
        yield opened


async def imported(store: Store, tmp_path: Path, text: str) -> Imported:
    path = tmp_path / "answers.csv"
    path.write_text(text, "utf-8")
    return await import_answers(path, store=store, clock=StoryClock(NOW_MS), library=LIBRARY, tz=TOKYO)


async def answers_of(store: Store, customer: str, *, history: bool = False) -> list[Answer]:
    return await store.read(lambda tx: tx.answers_of(customer, history=history))


async def rollup(store: Store) -> list[RollupCell]:
    """The kept roll-up, checked against one made from raw rows."""
    kept = await store.read(lambda tx: tx.rollup("", "9999-12-31"))
    assert kept == await store.read(lambda tx: tx.recompute_rollup())
    return kept


async def test_a_row_becomes_an_answer_as_a_conversation_would_store_it(store: Store, tmp_path: Path) -> None:
    row = "2026-11-16T00:30:00+09:00,C1,transactional,purchase,mail,tokyo,r-7,sat5, ４点 ,ja,sat5.item\n"
    assert (await imported(store, tmp_path, FULL + row)).stored == 1
    (answer,) = await answers_of(store, "C1")
    assert (answer.instrument, answer.value, answer.missing, answer.numeric) == ("sat5", "4", "", True)
    # the Monday of the shop's week: in Greenwich it was still Sunday; the labels are those of the flow's wording
    assert (answer.week, answer.label_set) == ("2026-11-16", "plain")
    assert (answer.channel, answer.segment, answer.lang) == ("mail", "tokyo", "ja")
    assert answer.session_id.startswith("import-")


@pytest.mark.parametrize(
    ("instrument", "cell", "value", "missing"),
    [
        ("nps", "10点", "10", ""),
        ("nps", "わからない", "", "dk"),
        ("nps", "None", "", "skipped"),
        ("pay_more", "はい", "yes", ""),
        ("pay_more", "0", "no", ""),
        ("emotion", "trust;relief;trust;xyz", "relief;trust", ""),
        ("emotion", "none", "none", ""),
        ("emotion", "", "", "skipped"),
        ("reason", "  早い。丁寧 ", "早い。丁寧", ""),
        ("reason", "", "", "skipped"),
    ],
)
async def test_values_are_stored_in_one_spelling(
    store: Store, tmp_path: Path, instrument: str, cell: str, value: str, missing: str
) -> None:
    await imported(store, tmp_path, HEAD + f"2026-11-16,C1,{instrument},{cell}\n")
    (answer,) = await answers_of(store, "C1")
    assert (answer.value, answer.missing, answer.numeric) == (value, missing, instrument != "reason")
    await rollup(store)


async def test_a_file_imported_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    text = HEAD + "".join(f"2026-11-{10 + n % 7},C{n % 30},nps,{n % 11}\n" for n in range(700))
    first = await imported(store, tmp_path, text)
    before = await rollup(store)
    again = await imported(store, tmp_path, text)
    assert (again.stored, again.known) == (0, first.stored + first.known)
    assert await rollup(store) == before
    more = await imported(store, tmp_path, text + "2026-11-16,C99,nps,3\n")
    assert more.stored == 1


async def test_the_order_and_the_division_of_files_do_not_matter(tmp_path: Path) -> None:
    chance = random.Random(3)
    rows = [
        f"2026-11-{1 + n * 7919 % 20:02d}T10:{n // 60:02d}:{n % 60:02d},C{chance.randrange(40)},transactional,"
        f"{chance.choice(['purchase', 'support'])},mail,,{chance.choice(['', f's{n // 4}'])},"
        f"{chance.choice(['nps', 'sat5', 'reason'])},{chance.choice(['1', '4', '5', '', '３'])},ja,\n"
        for n in range(600)
    ]
    shuffled = chance.sample(rows, len(rows))
    kept = []
    for number, files in enumerate(([rows], [shuffled[:250], shuffled[250:], shuffled[100:300]])):
        (tmp_path / str(number)).mkdir()
        async with await open_store(f"sqlite:///{tmp_path / str(number) / 'koe.db'}", now_ms=NOW_MS) as store:
            for part in files:
                assert (await imported(store, tmp_path, FULL + "".join(part))).bad == 0
            kept.append(await rollup(store))
            assert await store.read(lambda tx: tx.check_integrity()) == []
    assert kept[0] == kept[1]
    assert kept[0]


async def test_of_one_session_the_latest_answer_to_a_question_counts(store: Store, tmp_path: Path) -> None:
    row = "2026-11-16T10:0{minute}:00,C1,,,,,s1,nps,{value},,\n"
    later, earlier = row.format(minute=5, value=9), row.format(minute=1, value=2)
    assert (await imported(store, tmp_path, FULL + later + earlier)).stored == 2
    assert [answer.value for answer in await answers_of(store, "C1")] == ["9"]
    assert {answer.value for answer in await answers_of(store, "C1", history=True)} == {"2", "9"}
    (cell,) = await rollup(store)
    assert (cell.value, cell.answers) == ("9", 1)


async def test_an_answer_corrected_in_the_other_tool_replaces_the_imported_one(store: Store, tmp_path: Path) -> None:
    row = "2026-11-16T10:00:00,C1,,,,,s1,nps,{},,\n"
    await imported(store, tmp_path, FULL + row.format(3))
    await imported(store, tmp_path, FULL + row.format(8))
    assert [(cell.value, cell.answers, cell.customers) for cell in await rollup(store)] == [("8", 1, 1)]


async def test_two_customers_of_one_session_name_are_two_sessions(store: Store, tmp_path: Path) -> None:
    rows = "2026-11-16,C1,,,,,s1,nps,9,,\n2026-11-16,C2,,,,,s1,nps,3,,\n"
    await imported(store, tmp_path, FULL + rows)
    assert sum(cell.answers for cell in await rollup(store)) == 2


async def test_bad_rows_are_told_by_line_and_the_good_ones_are_stored(store: Store, tmp_path: Path) -> None:
    rows = [
        "2026-11-16,C1,nps,9",
        ",C1,nps,9",
        "2026-11-16,,nps,9",
        "16.11.26,C1,nps,9",
        "2026-12-24,C1,nps,9",
        "1970-01-01,C1,nps,9",
        "2026-11-16,C1,nps,11",
        "2026-11-16,C1,foo,1",
        "2026-11-16,C1,nps",
        "2026-11-16,C1,emotion,xyz",
        f"2026-11-16,{'C' * 201},nps,9",
        "2026-11-17,C1,nps,8",
    ]
    result = await imported(store, tmp_path, HEAD + "\n".join(rows))
    assert (result.stored, result.bad) == (2, 10)
    assert [fault.line for fault in result.faults] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    words = ("empty", "customer is empty", "no time", "still to come", "before the year 2000", "from 0 to 10", "'foo'")
    for word, fault in zip((*words, "3 cells", "relief", "longer than"), result.faults, strict=True):
        assert word in fault.message
    kind = await imported(store, tmp_path, FULL + "2026-11-16,C1,yearly,,,,,nps,9,,\n")
    assert "survey_kind is 'yearly'" in kind.faults[0].message


async def test_a_file_without_times_or_customers_is_refused_as_a_whole(store: Store, tmp_path: Path) -> None:
    with pytest.raises(AnswersFileError, match=r":1: there is no column answered_at and no column customer"):
        await imported(store, tmp_path, "instrument,value\nnps,9\n")


async def test_long_texts_are_cut_and_told(store: Store, tmp_path: Path) -> None:
    result = await imported(store, tmp_path, HEAD + f"2026-11-16,C1,reason,{'あ' * 1200}\n")
    assert (result.stored, result.cut) == (1, 1)
    assert len((await answers_of(store, "C1"))[0].value) == 1000


async def test_who_was_erased_does_not_come_back_and_who_is_imported_can_be_erased(
    store: Store, tmp_path: Path
) -> None:
    text = HEAD + "2026-11-16,C1,nps,9\n2026-11-16,C2,nps,3\n2026-11-16,C1,reason,秘密\n"
    await imported(store, tmp_path, text)
    await store.write(lambda tx: tx.erase_customer("C1", NOW_MS))
    assert await answers_of(store, "C1", history=True) == []
    again = await imported(store, tmp_path, text)
    assert (again.stored, again.known, again.erased) == (0, 1, 2)
    assert [cell.value for cell in await rollup(store)] == ["3"]


async def test_history_starts_nothing_and_counts_in_no_response_rate(store: Store, tmp_path: Path) -> None:
    await store.write(lambda tx: tx.put_customer(Customer("C1", "山田", "ja", 1)))
    await imported(store, tmp_path, HEAD + "2026-11-16,C1,nps,0\n2026-11-16,C2,sat5,1\n")
    assert await store.read(lambda tx: tx.job_counts()) == {}
    assert await store.read(lambda tx: tx.open_case("C1")) is None
    assert await store.read(lambda tx: tx.sessions_of("C1")) == []
    counts = await store.read(lambda tx: tx.response_counts(0, NOW_MS))
    assert (counts.invited, counts.answered, counts.started) == (0, 0, 0)
    # an `every` rule asks customers it knows: an imported answer makes nobody known
    assert await store.read(lambda tx: tx.find_customer("C2")) is None


async def test_the_digest_of_their_week_shows_imported_answers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'koe.db'}"
    rows = [f"2026-11-{16 + n % 5},C{n},transactional,purchase,mail,,,nps,{v},ja,nps" for n, v in enumerate(_NPS)]
    async with await open_store(url, now_ms=NOW_MS) as store:
        await imported(store, tmp_path, FULL + "\n".join(rows))
    request = {
        "database": url,
        "now_ms": NOW_MS,
        "period": "2026-W47",
        "digest": {"id": "weekly"},
        "brand": {"ja": "声の店", "en": "Koe Store"},
    }
    made = await make_digest(read_request(json.dumps(request).encode()))
    assert "NPS® +30.0" in made["text"]
    assert "+14.1〜+44.2・n=100" in made["text"]
    assert "案内 0・回答 0" in made["text"]


async def test_a_customer_can_see_and_erase_imported_answers_in_the_chat(tmp_path: Path) -> None:
    start_ms = round(PRESENT.timestamp() * 1000)
    world = await open_world(tmp_path, start_ms=start_ms, shop={"digests": []})
    try:
        buyer = world.new_buyer("ja")
        await world.purchase(buyer)
        await world.until(lambda: bool(world.line.chat(buyer.line_user_id)), within_ms=DAY_MS)
        rows = [("sat5", "4", "sat5.item"), ("nps", "9", ""), ("emotion", "trust;relief", ""), ("reason", "早い", "")]
        path = tmp_path / "answers.csv"
        path.write_text(
            FULL + "".join(f"2026-03-16T10:00,{buyer.customer_id},,,mail,,,{i},{v},ja,{w}\n" for i, v, w in rows),
            "utf-8",
        )
        koe = world.koe
        result = await import_answers(path, store=koe.store, clock=world.clock, library=LIBRARY, tz=TOKYO)
        assert (result.stored, result.bad) == (4, 0)
        transcript = ""
        for said in ("やめる", "私の回答"):
            before = len(world.line.transcript(buyer.line_user_id))
            await world.line.says(buyer.line_user_id, said)
            await world.advance(8_000)
            transcript = world.line.transcript(buyer.line_user_id)[before:]
        for words in ("やや満足", "9点", "安心感", "信頼", "早い", "[削除する]"):
            assert words in transcript
        assert "[訂正する]" not in transcript
        for _ in range(2):  # the offer, then the question whether it is meant
            await world.line.taps_label(buyer.line_user_id, "削除する")
            await world.advance(8_000)
        assert "ご回答を削除しました" in world.line.transcript(buyer.line_user_id)
        assert await answers_of(koe.store, buyer.customer_id, history=True) == []
        assert await rollup(koe.store) == []
    finally:
        await world.close()


def test_the_command_stores_a_file_beside_a_shop_and_counts_what_it_did(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "koe.yaml").write_text((root / "koe.example.yaml").read_text("utf-8"), "utf-8")
    (tmp_path / "answers.csv").write_text(HEAD + "2026-06-16,C1,nps,9\n2026-06-16,C1,nps,12\n", "utf-8")

    first, again = (run("import", "answers", "answers.csv", cwd=tmp_path, strict=True) for _ in range(2))
    assert (first.returncode, first.stdout) == (1, "1 stored, 0 known before, 1 bad.\n")
    assert "answers.csv:3: value is '12', no answer to nps: a whole number from 0 to 10." in first.stderr
    assert again.stdout == "0 stored, 1 known before, 1 bad.\n"


async def test_the_example_of_the_page_on_answers_can_be_imported(store: Store, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "answers.md").read_text("utf-8")
    example = page.split("```csv\n", 1)[1].split("```", 1)[0]
    result = await imported(store, tmp_path, example)
    assert (result.stored, result.bad, result.unused) == (4, 0, ())
    form = await answers_of(store, "C001")
    assert len({answer.session_id for answer in form}) == 1
    # the wordings of the page are those the flows ask with
    labels = {answer.instrument: answer.label_set for answer in form}
    assert labels["sat5"] == "plain"
    asked = {question.wording_id for flow in LIBRARY.flows.values() for question in flow.questions}
    assert {answer.wording_id for answer in form if answer.wording_id} <= asked
