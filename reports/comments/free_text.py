"""What comments come to: topics, words that tell promoters from detractors, whether praise and rating agree, words of
the week, and the few comments that a digest may show.

Of fewer than ten comments nothing but their number leaves this module.

Source: docs/metrics.md ("Words and topics").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import scipy

from reports import procedures
from reports.comments.chosen import SIDES, Chosen, choose, side_of
from reports.comments.compared import (
    DistinctiveWord,
    FreshWord,
    GrownTopic,
    distinctive_words,
    fresh_words,
    grown_topics,
)
from reports.comments.gathered import Comment, Weeks
from reports.comments.reading import ExtraMissing, Reader, Readers, Reading, speaking_of
from reports.comments.vocabulary import Topic
from reports.disclosure import side_by_side
from reports.metrics import SPEC_VERSION, SUPPRESS_BELOW, Result, Span, Status, Stratum, sibling, status_of
from reports.procedures import Estimate

LEAST_VALIDITY = 0.3
"""Spearman's ρ of polarity and rating below which the polarity is not shown."""


# ----------------------------------------------------------------------------------------------- what comes back


@dataclass(frozen=True, slots=True)
class TopicShare:
    """How many comments speak of a topic, and what their writers answered to the question of recommendation."""

    topic: Topic
    share: Result
    rating: Result
    """Mean NPS rating (0–10) of the comments on it; suppressed when these are 1–9, or with it the ratings of so few
    others would follow from those of all and of other topics (flag `sibling`)."""


@dataclass(frozen=True, slots=True)
class FreeText:
    """The comments on one question in one stratum, each customer's latest in the window. When suppressed it holds
    numbers of comments and nothing else."""

    instrument: str
    stratum: Stratum
    """`lang` is the language the comments are written in."""
    window: Span
    n: int
    """Comments, one per respondent."""
    n_missing: int
    n_superseded: int
    status: Status
    rated: int = 0
    """Comments with a rating of the same session."""
    promoters: int = 0
    detractors: int = 0
    topics: tuple[TopicShare, ...] = ()
    """Named in one comment or more, most frequent first."""
    polarity: Result | None = None
    """Mean polarity of the comments that have one, -1…1; None when it says nothing of the rating (`validity`)."""
    validity: float | None = None
    """Spearman's ρ of polarity and rating, None below ten pairs or without variance."""
    validity_n: int = 0
    promoter_words: tuple[DistinctiveWord, ...] = ()
    detractor_words: tuple[DistinctiveWord, ...] = ()
    fresh_words: tuple[FreshWord, ...] | None = None
    """None when there was no week to compare, fewer than ten comments on either side, or such as would follow from what
    else is told."""
    grown_topics: tuple[GrownTopic, ...] | None = None
    """As `fresh_words`: tested against the four weeks before, in a family of their own."""
    chosen: tuple[Chosen, ...] = ()
    sides_told: bool = True
    """Whether `promoters` and `detractors` may be told (`beside`)."""
    flags: tuple[str, ...] = ()

    def results(self) -> list[Result]:
        """The scores as result records: shares and mean ratings per topic, the polarity."""
        found = [result for topic in self.topics for result in (topic.share, topic.rating)]
        return [*found, self.polarity] if self.polarity is not None else found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the chosen comments: numbers and words that several people used may be kept,
        what one person wrote may not."""
        return {
            "metric": self.instrument,
            "variant": "words",
            "survey_kind": self.stratum.survey_kind,
            "touchpoint": self.stratum.touchpoint,
            "wording_id": self.stratum.wording_id,
            "lang": self.stratum.lang,
            "window": {"start": self.window.start or None, "end": self.window.end or None},
            "n_valid": self.n,
            "n_missing": self.n_missing,
            "n_superseded": self.n_superseded,
            "status": self.status,
            "flags": list(self.flags),
            "rated": self.rated,
            "promoters": self.promoters if self.sides_told else None,
            "detractors": self.detractors if self.sides_told else None,
            "polarity_validity": {"rho": self.validity, "n": self.validity_n},
            "promoter_words": [word.to_json() for word in self.promoter_words],
            "detractor_words": [word.to_json() for word in self.detractor_words],
            "fresh_words": None if self.fresh_words is None else [word.to_json() for word in self.fresh_words],
            "grown_topics": None if self.grown_topics is None else [topic.to_json() for topic in self.grown_topics],
            "spec_version": SPEC_VERSION,
        }


@dataclass(frozen=True, slots=True)
class FreeTexts:
    """The comments of a shop, question by question, most comments first."""

    found: tuple[FreeText, ...] = ()
    unread: int = 0
    """Japanese comments that nobody could read: the extra `ja` is not installed."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: `found`, each question with its `results`, and `unread`. No comment is in it."""
        found = [{**text.to_json(), "results": [result.to_json() for result in text.results()]} for text in self.found]
        return {"found": found, "unread": self.unread}


