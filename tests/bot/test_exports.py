"""`koe export`: whole or not there, the same after a kill, inert in a spreadsheet, masked unless said otherwise,
audited, and read again by Koe."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow.parquet as pq
import pytest
from msgspec import structs
from test_cli import environment, koe

from bot.clock import Chance, StoryClock
from bot.events.answers import import_answers
from bot.events.files import Row, import_events, read_rows
from bot.exports import CannotExport, Exported, Wanted, export
from flows.builtin import builtin_library
from reports.answers.report import measure_file
from reports.export_columns import ANSWERS, CASES, EVENTS, REPLACED
from reports.instruments import bundled_instruments, specs_of
from reports.sheets import Form, unguard
from storage import failpoints
from storage.failpoints import FailpointError
from storage.records import Answer, Case, Event, Session
from storage.store import Store, Tx, open_store

ROOT = Path(__file__).parents[2]
TOKYO = ZoneInfo("Asia/Tokyo")
DAY_MS = 86_400_000
START_MS = int(datetime(2026, 11, 2, 9, tzinfo=TOKYO).timestamp() * 1000)
NOW_MS = START_MS + 30 * DAY_MS
WORDS = ["=1+1", "電話は090-1234-5678です", '良い、"とても"\nまた来ます', "＠こえ", "山田です;taro@example.com", "－5"]


def answer(number: int, **other: Any) -> Answer:
    at_ms = START_MS + number * 7_200_123
    instrument, value = [("nps", str(number % 11)), ("emotion", "relief;trust"), ("reason", WORDS[number // 3 % 6])][
        number % 3
    ]
    given = Answer(
        id=f"a-{number:05d}", session_id=f"s-{number // 3:05d}", customer_id=f"C{number // 3 % 40:03d}",
        question=instrument, instrument=instrument, wording_id="w", label_set="l", value=value, missing="",
        numeric=instrument != "reason", lang="ja", channel="line", survey_kind="transactional", touchpoint="purchase",
        segment=["渋谷", ""][number % 2], flow_id="after_purchase", revision="r1", shown_ms=at_ms - 4_000,
        answered_ms=at_ms, week="2026-11-02",
    )  # fmt: skip
    day = datetime.fromtimestamp(at_ms / 1000, TOKYO).date()
    week = date.fromordinal(day.toordinal() - day.weekday()).isoformat()
    return structs.replace(given, **({"week": week} | other))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'koe.db'}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A server's store, with three hundred answers of 25 days, one corrected, one missing, one to an own question."""

    def fill(tx: Tx) -> None:
        for number in range(300):
            tx.record_answer(answer(number))
        tx.record_answer(answer(0, id="a-0-again", value="10", answered_ms=START_MS + 60_000))
        tx.record_answer(answer(3, value="", missing="dk", id="dk", session_id="s-x"))
        tx.record_answer(answer(6, value="", missing="skipped", id="skipped", session_id="s-y"))
        tx.record_answer(answer(9, value="yes", question="gift", instrument="", id="own", session_id="s-z"))

    async with await open_store(url, now_ms=START_MS, server=True) as opened:
        await opened.write(fill)
        yield opened


