"""Words and topics of one group of comments set against another's: promoters and detractors, a week and those before.

Source: docs/metrics.md ("Words and topics"); distinctive words: Monroe, Colaresi & Quinn, Political Analysis 16(4),
2008.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import procedures
from reports.comments.reading import Reading, speaking_of
from reports.comments.vocabulary import Topic
from reports.metrics import SUPPRESS_BELOW

PRIOR = 100.0
"""α₀ of the log-odds: how many imaginary words the common usage weighs."""
LEAST_SIDE = 30
"""Promoters, and detractors, who must have commented before their words are set against each other."""
LEAST_USERS = 5
"""Respondents who must have used a word before it is named."""
LEAST_ZETA = 1.96
MOST_WORDS = 10


@dataclass(frozen=True, slots=True)
class DistinctiveWord:
    """A word that one side uses more than the other."""

    key: str
    label: str
    promoters: int
    detractors: int
    """Respondents who used it."""
    delta: float
    """Difference of the log-odds, above 0 for promoters."""
    zeta: float
    """`delta` in standard errors."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "word": self.label,
            "key": self.key,
            "promoters": self.promoters,
            "detractors": self.detractors,
            "delta": self.delta,
            "zeta": self.zeta,
        }


@dataclass(frozen=True, slots=True)
class FreshWord:
    """A word that came up in the week more than in the four weeks before."""

    key: str
    label: str
    now: int
    """Respondents of the week who used it, of `now_of`."""
    now_of: int
    earlier: int
    earlier_of: int
    delta: float
    """Points."""
    low: float
    high: float
    p: float
    p_adjusted: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"word": self.label, "key": self.key, **_rise_json(self)}


@dataclass(frozen=True, slots=True)
class GrownTopic:
    """A topic that more of the week's comments speak of than of those of the four weeks before."""

    topic: Topic
    now: int
    """Respondents of the week who speak of it, of `now_of`."""
    now_of: int
    earlier: int
    earlier_of: int
    delta: float
    """Points."""
    low: float
    high: float
    p: float
    p_adjusted: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"topic": self.topic.id, **_rise_json(self)}


def _rise_json(rise: FreshWord | GrownTopic) -> dict[str, Any]:
    return {
        "now": [rise.now, rise.now_of],
        "earlier": [rise.earlier, rise.earlier_of],
        "delta": rise.delta,
        "ci_low": rise.low,
        "ci_high": rise.high,
        "p": rise.p,
        "p_adjusted": rise.p_adjusted,
    }


def log_odds(y_i: int, y_j: int, n_i: int, n_j: int) -> tuple[float, float] | None:
    """(δ, ζ) of one word: the log-odds ratio with an informative Dirichlet prior, and the same in standard errors.
    None for a word that is the whole vocabulary.

    Args:
        y_i: respondents of the first group who used it.
        y_j: likewise of the second.
        n_i: the sum of these numbers over all words of the first group.
        n_j: likewise of the second.

    >>> [round(number, 4) for number in log_odds(30, 3, 200, 150)]
    [1.0621, 3.2649]
    """
    prior = PRIOR * (y_i + y_j) / (n_i + n_j)
    rest_i, rest_j = n_i + PRIOR - y_i - prior, n_j + PRIOR - y_j - prior
    if prior <= 0 or rest_i <= 0 or rest_j <= 0:
        return None
    delta = math.log((y_i + prior) / rest_i) - math.log((y_j + prior) / rest_j)
    return delta, delta / math.sqrt(1 / (y_i + prior) + 1 / (y_j + prior))


def _users(readings: Iterable[Reading]) -> Counter[str]:
    """Word → respondents who used it."""
    return Counter(key for reading in readings for key in reading.words)


def _labels(keys: Iterable[str], readings: Iterable[Reading]) -> dict[str, str]:
    """Key → the label its users write most; of equals the first in order of characters."""
    wanted = set(keys)
    written: dict[str, Counter[str]] = {key: Counter() for key in wanted}
    for reading in readings:
        for key in wanted & reading.words.keys():
            written[key][reading.words[key]] += 1
    return {key: min(labels, key=lambda label: (-labels[label], label)) for key, labels in written.items()}


def distinctive_words(
    promoters: Sequence[Reading], detractors: Sequence[Reading]
) -> tuple[tuple[DistinctiveWord, ...], tuple[DistinctiveWord, ...]]:
    """The words of promoters and those of detractors: |ζ| ≥ 1.96, five users or more, the ten clearest of each side.
    Both empty when either side has fewer than thirty readings (one is one respondent)."""
    if min(len(promoters), len(detractors)) < LEAST_SIDE:
        return (), ()
    likes, dislikes = _users(promoters), _users(detractors)
    n_i, n_j = likes.total(), dislikes.total()
    scored = [
        (key, *odds)
        for key in likes.keys() | dislikes.keys()
        if likes[key] + dislikes[key] >= LEAST_USERS and (odds := log_odds(likes[key], dislikes[key], n_i, n_j))
    ]
    clear = sorted((word for word in scored if abs(word[2]) >= LEAST_ZETA), key=lambda word: (-abs(word[2]), word[0]))
    ours = [word for word in clear if word[2] > 0][:MOST_WORDS]
    theirs = [word for word in clear if word[2] < 0][:MOST_WORDS]
    labels = _labels((key for key, _, _ in (*ours, *theirs)), (*promoters, *detractors))

    def shown(words: Iterable[tuple[str, float, float]]) -> tuple[DistinctiveWord, ...]:
        return tuple(
            DistinctiveWord(key, labels[key], likes[key], dislikes[key], delta, zeta) for key, delta, zeta in words
        )

    return shown(ours), shown(theirs)


def fresh_words(now: Sequence[Reading], earlier: Sequence[Reading]) -> tuple[FreshWord, ...] | None:
    """Words of five respondents or more of the week whose share rose (S4), as far as their family keeps them (S8)."""
    risen = _risen(_users(now), len(now), _users(earlier), len(earlier))
    if risen is None:
        return None
    labels = _labels((key for key, _ in risen), now)
    return tuple(FreshWord(key, labels[key], *rise) for key, rise in risen)


def grown_topics(
    now: Sequence[Reading], earlier: Sequence[Reading], topics: Mapping[str, Topic]
) -> tuple[GrownTopic, ...] | None:
    """The same of topics."""
    risen = _risen(speaking_of(now), len(now), speaking_of(earlier), len(earlier))
    return None if risen is None else tuple(GrownTopic(topics[key], *rise) for key, rise in risen)


_Rise = tuple[int, int, int, int, float, float, float, float, float]


def _risen(now: Counter[str], now_of: int, earlier: Counter[str], earlier_of: int) -> list[tuple[str, _Rise]] | None:
    """Who rose, most certain first, with the fields that FreshWord and GrownTopic share; None below ten comments on
    either side."""
    if min(now_of, earlier_of) < SUPPRESS_BELOW:
        return None
    tested = []
    for key in sorted(key for key, count in now.items() if count >= LEAST_USERS):
        found = procedures.share_difference((earlier[key], earlier_of), (now[key], now_of))
        if found is not None:
            tested.append((key, found))
    kept = procedures.family([found.p for _, found in tested])
    risen: list[tuple[str, _Rise]] = [
        (
            key,
            (
                now[key], now_of, earlier[key], earlier_of,
                found.delta, found.low, found.high, found.p, verdict.adjusted,
            ),
        )
        for (key, found), verdict in zip(tested, kept, strict=True)
        if verdict.kept and found.delta > 0
    ]  # fmt: skip
    return sorted(risen, key=lambda pair: (pair[1][7], pair[0]))
