"""The documents are true: links lead somewhere, commands and settings exist, examples work as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
import yaml

from bot import measures
from bot.cli import app
from bot.config import Settings
from bot.events.business import parse_event
from bot.events.files import Row, read_rows
from bot.loading import load
from bot.signatures import verify_standard_webhooks
from flows.questions import command
from flows.rights import recognise

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("README*.md"), ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
EXAMPLE_FILES = [ROOT / "koe.example.yaml", ROOT / ".env.example"]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1kb2N1bWVudHMtdGVzdA=="


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a kind on a page."""
    return [body for _, found, body in FENCE.findall((ROOT / page).read_text("utf-8")) if found == kind]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def spoken_commands() -> set[str]:
    """Every command there is, groups' members as "import events"."""

    def walk(at: Any, name: str) -> Iterator[str]:
        members = getattr(at, "commands", None)
        if members is None:
            yield name
        else:
            for word, member in members.items():
                yield from walk(member, f"{name} {word}".strip())

    return set(walk(typer.main.get_command(app), ""))


# ------------------------------------------------------------------------------------------------ links and words


def test_every_relative_link_and_image_leads_somewhere() -> None:
    links = [(page, target) for page in PAGES for target in re.findall(r"\]\(([^)\s]+)\)", prose(page))]
    for page, target in links:
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert ROOT in there.parents, f"{page.name} links out of the repository: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}: there is no such heading"


def test_no_page_names_a_machine_or_a_package_index() -> None:
    for page in (*PAGES, *EXAMPLE_FILES):
        text = page.read_text("utf-8")
        for place in (r"(?<![\w.])/(work|tmp|home|root|Users|opt)/", r"\.\./shared", r"pypi", r"pythonhosted", r"C:\\"):
            assert not re.search(place, text), f"{page.name} holds {place}"


@pytest.mark.parametrize("page", ["README.md", "README.ja.md", "docs/architecture.md", "docs/how-to.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"`((?:bot|flows|storage|reports|tests|docs|requirements)/[\w./-]+)`", text)
    assert named or page.startswith("README")
    for name in named:
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_decisions_are_numbered_once_each() -> None:
    numbers = [page.name[:4] for page in sorted((DOCS / "decisions").glob("*.md"))]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\d{4}", number) for number in numbers)
    for page in (DOCS / "decisions").glob("*.md"):
        text = page.read_text("utf-8")
        assert text.startswith(f"# {page.name[:4]} – "), page.name
        assert "**Given up.**" in text, page.name


@pytest.mark.parametrize(
    ("english", "japanese"),
    [("README.md", "README.ja.md"), ("docs/going-live.md", "docs/going-live.ja.md")],
)
def test_a_page_has_the_same_shape_in_both_languages(english: str, japanese: str) -> None:
    def shape(text: str) -> list[int]:
        return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]

    def targets(text: str) -> list[str]:
        found = {target.replace(".ja.md", ".md") for target in re.findall(r"\]\(([^)\s]+)\)", text)}
        return sorted(t for t in found if not t.startswith(("README", "docs/images")))

    pages = [ROOT / english, ROOT / japanese]
    first, second = ([found(prose(page)) for found in (shape, targets)] for page in pages)
    assert first == second
    codes = [FENCE.findall(page.read_text("utf-8")) for page in pages]
    assert len(codes[0]) == len(codes[1])
    pictured = ["docs/images/" in page.read_text("utf-8") for page in pages]
    assert pictured == [english == "README.md"] * 2


def test_going_live_has_the_same_commands_in_both_languages() -> None:
    def commands(page: str) -> list[str]:
        found = "\n".join(code for _, _, code in FENCE.findall((DOCS / page).read_text("utf-8")))
        plain = re.sub(r"#.*|git clone .*|U…[^\"]*…", "", found)
        return [line.rstrip() for line in plain.splitlines()]

    assert commands("going-live.md") == commands("going-live.ja.md")


# ------------------------------------------------------------------------------------------ commands and settings


def test_every_command_is_in_both_readmes() -> None:
    for readme in ("README.md", "README.ja.md"):
        text = (ROOT / readme).read_text("utf-8")
        for name in spoken_commands():
            assert f"`koe {name}" in text, f"{readme} does not say what koe {name} does"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "decisions"], ids=lambda p: p.name)
def test_no_page_speaks_of_a_command_or_option_that_does_not_exist(page: Path) -> None:
    known = spoken_commands()
    root = typer.main.get_command(app)
    text = page.read_text("utf-8")
    code = [*re.findall(r"`([^`\n]+)`", prose(page)), *"\n".join(b for _, _, b in FENCE.findall(text)).splitlines()]
    for line in code:
        for words in re.findall(r"(?:^|[\s/])koe ([a-z][\w-]*(?: [a-z][\w-]*)?)", line):
            name = words if words in known else words.split()[0]
            if name in ("checks",):
                continue
            groups = {spoken.split()[0] for spoken in known if " " in spoken}
            assert name in known | groups, f"{page.name} speaks of koe {words}"
            at: Any = root
            for word in name.split():
                at = at.commands[word]
            options = {option for parameter in at.params for option in parameter.opts}
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", line.split(f"koe {name}", 1)[1]):
                assert option in options, f"{page.name}: koe {name} has no {option}"


