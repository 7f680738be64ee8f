"""Definition files in, surveys out: every problem of all files in one go, and the resolved flows.

A flow is *resolved* when it is loaded: instruments, wordings and texts are copied into it, and the hash of the result
is its revision. Sessions pin a revision; `Library.flow_from` brings an old one back exactly as it was asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from flows.checks import Unread, check_flow
from flows.definitions import (
    ID,
    Block,
    FlowFile,
    Instrument,
    Text,
)
from flows.faults import check_texts, mended, unknown, validated
from flows.flow import Flow, Rules
from flows.resolving import Resolver, flow_of
from flows.source import DefinitionErrors, Path, Plain, Problem, Source
from flows.texts import Deck, Lang

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
            return flow_of(data, self.deck, self.rules)
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
    file = validated(FlowFile, source.data, source, (), problems)
    unread = Unread()
    if file is None:
        # what else is wrong with it is named in the same go: read it as if these mistakes were mended
        file = mended(source.data, unread)
    if file is None:
        return None
    own: dict[str, dict[Lang, str]] = {key: {"ja": text.ja, "en": text.en} for key, text in (texts or {}).items()}
    resolved = Resolver(
        file,
        source,
        deck=library.deck.over(own),
        instruments=library.instruments,
        blocks=library.blocks,
        problems=problems,
        unread=unread,
    ).resolve()
    if own:
        resolved["texts"] = cast("Plain", own)
    flow = flow_of(resolved, library.deck, library.rules)
    problems += check_flow(flow, file, source, library.instruments, unread)
    return None if len(problems) > before else flow


def _load_deck(sources: Sequence[Source], problems: list[Problem]) -> Deck:
    texts: dict[str, dict[Lang, str]] = {}
    origin: dict[str, str] = {}
    for source in sources:
        for text_id, words in source.data.items():
            text = validated(Text, words, source, (text_id,), problems)
            if text is None:
                texts[text_id] = {"ja": "", "en": ""}  # it is there: who speaks it has no problem of their own
                continue
            if text_id in texts:
                problems.append(source.problem((text_id,), f"text `{text_id}` also stands in {origin[text_id]}"))
            origin[text_id] = source.name
            texts[text_id] = {"ja": text.ja, "en": text.en}
            check_texts(text, source, (text_id,), problems)
    return Deck(texts)


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
            instrument = validated(Instrument, {**body, "id": instrument_id}, source, path, problems)
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
                    check_texts(text, source, (*path, key), problems)
            for name, variant in instrument.variants.items():
                check_texts(variant.text, source, (*path, "variants", name, "text"), problems)
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
            block = validated(Block, body, source, path, problems)
            if block is None:
                continue
            if block_id in known:
                problems.append(source.problem(path, f"block `{block_id}` is defined twice"))
            known[block_id] = block
            for index, item in enumerate(block.items):
                if item.instrument not in instruments:
                    message = f"block `{block_id}`: {unknown('instrument', item.instrument, instruments)}"
                    problems.append(source.problem((*path, "items", index), message))
            conditions = [((*path, "when"), block.when)]
            conditions += [((*path, "items", index, "when"), item.when) for index, item in enumerate(block.items)]
            for where, condition in conditions:
                for name in sorted(condition.names() if condition else ()):
                    if "." not in name:
                        message = f"block `{block_id}` depends on `{name}`; it knows event data only (order.amount)"
                        problems.append(source.problem(where, message))
    return known