def beside(texts: FreeTexts, rated: Mapping[tuple[str, str], Collection[int]]) -> FreeTexts:
    """The comments as they may be told beside the scores of everybody: not all who rate say why. Where the ratings of a
    topic's writers are one to nine fewer than all ratings, their mean is suppressed (flag `sibling`); where those of
    all writers are, or are fewer than ten themselves, it is not told how many promoters and detractors there are.

    Args:
        rated: (survey kind, touchpoint) → number of ratings, wording by wording.
    """

    def shown(text: FreeText) -> FreeText:
        everybody = rated.get((text.stratum.survey_kind, text.stratum.touchpoint), ())

        def few(n: int) -> bool:
            return any(0 < total - n < SUPPRESS_BELOW for total in (*everybody, sum(everybody)))

        topics = tuple(
            replace(topic, rating=sibling(topic.rating).shown()) if few(topic.rating.n_valid) else topic
            for topic in text.topics
        )
        return replace(
            text, topics=topics, sides_told=text.sides_told and text.rated >= SUPPRESS_BELOW and not few(text.rated)
        )

    return replace(texts, found=tuple(map(shown, texts.found)))


# ------------------------------------------------------------------------------------------------------- analysing


def analyse_comments(
    comments: Sequence[Comment],
    readers: Readers,
    *,
    window: Weeks | Span,
    may_tell: Callable[[str, Stratum], tuple[bool, bool]] = lambda *_: (True, True),
    may_rate: MayRate | None = None,
    segment: str = "",
    channel: str = "",
    seed: str = "",
) -> FreeTexts:
    """The comments of a window, question by question; suppressed (flag `sibling`) where they may not be told beside
    others.

    Args:
        comments: in any order; those before the window serve the comparison of words only.
        window: with its weeks, or a plain span: then all comments lie in it and no word is called new.
        may_tell: whether the comments on a question may be told in the window, and those of its last week beside the
            four weeks before.
        may_rate: whether the ratings of a group of those who wrote may be told; by default where they do not follow
            from those of others in the window.
        segment: what is reported, for the records, too.
        channel: likewise.
        seed: what the choice of comments depends on beside the comments, such as digest and week.
    """
    read = _Read(readers)
    weeks, span = (window, window.span) if isinstance(window, Weeks) else (None, window)
    everybody, comments = comments, [c for c in comments if segment in ("", c.segment) and channel in ("", c.channel)]
    inside = [c for c in comments if weeks is None or weeks.start_ms <= c.at_ms < weeks.end_ms]
    groups: dict[tuple[str, Stratum], list[Comment]] = {}
    kept, superseded = _latest(inside)
    for comment in kept:
        groups.setdefault(_group(comment), []).append(comment)
    missing = Counter(_asked(comment) for comment in inside if not comment.text)
    now: dict[tuple[str, Stratum], list[Comment]] = {}
    earlier: dict[tuple[str, Stratum], list[Comment]] = {}
    if weeks is not None:
        for start, end, into in ((weeks.week_ms, weeks.end_ms, now), (weeks.earlier_ms, weeks.week_ms, earlier)):
            for comment in _latest([c for c in comments if start <= c.at_ms < end])[0]:
                into.setdefault(_group(comment), []).append(comment)
    found = []
    for (instrument, stratum), said in groups.items():
        reader = read.reader(stratum.lang)
        if reader is None:
            continue
        base = FreeText(
            instrument,
            stratum,
            span,
            len(said),
            missing[(instrument, stratum.survey_kind, stratum.touchpoint, stratum.wording_id)],
            superseded[(instrument, stratum)],
            status_of(len(said)),
        )
        key = (instrument, stratum)
        told, compared = may_tell(*key)
        if base.n >= SUPPRESS_BELOW and not told:
            found.append(replace(base, status="suppressed", flags=("sibling",)))
            continue
        if weeks is not None and base.n >= SUPPRESS_BELOW and compared:
            of_week, before = ([read.of(c) for c in part.get(key, ())] for part in (now, earlier))
            base = replace(
                base,
                fresh_words=fresh_words(of_week, before),
                grown_topics=grown_topics(of_week, before, reader.topics),
            )
        told_of: Callable[[str], bool] | None = None
        if may_rate is not None and base.n >= SUPPRESS_BELOW:
            told_of = may_rate(stratum, [c for c in everybody if c.text and _group(c) == key], read.groups_of)
        found.append(_measured(base, said, read, reader, segment, told_of=told_of, seed=seed))
    found.sort(key=lambda text: (-text.n, text.instrument, text.stratum.survey_kind, text.stratum.touchpoint))
    return FreeTexts(tuple(found), read.unread(kept))


