"""What is wrong with a flow that can be read: questions nobody meets, blanks nothing fills, too long a session."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flows.definitions import FlowFile, Instrument, SurveyKind
from flows.flow import DERIVED, WAVE_MS, Flow, Question, paths_of
from flows.source import Path, Problem, Source
from flows.texts import LANGS
from flows.triggers import DAY_MS

GIVEN = frozenset(
    {
        "name",
        "company",
        "item",
        "brand",
        "team",
        "staff",
        "here",
        "expires",
        "date",
        "privacy_url",
        "retention",
        "support_hours",
        "n",
        "i",
        "part",
        "parts",
        "reply_by",
    }
)
"""Blanks a question, an invitation or an ending may use without declaring them (copy: Variables)."""


MOST_PARTS = 3
MOST_ITEMS = 7
"""Of batteries, in one session of a wave."""
_LIMITS: Mapping[SurveyKind, int] = {"transactional": 5, "relational": 8}


@dataclass(slots=True)
class Unread:
    """What of a broken file is not known, and must not be judged."""

    questions: set[str] = field(default_factory=set)
    """Their kind is unknown: any answer may be compared with them, and nobody knows whether they count."""
    conditions: bool = False
    """A `when` could not be read: how many questions a customer meets is unknown."""


def check_flow(
    flow: Flow, file: FlowFile, source: Source, instruments: Mapping[str, Instrument], unread: Unread
) -> Iterator[Problem]:
    """Everything that is wrong with a flow, at its places in the file it was read from.

    Args:
        unread: what of the file could not be read: it is not judged.
    """
    order = {question.id: index for index, question in enumerate(file.questions)}
    astray: set[str] = set()
    """Questions that depend on what cannot be known: whether they are ever asked is not asked."""
    for index, question in enumerate(file.questions):
        for name in sorted(question.when.names() if question.when else ()):
            message = _bad_name(name, order, index, f"question `{question.id}`")
            if not message and name in order and file.questions[order[name]].part != question.part:
                message = f"question `{question.id}` depends on `{name}`, which is asked in another session"
            if message:
                astray.add(question.id)
                yield source.problem(("questions", index, "when"), message)
        yield from _check_blanks(flow.question(question.id), order, index, source, own=question.text is not None)
    for index, ending in enumerate(file.endings):
        for name in sorted(ending.when.names() if ending.when else ()):
            message = _bad_name(name, order, len(order), "an ending")
            if message:
                yield source.problem(("endings", index, "when"), message)
        if ending.when is None and index < len(file.endings) - 1:
            yield source.problem(("endings", index + 1), "this ending is never reached: the one above has no `when`")
            break
    if file.endings[-1].when is not None and not unread.conditions:
        yield source.problem(
            ("endings", len(file.endings) - 1),
            "the last ending must have no `when`: it is for everybody else",
        )
    if len(set(file.exits)) != len(file.exits):
        yield source.problem(("exits",), "an exit stands twice")
    yield from _check_wave(flow, file, source, instruments)
    yield from _check_paths(flow, file, source, unread, astray)


def _bad_name(name: str, order: Mapping[str, int], index: int, whose: str) -> str:
    if name in order:
        if order[name] < index:
            return ""
        return f"{whose} depends on `{name}`, which is not asked before it"
    if "." in name or name in DERIVED:
        return ""
    close = difflib.get_close_matches(name, list(order), n=1)
    hint = f"; did you mean `{close[0]}`?" if close else " (event data has a dot: order.amount)"
    return f"{whose} depends on `{name}`, and there is no such question{hint}"


def _check_blanks(
    question: Question, order: Mapping[str, int], index: int, source: Source, *, own: bool
) -> Iterator[Problem]:
    for lang in LANGS:
        for key, template in (
            ("text", question.wordings[lang].text),
            *((f"vars.{n}", w[lang]) for n, w in question.vars.items()),
        ):
            path: Path = ("questions", index, *key.split(".", 1))
            for name in sorted(template.blanks):
                if name in order and order[name] >= index:
                    yield source.problem(
                        path, f"{{{name}}} recalls a question that is not asked before `{question.id}`"
                    )
                elif name not in order and "." not in name and name not in GIVEN and name not in question.vars:
                    if key == "text" and not own and name not in template.required:
                        continue  # an instrument knows what to say where a flow gives nothing
                    yield source.problem(path, f"unknown blank {{{name}}} in `{question.id}`")
                elif key == "text" and name in template.required and (name in order or "." in name):
                    yield source.problem(
                        path, f"{{{name}}} may be missing; write {{{name}|other words}} in `{question.id}`"
                    )


def _check_wave(flow: Flow, file: FlowFile, source: Source, instruments: Mapping[str, Instrument]) -> Iterator[Problem]:
    wave = flow.wave
    if wave is None:
        return
    if wave.parts == 1:
        yield source.problem(("wave",), "a wave has several sessions; give questions `part: 2`, or remove `wave`")
    if file.wave is None:
        index = next(index for index, question in enumerate(file.questions) if question.part > 1)
        yield source.problem(
            ("questions", index, "part"), "`part` splits a survey into sessions; say how they follow: wave: {gap: 3d}"
        )
    if wave.parts > MOST_PARTS:
        index = next(index for index, question in enumerate(file.questions) if question.part > MOST_PARTS)
        message = f"session {file.questions[index].part} of a wave that may have {MOST_PARTS}"
        yield source.problem(("questions", index, "part"), message)
    elif wave.gap_ms * (wave.parts - 1) >= WAVE_MS:
        message = f"{wave.parts} sessions so far apart do not fit into the {WAVE_MS // DAY_MS} days of a wave"
        yield source.problem(("wave", "gap"), message)
    before = 0
    for index, question in enumerate(file.questions):
        if question.part not in (before, before + 1):
            message = f"question `{question.id}` is of session {question.part}; sessions are numbered in their order"
            yield source.problem(("questions", index, "part"), message)
        before = question.part
    for part in range(1, wave.parts + 1):
        items = [
            question
            for question in flow.questions
            if question.part == part and question.instrument in instruments and instruments[question.instrument].battery
        ]
        if len(items) > MOST_ITEMS:
            yield source.problem(
                ("questions", next(i for i, question in enumerate(file.questions) if question.id == items[-1].id)),
                f"{len(items)} items in session {part}; a session of a wave asks at most {MOST_ITEMS}",
            )
    if file.survey_kind != "relational":
        yield source.problem(("survey_kind",), "a wave is about the shop as a whole: survey_kind is relational")
    if file.blocks is not None:
        yield source.problem(("blocks",), "a survey in several sessions has no blocks; ask them in a survey of its own")


def _check_paths(flow: Flow, file: FlowFile, source: Source, unread: Unread, astray: set[str]) -> Iterator[Problem]:
    order = {question.id: index for index, question in enumerate(file.questions)}
    unknown = frozenset(unread.questions)
    paths = [path for course in flow.courses() for path in paths_of(flow.questions, course, {}, unknown)]
    reached = {question.id for path in paths for question in path}
    for question_id, index in order.items():
        if question_id not in reached and question_id not in astray:
            yield source.problem(
                ("questions", index, "when"),
                f"question `{question_id}` is never asked: its `when` cannot hold",
            )
    most = _LIMITS[flow.survey_kind]
    block = flow.blocks or any(question.instrument.startswith("exp_") for question in flow.questions)
    if block and flow.survey_kind == "transactional":
        most += 1
    longest = max(sum(1 for question in path if question.kind != "text") for path in paths)
    if longest > most and not unread.conditions:
        message = f"up to {longest} questions in one session, and at most {most} are allowed (free text not counted)"
        yield source.problem(("questions",), message)
    if any({"effort", "ease"} <= {question.unhappy for question in path} for path in paths):
        yield source.problem(("questions",), "effort and ease are both asked; one session asks one of them")
