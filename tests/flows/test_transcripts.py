"""Whole talks with the built-in flows, compared with what is written beside them.

KOE_REWRITE_TRANSCRIPTS=1 writes what the engine says now; read the difference before keeping it.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
import yaml
from talks import Talk, library, told

from flows.exchange import Ask, End, Say

FOLDER = Path(__file__).parent / "transcripts"
FILES = sorted(FOLDER.glob("*.yaml"))


class _Dumper(yaml.SafeDumper):
    pass


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_talk_goes_as_written(path: Path) -> None:
    written = yaml.safe_load(path.read_text("utf-8"))
    talk = Talk(
        library().flows[written["flow"]],
        lang=written["lang"],
        week=written.get("week", date(2026, 11, 16)),
        facts=written.get("facts"),
        vars=written.get("vars"),
        first_contact=written.get("first_contact", False),
        dates=written.get("dates"),
    )
    heard = []
    for line in written["talk"]:
        outputs = talk.do(line["in"], after=line.get("after", 10))
        assert sum(isinstance(output, Ask | Say) for output in outputs) <= 2, "at most two bubbles a turn"
        heard.append({**line, "out": [told(output) for output in outputs]})
    if os.environ.get("KOE_REWRITE_TRANSCRIPTS"):
        text = yaml.dump({**written, "talk": heard}, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1000)
        path.write_text(text, "utf-8")
    assert heard == [{**line, "out": line.get("out", [])} for line in yaml.safe_load(path.read_text("utf-8"))["talk"]]


def test_there_are_talks_in_both_languages_for_every_built_in_flow() -> None:
    seen = {(talk["flow"], talk["lang"]) for talk in (yaml.safe_load(path.read_text("utf-8")) for path in FILES)}
    assert {lang for _, lang in seen} == {"ja", "en"}
    assert {flow for flow, _ in seen} == set(library().flows)


def test_every_talk_ends() -> None:
    for path in FILES:
        written = yaml.safe_load(path.read_text("utf-8"))
        talk = Talk(
            library().flows[written["flow"]], lang=written["lang"], week=written.get("week", date(2026, 11, 16))
        )
        for line in written["talk"]:
            talk.do(line["in"], after=line.get("after", 10))
        begun = sum(str(line["in"]).startswith("begin") for line in written["talk"])
        assert sum(isinstance(output, End) for output in talk.log) == begun, path.name
