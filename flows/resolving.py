"""From the file of a flow to the flow: its instruments, wordings and texts copied into one definition, whose hash is
the revision, and the values that are made of it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import cast

from flows.checks import Unread
from flows.conditions import Condition
from flows.definitions import (
    Block,
    FlowFile,
    Instrument,
    QuestionFile,
    SurveyKind,
    Text,
    Variant,
    WaveFile,
)
from flows.faults import check_texts, unknown
from flows.flow import Ending, Exit, Flow, Question, Rules, Wave, words_in
from flows.questions import QuestionKind
from flows.source import Path, Plain, Problem, Source
from flows.texts import LANGS, Deck, Lang, Template


def _both(text: Text) -> dict[str, Plain]:
    return {"ja": text.ja, "en": text.en}


def _mark(content: object) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:6]


def _own_scale(question: QuestionFile) -> list[str]:
    """What tells the scale of an own question from another one's."""
    parts = (question.low, question.high, question.labels or None, question.anchors, question.choices or None)
    return [str(part) for part in parts]


def _marks_of(question: QuestionFile, base: Instrument, variant: Variant | None) -> tuple[str, str]:
    """Wording and label set of a question made of an instrument: what answers are never pooled across."""
    wording = base.wording or base.id
    if variant is not None and question.variant:
        wording = f"{base.id}.{question.variant}"
    if question.text or question.anchors or question.note:
        wording += "." + _mark(
            [_both(words) for words in (question.text, question.note) if words] + [str(question.anchors)]
        )
    if question.labels:
        return wording, "own." + _mark({str(code): _both(label) for code, label in question.labels.items()})
    return wording, base.label_set


