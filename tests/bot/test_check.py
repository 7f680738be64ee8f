"""What `koe check` says before anything starts: everything at once, each with what to do, never a secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bot.check import examine
from flows.source import Problem

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "koe.example.yaml").read_text(encoding="utf-8")

LINE = {"LINE_CHANNEL_SECRETS": "0123456789abcdef0123456789abcdef", "LINE_CHANNEL_ACCESS_TOKEN": "abcDEF123+/="}
SLACK = {"SLACK_BOT_TOKEN": "xoxb-1-2-abc", "SLACK_SIGNING_SECRETS": "89abcdef0123456789abcdef01234567"}
KOE = {"KOE_SECRET_KEY": "k" * 43, "KOE_EVENTS_SECRETS": "whsec_" + "QUJD" * 8}
GOOD = {**LINE, **SLACK, **KOE}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("koe.yaml").write_text(EXAMPLE, encoding="utf-8")


def check(*, environ: dict[str, str], serving: bool = True) -> list[Problem]:
    return examine(environ=environ, serving=serving)[1]


def said(environ: dict[str, str], *, serving: bool = True) -> list[str]:
    return [str(problem) for problem in check(environ=environ, serving=serving)]


def test_a_complete_configuration_has_no_problems() -> None:
    assert said(GOOD) == []


def test_a_fresh_copy_of_the_examples_says_what_to_fill_in_and_how() -> None:
    Path(".env").write_text((ROOT / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    found = said({})
    assert len(found) == 3
    assert any("KOE_SECRET_KEY is missing; make one with: python3 -c" in text for text in found)
    assert any("KOE_EVENTS_SECRETS is missing" in text for text in found)
    assert any("neither LINE nor Slack is set up" in text for text in found)


def test_what_only_a_server_needs_is_not_asked_of_other_commands() -> None:
    assert said({}, serving=False) == []


def test_a_platform_set_in_part_is_said_once() -> None:
    found = said({**KOE, **SLACK, "LINE_CHANNEL_SECRETS": "abc123"})
    assert len(found) == 1
    assert found[0].startswith("environment: LINE_CHANNEL_ACCESS_TOKEN is missing")


def test_alerts_and_digests_need_slack() -> None:
    found = said({**KOE, **LINE})
    assert len(found) == 2
    assert all("goes to Slack, which is off" in text for text in found)
    assert {text.split(": ")[1] for text in found} == {"alerts", "digests"}


def test_a_trigger_that_asks_where_koe_does_not_talk_is_named() -> None:
    Path("koe.yaml").write_text(EXAMPLE.replace("channel: [line, slack]", "channel: line"), encoding="utf-8")
    found = said({**KOE, **SLACK})
    assert found == [
        "koe.yaml: trigger after-purchase: asks in line, which is off; set the platform up, or change channel"
    ]


def test_a_transactional_survey_without_an_occasion_is_named() -> None:
    Path("koe.yaml").write_text(EXAMPLE.replace("flow: relational", "flow: unboxing"), encoding="utf-8")
    found = said(GOOD)
    assert len(found) == 1
    assert "`every` asks without an occasion" in found[0]


def test_triggers_on_events_need_a_way_for_events_to_come_in() -> None:
    found = said({name: value for name, value in GOOD.items() if name != "KOE_EVENTS_SECRETS"})
    assert len(found) == 1
    assert "no business event can come in" in found[0]
    # the route for a shop system's own webhooks is not there yet: its secret lets nothing in
    assert len(said({**LINE, **SLACK, "KOE_SECRET_KEY": "k" * 43, "SHOPIFY_WEBHOOK_SECRETS": "abc123"})) == 1


def test_a_database_that_this_version_cannot_use_is_named() -> None:
    found = said(GOOD | {"KOE_DATABASE_URL": "postgresql://koe@db/koe"})
    assert len(found) == 1
    assert "write sqlite:///koe.db" in found[0]


def test_everything_that_is_wrong_comes_at_once_in_order_of_file_and_line() -> None:
    Path("koe.yaml").write_text(
        EXAMPLE.replace("retention: 2y", "retention: x").replace("C0DIGEST", "digest"), encoding="utf-8"
    )
    Path("surveys").mkdir()
    Path("surveys/mine.yaml").write_bytes("id: 店舗\n".encode("cp932"))
    Path(".env").write_text(
        "SLACK_BOT_TOKEN=xoxb-your-token\nSLACK_SIGNING_SECRETS=abc1\nKOE_FLOWS_DIR=surveys\nKOE_PORT=no\n"
    )
    problems = check(environ=KOE)
    assert [(problem.file, problem.line > 0) for problem in problems] == [
        (".env", True),
        (".env", True),
        ("koe.yaml", True),
        ("koe.yaml", True),
        ("surveys/mine.yaml", True),
    ]
    assert "xoxb-your-token" not in "".join(map(str, problems))
    assert [problem.line for problem in problems] == sorted(p.line for p in problems[:2]) + [
        p.line for p in problems[2:]
    ]


def test_an_id_that_stands_twice_is_named_with_whatever_else_is_wrong() -> None:
    text = EXAMPLE.replace("retention: 2y", "retention: x").replace("id: after-support", "id: after-purchase")
    text = text.replace("id: quarterly", "id: staff")
    Path("koe.yaml").write_text(text, encoding="utf-8")
    found = [problem.message for problem in check(environ=GOOD)]
    assert len(found) == 3
    assert found[0].startswith("retention: 'x' is no length of time")
    assert re.fullmatch(r"triggers: the id after-purchase stands twice \(first in line \d+\); .*", found[1])
    assert "the id staff is kept for surveys started with /survey" in found[2]


def test_a_wrong_field_hides_nothing_that_can_be_judged_without_it() -> None:
    Path("koe.yaml").write_text(
        EXAMPLE.replace("retention: 2y", "retention: x").replace("segment: order.store", "segmnt: order.store")
        + """
