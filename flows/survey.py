"""Definition files in, surveys out: every problem of all files in one go, and the resolved flows.

A flow is *resolved* when it is loaded: instruments, wordings and texts are copied into it, and the hash of the result
is its revision. Sessions pin a revision; `Library.flow_from` brings an old one back exactly as it was asked.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError

from flows.checks import Unread, check_flow
from flows.conditions import Condition
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
    SurveyKind,
    Text,
    Variant,
    WaveFile,
)
from flows.flow import Ending, Exit, Flow, Question, Rules, Wave, words_in
from flows.questions import QuestionKind
from flows.source import DefinitionErrors, Path, Plain, Problem, Source
from flows.texts import LANGS, Deck, Lang, Template, template_problems

_M = TypeVar("_M", bound=BaseModel)


NEEDED_TEXTS = (
    "alt.question",
    "back",
    "back.first",
    "between",
    "button.continue_without",
    "button.done",
    "button.erase_session",
    "button.go_on",
    "button.later",
    "button.never",
    "button.person",
    "button.remove_one",
    "button.skip",
    "button.stop_here",
    "button.unsubscribe",
    "closed.button",
    "contact.no",
    "contact.no.label",
    "contact.yes",
    "contact.yes.label",
    "end.apology",
    "end.apology.promised",
    "erase.done",
    "fix.done",
    "fix.resume",
    "help",
    "inv.first",
    "inv.later",
    "inv.reminder",
    "inv.small",
    "label.joiner",
    "label.no",
    "label.points",
    "label.quoted",
    "label.yes",
    "late",
    "multi.added",
    "multi.done",
    "multi.empty",
    "multi.none",
    "multi.other",
    "multi.removed",
    "photo.got",
    "range.choice",
    "range.scale",
    "range.yes_no",
    "retry.1",
    "retry.2",
    "retry.over",
    "retry.person",
    "same",
    "skip",
    "sticker",
    "stop",
    "text.got",
    "text.inquiry",
    "unsub.ask",
    "unsub.news.label",
    "unsub.no.label",
    "unsub.yes.label",
)
"""The ids of the copy deck the engine speaks with, besides those a flow names."""


@dataclass(frozen=True, slots=True)
class Library:
    """Everything that was loaded: flows by id, instruments by id, all texts."""

    flows: Mapping[str, Flow]
    instruments: Mapping[str, Instrument]
    blocks: Mapping[str, Block]
    deck: Deck
    rules: Rules
    arms: Mapping[tuple[str, str], Flow] = field(default_factory=dict)
    """(experiment, arm) → the survey that the arm asks."""

    def read_flow(self, source: Source, texts: Mapping[str, Text] | None = None) -> Flow:
        """One more flow file, read with this library's texts and instruments; the library stays as it is.

        Args:
            source: The file.
            texts: Other words for texts of the deck, in this flow only: they become part of its definition.

        Raises:
            DefinitionErrors: with every problem of the file.
        """
        problems: list[Problem] = []
        flow = _load_flow(source, self, problems, texts=texts)
        if flow is None:
            raise DefinitionErrors(problems)
        return flow

    def over(self, flows: Sequence[Source]) -> Library:
        """This library with the flows of these files, each in place of one that has its id.

        Raises:
            DefinitionErrors: with every problem of the files.
        """
        problems: list[Problem] = []
        built = _load_flows(flows, self, problems)
        if problems:
            raise DefinitionErrors(problems)
        replaced = {str(source.data.get("id")) for source in flows}
        kept = {flow_id: flow for flow_id, flow in self.flows.items() if flow_id not in replaced}
        return replace(self, flows=kept | built)

    def flow_from(self, definition: str) -> Flow:
        """The flow of a stored revision, exactly as it was asked (sentences around the questions are today's).

        Raises:
            ValueError: the text is not a definition written by `Flow.definition`.
        """
        try:
            data = json.loads(definition)
            return _build_flow(data, self.deck, self.rules)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a stored flow definition: {error}") from error


def load_library(
    *,
    deck: Sequence[Source],
    instruments: Sequence[Source],
    blocks: Sequence[Source],
    flows: Sequence[Source],
    rules: Rules,
) -> Library:
    """Everything the files define.

    Raises:
        DefinitionErrors: with every problem of all files.
    """
    problems: list[Problem] = []
    texts = _load_deck(deck, problems)
    known = _load_instruments(instruments, texts, problems)
    library = Library({}, known, _load_blocks(blocks, known, problems), texts, rules)
    missing = [text_id for text_id in NEEDED_TEXTS if not texts.has(text_id)]
    if missing:
        where = deck[0].name if deck else "copy deck"
        problems.append(Problem(where, 0, f"the copy deck lacks {', '.join(missing)}"))
    built = _load_flows(flows, None if missing else library, problems)
    if problems:
        raise DefinitionErrors(problems)
    return replace(library, flows=built)


def _load_flows(sources: Sequence[Source], library: Library | None, problems: list[Problem]) -> dict[str, Flow]:
    """Flows by id; without a library to read them with, only ids that stand twice are looked for."""
    built: dict[str, Flow] = {}
    seen: dict[str, Source] = {}
    for source in sources:
        flow_id = str(source.data.get("id"))
        if flow_id in seen:
            problems.append(source.problem(("id",), f"flow `{flow_id}` is also defined in {seen[flow_id].name}"))
            continue
        seen[flow_id] = source
        flow = _load_flow(source, library, problems) if library is not None else None
        if flow is not None:
            built[flow.id] = flow
    return built


def _load_flow(
    source: Source, library: Library, problems: list[Problem], *, texts: Mapping[str, Text] | None = None
) -> Flow | None:
    """The flow of one file, or None with its problems noted: all of them, whatever the first ones are."""
    before = len(problems)
    file = _validate(FlowFile, source.data, source, (), problems)
    unread = Unread()
    if file is None:
        # what else is wrong with it is named in the same go: read it as if these mistakes were mended
        file = _mended(source.data, unread)
    if file is None:
        return None
    own: dict[str, dict[Lang, str]] = {key: {"ja": text.ja, "en": text.en} for key, text in (texts or {}).items()}
    spoken = replace(library, deck=library.deck.over(own))
    resolved = _Resolver(file, source, spoken, problems, unread).resolve()
    if own:
        resolved["texts"] = cast("Plain", own)
    flow = _build_flow(resolved, library.deck, library.rules)
    problems += check_flow(flow, file, source, library.instruments, unread)
    return None if len(problems) > before else flow


def _load_deck(sources: Sequence[Source], problems: list[Problem]) -> Deck:
    texts: dict[str, dict[Lang, str]] = {}
    origin: dict[str, str] = {}
    for source in sources:
        for text_id, words in source.data.items():
            text = _validate(Text, words, source, (text_id,), problems)
            if text is None:
                texts[text_id] = {"ja": "", "en": ""}  # it is there: who speaks it has no problem of their own
                continue
            if text_id in texts:
                problems.append(source.problem((text_id,), f"text `{text_id}` also stands in {origin[text_id]}"))
            origin[text_id] = source.name
            texts[text_id] = {"ja": text.ja, "en": text.en}
            _check_texts(text, source, (text_id,), problems)
    return Deck(texts)


def _check_texts(text: Text, source: Source, path: Path, problems: list[Problem]) -> None:
    for lang, raw in (("ja", text.ja), ("en", text.en)):
        problems += [source.problem((*path, lang), f"{lang}: {message}") for message in template_problems(raw)]


def _load_instruments(sources: Sequence[Source], deck: Deck, problems: list[Problem]) -> dict[str, Instrument]:
    known: dict[str, Instrument] = {}
    first_items: dict[str, Instrument] = {}
    weights: dict[tuple[str, str], list[float | None]] = {}
    for source in sources:
        for instrument_id, body in source.data.items():
            path = (instrument_id,)
            if not isinstance(body, dict):
                problems.append(source.problem(path, f"instrument `{instrument_id}` needs a mapping"))
                continue
            instrument = _validate(Instrument, {**body, "id": instrument_id}, source, path, problems)
            if instrument is None:
                continue
            if instrument_id in known:
                problems.append(source.problem(path, f"instrument `{instrument_id}` is defined twice"))
            if instrument.battery is not None:
                first = first_items.setdefault(instrument.battery.id, instrument)
                weights.setdefault((instrument.battery.id, instrument.battery.index), []).append(
                    instrument.battery.weight
                )
                if (first.low, first.high) != (instrument.low, instrument.high):
                    message = f"an item of `{instrument.battery.id}` needs the scale of `{first.id}`"
                    problems.append(source.problem((*path, "battery"), f"{message}: {first.low} to {first.high}"))
            if instrument.small and not deck.has(instrument.small):
                problems.append(source.problem((*path, "small"), f"the copy deck has no text `{instrument.small}`"))
            for key, text in (("text", instrument.text), ("note", instrument.note)):
                if text:
                    _check_texts(text, source, (*path, key), problems)
            for name, variant in instrument.variants.items():
                _check_texts(variant.text, source, (*path, "variants", name, "text"), problems)
            known[instrument_id] = instrument
    for (battery, index), given in weights.items():
        if any(weight is not None for weight in given) and (
            None in given or abs(sum(weight or 0.0 for weight in given) - 1.0) > 1e-9
        ):
            message = f"the weights of index `{index}` of `{battery}` must stand at every item and add up to 1"
            item = first_items[battery].id
            source = next(source for source in sources if item in source.data)
            problems.append(source.problem((item, "battery"), message))
    return known


def _load_blocks(
    sources: Sequence[Source], instruments: Mapping[str, Instrument], problems: list[Problem]
) -> dict[str, Block]:
    known: dict[str, Block] = {}
    for source in sources:
        for block_id, body in source.data.items():
            path: Path = (block_id,)
            if not re.fullmatch(ID, block_id):
                message = f"`{block_id}` is no name of a block: a small letter, then small letters, digits and _"
                problems.append(source.problem(path, message))
            block = _validate(Block, body, source, path, problems)
            if block is None:
                continue
            if block_id in known:
                problems.append(source.problem(path, f"block `{block_id}` is defined twice"))
            known[block_id] = block
            for index, item in enumerate(block.items):
                if item.instrument not in instruments:
                    message = f"block `{block_id}`: {_unknown('instrument', item.instrument, instruments)}"
                    problems.append(source.problem((*path, "items", index), message))
            conditions = [((*path, "when"), block.when)]
            conditions += [((*path, "items", index, "when"), item.when) for index, item in enumerate(block.items)]
            for where, condition in conditions:
                for name in sorted(condition.names() if condition else ()):
                    if "." not in name:
                        message = f"block `{block_id}` depends on `{name}`; it knows event data only (order.amount)"
                        problems.append(source.problem(where, message))
    return known


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what} `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")


def _validate(model: type[_M], data: object, source: Source, path: Path, problems: list[Problem]) -> _M | None:
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


def _mended(data: Mapping[str, Plain], unread: Unread) -> FlowFile | None:
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


# ------------------------------------------------------------------------------------------------ resolving


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


class _Resolver:
    """Makes the resolved definition of one flow file, noting what it refers to in vain."""

    def __init__(
        self, file: FlowFile, source: Source, library: Library, problems: list[Problem], unread: Unread
    ) -> None:
        self._file = file
        self._source = source
        self._deck = library.deck
        self._instruments = library.instruments
        self._blocks = library.blocks
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
                self._note(path, _unknown("block", name, self._blocks))
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
                message = _unknown("instrument", question.instrument, self._instruments)
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
                _check_texts(words, self._source, (*path, key), self._problems)
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
            _check_texts(both, self._source, (*path, "vars", name), self._problems)
            found[name] = _both(both)
        return found

    def _words(self, words: str | Text, path: Path) -> dict[str, Plain]:
        if isinstance(words, Text):
            _check_texts(words, self._source, path, self._problems)
            return _both(words)
        if not self._deck.has(words):
            close = difflib.get_close_matches(words, self._deck.ids(), n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            self._note(path, f"the copy deck has no text `{words}`{hint}")
            return {"ja": words, "en": words}
        return {lang: self._deck.template(words, lang).raw for lang in LANGS}

    def _note(self, path: Path, message: str) -> None:
        self._problems.append(self._source.problem(path, message))


def _build_flow(data: Mapping[str, Plain], deck: Deck, rules: Rules) -> Flow:
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
