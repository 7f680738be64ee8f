"""Whose answers belong together: the items of batteries, joined from the rows of a file to respondents.

A respondent is a customer with the answers of their latest wave, in whichever sessions, since a long battery is split
over several: those that name the same wave or, where none is named, those of the 14 days up to the latest one. Without
a customer it is a session, or else a row by itself.

Source: docs/metrics.md ("Indices of several questions").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flows.flow import WAVE_MS
from reports.answers.file import Row
from reports.indices import Index, Raw, battery_results, indices_of
from reports.metrics import InstrumentSpec, Result, Span, Stratum
from reports.values import Parsed


@dataclass(frozen=True, slots=True)
class _Words:
    """How an item was asked. Answers to different words are never put together."""

    wording_id: str
    label_set: str
    lang: str


_Answer = tuple[int, int, _Words, str]
"""Time, code, words, wave."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Respondents to one battery whose answers may be put together."""

    battery: str
    indices: tuple[Index, ...]
    """Those of which anybody was asked anything."""
    stratum: Stratum
    people: Mapping[str, Mapping[str, int]]
    """Respondent → item → code; nothing for somebody who left every item out."""
    raw: Raw


@dataclass(slots=True)
class _Group:
    """The answers to one battery in one survey_kind and touchpoint."""

    people: dict[str, dict[str, _Answer]] = field(default_factory=dict)
    """Respondent → item → latest valid answer; a respondent who left everything out has an empty one."""
    missing: Counter[tuple[str, _Words]] = field(default_factory=Counter)
    invalid: Counter[tuple[str, _Words]] = field(default_factory=Counter)
    superseded: Counter[tuple[str, _Words]] = field(default_factory=Counter)
    langs: set[str] = field(default_factory=set)


