"""One list of hostile words through everything that Koe writes for somebody else to read: nothing of it comes alive.

SINKS holds a case for each function that renders; a new one without a case fails the first test.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import logging
import re
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date
from functools import cache
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow.parquet as pq
import pytest
import structlog
import yaml
from msgspec import Struct, structs
from rich.console import Console
from rich.table import Table

from bot import logs, terminal
from bot.channel import Turn
from bot.line.messages import encode_messages, render_messages, validate_messages
from bot.slack.messages import answer_view, render_turn
from bot.staff.asking import CustomerHit, FlowOption
from bot.staff.bulk import render_bulk_view
from bot.staff.card import WORDED, CardFacts, NoteFacts, Rating, render_card, render_note
from bot.staff.home import HomeCase, HomeFacts, Running, render_cases, render_home
from bot.staff.survey import render_survey_view
from bot.standins.blocks import validate_message, validate_view
from flows.builtin import builtin_library
from flows.exchange import Ask, Choice, Record, Say
from flows.transcript import render_transcript
from reports import sheets
from reports.answers import render as answers_render
from reports.answers.report import Measured, measure_file
from reports.export_columns import Heading
from reports.instruments import specs_of
from reports.metrics import InstrumentSpec, Span, measure, tally
from reports.page.page import digest_chart, render_page
from reports.render import (
    render_json,
    render_slack,
    render_text,
    render_thread,
    render_voices,
    render_voices_text,
)
from reports.results import render_results
from reports.sample import samples

ROOT = Path(__file__).parents[2]
TOKYO = ZoneInfo("Asia/Tokyo")
DECK = builtin_library().deck
SPECS = specs_of(builtin_library().instruments)
SESSION = "0197a3c2-1111-7000-8000-000000000001"
NOW_MS = 1_795_050_000_000

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)><svg onload=alert(1)>',
    "</title></desc></svg></style><script>1</script>",
    "{{ 7 * 7 }}{% raw %}{0}{name}",
    "javascript:alert(1)",
    "<!channel> <@U0EVIL> <https://evil.example|銀行> <!subteam^S0EVIL> &lt;!here&gt;",
    "=HYPERLINK(A1)",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "＝1+1＋－＠",
    "first\r\nlevel=error event=forged\u2028line\u0085next",
    "a\x00b\u202ec\ud800d\x1b[2J\x07",
    "../../etc/passwd\x00.png",
    "photo\u202egnp.exe",
    "\x9b2J\x1b]0;title\x07\u2066reversed\u200f\u2069 [/red][bold] %s %(name)s",
)
LIVE_HTML = ("<script>alert", "<img", "<svg onload", "onerror=alert(1)>")
LIVE_SLACK = ("<!channel>", "<@U0EVIL>", "<https://evil", "<!subteam", "<!here>")


def poisoned(found: Any, words: frozenset[str], payload: str) -> Any:
    """The same value with a payload in the place of each of some words, however deep."""
    if isinstance(found, str):
        return payload if found in words else found
    if isinstance(found, InstrumentSpec):
        return found
    if is_dataclass(found) and not isinstance(found, type):
        made = {f.name: poisoned(getattr(found, f.name), words, payload) for f in fields(found) if f.init}
        return replace(found, **made)
    if isinstance(found, Struct):
        return structs.replace(found, **{k: poisoned(v, words, payload) for k, v in structs.asdict(found).items()})
    if isinstance(found, tuple) and not hasattr(found, "_fields"):
        return tuple(poisoned(part, words, payload) for part in found)
    if isinstance(found, list):
        return [poisoned(part, words, payload) for part in found]
    if isinstance(found, Mapping):
        return {key: poisoned(part, words, payload) for key, part in found.items()}
    return found


@cache
def digests(payload: str) -> tuple[tuple[Any, Any], ...]:
    """The sample digests with the payload wherever a shop's or a customer's words stand."""
    made = []
    # the fullest of each language
    for context, views in islice(samples(), 0, None, 5):
        outside = {context.brand, context.filtered, "nps.1", "purchase", "support"}
        outside |= {scope.value for scope in views.scopes}
        for e in context.experiments:
            outside |= {*e.trial.name.values(), *(arm.id for arm in e.arms)}
        for standing in context.benchmarks:
            outside |= {standing.benchmark.industry, standing.benchmark.source, standing.benchmark.url}
        for text in context.texts.found if context.texts is not None else ():
            outside |= {comment.text for comment in text.chosen}
            outside |= {word.label for word in (*text.promoter_words, *text.detractor_words)}
            outside |= {name for topic in text.topics for name in topic.topic.names.values()}
        words = frozenset(outside - {""})
        made.append((poisoned(context, words, payload), poisoned(views, words, payload)))
    return tuple(made)


# ------------------------------------------------------------------------------------------------ what is inert


def slack(payload: dict[str, Any], valid: Callable[[dict[str, Any]], list[str]] = validate_message) -> None:
    """A message or a window that Slack takes, in which nothing calls or links anybody."""
    assert valid(payload) == []
    if "text" in payload:
        live_in_mrkdwn(payload["text"])

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") == "mrkdwn":
                live_in_mrkdwn(value["text"])
            assert value.get("type") not in ("link", "user", "broadcast", "usergroup")
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(payload.get("blocks", ()))


def live_in_mrkdwn(text: str) -> None:
    assert not [piece for piece in LIVE_SLACK if piece in text], text


REVERSED = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def plain(text: str) -> None:
    """Words on a terminal: nothing that moves its cursor or turns its writing."""
    live = [c for c in text if (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c != "\n") or c in REVERSED]
    assert not live, repr(text)


def in_line(text: str) -> None:
    """The same, where no word from outside begins a line of its own."""
    plain(text)
    assert not [line for line in text.split("\n") if line.startswith("level=error")], repr(text)


def html(text: str) -> None:
    tags: list[str] = []
    handlers: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            handlers.extend(name for name, _ in attrs if name.startswith("on"))

    Reader().feed(text)
    assert tags.count("script") == 1
    assert tags.count("style") == 1
    assert "img" not in tags
    assert handlers == []
    for drawn in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        svg(drawn)


def svg(text: str) -> None:
    allowed = {"svg", "title", "desc", "text", "line", "rect", "circle", "polygon", "polyline", "style", "path", "g"}
    for element in ElementTree.fromstring(text).iter():
        assert element.tag.rpartition("}")[2] in allowed
        assert not [name for name in element.attrib if name.startswith("on") or "href" in name]


# ------------------------------------------------------------------------------------------------------- the sinks


def _ask(payload: str, kind: str = "choice") -> Ask:
    choice = Choice(payload[:60] or "x", "q", "v", payload)
    many: dict[str, Any] = {"choices": (choice,), "controls": (choice,), "exits": (choice,)}
    return Ask(
        question="q", kind=kind, intro=payload, text=payload, low=payload, high=payload, alt=payload,
        **(many if kind != "text" else {"controls": (Choice("skip", "@control", "skip"),)}),
    )  # type: ignore[arg-type]  # fmt: skip


def _turn(payload: str) -> Turn:
    bubbles = (_ask(payload), _ask(payload, "text"), Say(payload, (Choice(payload[:60] or "x", "@contact", "yes"),)))
    return Turn(SESSION, "ja", bubbles, recorded=(Record("q", payload, label=payload),))


def _line(payload: str, _: Path) -> None:
    made = render_messages((_ask(payload), Say(payload)), SESSION, "ja")
    assert json.loads(encode_messages((_ask(payload), Say(payload)), SESSION, "ja")) == json.loads(json.dumps(made))
    assert validate_messages(made) == []
    for message in made:
        # textV2 would read {names} in a text
        assert message["type"] in ("text", "flex")
        assert "substitution" not in message
    assert '"uri"' not in json.dumps(made).replace("https://example.com", "")


def _slack_turn(payload: str, _: Path) -> None:
    for call in render_turn(_turn(payload), "U1", DECK):
        slack(call.payload["args"])
        assert call.payload["args"]["parse"] == "none"


def _window(payload: str, _: Path) -> None:
    packed = json.dumps({"s": SESSION, "q": "reason", "l": "ja", "t": payload})
    view = answer_view(packed, DECK)
    assert view is None or slack(view, validate_view) is None


CARD = CardFacts("unhappy", contact="yes", due_ms=NOW_MS, here="LINE", nth_order=3, delivered_ms=NOW_MS)


def _card(payload: str, _: Path) -> None:
    facts = replace(
        CARD, ratings=(Rating(payload, payload),), words=payload, customer_id=payload, customer_name=payload,
        order_id=payload, item=payload, earlier=(Rating(payload, payload, NOW_MS),),
    )  # fmt: skip
    for lang in ("ja", "en"):
        for with_words in (True, False):
            slack(render_card(facts, lang, with_words=with_words))


def _note(payload: str, _: Path) -> None:
    for kind in (*sorted(WORDED), "reopened", "overdue"):
        note = NoteFacts(kind, words=payload, staff=payload, to=payload, assignee="U0STAFF", due_ms=NOW_MS)
        slack(render_note(note, "ja", with_words=True))


def _home_facts(payload: str) -> HomeFacts:
    case = HomeCase(payload, payload, NOW_MS, NOW_MS, "U0OTHER")
    return HomeFacts(NOW_MS, cases=(case,), surveys=(Running(payload, payload, 200, 90, 90),))


def _home(payload: str, _: Path) -> None:
    may: Any = frozenset({"staff", "trigger", "handle_cases", "read_comments"})
    slack(render_home(_home_facts(payload), viewer="U0ME", lang="ja", may=may, tz=TOKYO), validate_view)


def _cases(payload: str, _: Path) -> None:
    slack(render_cases(_home_facts(payload), viewer="U0ME", lang="ja", named=True, tz=TOKYO), validate_view)


def _survey(payload: str, _: Path) -> None:
    flow, somebody = FlowOption("flow", payload), CustomerHit(payload, payload)
    slack(
        render_survey_view([flow], lang="ja", card=[payload], override=True, customer=somebody, note=payload),
        validate_view,
    )


def _bulk(payload: str, _: Path) -> None:
    slack(render_bulk_view([FlowOption("flow", payload)], channels=("line",), lang="ja"), validate_view)


def _digest_first(payload: str, _: Path) -> None:
    for context, _views in digests(payload):
        slack(render_slack(context))


def _digest_thread(payload: str, _: Path) -> None:
    for context, _views in digests(payload):
        for message in render_thread(context):
            slack(message)


def _digest_voices(payload: str, _: Path) -> None:
    for poisonous, _views in digests(payload):
        context = replace(poisonous, brand="店")
        voices = render_voices(context)
        if voices is not None:
            slack(voices)
            # a notification shows no word of a customer, hostile or not
            assert context.texts is not None
            assert not [
                c for text in context.texts.found for c in text.chosen if len(c.text) > 9 and c.text in voices["text"]
            ]


def _digest_text(payload: str, _: Path) -> None:
    for context, _views in digests(payload):
        plain(render_text(context))


def _voices_text(payload: str, _: Path) -> None:
    for context, _views in digests(payload):
        plain(render_voices_text(context))


def _digest_json(payload: str, _: Path) -> None:
    for context, _views in digests(payload):
        written = json.dumps(render_json(context), allow_nan=False)
        assert json.loads(written) == render_json(context)
        assert "\n" not in written


def _page(payload: str, _: Path) -> None:
    for context, views in digests(payload):
        made = render_page(context, views, tz=TOKYO)
        html(made["html"])
        assert payload not in made["csp"]


def _chart(payload: str, _: Path) -> None:
    context, views = digests(payload)[0]
    chart = digest_chart(context, views)
    assert chart is not None
    plain(chart["alt"])  # the text of the file that goes to Slack
    slack({"text": "x", "blocks": [{"type": "section", "text": {"type": "plain_text", "text": chart["alt"][:3000]}}]})


def _results(payload: str, _: Path) -> None:
    context, _views = next(samples())
    spec = replace(context.primary_spec, id="own", names={"ja": payload, "en": payload})
    result = measure(spec, tally(spec, [("9", 40)]), window=Span("2026-11-16", "2026-11-23"))[0]
    found = replace(result, stratum=replace(result.stratum, touchpoint=payload, wording_id=payload))
    plain(render_results([found, found], spec, lang="ja", first=date(2026, 11, 16), end=date(2026, 11, 23)))


def _answers(payload: str, folder: Path) -> Measured:
    """A file of answers with the payload in every column that the report names answers by."""
    path, text = folder / "answers.csv", io.StringIO()
    writing = csv.writer(text)
    labels = ("survey_kind", "touchpoint", "channel", "segment", "lang", "wording_id", "label_set")
    writing.writerow(["customer", "session", "instrument", "value", *labels, payload])
    for number in range(24):
        where = [payload] * len(labels)
        for name, value in (("nps", number % 11), ("nrs", 5 - number % 3), ("affinity", 4), ("reason", payload)):
            writing.writerow([f"c{number}{payload}", f"s{number}", name, value, *where, "x"])
        for item in range(1, 7):
            writing.writerow([f"c{number}", f"s{number}", f"csi3_{item}", 3, *where, "x"])
        writing.writerow([f"c{number}", f"s{number}", payload, 3, *where, "x"])
    path.write_bytes(text.getvalue().encode("utf-8", "replace"))
    named = builtin_library().instruments
    return measure_file(path, SPECS, unscored=named, texts=["reason"], tz=TOKYO)


def _file(payload: str, folder: Path) -> None:
    found = _answers(payload, folder)
    for lang in ("ja", "en"):
        in_line(answers_render.render_table(found, SPECS, lang))  # type: ignore[arg-type]
        in_line("\n".join(answers_render.notes(found, lang)))  # type: ignore[arg-type]
    written = answers_render.render_json(found)
    plain(written)
    records = json.loads(written)
    assert {record["metric"] for record in records} >= {"nps", "nrs", "affinity", "nps_nrs"}


HEADS = (Heading("words", "text"), Heading("n", "number"))


def _csv(payload: str, _: Path) -> None:
    line = sheets.csv_line([payload, 1], ["text", "number"], TOKYO)
    (read,) = csv.reader(io.StringIO(line, newline=""))
    assert read[0].lstrip(" ")[:1] not in tuple("=+-@＝＋－＠\t\r\n")


def _xlsx(payload: str, folder: Path) -> None:
    path = folder / "a.xlsx"
    sheets.write_xlsx(path, "answers", HEADS, [[payload, 1]], tz=TOKYO, made_ms=NOW_MS)
    cell = openpyxl.load_workbook(path).active["A2"]
    assert cell.data_type in ("s", "n")
    assert cell.hyperlink is None
    with zipfile.ZipFile(path) as parts:
        assert "<f>" not in parts.read("xl/worksheets/sheet1.xml").decode()


def _parquet(payload: str, folder: Path) -> None:
    path = folder / "a.parquet"
    payload = payload.encode("utf-8", "replace").decode()  # as the store keeps it
    sheets.write_parquet(path, HEADS, [[payload, 1]], tz=TOKYO, meaning=lambda name: name)
    assert pq.read_table(path)["words"].type == "string"


SINKS: dict[str, Callable[[str, Path], None]] = {
    "bot.line.messages.render_messages": _line,
    "bot.line.messages.encode_messages": _line,
    "bot.slack.messages.render_turn": _slack_turn,
    "bot.slack.messages.question_blocks": _slack_turn,
    "bot.slack.messages.choice_blocks": _slack_turn,
    "bot.slack.messages.answer_view": _window,
    "bot.staff.card.render_card": _card,
    "bot.staff.card.render_note": _note,
    "bot.staff.home.render_home": _home,
    "bot.staff.home.render_cases": _cases,
    "bot.staff.survey.render_survey_view": _survey,
    "bot.staff.bulk.render_bulk_view": _bulk,
    "reports.render.render_slack": _digest_first,
    "reports.render.render_thread": _digest_thread,
    "reports.render.render_voices": _digest_voices,
    "reports.render.render_text": _digest_text,
    "reports.render.render_voices_text": _voices_text,
    "reports.render.render_json": _digest_json,
    "reports.page.page.render_page": _page,
    "reports.page.page.digest_chart": _chart,
    "reports.results.render_results": _results,
    "reports.answers.render.render_table": _file,
    "reports.answers.render.render_json": _file,
    "reports.sheets.csv_line": _csv,
    "reports.sheets.write_xlsx": _xlsx,
    "reports.sheets.write_parquet": _parquet,
}
"""Function that writes for somebody to read → what is tried with each payload."""
_WRITES = re.compile(r"(render|write|encode)_\w+|\w+_(view|blocks|chart)|csv_line")


def written_by() -> Iterator[str]:
    """Every public function of the bot and the reports whose name says that it writes."""
    for path in sorted([*(ROOT / "bot").rglob("*.py"), *(ROOT / "reports").rglob("*.py")]):
        if "standins" in path.parts or path.name == "instruments.py":
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and _WRITES.fullmatch(node.name):
                yield f"{module}.{node.name}"


def test_every_function_that_writes_has_a_case() -> None:
    assert set(written_by()) == SINKS.keys()


@pytest.mark.parametrize("sink", sorted(set(SINKS.values()), key=lambda case: case.__name__), ids=lambda c: c.__name__)
def test_no_payload_comes_alive(sink: Callable[[str, Path], None], tmp_path: Path) -> None:
    for payload in PAYLOADS:
        sink(payload, tmp_path)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_stays_one_line_of_words(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    before, handlers = structlog.get_config(), logging.root.handlers[:]
    logging.root.handlers.clear()
    logs.set_up(form)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr), cache_logger_on_first_use=False)
    try:
        for payload in PAYLOADS:
            log = structlog.get_logger()
            log.warning("refused", reason=payload)
            log.warning("refused", reasons=[payload, {payload: (payload,)}], raised=ValueError(payload))
            logging.getLogger("library").warning("said %s", payload)
    finally:
        structlog.configure(**before)
        logging.root.handlers[:] = handlers
    written = capfd.readouterr().err
    assert len(written.splitlines()) == 3 * len(PAYLOADS)
    in_line(written)


def test_a_credential_is_struck_out_however_deep(capfd: pytest.CaptureFixture[str]) -> None:
    secret = "xox" + "b-1234567890-abcdef"
    told = logs.redact(None, "", {"reasons": [f"said {secret}", {"raised": ValueError(secret)}], secret: 1})
    assert "1234567890" not in str(told["reasons"])


def test_whatever_is_printed_are_words_and_json_keeps_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    for payload in PAYLOADS:
        terminal.echo(f"{payload}")
        terminal.echo(json.dumps({"words": payload}, ensure_ascii=False), err=True)
        shown = capsys.readouterr()
        plain(shown.out.replace("\t", " "))
        plain(shown.err)
        assert json.loads(shown.err) == {"words": payload}


def test_nothing_is_printed_past_the_one_place_that_spells_it_out() -> None:
    for path in (ROOT / "bot").rglob("*.py"):
        if "standins" in path.parts or path.name == "terminal.py":
            continue
        source = path.read_text(encoding="utf-8")
        assert "typer.echo(" not in source, path
        assert 'TextColumn("{task.description}' not in source, path


def test_a_line_of_a_table_is_no_markup() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    for payload in PAYLOADS:
        table = Table("reason")
        table.add_row(terminal.one_line(payload))
        console.print(table)
    assert "[/red][bold]" in shown.getvalue()
    plain(shown.getvalue())


def test_a_recorded_talk_is_text_that_means_what_was_said() -> None:
    for payload in PAYLOADS:
        written = render_transcript({"flow": payload}, [{"in": payload, "out": [payload]}])
        plain(written.replace("\t", " "))
        assert yaml.safe_load(written) == {"flow": payload, "talk": [{"in": payload, "out": [payload]}]}


def test_no_file_and_no_header_is_named_by_words_from_outside() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot").rglob("*.py"))
    # nothing is offered as a download: a page is shown, an export is written where its operator says
    assert "content-disposition" not in sources.lower()