def test_every_setting_is_explained() -> None:
    text = (DOCS / "operations.md").read_text("utf-8")
    for name in Settings.names():
        assert f"`{name}`" in text, f"docs/operations.md does not explain {name}"


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        written = re.findall(r"\b(?:KOE|LINE|SLACK|SHOPIFY|STRIPE|ZENDESK)_[A-Z][A-Z_]*[A-Z]\b", text)
        assert not set(written) - set(Settings.names()), page.name


def test_every_metric_that_is_explained_is_measured_and_back() -> None:
    text = (DOCS / "operations.md").read_text("utf-8")
    measured = {family.name + ("_total" if family.type == "counter" else "") for family in measures.registry.collect()}
    explained = set(re.findall(r"\bkoe_[a-z_]+", text)) - {"koe_backup"}
    assert explained == measured


# ------------------------------------------------------------------------------------------------------- examples


def config_of(tmp_path: Path, shop: str, **environ: str) -> Any:
    """The checked configuration of this koe.yaml."""
    file = tmp_path / "koe.yaml"
    file.write_text(shop, "utf-8")
    return load(environ={"KOE_CONFIG": str(file), **environ}, env_file=None)


def test_the_sections_of_the_koe_yaml_page_are_a_working_file(tmp_path: Path) -> None:
    sections = [block for block in blocks("docs/koe-yaml.md", "yaml") if not block.startswith(" ")]
    shop = config_of(tmp_path, "\n".join(sections)).shop
    assert [rule.id for rule in shop.triggers] == ["after-purchase", "after-support", "quarterly"]


def test_the_nested_condition_of_the_koe_yaml_page_can_be_asked(tmp_path: Path) -> None:
    shop, _, *_ = blocks("docs/koe-yaml.md", "yaml")
    when = next(block for block in blocks("docs/koe-yaml.md", "yaml") if block.startswith(" "))
    rule = f"triggers:\n  - id: one\n    on: delivery\n    flow: after_purchase\n{when}"
    (trigger,) = config_of(tmp_path, f"{shop}\n{rule}").shop.triggers
    assert trigger.when.holds({"order.amount": 12000})
    assert trigger.when.holds({"order.amount": 100, "order.store": "kyoto"})
    assert not trigger.when.holds({"order.amount": 100, "order.store": "kyoto", "order.gift": True})


def test_the_experiment_of_the_recipe_can_be_run_and_needs_as_many_customers_as_it_says(tmp_path: Path) -> None:
    shop = "\n".join(blocks("docs/koe-yaml.md", "yaml")[:2])
    (recipe,) = [textwrap.dedent(b) for b in blocks("docs/how-to.md", "yaml") if "experiments:" in b]
    config = config_of(tmp_path, f"{shop}\n{recipe}")
    (experiment,) = config.shop.experiments
    assert f"# {experiment.planned_n} customers per arm" in recipe
    assert config.library.arms[experiment.id, "B"].revision != config.library.arms[experiment.id, "A"].revision


def test_every_section_of_koe_yaml_has_a_heading_or_stands_under_the_shop() -> None:
    headings = set(re.findall(r"^## (\w+)$", (DOCS / "koe-yaml.md").read_text("utf-8"), re.MULTILINE))
    first = blocks("docs/koe-yaml.md", "yaml")[0]
    schema = json.loads((DOCS / "schemas" / "koe.schema.json").read_text("utf-8"))
    plain = set(re.findall(r"^(\w+):", first, re.MULTILINE))
    assert set(schema["properties"]) <= headings | plain


def test_the_recipes_flow_texts_and_instrument_work_together(tmp_path: Path) -> None:
    flow, texts, words, instrument, *_ = blocks("docs/how-to.md", "yaml")
    surveys = tmp_path / "surveys"
    for path, body in (
        ("after_class.yaml", flow),
        ("copy/class.yaml", texts),
        ("copy/own.yaml", words),
        ("instruments/clarity.yaml", instrument),
    ):
        (surveys / path).parent.mkdir(parents=True, exist_ok=True)
        (surveys / path).write_text(body, "utf-8")
    shop = blocks("docs/koe-yaml.md", "yaml")[0]
    library = config_of(tmp_path, shop, KOE_FLOWS_DIR=str(surveys)).library
    assert [question.id for question in library.flows["after_class"].questions] == ["clarity", "reason", "gift"]
    assert library.deck.text("end.middle", "en").endswith("See you at the next class.")


def test_the_event_of_the_events_page_is_one() -> None:
    (body,) = blocks("docs/events.md", "json")
    event, at_ms = parse_event(body.encode(), UTC)
    assert event.type == "delivery"
    assert at_ms == 1_794_790_800_000


def test_the_csv_of_the_events_page_has_no_bad_row(tmp_path: Path) -> None:
    (body,) = blocks("docs/events.md", "csv")
    file = tmp_path / "history.csv"
    file.write_text(body, "utf-8")
    rows = list(read_rows(file, UTC))
    assert [row.event.data["order"] for row in rows if isinstance(row, Row)] == ["A-900", "A-900"]


