"""The definitions that come with Koe: copy deck, instruments and flows, read from the package's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from flows.flow import Rules
from flows.source import Source, parse_yaml
from flows.survey import Library, load_library


@dataclass(frozen=True, slots=True)
class Definitions:
    """Files by what they define."""

    deck: tuple[Source, ...]
    instruments: tuple[Source, ...]
    blocks: tuple[Source, ...]
    flows: tuple[Source, ...]


@cache
def builtin_definitions() -> Definitions:
    """The files in flows/data, in order of name."""
    return Definitions(_read("copy"), _read("instruments"), _read("blocks"), _read("flows"))


def builtin_library(
    rules: Rules | None = None,
    *,
    flows: Sequence[Source] = (),
    deck: Sequence[Source] = (),
    instruments: Sequence[Source] = (),
    blocks: Sequence[Source] = (),
) -> Library:
    """The built-in library with a shop's files over it: a flow, text, instrument or block of the same id replaces ours.

    Raises:
        DefinitionErrors: with every problem of the shop's files.
    """
    rules = rules or Rules()
    if not (deck or instruments or blocks):
        return _as_it_comes(rules).over(flows)
    base = builtin_definitions()
    replaced = {source.data.get("id") for source in flows}
    return load_library(
        deck=(*_without(base.deck, deck), *deck),
        instruments=(*_without(base.instruments, instruments), *instruments),
        blocks=(*_without(base.blocks, blocks), *blocks),
        flows=(*(source for source in base.flows if source.data.get("id") not in replaced), *flows),
        rules=rules,
    )


@lru_cache(maxsize=4)
def _as_it_comes(rules: Rules) -> Library:
    """Ours alone; most shops have texts and instruments of ours, and are read more than once by a command."""
    base = builtin_definitions()
    return load_library(deck=base.deck, instruments=base.instruments, blocks=base.blocks, flows=base.flows, rules=rules)


def _without(sources: Sequence[Source], over: Sequence[Source]) -> list[Source]:
    taken = {name for source in over for name in source.data}
    if not taken:
        return list(sources)
    return [
        Source(source.name, {name: body for name, body in source.data.items() if name not in taken}, source.lines)
        for source in sources
    ]


def _read(folder: str) -> tuple[Source, ...]:
    found = [
        item for item in resources.files("flows").joinpath("data", folder).iterdir() if item.name.endswith(".yaml")
    ]
    return tuple(
        parse_yaml(item.read_bytes(), f"flows/data/{folder}/{item.name}")
        for item in sorted(found, key=lambda i: i.name)
    )
