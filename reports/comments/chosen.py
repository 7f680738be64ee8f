"""The few comments that a digest may show: balanced, and chosen by a rule rather than by hand.

Source: docs/metrics.md ("Words and topics").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.comments.gathered import Comment
from reports.comments.reading import Reading, speaking_of
from reports.comments.vocabulary import Topic
from reports.metrics import SUPPRESS_BELOW

CHOSEN_PER_SIDE = 2
_READABLE = range(8, 201)
"""Characters of a comment that may be chosen: neither a shout nor an essay."""

Side = Literal["promoter", "detractor"]
SIDES: tuple[Side, ...] = ("promoter", "detractor")


def side_of(comment: Comment) -> Side | None:
    """Whose comment it is; None of a passive's, or without a rating."""
    if comment.rating is None:
        return None
    return "promoter" if comment.rating >= 9 else "detractor" if comment.rating <= 6 else None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A comment that may be shown inside the company, and why this one."""

    side: Side
    text: str
    """Masked; data in every sink."""
    why: Literal["topic", "drawn"]
    """It speaks of a topic that its side names most, or was drawn from what is left."""
    topic: Topic | None
    quote_ok: bool


def choose(said: Sequence[tuple[Comment, Reading]], topics: Mapping[str, Topic], *, seed: str) -> tuple[Chosen, ...]:
    """As many comments of promoters as of detractors, at most two of each: of a side's most frequent topics one each,
    else drawn. The same comments and seed give the same choice, in whatever order they come.

    None at all unless either side has ten comments: with its side beside it, a comment is a cell of that side.
    """
    sides = {side: [pair for pair in said if side_of(pair[0]) == side] for side in SIDES}
    if min(len(pairs) for pairs in sides.values()) < SUPPRESS_BELOW:
        return ()
    picked: dict[Side, list[Chosen]] = {}
    for side in SIDES:
        # the same words from both sides say nothing about either
        said_before = {comment.text for chosen in picked.values() for comment in chosen}
        picked[side] = _pick(side, sides[side], topics, seed, last=said_before)
    count = min(len(chosen) for chosen in picked.values())
    return tuple(chosen for side in SIDES for chosen in picked[side][:count])


def _pick(
    side: Side, said: Sequence[tuple[Comment, Reading]], topics: Mapping[str, Topic], seed: str, *, last: set[str]
) -> list[Chosen]:
    def lot(pair: tuple[Comment, Reading]) -> bytes:
        # a lot of its own for each comment: one more comment does not shuffle the others
        return hashlib.sha256(f"{seed}\0{pair[0].text}".encode()).digest()

    left = sorted(((_on_a_line(c), c, r) for c, r in said), key=lambda entry: lot((entry[1], entry[2])))
    left = [entry for entry in left if len(entry[0]) in _READABLE]
    left.sort(key=lambda entry: entry[0] in last)
    named = speaking_of(reading for _, reading in said)
    out: list[Chosen] = []
    texts: set[str] = set()
    for name, _ in sorted(named.items(), key=lambda pair: (-pair[1], pair[0])):
        if len(out) == CHOSEN_PER_SIDE:
            break
        found = next((e for e in left if name in e[2].topics and e[0] not in texts | last), None)
        if found is not None:
            texts.add(found[0])
            out.append(Chosen(side, found[0], "topic", topics[name], found[1].quote_ok))
    for text, comment, _ in left:
        if len(out) == CHOSEN_PER_SIDE:
            break
        if text not in texts:
            texts.add(text)
            out.append(Chosen(side, text, "drawn", None, comment.quote_ok))
    return out


def _on_a_line(comment: Comment) -> str:
    return " ".join(comment.text.split())