class Respondents:
    """Rows of items in, records of batteries out. Holds one entry for each respondent and item.

    Args:
        specs: instrument → how it is scored.
        by_language: False pools languages; the stratum's is then "mixed" where there was more than one.
        since_ms: answers before it complete a wave that goes on after it, and count for nothing else.
    """

    def __init__(
        self, specs: Mapping[str, InstrumentSpec], *, by_language: bool = True, since_ms: int | None = None
    ) -> None:
        self._items = {spec.id: spec.item for spec in specs.values() if spec.item is not None}
        self._indices = indices_of(specs)
        self._by_language = by_language
        self._since_ms = since_ms
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._words: dict[_Words, _Words] = {}
        self._rows = 0

    def take(self, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        """One row; instruments that are no items are passed over.

        Args:
            at_ms: of the answer; for a row without a time, one before every other.
        """
        item = self._items.get(instrument)
        early = self._early(at_ms)
        if item is None or (early and parsed.code is None):
            return
        self._rows += 1
        group = self._groups.setdefault((item.battery, row.survey_kind, row.touchpoint), _Group())
        if not early:
            group.langs.add(row.lang)
        words = _Words(row.wording_id, row.label_set, row.lang if self._by_language else "")
        words = self._words.setdefault(words, words)
        who = f"c{row.customer}" if row.customer else f"s{row.session}" if row.session else f"r{self._rows}"
        answers = group.people.setdefault(who, {})
        if parsed.code is None:
            (group.missing if parsed.kind == "missing" else group.invalid)[(instrument, words)] += 1
            return
        given = (at_ms, parsed.code, words, row.wave)
        before = answers.get(instrument)
        if before is None or before[0] <= at_ms:
            answers[instrument], dropped = given, before
        else:
            dropped = given
        if dropped is not None:
            self._supersede(group, instrument, dropped)

    def _early(self, at_ms: int) -> bool:
        return self._since_ms is not None and at_ms < self._since_ms

    def _supersede(self, group: _Group, item: str, dropped: _Answer) -> None:
        if not self._early(dropped[0]):
            group.superseded[(item, dropped[2])] += 1

    def results(self, window: Span, *, dated_from: int) -> list[Result]:
        """The records of every battery, per survey_kind × touchpoint × language, and per wording where an item was
        asked in more than one; an index of which nobody was asked anything is left out.

        Args:
            dated_from: answers before it have no time, and belong to every wave.
        """
        out: list[Result] = []
        for asked in self.groups(dated_from=dated_from):
            people = list(asked.people.values())
            out += battery_results(
                asked.battery, asked.indices, people, stratum=asked.stratum, window=window, raw=asked.raw
            )
        return out

    def groups(self, *, dated_from: int) -> Iterator[Asked]:
        """The respondents of every battery, parted as in `results`."""
        for (battery, kind, touchpoint), group in self._groups.items():
            for who, answers in list(group.people.items()):
                if answers and all(self._early(at) for at, *_ in answers.values()):
                    del group.people[who]  # of a wave that ended before
                else:
                    self._keep_last_wave(group, answers, dated_from)
            asked: dict[str, set[tuple[str, str]]] = {}
            for answers in group.people.values():
                for item, (_, _, words, _) in answers.items():
                    asked.setdefault(item, set()).add((words.wording_id, words.label_set))
            known = asked.keys() | {item for item, _ in (*group.missing, *group.invalid)}
            if not known:
                continue
            indices = tuple(index for index in self._indices[battery] if not known.isdisjoint(index.items))
            mixed = frozenset(item for item, found in asked.items() if len(found) > 1)
            labels = {label for found in asked.values() for _, label in found}
            only = labels.pop() if len(labels) == 1 else ""
            strata: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
            silent: dict[str, dict[str, int]] = {}
            for who, answers in group.people.items():
                if not answers:
                    silent[who] = {}
                    continue
                lang = max(answers.values(), key=lambda answer: answer[0])[2].lang
                key = (lang, _signature({item: answer[2] for item, answer in answers.items()}, mixed))
                strata.setdefault(key, {})[who] = {item: answer[1] for item, answer in answers.items()}
            for number, ((lang, wording), people) in enumerate(strata.items() or [(("", ""), {})]):
                spoken = lang
                if not self._by_language:
                    spoken = next(iter(group.langs)) if len(group.langs) == 1 else "mixed"
                yield Asked(
                    battery,
                    indices,
                    Stratum(kind, touchpoint, wording, only, spoken),
                    # who answered nothing at all has no language and no words: counted once
                    {**people, **(silent if number == 0 else {})},
                    Raw(
                        *(
                            _summed(counts, lang, wording, mixed) if strata else _summed_all(counts)
                            for counts in (group.missing, group.invalid, group.superseded)
                        )
                    ),
                )

    def _keep_last_wave(self, group: _Group, answers: dict[str, _Answer], dated_from: int) -> None:
        """Takes away answers of earlier waves, and those in another language than the latest answer."""
        if not answers:
            return
        last, _, spoken, wave = max(answers.values(), key=lambda answer: answer[0])
        for item, answer in list(answers.items()):
            at, _, words, of = answer
            earlier = of != wave if wave else dated_from <= at < last - WAVE_MS
            if earlier or words.lang != spoken.lang:
                del answers[item]
                self._supersede(group, item, answer)


def _signature(answers: Mapping[str, _Words], mixed: frozenset[str]) -> str:
    """Which words a respondent was asked in, of the items that were asked in several; "" when there are none."""
    return "; ".join(f"{item}={answers[item].wording_id or '?'}" for item in sorted(mixed & answers.keys()))


def _summed(counts: Mapping[tuple[str, _Words], int], lang: str, wording: str, mixed: frozenset[str]) -> dict[str, int]:
    """Raw answers of a language by item; of an item asked in several words, those in the words of the stratum."""
    parts = wording.split("; ")
    out: Counter[str] = Counter()
    for (item, words), count in counts.items():
        if words.lang == lang and (item not in mixed or f"{item}={words.wording_id or '?'}" in parts):
            out[item] += count
    return out


def _summed_all(counts: Mapping[tuple[str, _Words], int]) -> dict[str, int]:
    out: Counter[str] = Counter()
    for (item, _), count in counts.items():
        out[item] += count
    return out