@contextmanager
def receiver() -> Iterator[tuple[int, list[str]]]:
    """A server in Koe's place: believes what Koe would believe. Yields its port and the ids it took."""
    taken: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            genuine = verify_standard_webhooks(list(self.headers.items()), body, [SECRET], time.time())
            if genuine and self.path == "/events":
                taken.append(parse_event(body, UTC)[0].id)
            self.send_response(202 if genuine else 401)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(program: list[str], source: str) -> list[str]:
    """The ids that arrived when the example was run as it stands, but for the port."""
    with receiver() as (port, taken):
        done = subprocess.run(
            [*program, source.replace("127.0.0.1:8000", f"127.0.0.1:{port}")],
            env={**os.environ, "SECRET": SECRET, "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return taken


def test_the_python_example_sends_an_event_that_is_believed() -> None:
    (source,) = [block for block in blocks("docs/events.md", "python") if "urllib" in block]
    assert send([sys.executable, "-c"], source) == ["purchase-1001"]


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="curl or openssl is not installed here"
)
def test_the_shell_example_sends_an_event_that_is_believed() -> None:
    (source,) = [block for block in blocks("docs/events.md", "sh") if "curl" in block]
    assert send(["sh", "-euc"], source) == ["delivery-1001"]


def test_the_backup_of_the_operations_page_is_sound(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "koe.db") as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE answers (value TEXT)")
        made.execute("INSERT INTO answers VALUES ('9')")
    (source,) = [block for block in blocks("docs/operations.md", "sh") if "source.backup" in block]
    done = subprocess.run(["sh", "-euc", source], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    made.close()
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    copy = sqlite3.connect(tmp_path / "koe-backup.db")
    assert copy.execute("SELECT value FROM answers").fetchall() == [("9",)]
    copy.close()
    assert (tmp_path / "koe-backup.db").stat().st_mode & 0o077 == 0


# --------------------------------------------------------------------------------------------------- conversation


def said() -> Iterator[re.Pattern[str]]:
    """Every line that Koe can say to a customer, with anything in its blanks."""

    def texts(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for value in node.values():
                yield from texts(value)
        elif isinstance(node, str):
            yield from node.splitlines()

    for file in [*ROOT.glob("flows/data/copy/*.yaml"), *ROOT.glob("flows/data/instruments/*.yaml")]:
        for line in set(texts(yaml.safe_load(file.read_text("utf-8")))):
            yield re.compile(re.sub(r"\\{[^}]*\\}", ".+", re.escape(line.strip())))


@pytest.mark.parametrize("readme", ["README.md", "README.ja.md"])
def test_the_talk_in_the_readme_is_what_koe_says(readme: str) -> None:
    talk = blocks(readme, "text")[0]
    lines = re.sub(r"^(?!Koe:|\s).*$", "", talk, flags=re.MULTILINE).replace("Koe:", "")
    sentences = [part for line in lines.splitlines() for part in re.split(r"\[.*?\]|…|(?<=。)(?=\S)", line)]
    told = [re.sub(r"^\d+(：|: )", "", sentence.strip()) for sentence in sentences if sentence.strip()]
    known = list(said())
    assert len(told) > 8
    for sentence in told:
        assert any(pattern.fullmatch(sentence) or sentence in pattern.pattern for pattern in known), sentence


def table_after(heading: str) -> list[tuple[str, str]]:
    """(Japanese, English) cells of the first table after a heading of the conversation page."""
    text = (DOCS / "conversation.md").read_text("utf-8").split(heading, 1)[1]
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]* \|$", text.split("\n## ", 1)[0], re.MULTILINE)
    return [(ja, en) for ja, en in rows if ja != "Japanese" and not ja.startswith("an older")]


def test_every_word_that_the_conversation_page_teaches_is_understood() -> None:
    rows = table_after("## Typing works wherever tapping does")
    assert len(rows) == 6
    for japanese, english in rows:
        meant = {command(word) for word in (japanese.split(", ")[0], english.split(", ")[0])}
        assert len(meant) == 1, (japanese, english)
        assert None not in {command(word) for word in [*japanese.split(", "), *english.split(", ")]}


def test_the_four_messages_of_the_conversation_page_are_the_four_there_are() -> None:
    rows = table_after("## Outside a survey")
    found = [{recognise(word) for word in [*japanese.split(", "), *english.split(", ")]} for japanese, english in rows]
    assert found == [{"mine"}, {"erase"}, {"unsubscribe"}, {"resume"}]


def test_every_picture_of_what_staff_see_stands_in_its_page_in_both_languages() -> None:
    page = (ROOT / "docs" / "staff-pictures.md").read_text("utf-8")
    drawn = {path.stem for path in (ROOT / "docs" / "images" / "staff").glob("*.png")}
    shown = set(re.findall(r"images/staff/([\w-]+)\.png", page))
    assert shown == drawn
    assert {name.removesuffix("-ja") for name in drawn if name.endswith("-ja")} == {
        name.removesuffix("-en") for name in drawn if name.endswith("-en")
    }