class Resolver:
    """Makes the resolved definition of one flow file, noting what it refers to in vain."""

    def __init__(
        self,
        file: FlowFile,
        source: Source,
        *,
        deck: Deck,
        instruments: Mapping[str, Instrument],
        blocks: Mapping[str, Block],
        problems: list[Problem],
        unread: Unread,
    ) -> None:
        self._file = file
        self._source = source
        self._deck = deck
        self._instruments = instruments
        self._blocks = blocks
        self._problems = problems
        self._unread = unread

    def resolve(self) -> dict[str, Plain]:
        """The definition; with problems noted, one with stand-ins for what is not known."""
        file = self._file
        questions: list[Plain] = []
        seen: set[str] = set()
        for index, question in enumerate(file.questions):
            path = ("questions", index)
            if question.id in seen:
                self._note((*path, "id"), f"two questions are called `{question.id}`")
            seen.add(question.id)
            questions += self._question(question, path)
        blocks = self._of_blocks(questions)
        invite = self._words(file.invite, ("invite",))
        alt = self._words(file.alt or self._alt_of(file.invite), ("alt",))
        exits: list[Plain] = []
        for index, name in enumerate(file.exits):
            at = ("exits", index)
            label, text = self._words(f"exit.{name}.label", at), self._words(f"exit.{name}", at)
            if name not in ("undelivered", "unused", "unsolved"):
                self._note(at, f"`{name}` is no exit; there are undelivered, unused and unsolved")
            exits.append({"id": name, "label": label, "text": text})
        endings: list[Plain] = [
            {
                "when": cast("Plain", ending.when.data) if ending.when else None,
                "say": ending.say if isinstance(ending.say, str) else "",
                "text": self._words(ending.say, ("endings", index, "say")),
            }
            for index, ending in enumerate(file.endings)
        ]
        return {
            "v": 1,
            "id": file.id,
            "name": _both(file.name) if file.name else {"ja": file.id, "en": file.id},
            "survey_kind": file.survey_kind,
            "touchpoint": file.touchpoint,
            "invite": invite,
            "alt": alt,
            "exits": exits,
            "questions": questions,
            "endings": endings,
            # left out where they say nothing: the revision of a survey names what is asked, not what could be
            **blocks,
            **self._wave(),
        }

    def _alt_of(self, invite: str | Text) -> str:
        """The notification line that belongs to an invitation."""
        key = "alt." + invite.removeprefix("inv.") if isinstance(invite, str) else ""
        return key if self._deck.has(key) else "alt.question"

    def _wave(self) -> dict[str, Plain]:
        file = self._file
        parts = max(question.part for question in file.questions)
        if file.wave is None and parts == 1:
            return {}
        wave = file.wave or WaveFile()
        path: Path = ("wave", "invite")
        words = {"invite": self._words(wave.invite, path), "alt": self._words(self._alt_of(wave.invite), path)}
        return {"wave": {"parts": parts, "gap_ms": wave.gap, **words}}

    def _of_blocks(self, questions: list[Plain]) -> dict[str, Plain]:
        """The flow's blocks; their items are added to its questions."""
        wanted = self._file.blocks
        if wanted is None:
            return {}
        fits: dict[str, Plain] = {}
        for index, name in enumerate(wanted.ask):
            path: Path = ("blocks", "ask", index)
            block = self._blocks.get(name)
            if block is None:
                self._note(path, unknown("block", name, self._blocks))
                continue
            fits[name] = cast("Plain", block.when.data) if block.when else None
            for item in block.items:
                if item.instrument in self._instruments:
                    # pydantic would refuse the dot, which keeps these ids apart from a flow's own
                    asked = QuestionFile.model_construct(
                        id=f"{name}.{item.instrument}", instrument=item.instrument, when=item.when
                    )
                    questions += [{**resolved, "block": name} for resolved in self._question(asked, path)]
        return {"blocks": fits, "block_sample": wanted.sample}

    def _question(self, question: QuestionFile, path: Path) -> list[dict[str, Plain]]:
        base: Instrument | None = None
        if question.instrument is not None:
            base = self._instruments.get(question.instrument)
            if base is None:
                message = unknown("instrument", question.instrument, self._instruments)
                self._note((*path, "instrument"), message)
                self._unread.questions.add(question.id)
                said = question.text or Text(ja="？", en="?")
                stand_in = {"type": "text", "instrument": None, "variant": None, "text": said, "choices": ()}
                return self._question(question.model_copy(update=stand_in), path)
        if base and any(part is not None for part in (question.low, question.high, question.choices or None)):
            self._note(
                path,
                f"`{question.id}` changes the scale of `{base.id}`; make it an own question (`type`) instead",
            )
            question = question.model_copy(update={"choices": ()})
        variant: Variant | None = None
        if base and question.variant is not None:
            variant = base.variants.get(question.variant)
            if variant is None:
                names = ", ".join(base.variants) or "none"
                self._note((*path, "variant"), f"`{base.id}` has no variant `{question.variant}` (it has: {names})")
        text = question.text or (variant.text if variant else None) or (base.text if base else None)
        assert text is not None
        note = question.note or (variant.note if variant else None) or (base.note if base else None)
        labels = question.labels or (base.labels if base else {})
        anchors = question.anchors or (base.anchors if base else None)
        choices = question.choices or (base.choices if base else ())
        small = question.small or (base.small if base else "")
        if small and not self._deck.has(small):
            self._note((*path, "small"), f"the copy deck has no text `{small}`")
            small = ""
        for key, words in (("text", question.text), ("note", question.note)):
            if words is not None:
                check_texts(words, self._source, (*path, key), self._problems)
        kind: QuestionKind = base.kind if base else cast("QuestionKind", question.type)
        if base is None:
            wording, label_set = f"{question.id}.{_mark([_both(text), _own_scale(question)])}", ""
        else:
            wording, label_set = _marks_of(question, base, variant)
        other = question.other or (base.other if base else "")
        resolved: dict[str, Plain] = {
            "id": question.id,
            "instrument": base.id if base else "",
            "name": _both(base.name if base else text),
            "kind": kind,
            "low": (base.low if base else question.low) or 0,
            "high": (base.high if base else question.high) or 0,
            "text": _both(text),
            "note": _both(note) if note else None,
            "small": self._words(small, path) if small else None,
            "anchors": {"low": _both(anchors.low), "high": _both(anchors.high)} if anchors else None,
            "labels": {str(code): _both(label) for code, label in labels.items()},
            "label_set": label_set,
            "order": question.order or (base.order if base else "ascending"),
            "choices": [{"value": choice.value, "text": _both(choice.text)} for choice in choices],
            "exclusive": question.exclusive or (base.exclusive if base else ""),
            "other": other,
            "shuffle": question.shuffle if question.shuffle is not None else (base.shuffle if base else False),
            "unhappy": base.unhappy if base else None,
            "feelings": base.feelings if base else False,
            "wording": wording,
            "when": cast("Plain", question.when.data) if question.when else None,
            "weeks": question.weeks,
            "vars": self._vars(question, path),
            "optional": question.optional,
            "follows": "",
            **({"part": question.part} if question.part > 1 else {}),
        }
        return [resolved, self._follow_up(resolved, path)] if other else [resolved]

    def _follow_up(self, resolved: Mapping[str, Plain], path: Path) -> dict[str, Plain]:
        """「その他」 asks for words: a text question of its own, right behind, only when it was chosen."""
        question_id = cast("str", resolved["id"])
        return {
            **resolved,
            "id": f"{question_id}.other",
            "instrument": f"{resolved['instrument']}.other" if resolved["instrument"] else "",
            "kind": "text",
            "text": self._words("multi.other", path),
            "note": None,
            "small": None,
            "anchors": None,
            "labels": {},
            "label_set": "",
            "choices": [],
            "exclusive": "",
            "other": "",
            "shuffle": False,
            "unhappy": None,
            "feelings": False,
            "wording": "multi.other",
            "name": self._words("multi.other", path),
            "when": {question_id: resolved["other"]},
            "weeks": None,
            "vars": {},
            "follows": question_id,
        }

    def _vars(self, question: QuestionFile, path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for name, words in question.vars.items():
            both = words if isinstance(words, Text) else Text(ja=words, en=words)
            check_texts(both, self._source, (*path, "vars", name), self._problems)
            found[name] = _both(both)
        return found

    def _words(self, words: str | Text, path: Path) -> dict[str, Plain]:
        if isinstance(words, Text):
            check_texts(words, self._source, path, self._problems)
            return _both(words)
        if not self._deck.has(words):
            close = difflib.get_close_matches(words, self._deck.ids(), n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            self._note(path, f"the copy deck has no text `{words}`{hint}")
            return {"ja": words, "en": words}
        return {lang: self._deck.template(words, lang).raw for lang in LANGS}

    def _note(self, path: Path, message: str) -> None:
        self._problems.append(self._source.problem(path, message))


def flow_of(data: Mapping[str, Plain], deck: Deck, rules: Rules) -> Flow:
    """The flow of a resolved definition; `deck` has the sentences around its questions."""
    definition = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    deck = deck.over(cast("dict[str, dict[Lang, str]]", data.get("texts", {})))
    questions = tuple(Question(cast("dict[str, Plain]", item), deck) for item in cast("list[Plain]", data["questions"]))
    endings = tuple(
        Ending(
            Condition.parse(item["when"]) if item["when"] is not None else None,
            str(item["say"]),
            str(item["say"]).startswith("end.apology"),
            _templates(item["text"]),
        )
        for item in cast("list[dict[str, Plain]]", data["endings"])
    )
    exits = tuple(
        Exit(str(item["id"]), cast("dict[Lang, str]", item["label"]), _templates(item["text"]))
        for item in cast("list[dict[str, Plain]]", data["exits"])
    )
    names = {name for question in questions if question.when for name in question.when.names()}
    names |= {name for ending in endings if ending.when for name in ending.when.names()}
    for question in questions:
        names |= {name for words in question.vars.values() for lang in LANGS for name in words[lang].blanks}
        names |= {name for lang in LANGS for name in question.wordings[lang].text.blanks}
    by_id = {question.id: question for question in questions}
    blocks = {
        name: Condition.parse(when) if when is not None else None
        for name, when in cast("dict[str, Plain]", data.get("blocks", {})).items()
    }
    names |= {name for when in blocks.values() if when for name in when.names()}
    wave: Wave | None = None
    if "wave" in data:
        said = cast("dict[str, Plain]", data["wave"])
        invite, alt = _templates(said["invite"]), _templates(said["alt"])
        wave = Wave(cast("int", said["parts"]), cast("int", said["gap_ms"]), invite, alt)
    return Flow(
        id=str(data["id"]),
        revision=hashlib.sha256(definition.encode()).hexdigest()[:12],
        name=cast("dict[Lang, str]", data["name"]),
        survey_kind=cast("SurveyKind", data["survey_kind"]),
        touchpoint=str(data["touchpoint"]),
        questions=questions,
        exits=exits,
        endings=endings,
        invite=_templates(data["invite"]),
        alt=_templates(data["alt"]),
        deck=deck,
        rules=rules,
        wave=wave,
        blocks=blocks,
        block_sample=float(cast("float", data.get("block_sample", 0.0))),
        fact_names=frozenset(name for name in names if "." in name and name not in by_id),
        _definition=definition,
        _by_id=by_id,
    )


def _templates(words: Plain) -> dict[Lang, Template]:
    return {lang: Template(words_in(words, lang)) for lang in LANGS}
