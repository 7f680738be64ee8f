"""Settings, koe.yaml and flow files: what is read, and how everything that is wrong is named at once."""

from __future__ import annotations

import random
import re
from dataclasses import fields
from pathlib import Path

import pytest

from bot.config import Settings, Staff
from bot.loading import ConfigErrors, load, read_settings, read_shop
from bot.schemas import schemas
from flows.source import Problem
from flows.triggers import History
from reports.trust import account as trust
from storage.records import Contacts

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "koe.example.yaml").read_text(encoding="utf-8")
FIGURE = (
    "{metric: nps, value: 10, ci: [5, 15], n: 500, good: 200, bad: 150, industry: retail, country: JP, year: 2025,"
    " survey_kind: transactional, wording: standard, scale: 0-10, source: A study, url: 'https://example.com/study',"
    " licence_note: free to quote}"
)

GOOD = {
    "KOE_SECRET_KEY": "k" * 43,
    "KOE_EVENTS_SECRETS": "whsec_" + "QUJD" * 8,
    "LINE_CHANNEL_SECRETS": "0123456789abcdef0123456789abcdef",
    "LINE_CHANNEL_ACCESS_TOKEN": "abcDEF123+/=",
    "SLACK_BOT_TOKEN": "xoxb-1-2-abc",
    "SLACK_SIGNING_SECRETS": "89abcdef0123456789abcdef01234567",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.names():
        monkeypatch.delenv(name, raising=False)
    Path("koe.yaml").write_text(EXAMPLE, encoding="utf-8")


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def problems(environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        load(environ=GOOD if environ is None else environ)
    assert str(raised.value) == "\n".join(str(problem) for problem in raised.value.problems)
    return [str(problem) for problem in raised.value.problems]


def settings_problems(environ: dict[str, str], env: str | None = None) -> list[Problem]:
    if env is not None:
        write(".env", env)
    found: list[Problem] = []
    read_settings(environ, Path(".env"), found)
    return found


# ---------------------------------------------------------------------------------------------------- settings


def test_the_example_files_are_a_working_configuration() -> None:
    config = load(environ=GOOD)
    assert config.settings.line_on
    assert config.settings.slack_on
    assert [rule.flow for rule in config.shop.triggers] == ["after_purchase", "after_support", "relational"]
    assert set(config.library.flows) >= {"after_purchase", "after_support", "unboxing", "relational"}
    assert config.library.rules.words == ("交換", "返品", "届かない")


def test_every_setting_stands_in_the_example_and_nothing_else_does() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", example, re.M)) == sorted(Settings.names())


def test_the_example_with_every_line_switched_on_says_only_what_has_to_be_filled_in() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    on = re.sub(r"^# ([A-Z][A-Z0-9_]+=)", r"\1", example, flags=re.M)
    found = settings_problems({}, on)
    assert {p.message.split()[0] for p in found} == {
        "LINE_CHANNEL_SECRETS",
        "LINE_CHANNEL_ACCESS_TOKEN",
        "SLACK_BOT_TOKEN",
        "SLACK_SIGNING_SECRETS",
    }


def test_defaults_of_the_example_are_those_of_the_code() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    written = dict(re.findall(r"^# ([A-Z][A-Z0-9_]+)=(\S+)", example, re.M))
    settings = Settings()
    for name in ("KOE_DATABASE_URL", "KOE_CONFIG", "KOE_HOST", "KOE_PORT", "KOE_LOG_FORMAT"):
        field = name.removeprefix("KOE_").lower()
        assert str(getattr(settings, field)) == written[name]
    assert settings.line_api_base_url == written["LINE_API_BASE_URL"]
    assert settings.slack_api_base_url == written["SLACK_API_BASE_URL"]


def test_the_environment_wins_over_the_file_and_an_empty_value_is_none() -> None:
    write(".env", "KOE_PORT=9000\nKOE_HOST=0.0.0.0\nLINE_BASIC_ID=\n")
    found: list[Problem] = []
    settings = read_settings({"KOE_PORT": "9100"}, Path(".env"), found)
    assert (settings.port, settings.host, settings.line_basic_id, found) == (9100, "0.0.0.0", "", [])


def test_plural_settings_take_several_values() -> None:
    found: list[Problem] = []
    settings = read_settings(GOOD | {"LINE_CHANNEL_SECRETS": "abc1, abc2 ,"}, None, found)
    assert [secret.get_secret_value() for secret in settings.line_channel_secrets] == ["abc1", "abc2"]
    assert found == []


def test_a_dollar_in_a_secret_is_a_character_of_the_secret() -> None:
    write(".env", "LINE_CHANNEL_SECRETS=ab$HOME\nLINE_CHANNEL_ACCESS_TOKEN='q${X}'\n")
    settings = read_settings({}, Path(".env"), [])
    assert settings.line_channel_secrets[0].get_secret_value() == "ab$HOME"
    assert settings.line_channel_access_token.get_secret_value() == "q${X}"


def test_a_platform_without_settings_is_off() -> None:
    found: list[Problem] = []
    settings = read_settings({}, None, found)
    assert (settings.line_on, settings.slack_on, found) == (False, False, [])


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (["LINE_CHANNEL_SECRETS"], ["LINE_CHANNEL_ACCESS_TOKEN"]),
        (["LINE_CHANNEL_ACCESS_TOKEN"], ["LINE_CHANNEL_SECRETS"]),
        (["SLACK_BOT_TOKEN"], ["SLACK_SIGNING_SECRETS"]),
        (["SLACK_SIGNING_SECRETS"], ["SLACK_BOT_TOKEN"]),
    ],
)
def test_a_platform_set_in_part_names_what_is_missing(given: list[str], missing: list[str]) -> None:
    found = settings_problems({name: GOOD[name] for name in given})
    assert [p.message.split()[0] for p in found] == missing
    assert given[0] in found[0].message


