"""Whose answers belong together: the items of batteries, joined from the rows of a file to respondents.

A respondent is a customer with the answers of one wave – those of the 14 days up to the latest one, in whichever
sessions, since a long battery is split over several – or a session without a customer, or else a row by itself.

Source: docs/metrics.md ("Indices of several questions").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.answers_file import Row
from reports.indices import Raw, battery_results, indices_of
from reports.metrics import InstrumentSpec, Result, Span, Stratum
from reports.values import Parsed

WAVE_MS = 14 * 86_400_000


@dataclass(frozen=True, slots=True)
class _Words:
    """How an item was asked. Answers to different words are never put together."""

    wording_id: str
    label_set: str
    lang: str


_Answer = tuple[int, int, _Words]
"""Time, code, words."""


@dataclass(slots=True)
class _Group:
    """The answers to one battery in one survey_kind and touchpoint."""

    people: dict[str, dict[str, _Answer]] = field(default_factory=dict)
    """Respondent → item → latest valid answer; a respondent who left everything out has an empty one."""
    missing: Counter[tuple[str, _Words]] = field(default_factory=Counter)
    invalid: Counter[tuple[str, _Words]] = field(default_factory=Counter)
    superseded: Counter[tuple[str, _Words]] = field(default_factory=Counter)


class Respondents:
    """Rows of items in, records of batteries out. Holds one entry for each respondent and item."""

    def __init__(self, specs: Mapping[str, InstrumentSpec]) -> None:
        self._items = {spec.id: spec.item for spec in specs.values() if spec.item is not None}
        self._indices = indices_of(specs)
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._words: dict[_Words, _Words] = {}
        self._rows = 0

    def take(self, row: Row, instrument: str, parsed: Parsed, at_ms: int) -> None:
        """One row; instruments that are no items are passed over.

        Args:
            at_ms: of the answer; for a row without a time, one before every other.
        """
        item = self._items.get(instrument)
        if item is None:
            return
        self._rows += 1
        group = self._groups.setdefault((item.battery, row.survey_kind, row.touchpoint), _Group())
        words = _Words(row.wording_id, row.label_set, row.lang)
        words = self._words.setdefault(words, words)
        who = f"c{row.customer}" if row.customer else f"s{row.session}" if row.session else f"r{self._rows}"
        answers = group.people.setdefault(who, {})
        if parsed.code is None:
            (group.missing if parsed.kind == "missing" else group.invalid)[(instrument, words)] += 1
            return
        before = answers.get(instrument)
        if before is None:
            answers[instrument] = (at_ms, parsed.code, words)
            return
        dropped = (at_ms, parsed.code, words) if before[0] > at_ms else before
        if dropped is before:
            answers[instrument] = (at_ms, parsed.code, words)
        group.superseded[(instrument, dropped[2])] += 1

    def results(self, window: Span, *, dated_from: int) -> list[Result]:
        """The records of every battery, per survey_kind × touchpoint × language, and per wording where an item was
        asked in more than one; an index of which nobody was asked anything is left out.

        Args:
            dated_from: answers before it have no time, and belong to every wave.
        """
        out: list[Result] = []
        for (battery, kind, touchpoint), group in self._groups.items():
            for answers in group.people.values():
                self._keep_last_wave(group, answers, dated_from)
            asked: dict[str, set[tuple[str, str]]] = {}
            for answers in group.people.values():
                for item, (_, _, words) in answers.items():
                    asked.setdefault(item, set()).add((words.wording_id, words.label_set))
            known = asked.keys() | {item for item, _ in (*group.missing, *group.invalid)}
            indices = [index for index in self._indices[battery] if not known.isdisjoint(index.items)]
            mixed = frozenset(item for item, found in asked.items() if len(found) > 1)
            labels = {label for found in asked.values() for _, label in found}
            only = labels.pop() if len(labels) == 1 else ""
            strata: dict[tuple[str, str], list[dict[str, int]]] = {}
            silent = 0
            for answers in group.people.values():
                if not answers:
                    silent += 1
                    continue
                lang = max(answers.values(), key=lambda answer: answer[0])[2].lang
                key = (lang, _signature({item: words for item, (_, _, words) in answers.items()}, mixed))
                strata.setdefault(key, []).append({item: code for item, (_, code, _) in answers.items()})
            for number, ((lang, wording), people) in enumerate(strata.items() or [(("", ""), [])]):
                # who answered nothing at all has no language and no words: counted once
                people = [*people, *({} for _ in range(silent if number == 0 else 0))]
                out += battery_results(
                    battery,
                    indices,
                    people,
                    stratum=Stratum(kind, touchpoint, wording, only, lang),
                    window=window,
                    raw=Raw(
                        *(
                            _summed(counts, lang, wording, mixed) if strata else _summed_all(counts)
                            for counts in (group.missing, group.invalid, group.superseded)
                        )
                    ),
                )
        return out

    @staticmethod
    def _keep_last_wave(group: _Group, answers: dict[str, _Answer], dated_from: int) -> None:
        """Takes away answers of earlier waves, and those in another language than the latest answer."""
        if not answers:
            return
        last, _, spoken = max(answers.values(), key=lambda answer: answer[0])
        for item, (at, _, words) in list(answers.items()):
            if dated_from <= at < last - WAVE_MS or words.lang != spoken.lang:
                del answers[item]
                group.superseded[(item, words)] += 1


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
