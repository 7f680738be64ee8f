"""`koe talk` as its author uses it: a child process that is typed to; what it records is repeated by the engine."""

from __future__ import annotations

import itertools
import os
import pty
import re
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from bot.clock import SystemClock
from bot.talk.loop import run as hold
from bot.talk.scene import scene

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "flows"))
from talks import Talk, library, told  # noqa: E402

from tests.nursery import Done, run  # noqa: E402

KOE = [sys.executable, "-m", "bot.cli"]
OWN = """\
id: gift
survey_kind: transactional
touchpoint: gift
invite: {ja: "{name}様、{n}問だけ教えてください。", en: "{name}, {n} questions, please."}
questions:
  - id: present
    type: yes_no
    text: {ja: 贈り物でしたか？, en: Was it a gift?}
  - {id: dear, instrument: nps, when: {order.amount: {gte: 3000}}}
endings: [{say: {ja: ありがとうございました。, en: Thank you.}}]
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("KOE_", "LINE_", "SLACK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def talk(*args: str, lines: str = "", **environ: str) -> Done:
    return run("talk", *args, cwd=Path.cwd(), environ={"COLUMNS": "200", **environ}, stdin=lines)


def replayed(path: Path) -> tuple[list[object], list[object]]:
    """What the file says and what the engine says, as tests/flows/test_transcripts.py compares them."""
    written = yaml.safe_load(path.read_text("utf-8"))
    again = Talk(
        library().flows[written["flow"]],
        lang=written["lang"],
        week=written["week"],
        facts=written.get("facts"),
        vars=written.get("vars"),
        first_contact=written.get("first_contact", False),
        dates=written.get("dates"),
    )
    heard = [[told(o) for o in again.do(line["in"], after=line.get("after", 10))] for line in written["talk"]]
    return [line["out"] for line in written["talk"]], heard


def test_a_survey_is_answered_by_tapping_and_typing_without_any_setting() -> None:
    done = talk("after_purchase", lines="/1\n９点\nとても\n良い\n/go\n[スキップ]\n")
    assert done.returncode == 0, done.stderr
    for expected in (
        "声の店を友人や知人に薦める可能性",
        "stored: sat = 5 「満足」",
        "stored: nps = 9 「9点」",
        "stored: reason = とても / 良い",
        "stored: affinity left out (skipped)",
        "Good-bye.",
    ):
        assert expected in done.stdout
    assert list(Path().iterdir()) == []


def test_what_was_recorded_is_repeated_by_the_engine_word_for_word() -> None:
    lines = (
        "/1\n/9\nよい\nとてもよい\n/unsend\n/go\n/voice\n3\n/1\n/1\n/2\n安心感と信頼\n/photo\n/sat 4\n/back\n戻る\n"
        "/sticker ありがとう\n配信停止\n/b\n担当者\n/later\n/later\n/3\n"
    )
    done = talk("after_purchase", "--record", "talk.yaml", lines=lines)
    assert done.returncode == 0, done.stderr
    written, heard = replayed(Path("talk.yaml"))
    assert heard == written
    assert len(written) > 15


@pytest.mark.parametrize("flow", ["after_purchase", "after_support", "unboxing", "relational"])
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_a_recording_of_a_short_survey_ends_and_is_repeated(flow: str, lang: str) -> None:
    done = talk(flow, "--lang", lang, "--record", "talk.yaml", lines="/1\n/2\nbecause 理由\n/go\n/3\n")
    assert done.returncode == 0, done.stderr
    written, heard = replayed(Path("talk.yaml"))
    assert heard == written
    assert sum(str(out).startswith("End(") for outputs in written for out in outputs) == 1


@pytest.mark.parametrize(
    ("flow", "sessions", "asked"),
    [
        ("csi3", 1, "overall expected ideal"),
        ("cx11", 2, "l1 l2 l3 a1 a2 a3 a4 a5 a6 a7 a8"),
        ("cxi6", 1, "effectiveness ease emotion retention enrichment advocacy"),
        ("jcsi6", 3, "e1 e2 e3 q1 q2 q3 q4 s1 s2 s3 v1 v2 v3 delight r1 r2 r3 r4 l1 l2 l3 l4"),
        ("trust6", 1, "understanding care promise clarity honesty"),
    ],
)
def test_a_long_survey_is_taken_to_the_end_of_its_last_session(flow: str, sessions: int, asked: str) -> None:
    done = talk(flow, "--lang", "en", lines=("/1\n" * 8 + "/a\n/later\n") * sessions)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"stored: (\w+) = 1", done.stdout)) == sorted(asked.split())
    assert done.stdout.count("the survey has ended: completed") == sessions


def test_time_passes_when_told() -> None:
    done = talk("after_purchase", lines="/later\n/later\n/later\n")
    assert ": reminder" in done.stdout
    assert "the survey has ended: expired" in done.stdout
    assert "Nothing is waited for" in done.stdout


def test_stopping_surveys_ends_the_talk_as_in_the_chat() -> None:
    done = talk("after_purchase", "--lang", "en", lines="unsubscribe\n[Stop surveys]\nhello\nresume surveys\n")
    assert "the survey has ended: opted_out" in done.stdout
    assert "belongs to the shop's own people" in done.stdout
    assert "Surveys are on again." in done.stdout


def test_my_answers_are_shown_and_erased() -> None:
    done = talk("after_purchase", lines="/1\n私の回答\n削除\n/a\n")
    assert "満足度：満足" in done.stdout
    assert "the survey has ended: erased" in done.stdout
    assert "ご回答を削除しました。" in done.stdout


def test_an_own_flow_is_found_by_its_file_and_by_its_folder_and_takes_values() -> None:
    Path("surveys").mkdir()
    Path("surveys/gift.yaml").write_text(OWN, encoding="utf-8")
    by_file = talk("surveys/gift.yaml", "--lang", "en", "--with", "name=Ann", lines="/1\n/10\n")
    assert "Ann, 2 questions, please." in by_file.stdout, by_file.stderr
    assert "stored: dear = 10" in by_file.stdout
    cheap = talk("gift", "--with", "order.amount=100", lines="はい\n", KOE_FLOWS_DIR="surveys")
    assert "田中様、1問だけ教えてください。" in cheap.stdout, cheap.stderr
    assert "stored: present = yes 「はい」" in cheap.stdout
    assert "the survey has ended: completed" in cheap.stdout


def test_koe_yaml_gives_the_brand_and_the_language_and_unset_platforms_do_not_matter() -> None:
    Path("koe.yaml").write_text(
        (ROOT / "koe.example.yaml")
        .read_text("utf-8")
        .replace("{ja: 声の店, en: Koe Store}", "{ja: 青い店, en: Blue Store}")
        .replace("language: ja", "language: en"),
        encoding="utf-8",
    )
    done = talk("relational", LINE_CHANNEL_SECRETS="half-a-platform", KOE_PORT="no")
    assert done.returncode == 0, done.stderr
    assert "Blue Store" in done.stdout


def test_a_broken_flow_is_told_by_file_and_line_and_nothing_starts() -> None:
    Path("gift.yaml").write_text(OWN.replace("instrument: nps", "instrument: npx"), encoding="utf-8")
    done = talk("gift.yaml", lines="/1\n")
    assert done.returncode == 2
    assert re.search(r"^gift\.yaml:9: .*npx", done.stderr, re.M), done.stderr
    assert done.stdout == ""


def test_an_unknown_flow_names_the_known_ones() -> None:
    done = talk("after_party")
    assert done.returncode == 2
    assert (
        "'after_party'; there are after_purchase, after_support, csi3, cx11, cxi6, jcsi6, relational, trust6, unboxing"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["relational", "--lang", "fr"], "has no language 'fr'; there are ja, en"),
        (["relational", "--with", "amount"], "write name=value"),
        (["nowhere.yaml"], "nowhere.yaml: there is no such file"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_exit_2(args: list[str], said: str) -> None:
    done = talk(*args)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_never_overwrites_a_file() -> None:
    Path("mine.txt").write_text("precious")
    done = talk("relational", "--record", "mine.txt")
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert Path("mine.txt").read_text() == "precious"


def test_a_button_that_is_not_there_is_explained() -> None:
    done = talk("relational", lines="/99\n[なし]\n/go\n/unsend\n/later never\n")
    assert "There is no button /99 here; there are /0 /1 /2" in done.stdout
    assert "There is no button [なし] here" in done.stdout
    assert "/go ends a free text" in done.stdout
    assert "No words to take back." in done.stdout
    assert done.returncode == 0


ONE_TEXT = (
    "id: short\nsurvey_kind: relational\ntouchpoint: short\ninvite: {ja: ひとつだけ。, en: Just one.}\n"
    "questions:\n  - {id: why, type: text, text: {ja: なぜですか？, en: Why?}}\n"
    "endings: [{say: {ja: 終わりです。, en: The end.}}]\n"
)


class Hurried(SystemClock):
    """Six seconds pass from one look at it to the next."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def now_ms(self) -> int:
        return super().now_ms() + 6_000 * next(self._looks)