def test_slack_over_a_socket_needs_no_signing_secret() -> None:
    found: list[Problem] = []
    environ = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    settings = read_settings(environ, None, found)
    assert (settings.slack_on, settings.slack_socket_mode, found) == (True, True, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLACK_BOT_TOKEN", "xoxb-your-token"),
        ("SLACK_BOT_TOKEN", "xoxb-"),
        ("SLACK_BOT_TOKEN", "xoxb-xxxxxxxxxxxx"),
        ("LINE_CHANNEL_SECRETS", "changeme"),
        ("LINE_CHANNEL_SECRETS", "0123456789abcdef0123456789abcdef,change-me"),
        ("LINE_CHANNEL_ACCESS_TOKEN", "<token>"),
        ("LINE_CHANNEL_ACCESS_TOKEN", "<your channel access token>"),
        ("LINE_CHANNEL_ACCESS_TOKEN", "YOUR_CHANNEL_ACCESS_TOKEN"),
        ("KOE_SECRET_KEY", "please replace me with something long and random"),
        ("KOE_EVENTS_SECRETS", "whsec_..."),
    ],
)
def test_a_placeholder_is_no_value(name: str, value: str) -> None:
    found = settings_problems(GOOD | {name: value})
    assert len(found) == 1
    assert found[0].message.startswith(f"{name}: still holds the placeholder")
    assert value not in str(found[0])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SLACK_BOT_TOKEN", "xapp-1-abc", "does not start with xoxb-"),
        ("SLACK_APP_TOKEN", "xoxb-1-abc", "does not start with xapp-"),
        ("KOE_EVENTS_SECRETS", "abcdef", "does not start with whsec_"),
        ("KOE_EVENTS_SECRETS", "whsec_" + "QUJD" * 8 + ",whsec_QUJDQUJD", "cut short"),
        ("KOE_SECRET_KEY", "short", "too short"),
        ("LINE_CHANNEL_SECRETS", "ａｂｃ", "no token has"),
        ("KOE_PORT", "80a", "valid integer"),
        ("KOE_PORT", "70000", "65535"),
        ("KOE_LOG_FORMAT", "xml", "'text' or 'json'"),
        ("KOE_DATABASE_URL", "mysql://x", "sqlite:///"),
        ("KOE_PUBLIC_URL", "koe.example.com", "https://"),
        ("LINE_BASIC_ID", "koe", "@"),
    ],
)
def test_a_value_that_cannot_be_right_says_what_would_be(name: str, value: str, says: str) -> None:
    found = settings_problems(GOOD | {name: value})
    assert len(found) == 1
    assert found[0].message.startswith(f"{name}: ")
    assert says in found[0].message


def test_problems_of_the_env_file_name_its_line() -> None:
    env = "# settings\nKOE_PORT=many\nSLACK_BOT_TOKN=xoxb-1\nhello\nKOE_HOST=a\nKOE_HOST=b\nHOME=/tmp\n"
    found = sorted(str(p) for p in settings_problems({}, env))
    assert [text.split(": ")[0] for text in found] == [".env:2", ".env:3", ".env:4", ".env:6"]
    assert "did you mean SLACK_BOT_TOKEN?" in found[1]
    assert "line 5" in found[3]


