"""`koe person`: what is shown about somebody, and that nothing of it is left anywhere once it was erased (P26)."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "storage"))
import store_rows as rows  # noqa: E402

from bot.clock import Chance  # noqa: E402
from bot.events.business import BusinessEvent, CustomerPart, store_event  # noqa: E402
from bot.outbox import Outbox  # noqa: E402
from flows.builtin import builtin_library  # noqa: E402
from flows.engine import new_state, step  # noqa: E402
from flows.exchange import Begin  # noqa: E402
from reports.look_back import keep_weeks  # noqa: E402
from reports.trust import words as trust_words  # noqa: E402
from storage.records import Batch, RollupCell, TrustDrop  # noqa: E402
from storage.store import Store, Tx, open_store  # noqa: E402
from tests.nursery import Done, run  # noqa: E402

CANARY = "canary7f3a"
PERSON = f"C-{CANARY}"
LINE_ID = f"U{CANARY}line"
SLACK_ID = f"U{CANARY}slack"
URL = "sqlite:///koe.db"
NOW = rows.NOON


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("KOE_", "LINE_", "SLACK_")):
            monkeypatch.delenv(name)
    Path("koe.yaml").write_text((ROOT / "koe.example.yaml").read_text("utf-8"), encoding="utf-8")


def person(*args: str, answer: str = "") -> Done:
    return run("person", *args, cwd=Path.cwd(), stdin=answer)


def live_everywhere(tx: Tx) -> None:
    """A customer who used everything, with the canary in every text that can hold one; and one who has nothing to do
    with it."""
    flow = builtin_library().flows["after_purchase"]
    known = {"name": CANARY, "brand": "b", "here": "h", "team": "t", "privacy_url": "https://x.example"}
    state = new_state(flow, lang="ja", vars=known, facts={})
    state = step(flow, state, Begin(NOW, date(2026, 11, 16))).state
    tx.put_revision(flow.id, flow.revision, flow.definition(), NOW)
    tx.note_event(
        rows.event(
            f"order-{NOW}",
            customer_id=PERSON,
            data=json.dumps({"order": f"no-{CANARY}", "ticket": f"t-{CANARY}", "product": CANARY}),
        )
    )
    tx.put_customer(rows.customer(PERSON, name=f"山田 {CANARY}\x1b[31m\r\x07\u202e\nlevel=error"))
    tx.put_match_key(PERSON, "email", f"hash-{CANARY}", f"order-{CANARY}", NOW)
    # at the address, before anybody knew whose it was
    tx.put_address(rows.address(LINE_ID, "", certainty=""))
    tx.set_consent(f"line:Udest:{LINE_ID}", "surveys", True, NOW - 5, "chat:line")
    tx.put_case(rows.case("K0", customer_id=f"line:Udest:{LINE_ID}", session_id="", words=CANARY))
    tx.put_job(
        rows.job(
            kind="relay",
            payload=json.dumps({"text": CANARY, "source": {"userId": LINE_ID}}),
            customer_id=f"line:Udest:{LINE_ID}",
        )
    )
    tx.put_job(rows.job(lane=f"line:Udest:{LINE_ID}", payload=json.dumps({"to": LINE_ID}), channel="line"))
    # since then
    tx.put_address(rows.address(LINE_ID, PERSON))
    tx.put_address(rows.address(SLACK_ID, PERSON, channel="slack", workspace="T1"))
    tx.set_consent(PERSON, "surveys", False, NOW, f"chat:{CANARY}")
    tx.put_invitation(
        rows.invitation("I1", customer_id=PERSON, event_id=f"order-{NOW}", note=CANARY, segment=CANARY, session_id="S1")
    )
    tx.put_invitation(
        rows.invitation("I2", customer_id=PERSON, state="skipped", reason="min_gap", sent_ms=None, note=CANARY)
    )
    tx.put_invitation(rows.invitation("I3", customer_id=PERSON, state="planned", sent_ms=None))
    session = rows.session(
        "S1", customer_id=PERSON, external_id=LINE_ID, state=state.dump(), revision=flow.revision, segment=CANARY
    )
    tx.new_session(session)
    tx.put_prompt_ref("S1", "nps", f"ref-{CANARY}")
    mine = {"customer_id": PERSON, "revision": flow.revision}
    tx.record_answer(rows.answer("3", **mine))
    tx.record_answer(rows.answer("8", **mine, answered_ms=NOW + 1))
    tx.record_answer(
        rows.answer(
            f"届かない {CANARY}", question="reason", instrument="reason", numeric=False, message_ids=CANARY, **mine
        )
    )
    tx.record_answer(rows.answer(f"届いた {CANARY}", question="reason", instrument="reason", numeric=False, **mine))
    tx.put_case(rows.case("K1", customer_id=PERSON, words=CANARY, card_ref=CANARY))
    tx.put_job(rows.job(lane=f"line:Udest:{LINE_ID}", session_id="S1", customer_id=PERSON, payload=f'"{CANARY}"'))
    tx.put_job(rows.job(kind="invite", key=f"invite:{CANARY}", customer_id=PERSON))
    (done, *_) = tx.claim_jobs("w", NOW, limit=1, lease_until_ms=NOW + 60_000)
    tx.finish_job(done, state="dead", at_ms=NOW, error=f"refused {CANARY}", ref=CANARY)
    assert tx.note_trust_drop(TrustDrop(PERSON, NOW, 1.5, -4.25, "K1"))
    tx.put_batch(Batch("B1", "after_purchase", "", "", "F1", "U0STAFF", "T1", "ja", "ready", NOW))
    tx.put_batch_rows("B1", [(2, PERSON)])
    tx.referral_code(PERSON, CANARY, NOW)
    tx.audit(rows.audit(action="survey.start", subject=PERSON, detail=f"after_purchase {CANARY}"))
    # somebody else
    tx.put_customer(rows.customer("C002"))
    tx.new_session(rows.session("S2", customer_id="C002", external_id="U002"))
    tx.record_answer(rows.answer("10", session_id="S2", customer_id="C002"))


def in_english() -> None:
    config = Path("koe.yaml").read_text("utf-8").replace("language: ja  ", "language: en  ", 1)
    Path("koe.yaml").write_text(config, "utf-8")


async def lived(**options: bool) -> Store:
    store = await open_store(URL, now_ms=NOW, **options)
    await store.write(live_everywhere)
    return store


async def with_columns(store: Store) -> int:
    """Keep the weeks around as columns, as a digest does when they are over; how many there were."""
    month = 30 * 86_400_000
    return await keep_weeks(
        store,
        NOW - month,
        NOW + month,
        subject="answers",
        now_ms=NOW + 2 * month,
        tz=ZoneInfo("Asia/Tokyo"),
        builder="a digest",
        worth_keeping=1,
    )


def everything_on_disk() -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path().glob("koe.db*")))


async def other_cells(store: Store) -> list[RollupCell]:
    return [cell for cell in await store.read(lambda tx: tx.rollup("", "9999-12-31")) if cell.value == "10"]


async def test_everything_is_shown_in_words() -> None:
    await (await lived()).close()
    done = person("show", PERSON)
    assert done.returncode == 0, done.stderr
    for shown in (
        f"Customer {PERSON}",
        f"name 山田 {CANARY}",
        f"line {LINE_ID} (Udest), linked by event",
        f"slack {SLACK_ID} (T1)",
        "surveys: yes (chat:line)",
        "surveys: no (chat:",
        "purchase order-",
        "skipped (min_gap)",
        "nps (薦める可能性): 8 「8点」",
        "3 「3点」, no longer counts since",
        f"reason (コメント): 届いた {CANARY}",
        f"unhappy: open, words: {CANARY}",
        "Cases: 2",
        "Jobs waiting: 3",
        "Jobs done: 1",
        "survey.start",
        "信頼残高：",
        trust_words.notice("ja"),
        "薦める可能性 8点（",
        "アンケートの停止（",
        "from +1.50 to -4.25, case opened",
    ):
        assert shown in done.stdout, f"{shown}\n{done.stdout}"
    assert f"name 山田 {CANARY}\\u001b[31m\\u000d\\u0007\\u202e / level=error, language" in done.stdout
    assert not [char for char in done.stdout if char in "\x1b\r\x07\u202e"]


async def test_everything_is_shown_as_json_with_every_column() -> None:
    await (await lived()).close()
    done = person("show", PERSON, "--format", "json")
    shown = json.loads(done.stdout)
    assert shown["customer"]["id"] == PERSON
    assert [answer["value"] for answer in shown["answers"] if answer["question"] == "nps"] == ["3", "8"]
    assert sorted(job["state"] for job in shown["jobs"]) == ["dead", "ready", "ready", "ready"]
    assert "C002" not in done.stdout
    assert {(line["type"], line["reason"]) for line in shown["trust"]["lines"]} == {
        ("nps", "counted"),
        ("opt_out", "counted"),
    }
    assert shown["trust"]["balance"] == pytest.approx(sum(line["contribution"] for line in shown["trust"]["lines"]))
    assert [drop["balance"] for drop in shown["trust_drops"]] == [-4.25]


async def test_the_account_speaks_the_language_of_the_shop() -> None:
    in_english()
    await (await lived()).close()
    shown = person("show", PERSON).stdout
    assert "Trust balance: " in shown
    assert "stopped surveys (" in shown
    assert trust_words.notice("en") in shown


async def test_who_is_not_known_is_a_sentence() -> None:
    await (await lived()).close()
    for command in (["show", "C999"], ["erase", "C999", "--yes"], ["show", ""]):
        done = person(*command)
        assert done.returncode == 1
        assert "there is no customer" in done.stderr
        assert "Traceback" not in done.stderr


def test_without_a_database_nothing_is_made() -> None:
    done = person("erase", PERSON, "--yes")
    assert done.returncode == 1
    assert "there is no database koe.db" in done.stderr
    assert not Path("koe.db").exists()


async def test_nothing_is_erased_unless_confirmed() -> None:
    await (await lived()).close()
    done = person("erase", PERSON, answer="n\n")
    assert done.returncode == 1
    assert "Nothing was erased." in done.stderr
    assert CANARY in person("show", PERSON).stdout


async def test_an_erased_customer_is_nowhere_on_the_disk_and_the_others_still_count() -> None:
    store = await lived()
    assert await with_columns(store)
    before = await other_cells(store)
    await store.close()
    assert CANARY.encode() in everything_on_disk()
    done = person("erase", PERSON, answer="y\n")
    assert done.returncode == 0, done.stderr
    assert "Erased: 4 answers; 3 jobs that waited were cancelled." in done.stdout
    assert CANARY.encode() not in everything_on_disk()
    again = person("show", PERSON)
    assert again.returncode == 1
    assert "was erased on" in again.stderr
    async with await open_store(URL, now_ms=NOW) as store:
        assert await other_cells(store) == before
        assert await store.read(lambda tx: tx.rollup("", "9999-12-31")) == await store.read(
            lambda tx: tx.recompute_rollup()
        )
        assert await store.read(lambda tx: tx.check_integrity()) == []
        # invitations still count, without the person
        counts = await store.read(lambda tx: tx.response_counts(0, NOW * 2))
        assert (counts.invited, dict(counts.skipped)) == (1, {"min_gap": 1})
        session = await store.read(lambda tx: tx.find_session("S1"))
        assert session is not None
        assert (session.status, session.state, session.external_id) == ("erased", "", "")
        assert await store.read(lambda tx: tx.jobs(state="ready")) == []
        audit = await store.read(lambda tx: tx.audit_entries())
        assert {entry.action for entry in audit} == {"person.erase", "survey.start"}
        assert all(entry.subject.startswith("erased-") for entry in audit)
        assert len({entry.subject for entry in audit}) == 1


async def test_the_customer_who_used_everything_stands_in_every_table_of_customers() -> None:
    await (await lived()).close()
    with closing(sqlite3.connect("koe.db")) as db:
        of_customers = "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE c.name = 'customer_id'"
        tables = {name for (name,) in db.execute(f"{of_customers} AND m.type = 'table'")}
        # what no test puts the person into, no test can miss after an erasure
        without = {
            name
            for name in tables
            if not db.execute(f"SELECT 1 FROM {name} WHERE customer_id = ?", (PERSON,)).fetchone()
        }
    assert len(tables) > 10
    assert without == set()


async def test_a_late_webhook_revives_nothing() -> None:
    await (await lived()).close()
    assert person("erase", PERSON, "--yes").returncode == 0

    def late(tx: Tx) -> None:
        who = CustomerPart(id=PERSON, name=CANARY, line_user_id=LINE_ID, email=f"{CANARY}@shop.example")
        event = BusinessEvent("late", "purchase", "2026-11-18T10:00:00+09:00", who, {"order": CANARY})
        outbox = Outbox(owner="", now_ms=NOW, chance=Chance(1))
        stored = store_event(tx, event, NOW, outbox, workspaces={"line": "Udest"}, match_key=b"k" * 32)
        assert stored is not None
        assert stored.customer_id == ""  # so that no rule finds anybody to ask
        tx.put_customer(rows.customer(PERSON))
        tx.put_address(rows.address(LINE_ID, PERSON))
        tx.put_match_key(PERSON, "email", f"hash-{CANARY}", "order", NOW)
        tx.set_consent(PERSON, "surveys", True, NOW, "chat:line")
        tx.put_invitation(rows.invitation("I9", customer_id=PERSON, note=CANARY))
        tx.put_case(rows.case("K9", customer_id=PERSON, words=CANARY))
        session = tx.find_session("S1")
        assert session is not None
        assert not tx.save_session(structs.replace(session, state=CANARY, version=session.version + 1))

    async with await open_store(URL, now_ms=NOW, server=True) as store:
        await store.write(late)
        assert await store.compact()
    assert CANARY.encode() not in everything_on_disk()
    assert "was erased on" in person("show", PERSON).stderr


async def test_a_running_server_is_asked_to_empty_the_log() -> None:
    async with await lived(server=True) as server:
        done = person("erase", PERSON, "--yes")
        assert done.returncode == 0, done.stderr
        assert "The running server empties" in done.stdout
        (job,) = await server.read(lambda tx: tx.jobs(kind="compact"))
        assert job.state == "ready"
        assert await server.compact()
        assert CANARY.encode() not in everything_on_disk()