def test_at_a_terminal_silence_ends_a_free_text_and_ctrl_d_leaves() -> None:
    Path("short.yaml").write_text(ONE_TEXT, encoding="utf-8")
    ours, theirs = pty.openpty()
    clock = Hurried()
    with open(theirs, "w", encoding="utf-8", closefd=False) as screen, ThreadPoolExecutor() as beside:
        held = beside.submit(
            hold, scene("short.yaml", start_ms=clock.now_ms()), Console(file=screen), clock=clock, fd=theirs
        )
        seen = type_answer(ours)
        held.result(30)
    os.close(theirs)
    os.close(ours)
    assert "stored: why = 青いから" in seen


@pytest.mark.prove
def test_five_seconds_of_silence_are_really_waited_for() -> None:
    Path("short.yaml").write_text(ONE_TEXT, encoding="utf-8")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*KOE, "talk", "short.yaml"], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    ) as koe:
        os.close(theirs)
        seen = type_answer(ours)
        assert koe.wait(20) == 0
    os.close(ours)
    assert "stored: why = 青いから" in seen


def type_answer(fd: int) -> str:
    """One answer, silence, and Ctrl-D; what the terminal shows meanwhile."""
    seen = read_until(fd, "なぜですか？")
    os.write(fd, "青いから\n".encode())
    seen += read_until(fd, "終わりです。")
    os.write(fd, b"\x04")
    return seen + read_until(fd, "Good-bye.")


def read_until(fd: int, words: str, timeout_s: float = 30) -> str:
    """What a terminal shows until these words come."""
    seen = b""
    give_up = time.monotonic() + timeout_s
    while words.encode() not in seen:
        assert select.select([fd], [], [], max(0, give_up - time.monotonic()))[0], seen.decode("utf-8", "replace")
        seen += os.read(fd, 65536)
    return seen.decode("utf-8", "replace")


def test_the_survey_of_the_authors_page_runs_as_written() -> None:
    page = (ROOT / "docs" / "authoring.md").read_text("utf-8")
    found = re.search(r"```yaml\n(.*?)```", page, re.S)
    assert found is not None
    Path("gift.yaml").write_text(found[1], encoding="utf-8")
    done = talk("gift.yaml", "--lang", "en", lines="/1\n9\nbecause\n/go\nyes\n/1\n")
    assert done.returncode == 0, done.stderr
    assert "stored: wrapping = good 「Good」" in done.stdout
    assert "the survey has ended: completed" in done.stdout