def test_an_env_file_with_a_byte_order_mark_is_read_and_a_shift_jis_one_is_explained() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfKOE_PORT=9000\n")
    assert read_settings({}, Path(".env"), []).port == 9000
    Path(".env").write_bytes("KOE_PORT=9000\n# 設定\n".encode("cp932"))
    found: list[Problem] = []
    assert read_settings({}, Path(".env"), found).port == 9000
    assert str(found[0]).startswith(".env:2: not UTF-8")


def test_a_mistyped_variable_of_the_environment_is_named() -> None:
    found = settings_problems({"KOE_DATABSE_URL": "sqlite:///x.db"})
    assert "did you mean KOE_DATABASE_URL?" in found[0].message
    assert settings_problems({"KOE_FAILPOINTS": "", "PATH": "/bin", "LINE_UP": "1"}) == []


def test_a_real_token_that_happens_to_hold_odd_letters_is_no_placeholder() -> None:
    token = "aB3/your+Xx9xxxx0TODO+secret/none4" * 4
    assert settings_problems(GOOD | {"LINE_CHANNEL_ACCESS_TOKEN": token}) == []


def test_no_secret_stands_in_a_problem_or_in_the_settings_as_text() -> None:
    canary = "xoxq-CANARY-8412"
    environ = GOOD | {"SLACK_BOT_TOKEN": canary, "KOE_DATABASE_URL": f"postgresql://u:{canary}@h/d", "KOE_PORT": "x"}
    found: list[Problem] = []
    settings = read_settings(environ, None, found)
    assert canary not in repr(settings) + str(settings) + "".join(map(str, found))
    assert all(value not in repr(settings) for name, value in GOOD.items() if name != "KOE_HOST")


# ---------------------------------------------------------------------------------------------------- koe.yaml