async def exported(url: str, path: Path, *, what: Any = "answers", form: Form = "csv", **other: Any) -> Exported:
    wanted = Wanted(what=what, form=form, path=path, **other)
    return await export(wanted, database_url=url, tz=TOKYO, clock=StoryClock(NOW_MS), chance=Chance())


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def test_answers_stand_in_a_file_that_excel_opens_with_their_dictionary(
    store: Store, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "answers.csv"
    done = await exported(url, path)
    rows = table(path)
    assert done.rows == len(rows) == 303
    assert path.read_bytes().startswith(
        b"\xef\xbb\xbfanswered_at,customer,survey_kind,touchpoint,channel,segment,session,"
    )
    first = rows[0]
    assert (first["answered_at"], first["value"]) == ("2026-11-02T09:01:00.000+09:00", "10")
    assert [row["value"] for row in rows if row["answer"] in ("dk", "skipped")] == ["わからない", ""]
    meanings = table(done.dictionary)
    assert [row["column"] for row in meanings] == list(first)
    assert all(row["meaning_ja"] and row["meaning_en"] for row in meanings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {name for name in os.listdir(tmp_path) if "answers" in name} == {path.name, done.dictionary.name}


async def test_words_are_masked_and_inert_and_only_unmasked_on_demand(store: Store, url: str, tmp_path: Path) -> None:
    shown = {}
    for unmasked in (False, True):
        path = tmp_path / f"{unmasked}.csv"
        await exported(url, path, unmasked=unmasked)
        shown[unmasked] = {row["value"] for row in table(path) if row["free_text"] == "1"}
        assert not [text for text in shown[unmasked] if re.match(r"\s*[=+\-@＝＋－＠\t]", text)]
    assert {unguard(text) for text in shown[True]} == set(WORDS)
    assert "電話は<PHONE>です" in shown[False]
    assert not [text for text in shown[False] if "090" in text or "taro" in text]
    entries = await store.read(lambda tx: tx.audit_entries())
    assert {entry.actor for entry in entries} == {"operator"}
    assert [(entry.action, entry.detail) for entry in sorted(entries, key=lambda entry: entry.detail)] == [
        ("export.answers.begun", "2026-11-02..2026-12-02 csv masked"),
        ("export.answers.done", "2026-11-02..2026-12-02 csv masked rows=303"),
        ("export.answers.begun", "2026-11-02..2026-12-02 csv unmasked"),
        ("export.answers.done", "2026-11-02..2026-12-02 csv unmasked rows=303"),
    ]


async def test_period_flow_segment_and_history_choose_the_rows(store: Store, url: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    await exported(url, path, first_day=date(2026, 11, 3), last_day=date(2026, 11, 4), segment="渋谷")
    rows = table(path)
    assert {row["answered_at"][:10] for row in rows} == {"2026-11-03", "2026-11-04"}
    assert {row["segment"] for row in rows} == {"渋谷"}
    await exported(url, path, flow="relational")
    assert table(path) == []
    await exported(url, path, history=True)
    assert {row["answer"]: row["replaced_at"] for row in table(path) if row["replaced_at"]} == {
        "a-00000": "2026-11-02T09:01:00.000+09:00"
    }
    with pytest.raises(CannotExport, match="--from 2026-11-05 lies after --to 2026-11-04"):
        await exported(url, path, first_day=date(2026, 11, 5), last_day=date(2026, 11, 4))


async def test_koe_metrics_measures_an_export_as_it_measures_the_store(store: Store, url: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    for history in (False, True):
        await exported(url, path, history=history)
        measured = measure_file(path, specs_of(bundled_instruments()), texts=("reason",), tz=TOKYO, unit="per_event")
        (net,) = [r for r in measured.results if (r.metric, r.variant) == ("nps", "net")]
        values = [
            int(a.value)
            for a in await store.read(lambda tx: tx.answers_between(0, NOW_MS, instrument="nps"))
            if not a.missing
        ]
        share = [sum(v >= 9 for v in values) / len(values), sum(v <= 6 for v in values) / len(values)]
        assert net.n_valid == len(values)
        assert net.score == pytest.approx(100 * (share[0] - share[1]), abs=1e-6)
        assert (measured.bad, measured.own, measured.former) == (0, 1, int(history))


async def test_an_export_imported_elsewhere_counts_the_same_and_here_changes_nothing(
    store: Store, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "answers.csv"
    await exported(url, path, unmasked=True)
    clock, library = StoryClock(NOW_MS), builtin_library()
    here = await import_answers(path, store=store, clock=clock, library=library, tz=TOKYO)
    assert (here.stored, here.known, here.bad, here.own) == (0, 302, 0, 1)
    async with await open_store(f"sqlite:///{tmp_path / 'other.db'}", now_ms=NOW_MS) as other:
        there = await import_answers(path, store=other, clock=clock, library=library, tz=TOKYO)
        assert (there.stored, there.bad, there.own) == (302, 0, 1)
        assert await other.read(lambda tx: tx.rollup("", "9999")) == await store.read(lambda tx: tx.rollup("", "9999"))
        texts = await other.read(lambda tx: tx.answers_between(0, NOW_MS, instrument="reason"))
        assert {text.value for text in texts} == set(WORDS)
        times = {a.answered_ms for a in await store.read(lambda tx: tx.answers_between(0, NOW_MS)) if a.instrument}
        assert {a.answered_ms for a in await other.read(lambda tx: tx.answers_between(0, NOW_MS))} == times
        # the export of an import is known as well
        await exported(f"sqlite:///{tmp_path / 'other.db'}", path, unmasked=True)
        again = await import_answers(path, store=other, clock=clock, library=library, tz=TOKYO)
        assert (again.stored, again.known) == (0, 302)


@pytest.mark.parametrize("form", ["csv", "xlsx", "parquet"])
@pytest.mark.parametrize("point", ["export.window=raise@4", "export.before_rename=raise"])
async def test_an_interrupted_export_goes_on_to_the_same_file(
    store: Store, url: str, tmp_path: Path, form: Form, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.exports._PAGE", 7)
    whole, path = tmp_path / f"whole.{form}", tmp_path / f"broken.{form}"
    await exported(url, whole, form=form)
    path.write_text("of yesterday")
    failpoints.arm(point)
    with pytest.raises(FailpointError):
        await exported(url, path, form=form)
    failpoints.arm("")
    assert path.read_text() == "of yesterday"
    # what was written after the last whole window does not count, and later answers are not of this export
    with (tmp_path / f"broken.{form}.partial").open("ab") as torn:
        torn.write(b"half a line")
    await store.write(lambda tx: tx.record_answer(answer(400, answered_ms=NOW_MS + 5)))
    wanted = Wanted(what="answers", form=form, path=path, resume=True)
    done = await export(
        wanted, database_url=url, tz=TOKYO, clock=StoryClock(NOW_MS + DAY_MS), chance=Chance()
    )  # fmt: skip
    assert done.rows == 303
    assert 0 < done.resumed_after <= 303
    assert path.read_bytes() == whole.read_bytes()
    assert not [name for name in os.listdir(tmp_path) if ".partial" in name]


async def test_an_export_goes_on_with_the_same_options_only_and_without_resume_begins_anew(
    store: Store, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    failpoints.arm("export.before_rename=raise")
    with pytest.raises(FailpointError):
        await exported(url, path)
    failpoints.arm("")
    with pytest.raises(
        CannotExport, match=r"is another one \(flow was '', and is 'relational'\): give the same options"
    ):
        await exported(url, path, resume=True, flow="relational")
    again = await exported(url, path, flow="relational")
    assert (again.rows, again.resumed_after) == (0, 0)
    # nothing was interrupted: --resume begins at the beginning
    assert (await exported(url, path, resume=True)).rows == 303


async def test_a_killed_export_leaves_no_file_and_goes_on(tmp_path: Path) -> None:
    url = environment(tmp_path)["KOE_DATABASE_URL"]

    def fill(tx: Tx) -> None:
        for number in range(4_500):
            tx.record_answer(answer(number, answered_ms=START_MS - number * 600_000))

    async with await open_store(url, now_ms=START_MS) as store:
        await store.write(fill)
    await exported(url, tmp_path / "whole.csv")
    killed = koe(tmp_path, "export", "answers", "-o", "a.csv", KOE_FAILPOINTS="export.window=kill@3")
    assert killed.returncode == -9
    assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "a.csv.partial").exists()
    done = koe(tmp_path, "export", "answers", "-o", "a.csv", "--resume")
    assert done.returncode == 0, done.stderr
    assert "Went on after" in done.stderr
    assert done.stdout.startswith("4,500 answers in a.csv, customers' words masked;")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not [name for name in os.listdir(tmp_path) if ".partial" in name]


async def test_two_exports_do_not_write_the_same_file(store: Store, url: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    with (tmp_path / "answers.csv.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CannotExport, match="another export is writing"):
            await exported(url, path)
    with pytest.raises(CannotExport, match="there is no folder"):
        await exported(url, tmp_path / "none" / "a.csv")
    with pytest.raises(CannotExport, match="is a folder"):
        await exported(url, tmp_path)


async def test_an_export_beside_a_writing_server_leaves_the_log_to_it(store: Store, url: str, tmp_path: Path) -> None:
    log = tmp_path / "koe.db-wal"
    before = log.stat().st_size
    assert before > 0
    await exported(url, tmp_path / "answers.csv")
    assert log.stat().st_size >= before
    await store.write(lambda tx: tx.record_answer(answer(401)))
    assert (await exported(url, tmp_path / "answers.csv")).rows == 304


DATA = {
    "order": "A-1",
    "amount": 5400,
    "cost": 1.5,
    "product": ["茶", "=菓子"],
    "discount": True,
    "query": "=taro@example.com を探す",
    "at": "2026-11-03",
    "units": "二個",
    "gift": {"note": "090-1234-5678 へ", "cards": [1, None]},
}


def happened(number: int, **other: Any) -> Event:
    at_ms = START_MS + number * DAY_MS + 123
    given = Event(f"e-{number}", "purchase", at_ms, at_ms + 5, f"C{number}", json.dumps(DATA, ensure_ascii=False))
    return replace(given, **other)


async def test_events_are_flat_and_can_be_imported_again(store: Store, url: str, tmp_path: Path) -> None:
    await store.write(lambda tx: [tx.note_event(happened(n)) for n in range(3)] and None)
    path = tmp_path / "events.csv"
    assert (await exported(url, path, what="events", last_day=date(2026, 11, 3))).rows == 2
    row = table(path)[0]
    assert (row["data.order"], row["data.amount"], row["data.cost"], row["data.discount"]) == (
        "A-1",
        "5400",
        "1.5",
        "true",
    )
    assert row["data.query"] == "'=<EMAIL> を探す"
    rest = {"product": ["茶", "=菓子"], "units": "二個", "gift": {"note": "<PHONE> へ", "cards": [1, None]}}
    assert json.loads(row["data"]) == rest
    await exported(url, path, what="events", unmasked=True)
    read = [row for row in read_rows(path, TOKYO) if isinstance(row, Row)]
    assert [row.event.data for row in read] == [DATA | {"discount": "true"}] * 3
    assert [row.occurred_ms for row in read] == [happened(n).occurred_ms for n in range(3)]
    again = await import_events(
        path, store=store, clock=StoryClock(NOW_MS), chance=Chance(), tz=TOKYO, workspaces={}
    )  # fmt: skip
    assert (again.stored, again.known, again.bad) == (0, 3, [])


async def test_an_event_with_odd_numbers_loses_nothing(store: Store, url: str, tmp_path: Path) -> None:
    odd = (
        '{"amount": NaN, "units": 1' + "0" * 400 + ', "order": 12345678901234567890, "cards": false, "gift": "\\ud800"}'
    )
    await store.write(lambda tx: tx.note_event(happened(0, data=odd)))
    for form in ("csv", "xlsx", "parquet"):
        await exported(url, tmp_path / f"events.{form}", what="events", form=form)
    (row,) = table(tmp_path / "events.csv")
    assert row["data.amount"] == row["data.units"] == row["data.order"] == row["data.cards"] == ""
    assert list(json.loads(row["data"])) == ["amount", "units", "order", "cards", "gift"]


async def test_cases_tell_how_long_a_customer_waited(store: Store, url: str, tmp_path: Path) -> None:
    def fill(tx: Tx) -> None:
        tx.new_session(
            Session(
                id="s-1", invitation_id="", flow_id="after_support", revision="r", survey_kind="transactional",
                touchpoint="support", segment="渋谷", customer_id="C1", channel="line", workspace="w", external_id="u",
                lang="ja", state="{}", status="completed", version=1, created_ms=1, started_ms=1, ended_ms=1,
                expires_ms=None,
            )
        )  # fmt: skip
        settled = Case(
            "K1", "C1", "s-1", "unhappy", "=電話は090-1234-5678", "settled", "yes", START_MS, START_MS + 3_600_000,
            outcome="refund", replied_ms=START_MS + 1_830_000, settled_ms=START_MS + DAY_MS, assignee="U0STAFF",
            reply_token="secret-token", card_ref="C0:1",
        )  # fmt: skip
        tx.put_case(settled)
        tx.put_case(Case("K2", "C2", "", "photo", "", "open", "", START_MS + DAY_MS, None))

    await store.write(fill)
    path = tmp_path / "cases.csv"
    assert (await exported(url, path, what="cases")).rows == 2
    first, second = table(path)
    assert (first["minutes_to_first_reply"], first["minutes_to_settled"], first["in_time"]) == ("30.5", "1440.0", "1")
    assert (first["words"], first["outcome"], first["flow"]) == ("'=電話は<PHONE>", "refund", "after_support")
    assert (second["minutes_to_first_reply"], second["in_time"], second["flow"]) == ("", "", "")
    assert b"secret-token" not in path.read_bytes()
    await exported(url, path, what="cases", segment="渋谷")
    assert [row["case"] for row in table(path)] == ["K1"]


async def test_the_three_formats_hold_the_same(store: Store, url: str, tmp_path: Path) -> None:
    for form in ("csv", "xlsx", "parquet"):
        await exported(url, tmp_path / f"answers.{form}", form=form)
    rows = table(tmp_path / "answers.csv")
    sheet = openpyxl.load_workbook(tmp_path / "answers.xlsx").active
    head, *lines = sheet.iter_rows(values_only=True)
    assert list(head) == list(rows[0])
    columns = pq.read_table(tmp_path / "answers.parquet").to_pydict()
    assert list(columns) == list(rows[0])
    value, at = head.index("value"), head.index("answered_at")
    for number, (row, line) in enumerate(zip(rows, lines, strict=True)):
        text = row["value"].removeprefix("'")
        assert ("" if line[value] is None else str(line[value])) == text == (columns["value"][number] or "")
        shown = row["answered_at"][:19]
        # Excel keeps days as a float: a millisecond may be rounded
        assert abs((line[at] - datetime.fromisoformat(shown)).total_seconds()) < 1
        assert columns["answered_at"][number].isoformat()[:19] == shown
        assert columns["free_text"][number] is (row["free_text"] == "1")
    scores = {
        type(line[value]) for line in lines if line[head.index("instrument")] == "nps" and line[value] is not None
    }
    assert scores == {int, str}  # わからない is one of them


@pytest.mark.parametrize(
    ("table_", "heading"), [((*ANSWERS, REPLACED), "Answers"), (CASES, "Cases")], ids=["answers", "cases"]
)
def test_the_page_names_every_column(table_: tuple[Any, ...], heading: str) -> None:
    page = (ROOT / "docs" / "exports.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"**{heading}:**")]
    assert re.findall(r"`([\w.]+)`", line.partition("Minutes are")[0].replace("`--history`", "")) == [
        column.name for column in table_
    ]


def test_the_columns_of_events_are_the_documented_fields() -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8").split("## Types in use", 1)[1].split("## History", 1)[0]
    ours = {column.name.removeprefix("data.") for column in EVENTS if column.name.startswith("data.")}
    tables = [line for line in page.splitlines() if line.startswith("| `")]
    documented = {name for line in tables for name in re.findall(r"`(\w+)`", line.rstrip("| ").rpartition(" | ")[2])}
    # names of event types, of values, and of what stands outside of data
    others = {"occurred_at", "customer", "qr", "survey_invited", "survey_skipped", "personal_note", "billing_error"}
    assert documented - others - ours == set()
    assert ours - documented == set()
    assert len({column.name for column in EVENTS}) == len(EVENTS)


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    none = koe(tmp_path, "export", "cases")
    assert none.returncode == 1
    assert "there is no database" in none.stderr
    odd = koe(tmp_path, "export", "cases", "--format", "pdf")
    assert (odd.returncode, odd.stderr.strip()) == (2, "--format is 'pdf': csv, xlsx and parquet work.")
    assert not [name for name in os.listdir(tmp_path) if "cases" in name]


HOSTILE = ("../../outside", "/etc/koe", "a\\b", "line\r\nbreak", "bidi\u202egnp.exe\x1b[2J", "-rf", "..", "=1+1")


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


async def test_no_word_that_is_stored_or_asked_for_becomes_part_of_a_file_name(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside" / "exports"
    folder.mkdir(parents=True)
    async with await open_store(url, now_ms=START_MS, server=True) as store:

        def fill(tx: Tx) -> None:
            for number, words in enumerate(HOSTILE):
                tx.note_event(happened(number, id=words, type=words, customer_id=words))
                tx.record_answer(
                    answer(3 * number, customer_id=words, flow_id=words, segment=words, touchpoint=words, channel=words)
                )

        await store.write(fill)
        there = everything_in(tmp_path)
        made = set()
        for what, form in (("answers", "csv"), ("answers", "xlsx"), ("answers", "parquet"), ("events", "csv")):
            path = folder / f"{what}.{form}"
            done = await exported(url, path, what=what, form=form)  # type: ignore[arg-type]
            assert done.rows == len(HOSTILE)
            made |= {path, done.dictionary}
        for words in HOSTILE:
            path = folder / "one.csv"
            done = await exported(url, path, flow=words, segment=words)
            assert (done.rows, [row["customer"].lstrip("'") for row in table(path)]) == (1, [words])
            made |= {path, done.dictionary}
        assert everything_in(tmp_path) - there == made
        assert {path.parent for path in made} == {folder}


async def test_a_file_name_of_the_operators_own_is_spelled_out_where_it_is_told(tmp_path: Path) -> None:
    await (await open_store(environment(tmp_path)["KOE_DATABASE_URL"], now_ms=START_MS)).close()
    name = "bidi\u202egnp\x1b[2J.csv"
    done = koe(tmp_path, "export", "cases", "-o", name)
    assert (done.returncode, (tmp_path / name).is_file()) == (0, True)
    assert "bidi\\u202egnp\\u001b[2J.csv holds" in done.stdout
    assert not {"\u202e", "\x1b"} & set(done.stdout + done.stderr)


async def test_an_export_of_nothing_is_told_in_one_sentence(tmp_path: Path) -> None:
    await (await open_store(environment(tmp_path)["KOE_DATABASE_URL"], now_ms=START_MS)).close()
    nothing = koe(tmp_path, "export", "cases")
    assert (nothing.returncode, nothing.stderr) == (0, "")
    assert nothing.stdout == (
        "There are no cases to export: cases.csv holds the columns' names only, which cases.csv.dictionary.csv"
        " explains.\n"
    )
    assert table(tmp_path / "cases.csv") == []
