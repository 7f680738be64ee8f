"""What is wrong with a definition, in sentences with their line; and what stands in for it, so that everything
else that is wrong is named in the same go.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from flows.checks import Unread
from flows.definitions import (
    ID,
    Anchors,
    Battery,
    Block,
    BlockItem,
    BlocksFile,
    ChoiceWords,
    EndingFile,
    FlowFile,
    Instrument,
    QuestionFile,
    Text,
    Variant,
    WaveFile,
)
from flows.source import Path, Plain, Problem, Source
from flows.texts import LANGS, template_problems

_M = TypeVar("_M", bound=BaseModel)


def check_texts(text: Text, source: Source, path: Path, problems: list[Problem]) -> None:
    """Note what is wrong with the blanks of a text, in each language."""
    for lang, raw in (("ja", text.ja), ("en", text.en)):
        problems += [source.problem((*path, lang), f"{lang}: {message}") for message in template_problems(raw)]


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence about a name that nobody defined, with the nearest that somebody did."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")


def validated(model: type[_M], data: object, source: Source, path: Path, problems: list[Problem]) -> _M | None:
    """The model, or None with its problems noted at their lines."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if found["loc"][-1:] == ("str",):
                continue  # a text by key or written out: the other half of the union says what is wrong
            where = (*path, *(step for step in found["loc"] if isinstance(step, str | int)))
            problems.append(
                source.problem(_known_path(source, where), _sentence(found["type"], found["loc"], found["msg"]))
            )
        return None


_MENDING_ROUNDS = 4
_ANYTIME: Plain = {"lang": {"in": list(LANGS)}}
"""Stands in for a condition that cannot be read: holds always, yet is one."""
_STAND_INS: Mapping[str, Plain] = {
    "id": "unnamed",
    "survey_kind": "relational",
    "touchpoint": "unnamed",
    "invite": {"ja": "？", "en": "?"},
    "questions": [{"id": "unnamed", "type": "text", "text": {"ja": "？", "en": "?"}}],
    "endings": [{"say": {"ja": "？", "en": "?"}}],
}


def mended(data: Mapping[str, Plain], unread: Unread) -> FlowFile | None:
    """A flow file that cannot be read, with stand-ins for what is broken; None when too little of it is left."""
    mended: dict[str, Plain] = copy.deepcopy(dict(data))
    for _ in range(_MENDING_ROUNDS):
        try:
            return FlowFile.model_validate(mended)
        except ValidationError as error:
            for found in reversed(error.errors(include_url=False)):
                _mend(mended, found["type"], [step for step in found["loc"] if step not in _UNION_STEPS], unread)
    return None


def _mend(mended: dict[str, Plain], kind: str, steps: list[int | str], unread: Unread) -> None:
    """Put a stand-in where one mistake is, as small as possible."""
    if not steps:
        return
    *above, last = steps
    place: object = mended
    for step in above:
        if isinstance(place, dict):
            place = place.get(step)
        elif isinstance(place, list) and isinstance(step, int) and step < len(place):
            place = place[step]
    if isinstance(place, dict) and kind == "extra_forbidden":
        place.pop(last, None)
    elif isinstance(place, dict) and kind == "missing" and last in LANGS:
        place[str(last)] = next((words for words in place.values() if isinstance(words, str)), "?")
    elif isinstance(place, dict) and last == "when":
        unread.conditions = True
        place["when"] = _ANYTIME
    elif steps[0] == "questions" and len(steps) > 1:
        questions = mended["questions"]
        index = steps[1]
        if isinstance(questions, list) and isinstance(index, int) and index < len(questions):
            questions[index] = _unreadable(questions[index], index, unread)
    elif isinstance(place, dict) and steps[0] in ("wave", "blocks") and last in place and above:
        place.pop(last)
    elif steps[0] in _STAND_INS:
        unread.conditions = unread.conditions or steps[0] == "endings"
        mended[str(steps[0])] = copy.deepcopy(_STAND_INS[str(steps[0])])
    else:
        mended.pop(str(steps[0]), None)


def _unreadable(question: Plain, index: int, unread: Unread) -> Plain:
    """A question whose name and words are known, and what it depends on, but not its kind."""
    written = question if isinstance(question, dict) else {}
    name = str(written.get("id", ""))
    if not re.fullmatch(ID, name):
        name = f"unnamed{index + 1}"
    unread.questions.add(name)
    words = written.get("text")
    spoken = isinstance(words, dict) and words.keys() == set(LANGS) and all(isinstance(w, str) for w in words.values())
    stand_in: dict[str, Plain] = {"id": name, "type": "text", "text": words if spoken else {"ja": "？", "en": "?"}}
    part = written.get("part")
    if isinstance(part, int) and part >= 1:
        stand_in["part"] = part
    if "when" in written:
        stand_in["when"] = written["when"]
    return stand_in


def _known_path(source: Source, path: Path) -> Path:
    """The path without the steps that pydantic adds for unions, which stand in no file."""
    real: Path = ()
    for step in path:
        if (*real, step) in source.lines or (*real, str(step)) in source.lines:
            real = (*real, step if (*real, step) in source.lines else str(step))
    return real


_FIELDS = sorted(
    {
        name
        for model in (
            *(QuestionFile, FlowFile, EndingFile, WaveFile, BlocksFile, Block, BlockItem),
            *(Instrument, Battery, ChoiceWords, Variant, Anchors, Text),
        )
        for name in model.model_fields
    }
)


_UNION_STEPS = ("str", "Text")
"""What pydantic puts into a path for the alternatives of `str | Text`."""


def _sentence(kind: str, loc: tuple[int | str, ...], message: str) -> str:
    loc = tuple(step for step in loc if step not in _UNION_STEPS)
    name = loc[-1] if loc and isinstance(loc[-1], str) else ""
    if kind == "extra_forbidden":
        if name in _FIELDS:
            return f"the key `{name}` does not belong here"
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        return f"unknown key `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")
    if kind == "missing":
        if name in LANGS:
            return f"the translation `{name}` is missing"
        return f"`{name}` is missing"
    if kind in ("model_type", "dict_type"):
        return f"`{name}` needs a mapping such as {{ja: …, en: …}}" if name else "a mapping is needed here"
    return f"`{name}`: {message.removeprefix('Value error, ')}" if name else message.removeprefix("Value error, ")