def test_every_problem_of_the_file_is_named_at_once_with_its_line() -> None:
    broken = (
        EXAMPLE.replace("flow: after_purchase", "flow: after_purchse")
        .replace("retention: 2y", "retention: forever")
        .replace("timezone: Asia/Tokyo", "timezone: Asia/Tokio")
        .replace("min_gap: 14d", "min_gap: a fortnight")
        .replace("primary_metric:", "primary_metrik:")
    )
    write("koe.yaml", broken)
    found = problems()
    lines = {broken.splitlines()[int(text.split(":")[1]) - 1].split(":")[0].strip() for text in found}
    assert lines == {"flow", "retention", "timezone", "min_gap", "primary_metrik"}
    assert any("did you mean primary_metric?" in text for text in found)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "flow: relational",
            "flow: relationnal",
            "quarterly: there is no flow relationnal; did you mean relational?",
        ),
        ("primary_metric: nps", "primary_metric: npss", "did you mean nps?"),
        ("C0DIGEST,", "C0DIGEST, primary_metric: npss,", "primary_metric: there is no instrument npss"),
        ("csat5: 80", "csat: 80", "targets: there is no instrument csat"),
        ("nps: 20", "nps: 200", "a score from -100 to 100"),
        ("C0ALERTS", '"#alerts"', "no Slack channel id"),
        ("C0DIGEST", "voc-digest", "no Slack channel id"),
        ("U0STAFF", "tanaka", "no Slack id"),
        ("weekday: mon", "weekday: monday", "must be one of"),
        ("holidays: JP", "holidays: XX", "no country whose holidays are known"),
        ("days: mon-fri", "days: monday", "names no weekdays"),
        ('hours: "10:00-17:00"', 'hours: "17:00-10:00"', "ends before it begins"),
        ("brand: {ja: 声の店, en: Koe Store}", "brand: {ja: 声の店}", "brand.en: missing"),
        ("id: after-support", "id: after-purchase", "stands twice"),
        ("id: after-support", "id: staff", "kept for surveys"),
        ("privacy_url: https://example.com/privacy", "", "privacy_url: missing; customers are shown"),
        ("retention: 2y", "", "retention: missing; customers are told"),
        ("language: ja  ", "language: fr  ", "must be one of 'ja' or 'en'"),
        ("after_complaint: 3d", "after_complain: 3d", "did you mean after_complaint?"),
        ("remind: 72h", "remind: 10d", "remind must come before expires"),
        ("{gte: 3000}", "{atleast: 3000}", "unknown comparison"),
        ("brand: {ja: 声の店, en: Koe Store}", "brand: Koe", "brand: must be a group of keys, such as {ja: …, en: …}"),
        ("brand: {ja: 声の店, en: Koe Store}", "brand: {ja: 1, en: a}", "brand.ja: must be text; put quotes around it"),
        ("sample: 1.0", "sample: most", "sample: must be a valid number"),
        ("per_year: 6", "per_year: 0", "per_year: must be greater than or equal to 1"),
        ("words: [交換, 返品, 届かない]", "words: 交換", "unhappy.words: must be a list"),
        (
            "targets:",
            "free_text: {polarity: {良い: 2}}\ntargets:",
            "free_text.polarity.良い: must be one of -1, 0 or 1",
        ),
        ("targets:", "free_text: {stopwords: [店]}\ntargets:", "did you mean stop_words?"),
        ("targets:", "free_text: {dictionary: big}\ntargets:", "must be one of 'small', 'core' or 'full'"),
        (
            "targets:",
            "free_text: {topics: {gift: {name: {ja: 贈, en: G}, words: [のし], experience: exp_packging}}}\ntargets:",
            "free_text: there is no instrument exp_packging; did you mean exp_packaging?",
        ),
        ("targets:", "trust: {weights: {promise_kep: 2}}\ntargets:", "did you mean promise_kept?"),
        ("targets:", "trust: {survey: {affinty: {5: 2}}}\ntargets:", "did you mean affinity?"),
        ("targets:", "trust: {survey: {nps: {9-10: 2, 10: 1}}}\ntargets:", "the answer 10 stands twice"),
        ("targets:", "trust: {survey: {nps: {many: 2}}}\ntargets:", "'many' names no answers; write 9, or 9-10"),
        ("targets:", "trust: {recovery: 1}\ntargets:", "trust.recovery: must be less than 1"),
        ("targets:", "trust: {cooldown: week}\ntargets:", "trust.cooldown: 'week' is not a duration"),
        (
            "targets:",
            f"benchmarks: [{FIGURE.replace('nps', 'npx')}]\ntargets:",
            "benchmarks: there is no instrument npx",
        ),
        (
            "targets:",
            f"benchmarks: [{FIGURE.replace('2025', 'last year')}]\ntargets:",
            "a year such as 2025 nor a month",
        ),
        (
            "targets:",
            f"benchmarks: [{FIGURE.replace('JP', 'Japan')}]\ntargets:",
            "is no country code; it looks like JP",
        ),
        (
            "targets:",
            f"benchmarks: [{FIGURE.replace('0-10', 'ten')}]\ntargets:",
            "both ends of the scale, such as 0-10",
        ),
        (
            "targets:",
            f"benchmarks: [{FIGURE.replace('[5, 15]', '[11, 15]')}]\ntargets:",
            "value 10 lies outside its ci 11",
        ),
        ("targets:", f"benchmarks: [{FIGURE.replace('n: 500, ', '')}]\ntargets:", "write n too, or leave them out"),
        (
            "targets:",
            f"benchmarks: [{FIGURE.replace('good: 200', 'good: 400')}]\ntargets:",
            "550 answers together, more",
        ),
        ("targets:", "country: Japan\ntargets:", "country: is no country code"),
        ("targets:", "flows: {after_support: {ces: ces_ease}}\ntargets:", "asks no question ces"),
        ("targets:", "flows: {after_suport: {effort: ces_ease}}\ntargets:", "did you mean after_support?"),
    ],
)
def test_a_mistake_is_a_sentence_with_file_and_line(old: str, new: str, says: str) -> None:
    assert EXAMPLE.count(old) == 1, old
    write("koe.yaml", EXAMPLE.replace(old, new))
    found = problems()
    assert len(found) == 1, found
    assert re.match(r"koe\.yaml(:\d+)?: ", found[0])
    assert says in found[0]