MayRate = Callable[[Stratum, Sequence[Comment], Callable[[Comment], frozenset[str]]], Callable[[str], bool]]
"""(Question, the comments on it of everybody, the groups that each is in) → whether the ratings of a group may be told.
A group is "rated", "toned" (with a polarity), a side, or `_about` a topic: those who speak of it and rated."""


class _Read:
    """Each comment read once, however many windows it is in."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._known: dict[int, Reading] = {}

    def reader(self, lang: str) -> Reader | None:
        try:
            return self._readers.of("ja" if lang == "ja" else "en")
        except ExtraMissing:
            return None

    def of(self, comment: Comment) -> Reading:
        found = self._known.get(id(comment))
        if found is None:
            found = self._known[id(comment)] = self._readers.of(comment.lang).read(comment.text)
        return found

    def groups_of(self, comment: Comment) -> frozenset[str]:
        reading = self.of(comment)
        groups = {"toned"} if reading.polarity is not None else set()
        if comment.rating is not None:
            groups |= {"rated", side_of(comment) or "passive", *(_about(topic) for topic in reading.topics)}
        return frozenset(groups)

    def unread(self, comments: Iterable[Comment]) -> int:
        return 0 if self.reader("ja") else sum(comment.lang == "ja" for comment in comments)


def _about(topic: str) -> str:
    """The group of those who speak of a topic: no topic of a shop is taken for another group."""
    return f"topic:{topic}"


def _asked(comment: Comment) -> tuple[str, str, str, str]:
    return comment.instrument, comment.survey_kind, comment.touchpoint, comment.wording_id


def _group(comment: Comment) -> tuple[str, Stratum]:
    where = Stratum(comment.survey_kind, comment.touchpoint, comment.wording_id, "", comment.lang)
    return comment.instrument, where


def _latest(comments: Iterable[Comment]) -> tuple[list[Comment], Counter[tuple[str, Stratum]]]:
    """Each respondent's latest comment within question, kind of survey and touchpoint, and how many others there are;
    of two at one time the later one in the order given."""
    latest: dict[tuple[str, str, str, int], Comment] = {}
    superseded: Counter[tuple[str, Stratum]] = Counter()
    for comment in comments:
        if not comment.text:
            continue
        key = (comment.instrument, comment.survey_kind, comment.touchpoint, comment.respondent)
        before = latest.get(key)
        if before is None or before.at_ms <= comment.at_ms:
            latest[key] = comment
            dropped = before
        else:
            dropped = comment
        if dropped is not None:
            superseded[_group(dropped)] += 1
    return list(latest.values()), superseded


def _measured(
    base: FreeText,
    said: Sequence[Comment],
    read: _Read,
    reader: Reader,
    segment: str,
    *,
    told_of: Callable[[str], bool] | None,
    seed: str,
) -> FreeText:
    if base.n < SUPPRESS_BELOW:
        return base
    readings = [read.of(comment) for comment in said]
    sides = {side: [r for c, r in zip(said, readings, strict=True) if side_of(c) == side] for side in SIDES}
    record = _recorder(base, segment)
    polar = [(reading.polarity, comment.rating) for comment, reading in zip(said, readings, strict=True)]
    rho, pairs = _validity(polar)
    may = told_of or (lambda _: True)
    likes, dislikes = distinctive_words(sides["promoter"], sides["detractor"]) if all(map(may, SIDES)) else ((), ())
    if not (may("toned") and may("rated")):
        rho = None
    return replace(
        base,
        rated=sum(comment.rating is not None for comment in said),
        promoters=len(sides["promoter"]),
        detractors=len(sides["detractor"]),
        topics=_topics(said, readings, reader.topics, record, told_of),
        polarity=_polarity(polar, record) if rho is not None and rho >= LEAST_VALIDITY else None,
        validity=rho,
        sides_told=may("rated"),
        validity_n=pairs,
        promoter_words=likes,
        detractor_words=dislikes,
        chosen=choose(list(zip(said, readings, strict=True)), reader.topics, seed=seed),
    )


# -------------------------------------------------------------------------------------------- topics and polarity

_Record = Callable[..., Result]


def _recorder(base: FreeText, segment: str) -> _Record:
    def record(variant: str, form: Literal["share", "mean"], n: int, found: Estimate, **other: Any) -> Result:
        return Result(
            metric=base.instrument, variant=variant, stratum=base.stratum, window=base.window, segment=segment,
            unit="latest_per_customer", n_valid=n, n_missing=base.n_missing, n_invalid=0,
            n_superseded=base.n_superseded, counts=other.get("counts", {}), score=found.score, ci_low=found.low,
            ci_high=found.high, ci_method=found.method, status=status_of(n), flags=found.flags,
            form=form,
        )  # fmt: skip

    return record


def _topics(
    said: Sequence[Comment],
    readings: Sequence[Reading],
    topics: Mapping[str, Topic],
    record: _Record,
    told_of: Callable[[str], bool] | None,
) -> tuple[TopicShare, ...]:
    named = speaking_of(readings)
    names = sorted(named, key=lambda name: (-named[name], name))
    if told_of is not None:
        told = [told_of(_about(name)) for name in names]
    else:
        # who rated, by all the topics they speak of: from the ratings of all and of some topics a few might follow
        rated = Counter(
            frozenset(reading.topics)
            for comment, reading in zip(said, readings, strict=True)
            if comment.rating is not None
        )
        told = side_by_side(rated, [list(rated), *([about for about in rated if name in about] for name in names)])[1:]
    out = []
    for name, may in zip(names, told, strict=True):
        k = named[name]
        ratings = Counter(
            comment.rating
            for comment, reading in zip(said, readings, strict=True)
            if name in reading.topics and comment.rating is not None
        )
        n = sum(ratings.values())
        rating = record(f"topic_{name}_rating", "mean", n, procedures.mean(ratings, 0, 10))
        share = record(
            f"topic_{name}", "share", len(said), procedures.share(k, len(said)), counts={"named": k, "of": len(said)}
        )
        out.append(TopicShare(topics[name], share, (rating if may else sibling(rating)).shown()))
    return tuple(out)


def _validity(polar: Iterable[tuple[float | None, int | None]]) -> tuple[float | None, int]:
    """(Spearman's ρ, pairs) of polarity and rating."""
    pairs = [(polarity, rating) for polarity, rating in polar if polarity is not None and rating is not None]
    if len(pairs) < SUPPRESS_BELOW:
        return None, len(pairs)
    polarities, ratings = zip(*pairs, strict=True)
    if len(set(polarities)) < 2 or len(set(ratings)) < 2:
        return None, len(pairs)
    return float(scipy.stats.spearmanr(polarities, ratings).statistic), len(pairs)


def _polarity(polar: Iterable[tuple[float | None, int | None]], record: _Record) -> Result:
    values = [polarity for polarity, _ in polar if polarity is not None]
    return record("polarity", "mean", len(values), procedures.mean_of(values, -1.0, 1.0)).shown()
