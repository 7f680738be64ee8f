"""What scoring needs of the instruments, taken from the definitions that also ask the questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from flows.definitions import Block, Instrument
from flows.source import parse_yaml
from reports.metrics import InstrumentSpec, Item

_EXCLUSIVE = "none"


def spec_of(instrument: Instrument) -> InstrumentSpec | None:
    """How an instrument is scored; None for free text and single choices, which have no score."""
    names = {"ja": instrument.name.ja, "en": instrument.name.en}
    if instrument.kind == "scale":
        place = instrument.battery
        return InstrumentSpec(
            id=instrument.id,
            kind="scale",
            low=instrument.low,
            high=instrument.high,
            positive=tuple(int(code) for code in instrument.positive),
            negative=tuple(int(code) for code in instrument.negative),
            statistic=instrument.statistic,
            better=instrument.better,
            names=names,
            item=Item(place.id, place.index, place.pair or "", place.reverse, place.weight) if place else None,
        )
    if instrument.kind == "yes_no":
        # answers are counted as 1 (yes) and 0 (no); the definition names the good one by its code
        good = (1,) if "yes" in instrument.positive or not instrument.positive else (0,)
        return InstrumentSpec(
            id=instrument.id,
            kind="yes_no",
            positive=good,
            statistic="share",
            better=instrument.better,
            names=names,
        )
    if instrument.kind == "multi":
        exclusive = instrument.exclusive or _EXCLUSIVE
        choices = [choice for choice in instrument.choices if choice.value != exclusive]
        return InstrumentSpec(
            id=instrument.id,
            kind="multi",
            statistic="share",
            better=instrument.better,
            codes=tuple(choice.value for choice in choices),
            names=names,
            code_names={
                "ja": {choice.value: choice.text.ja for choice in choices},
                "en": {choice.value: choice.text.en for choice in choices},
            },
        )
    return None


def specs_of(instruments: Mapping[str, Instrument]) -> dict[str, InstrumentSpec]:
    """Instrument → scoring, for all that have one."""
    found = {name: spec_of(instrument) for name, instrument in instruments.items()}
    return {name: spec for name, spec in found.items() if spec is not None}


def _bundled(folder: str) -> Iterator[tuple[str, Any]]:
    """(name, what is written under it) of the definitions that come with Koe."""
    for file in sorted((files("flows") / "data" / folder).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            yield from parse_yaml(file.read_bytes(), file.name).data.items()


@cache
def bundled_blocks() -> dict[str, tuple[str, ...]]:
    """The touchpoints that are asked about together, by block, as they come with Koe; do not change the mapping."""
    return {name: items_of(Block.model_validate(data)) for name, data in _bundled("blocks")}


def items_of(block: Block) -> tuple[str, ...]:
    """The instruments of a block, those for some situations only included."""
    return tuple(item.instrument for item in block.items)


@cache
def bundled_instruments() -> Mapping[str, Instrument]:
    """The standard instruments that come with Koe, by id; do not change the mapping."""
    return {name: Instrument.model_validate({"id": name, **data}) for name, data in _bundled("instruments")}