def test_a_list_of_problems_is_in_order_of_lines_and_counts_rules_from_one() -> None:
    write("koe.yaml", EXAMPLE.replace("delay: 1h", "delay: soon").replace("sample: 0.25", "sample: 25"))
    found = problems()
    assert "triggers[2].delay: 'soon' is not a duration" in found[0]
    assert "triggers[3].sample" in found[1]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (EXAMPLE.encode("cp932", "replace"), "Shift_JIS"),
        (b"", "empty"),
        (b"- a\n- b\n", "key: value"),
        (b"brand: &a [1]\nteam: *a\n", "anchors"),
        (b"brand:\n\tja: x\n", "tab"),
        (b"brand: {ja: a\n", "koe.yaml"),
        (b"brand: 1\nbrand: 2\n", "stands twice"),
        (b"\xff\xfeb\x00", "UTF-16"),
        (b"[" * 5000, "koe.yaml"),
        (b"a: b\n" * 300_000, "larger than"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained(data: bytes, says: str) -> None:
    Path("koe.yaml").write_bytes(data)
    found = problems()
    assert len(found) == 1
    assert says in found[0]


def test_a_byte_order_mark_does_not_matter() -> None:
    Path("koe.yaml").write_bytes(b"\xef\xbb\xbf" + EXAMPLE.encode())
    assert load(environ=GOOD).shop.brand_in("en") == "Koe Store"


def test_a_missing_file_is_named() -> None:
    Path("koe.yaml").unlink()
    assert problems() == ["koe.yaml: there is no such file; copy koe.example.yaml to it, or set KOE_CONFIG"]
    hint = "; copy koe.example.yaml to it, or set KOE_CONFIG"
    assert problems(GOOD | {"KOE_CONFIG": "shop.yaml"}) == ["shop.yaml: there is no such file" + hint]


# ---------------------------------------------------------------------------------------------------- flows

OWN_FLOW = """\
id: {id}
survey_kind: transactional
touchpoint: visit
invite: inv.purchase
questions:
  - {{id: sat, instrument: sat5}}
endings:
  - {{say: end.middle}}
"""

WITH_FLOWS = GOOD | {"KOE_FLOWS_DIR": "surveys"}


def test_a_folder_of_flows_adds_to_the_built_in_ones_and_replaces_those_of_the_same_id() -> None:
    write("surveys/visit.yaml", OWN_FLOW.format(id="store_visit"))
    write("surveys/unboxing.yml", OWN_FLOW.format(id="unboxing"))
    write("surveys/notes.txt", "not a flow")
    library = load(environ=WITH_FLOWS).library
    assert "store_visit" in library.flows
    assert [q.id for q in library.flows["unboxing"].questions] == ["sat"]


def test_a_shop_can_say_a_sentence_in_its_own_words() -> None:
    write("surveys/copy/ours.yaml", "end.middle: {ja: ありがとうございました。, en: Thank you.}\n")
    library = load(environ=WITH_FLOWS).library
    assert library.deck.text("end.middle", "en", {}) == "Thank you."
    assert library.deck.has("end.warm")


def test_koe_yaml_can_ask_how_easy_it_was_instead_of_the_effort() -> None:
    write("koe.yaml", EXAMPLE + "\nflows: {after_support: {effort: ces_ease}}\n")
    library = load(environ=GOOD).library
    question = library.flows["after_support"].question("effort")
    assert (question.instrument, question.wording_id) == ("ces_ease", "ces_ease.support")
    write("koe.yaml", EXAMPLE)  # the built-in definitions themselves are left as they are
    assert load(environ=GOOD).library.flows["after_support"].question("effort").instrument == "ces_effort"


def test_problems_of_flow_files_and_of_koe_yaml_come_together() -> None:
    write("surveys/a.yaml", OWN_FLOW.format(id="a").replace("sat5", "sat55"))
    Path("surveys/b.yaml").write_bytes("id: 店\n".encode("cp932"))
    write("koe.yaml", EXAMPLE.replace("retention: 2y", "retention: 2"))
    found = problems(WITH_FLOWS)
    files = {text.split(":")[0] for text in found}
    assert files == {"koe.yaml", "surveys/a.yaml", "surveys/b.yaml"}
    assert any(text.startswith("surveys/a.yaml:6: ") for text in found)


def test_a_folder_that_is_not_there_is_named() -> None:
    assert problems(WITH_FLOWS) == ["surveys: KOE_FLOWS_DIR names no folder; create it or remove the setting"]


# ---------------------------------------------------------------------------------------------------- schemas


def test_the_stored_json_schemas_are_those_of_the_code() -> None:
    for name, text in schemas().items():
        stored = (ROOT / "docs" / "schemas" / name).read_text(encoding="utf-8")
        assert stored == text, f"run: python -m bot.schemas ({name})"


def test_a_change_of_the_environment_after_reading_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(environ=GOOD)
    monkeypatch.setenv("KOE_PORT", "1")
    assert config.settings.port == 8000
    assert Settings().port == 8000


def test_a_mutated_file_works_or_is_explained() -> None:
    data = EXAMPLE.encode()
    for seed in range(120):
        chance = random.Random(seed)
        start, length = chance.randrange(len(data)), chance.randrange(1, 30)
        junk = bytes(chance.choice(b"{}[]:,-#&*!|>'\"%@` \t\n0aZ\x00\x85\xe3\x81") for _ in range(chance.randrange(6)))
        Path("koe.yaml").write_bytes(data[:start] + junk + data[start + length :])
        found: list[Problem] = []
        shop, library = read_shop(Path("koe.yaml"), None, found)
        assert found or (shop and library), seed
        for problem in found:
            assert problem.file == "koe.yaml", seed
            assert len(problem.message) > 10, seed


def test_the_history_the_contact_cap_asks_for_is_what_storage_keeps() -> None:
    assert [f.name for f in fields(History)] == [f.name for f in fields(Contacts)]


# ------------------------------------------------------------------------------------------------------ the account


def test_what_the_trust_section_leaves_out_stays_as_it_is() -> None:
    assert load(environ=GOOD).shop.trust.rules == trust.DEFAULT
    section = "trust: {weights: {promise_broken: -9}, survey: {affinity: {5: 3, 1-2: -1}}, drop: null, cooldown: 3d}"
    write("koe.yaml", f"{EXAMPLE}\n{section}\n")
    rules = load(environ=GOOD).shop.trust.rules
    assert (rules.weights["promise_broken"], rules.weights["promise_kept"]) == (-9, 2)
    assert rules.survey["affinity"] == {5: 3, 1: -1, 2: -1}
    assert rules.survey["nps"] == trust.SURVEY["nps"]
    assert (rules.drop_points, rules.cooldown_ms) == (None, 3 * 86_400_000)


def test_numbers_that_cannot_stand_together_are_each_named_in_their_line_with_all_else_that_is_wrong() -> None:
    section = """trust:
  floor: 0
  cap: -1
  half_life:
    deposit: 400d
  weights:
    promise_broken: -3
    delivery_on_time: 3
    reply_overdue: 2
  bands: {good: 15, solid: 5}
  times: {reply: 4d}
"""
    write("koe.yaml", section + EXAMPLE.replace("per_year: 6", "per_year: 0"))
    told = [text.removeprefix("koe.yaml:") for text in problems()]
    assert [text.split(": ", 1)[0] for text in told[:-1]] == ["2", "3", "4", "7", "8", "9", "10", "11"]
    for said in (
        "trust.floor is 0; it must be below 0",
        "trust.cap is -1; it must be above 0",
        "withdrawals (360d) must not fade sooner than deposits (400d)",
        "promise_broken (-3) must weigh at least twice as much as promise_kept (2)",
        "late_delivery (-4) must weigh at least twice as much as delivery_on_time (3)",
        "reply_overdue is a withdrawal; 2 is above 0",
        "good (15) must lie above 0 and below solid (5)",
        "reply must be shorter than 72h",
        "per_year: must be greater than or equal to 1",
    ):
        assert any(said in text for text in told), (said, told)


def test_published_figures_are_read_with_all_that_they_were_made_of() -> None:
    write("koe.yaml", EXAMPLE + f"benchmarks: [{FIGURE}]\ncountry: JP\n")
    (figure,) = load(environ={}, env_file=None).shop.benchmarks
    assert (figure.metric, figure.value, figure.ci, figure.year) == ("nps", 10, (5, 15), "2025")
    assert (figure.n, figure.good, figure.bad, figure.positive) == (500, 200, 150, None)


def test_staff_have_the_names_that_koe_yaml_gives_or_that_a_reader_can_read() -> None:
    staff = Staff.model_validate({"managers": ["U0A"], "names": {"U0STAFF": {"ja": "高木", "en": "Takagi"}}})
    assert staff.people == ("U0A",)
    assert [staff.name_in(lang, "U0STAFF", "高木由美") for lang in ("ja", "en")] == ["高木", "Takagi"]
    assert [staff.name_in(lang, "U0B", "佐藤") for lang in ("ja", "en")] == ["佐藤", ""]
    assert [staff.name_in(lang, "U0B", "Zoë") for lang in ("ja", "en")] == ["Zoë", "Zoë"]