flows: {after_suport: {effort: ces_ease}, after_support: {efort: ces_ease, effort: nobody}}
experiments:
  - {id: a, trigger: after-purchase, metric: nps, n_per_arm: 50, start: 2026-12-01, end: 2026-12-31,
     arms: [{id: A, weight: 0.5}, {id: B, weight: 0.6, remind: 24h}]}
  - {id: b, trigger: quarterly, metric: npz, n_per_arm: 50, start: 2026-12-01, end: 2026-12-31,
     arms: [{id: A, weight: 0.5}, {id: B, weight: 0.5, remind: 24h}]}
  - {id: c, trigger: after-purchase, metric: npz, n_per_arm: 50, start: 2027-12-01, end: 2027-12-31,
     arms: [{id: A, weight: 0.5}, {id: B, weight: 0.5, remind: 24h}]}
  - {id: d, flow: after_support, metric: npz, n_per_arm: 50, start: 2027-12-01, end: 2027-12-31,
     arms: [{id: A, weight: 0.5}, {id: B, weight: 0.5, remind: 24h}]}
""",
        encoding="utf-8",
    )
    found = check(environ={**LINE, **KOE})
    assert [problem.message.partition(";")[0] for problem in found if problem.line] == [
        "retention: 'x' is no length of time",
        "triggers[1].segmnt: unknown key",
        "flows: after_support asks no question efort",
        "flows: there is no flow after_suport",
        "flows: there is no instrument nobody",
        "experiments[1]: the weights of the arms add up to 1.1",
        "experiment b: arm A: relational asks no npz",
        "experiment b: arm B: relational asks no npz",
        "experiment d: arm A: after_support asks no npz",
        "experiment d: arm B: after_support asks no npz",
    ]
    written = Path("koe.yaml").read_text(encoding="utf-8").splitlines()
    for problem in found:
        if match := re.match("experiment (.)", problem.message):
            assert f"id: {match[1]}," in written[problem.line - 1]
    assert [problem.message.split(":")[0] for problem in found if not problem.line] == ["alerts", "digests"]


def test_a_broken_survey_hides_no_experiment_on_another_and_is_no_problem_of_its_own_experiment() -> None:
    Path("surveys").mkdir()
    Path("surveys/mine.yaml").write_text(
        "id: after_support\nsurvey_kind: transactional\ntouchpoint: support\ninvite: inv.support\n"
        "questions: [{id: a, instrument: nobody}]\nendings: [{say: end.middle}]\n"
    )
    arms = "arms: [{id: A, weight: 0.5}, {id: B, weight: 0.5, remind: 9d}]"
    arms = f"n_per_arm: 50, start: 2026-12-01, end: 2026-12-31, {arms}"
    Path("koe.yaml").write_text(
        f"{EXAMPLE}\nexperiments:\n  - {{id: a, trigger: after-support, metric: npz, {arms}}}\n"
        f"  - {{id: b, trigger: after-purchase, metric: nps, {arms}}}\n",
        encoding="utf-8",
    )
    assert [problem.message for problem in check(environ=GOOD | {"KOE_FLOWS_DIR": "surveys"})] == [
        "experiment b: arm B: remind must come before the survey of trigger after-purchase expires",
        "unknown instrument `nobody`",
    ]


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "a\nb", "a\u202eb", "a\x00b", "a b", "..", "a\n"])
def test_an_id_that_could_be_read_as_a_path_or_end_a_line_is_refused(name: str) -> None:
    written = json.dumps(name)
    Path("koe.yaml").write_text(
        EXAMPLE.replace("id: after-purchase", f"id: {written}").replace("id: weekly", f"id: {written}"),
        encoding="utf-8",
    )
    Path("surveys").mkdir()
    Path("surveys/mine.yaml").write_text(
        f"id: {written}\nsurvey_kind: relational\ntouchpoint: x\ninvite: inv.relational\n"
        "questions: [{id: a, instrument: nps}]\nendings: [{say: end.middle}]\n"
    )
    found = check(environ=GOOD | {"KOE_FLOWS_DIR": "surveys"})
    blamed = {problem.message.partition(":")[0] for problem in found if "must start with a letter" in problem.message}
    assert blamed >= {"triggers[1].id", "digests[1].id"}
    assert [problem.line for problem in found if problem.file == "surveys/mine.yaml"] == [1]


def test_an_unreadable_line_of_env_hides_no_other_line() -> None:
    lines = [f"{name}={value}".encode() for name, value in {**LINE, **SLACK, **KOE}.items()]
    Path(".env").write_bytes(b"\n".join([*lines, "# 声の店".encode("cp932"), "KOE_FLOWS_DIR=店".encode("cp932"), b"x"]))
    assert [str(problem) for problem in check(environ={})] == [
        f".env:{len(lines) + 1}: not UTF-8 (Shift_JIS?); save the file as UTF-8",
        f".env:{len(lines) + 3}: not a setting; write NAME=value, or # before a comment",
    ]


def test_a_broken_text_of_ones_own_is_no_problem_of_those_who_speak_it() -> None:
    Path("surveys/copy").mkdir(parents=True)
    Path("surveys/copy/ours.yaml").write_text("end.apology: {ja: 申し訳ございません。}\nskip: 12\n", encoding="utf-8")
    Path("surveys/mine.yaml").write_text(
        "id: mine\nsurvey_kind: relational\ntouchpoint: x\ninvite: inv.relational\n"
        "questions: [{id: a, instrument: nps}, {id: b, instrument: nobody}]\nendings: [{say: end.apology}]\n"
    )
    found = [str(problem) for problem in check(environ=GOOD | {"KOE_FLOWS_DIR": "surveys"})]
    assert found == [
        "surveys/copy/ours.yaml:1: the translation `en` is missing",
        "surveys/copy/ours.yaml:2: a mapping is needed here",
        "surveys/mine.yaml:5: unknown instrument `nobody`",
    ]


def test_own_templates_are_tried_and_an_unknown_name_is_a_problem_with_file_and_line() -> None:
    Path("own/ja").mkdir(parents=True)
    Path("own/ja/head.j2").write_text("{{ d.brand }}\n{{ d.scroe }}", encoding="utf-8")
    (problem,) = check(environ=GOOD | {"KOE_TEMPLATES_DIR": "own"})
    assert (problem.file, problem.line) == ("own/ja/head.j2", 2)
    assert "'scroe'" in problem.message


def test_checking_is_quick_and_loads_neither_pandas_nor_an_sdk() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from bot.check import examine; examine(environ={}); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'pandas','matplotlib','scipy','slack_sdk',"
        "'slack_bolt','linebot','aiohttp'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
