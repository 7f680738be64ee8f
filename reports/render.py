"""A digest in its shapes: Slack messages, plain text, JSON. The sentences stand in templates/{ja,en}/, and a shop may
put its own in their place.

The same templates write text and mrkdwn: they mark bold with two control characters, and the whole text is
escaped once, at the end, so that no name of a shop, segment or wording can become a mention or a link.

What customers wrote is a message of its own (`render_voices`): it is never part of what is stored.

Source: https://docs.slack.dev/reference/block-kit/blocks (50 blocks, 3000 characters a section, 150 a
header).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from reports.comments.chosen import Chosen
from reports.comments.free_text import FreeTexts
from reports.digest import Comparison, DigestContext, IndexRow, Row
from reports.digest.history import foremost
from reports.digest.todo import grown_topics, todo_of
from reports.figures import Figures, kpi_figures, linkage_figures, segment_figures
from reports.indices import own_label, variant_name
from reports.kpi import report as kpi_report
from reports.metrics import SPEC_VERSION
from reports.templating import BOLD_OFF, BOLD_ON, Sentences, plain, printable
from reports.trust.portfolio import named
from reports.words import Language, Words

SECTION_CHARS = 2900
HEADER_CHARS = 150
NOTICE_CHARS = 300
TOTAL_CHARS = 11_000
"""Slack refuses messages of roughly 13,000 characters in all blocks without documenting it."""
FIRST_CHARS = 6_000
"""Of the first message: room for a chart and its words, and for buttons."""
FALLBACK_CHARS = 600

Part = Literal["scores", "customers", "tests", "care"]
PARTS: tuple[Part, ...] = ("scores", "customers", "tests", "care")
"""The messages of the thread, in order."""


def sentences_of(context: DigestContext, own: Path | None) -> Sentences:
    """What the digest and its page say, in its language, from the shop's folder of templates first."""
    return Sentences(context.language, own, d=context, w=Words(context.language, limits=context.limits))


class _Parts:
    """The rendered pieces of one digest, as text with bold marks."""

    def __init__(self, context: DigestContext, own: Path | None) -> None:
        self._context = context
        self._words = Words(context.language, limits=context.limits)
        self.part = sentences_of(context, own).said

    def lead(self) -> str:
        """What follows the headline: its interval, and whether it moved."""
        said, more = foremost(self._context.revisions)
        return self.part("change", grown=grown_topics(self._context)[:2], corrected=said, corrected_more=len(more))

    def todo(self) -> str:
        """What to look at this week; "" when nothing presses."""
        return self.part("todo", things=todo_of(self._context))

    def pieces(self, part: Part) -> Iterator[str]:
        """What one message of the thread says, paragraph by paragraph; those that say nothing are left out."""
        made = {"scores": self._scores, "customers": self._customers, "tests": self._tests, "care": self._care}[part]
        return (text for text in made() if text)

    def _scores(self) -> Iterator[str]:
        context = self._context
        yield self.part("longer")
        if context.rows or context.indices:
            yield self.part("table")
        yield from (self.part("row", row=row) for row in context.rows if row.result.status in ("caution", "ok"))
        yield from (self._indices(row) for row in context.indices)
        yield from self._hidden()
        yield self.part("groups")
        yield from self.benchmarks()

    def _hidden(self) -> Iterator[str]:
        """The metrics that may not be told, in one line for each reason."""
        hidden = [row for row in self._context.rows if row.result.status not in ("caution", "ok")]
        for derivable in (False, True):
            rows = [row for row in hidden if ("sibling" in row.result.flags) is derivable]
            if rows:
                yield self.part("hidden", rows=rows)

    def benchmarks(self) -> Iterator[str]:
        """Our scores beside published figures, one by one."""
        for number, standing in enumerate(found for found in self._context.benchmarks if found.told):
            yield self.part("benchmarks", first=number == 0, standing=standing)

    def _indices(self, row: IndexRow) -> str:
        lang = self._context.language
        names = {line.result.variant: variant_name(row.battery, line.result.variant, lang) for line in row.lines}
        return self.part("indices", row=row, label=own_label(row.battery, lang), names=names)

    def _customers(self) -> Iterator[str]:
        context, words = self._context, self._words
        yield from self.segments()
        yield self.trust()
        if context.kpis is not None:
            yield from self._figures("kpis", kpi_figures(context.kpis, context.specs, words))
        yield from self.linkage()
        yield from (self.part("drivers", analysis=found, specs=context.specs) for found in context.drivers)

    def segments(self) -> Iterator[str]:
        """The groups that customers fall into."""
        yield from self._figures("segments", segment_figures(self._context.segments, self._words))

    def trust(self) -> str:
        """The trust balances; "" in a narrowed digest."""
        found = self._context.trust
        return "" if found is None else self.part("trust", **named(found, self._context.language))

    def linkage(self) -> Iterator[str]:
        """What customers did after they answered; once a month."""
        if self._context.kpis is not None:
            yield from self._figures("linkage", linkage_figures(self._context.kpis.linkages, self._words))

    def _figures(self, block: str, groups: Sequence[Figures]) -> Iterator[str]:
        for number, group in enumerate(groups):
            last = number == len(groups) - 1
            yield self.part("figures", block=block, first=number == 0, last=last, group=group)

    def _tests(self) -> Iterator[str]:
        context = self._context
        yield from (self.part("experiment", e=found) for found in context.experiments)
        yield from self.topics()

    def topics(self) -> Iterator[str]:
        """Topics and words of the comments, question by question; no comment itself."""
        texts = self._context.texts
        if texts is not None:
            for number, found in enumerate(texts.found):
                yield self.part("topics", text=found, first=number == 0)
            if texts.unread:
                yield self.part("unread", unread=texts.unread, first=not texts.found)

    def _care(self) -> Iterator[str]:
        yield self.part("care")
        yield self.part("reach")
        yield self.checks()

    def checks(self) -> str:
        """Whether the answers can be trusted; "" where every check is fine."""
        context = self._context
        return self.part("quality", quality=context.quality, specs=context.specs, index_name=variant_name)

    def notes(self) -> str:
        """What to know when reading the numbers, the corrections that did not stand under the headline, what is not
        there."""
        return self.part("notes", corrected=foremost(self._context.revisions)[1])

    def foot(self) -> str:
        return self.part("foot")


def to_mrkdwn(text: str) -> str:
    """Marked text as Slack mrkdwn: `&`, `<` and `>` escaped once, bold marks as asterisks."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace(BOLD_ON, "*").replace(BOLD_OFF, "*")


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: Slack must not turn bare addresses or @names into links
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(to_mrkdwn(text))}


def _small(text: str, limit: int = SECTION_CHARS) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(to_mrkdwn(_within(text, limit)))]}


def _within(text: str, limit: int) -> str:
    """As much of a text as fits after escaping: whole lines, and of a single long one its beginning."""
    if len(to_mrkdwn(text)) <= limit:
        return text
    lines = text.split("\n")
    while len(lines) > 1 and len(to_mrkdwn("\n".join(lines))) > limit - 2:
        lines.pop()
    text = "\n".join(lines)
    while len(to_mrkdwn(text)) > limit - 2:
        text = text[:-1] if len(text) < limit else text[: limit - 2]
    return f"{text}…"


def _packed(pieces: Iterable[str], limit: int) -> list[str]:
    """Pieces joined by blank lines into as few texts as fit the limit after escaping."""
    out: list[str] = []
    for piece in (_within(piece, limit) for piece in pieces):
        if out and len(to_mrkdwn(f"{out[-1]}\n\n{piece}")) <= limit:
            out[-1] = f"{out[-1]}\n\n{piece}"
        else:
            out.append(piece)
    return out


def _message(title: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """`title` is what a notification shows."""
    return {"text": to_mrkdwn(_clip(plain(title), FALLBACK_CHARS)), "blocks": blocks}


def render_slack(context: DigestContext, *, templates: Path | None = None) -> dict[str, Any]:
    """`{"text", "blocks"}` of the first message: the headline, whether it moved, what to look at, the numbers of the
    week. `text` is what a notification shows: the headline and the period, nothing about a person.

    Args:
        templates: a folder with the shop's own templates (`ja/head.j2` …), which go before ours.
    """
    parts = _Parts(context, templates)
    headline = parts.part("head")
    title = parts.part("title")
    said = [parts.lead(), parts.part("numbers"), parts.todo()]
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": _clip(plain(headline), HEADER_CHARS), "emoji": False},
        },
        _small(title, NOTICE_CHARS),
        *(_section(_within(text, FIRST_CHARS // 3)) for text in said if text),
    ]
    return _message(title + ("：" if context.language == "ja" else ": ") + headline, blocks)


def render_thread(context: DigestContext, *, templates: Path | None = None) -> list[dict[str, Any]]:
    """The messages that follow in its thread, each `{"text", "blocks"}`, in the order of PARTS; a part without anything
    to say has none. The last one ends with the notices."""
    parts = _Parts(context, templates)
    out = []
    for part in PARTS:
        name = parts.part("part", which=part)
        end = [text for text in (parts.notes(), parts.foot()) if text] if part == "care" else []
        pieces = list(parts.pieces(part))
        if not pieces and not end:
            continue
        used = len(name) + sum(len(to_mrkdwn(_within(text, SECTION_CHARS))) for text in end)
        kept: list[str] = []
        for piece in pieces:
            used += len(to_mrkdwn(_within(piece, SECTION_CHARS))) + 2
            if used > TOTAL_CHARS:
                break
            kept.append(piece)
        if len(kept) < len(pieces):
            kept.append(parts.part("more", hidden=len(pieces) - len(kept)))
        blocks = [
            {"type": "header", "text": {"type": "plain_text", "text": _clip(name, HEADER_CHARS), "emoji": False}},
            *(_section(text) for text in _packed(kept, SECTION_CHARS)),
            *(_small(text) for text in end),
        ]
        out.append(_message(f"{parts.part('title')} {name}", blocks))
    return out


def render_voices(context: DigestContext, *, templates: Path | None = None) -> dict[str, Any] | None:
    """The message with the chosen comments, for readers who may see them; None without any. Each comment is inert text
    in a block of its own, with the reason why it was chosen; `text`, which a notification shows, has none of them."""
    chosen = _chosen(context)
    if not chosen:
        return None
    parts = _Parts(context, templates)
    name = parts.part("part", which="voices")
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _clip(name, HEADER_CHARS), "emoji": False}}
    ]
    for comment in chosen:
        words = {"type": "text", "text": comment.text}
        blocks.append({"type": "rich_text", "elements": [{"type": "rich_text_quote", "elements": [words]}]})
        if why := parts.part("chosen", comment=comment):
            blocks.append(_small(why))
    blocks.append(_small(parts.part("voices")))
    return _message(f"{parts.part('title')} {name}", blocks)


def _chosen(context: DigestContext) -> list[Chosen]:
    return [] if context.texts is None else [comment for text in context.texts.found for comment in text.chosen][:_MOST]


_MOST = 8


def render_text(context: DigestContext, *, templates: Path | None = None) -> str:
    """The whole digest as plain text but for the comments, blocks parted by blank lines, ending with a line break."""
    parts = _Parts(context, templates)
    lead = [parts.part("head"), parts.lead(), parts.todo()]
    blocks = [parts.part("title"), "\n".join(text for text in lead if text), parts.part("numbers")]
    for part in PARTS:
        blocks += parts.pieces(part)
    blocks += [parts.notes(), parts.foot()]
    return plain("\n\n".join(block for block in blocks if block)) + "\n"


def page_words(context: DigestContext, *, templates: Path | None = None) -> dict[str, str]:
    """The sentences of a digest by part, for a renderer that has shapes of its own; "" where a part has nothing to say.
    Parts of several groups keep the marks of bold (`reports.templating.BOLD_ON`)."""
    parts = _Parts(context, templates)
    found = {
        "title": parts.part("title"),
        "head": parts.part("head"),
        "lead": "\n".join(text for text in (parts.lead(), parts.todo()) if text),
        "numbers": parts.part("numbers"),
        "benchmarks": "\n".join(parts.benchmarks()),
        "experiments": "\n".join(parts.part("experiment", e=found) for found in context.experiments),
        "topics": "\n".join(parts.topics()),
        "segments": "\n".join(parts.segments()),
        "trust": parts.trust(),
        "linkage": "\n".join(parts.linkage()),
        "care": parts.part("care"),
        "reach": parts.part("reach"),
        "checks": parts.checks(),
        "notes": parts.notes(),
        "foot": parts.foot(),
    }
    return {name: plain(text) if name in ("title", "head", "lead", "foot") else text for name, text in found.items()}


def render_voices_text(context: DigestContext, *, templates: Path | None = None) -> str:
    """The chosen comments as plain text, each with its reason; "" without any."""
    chosen = _chosen(context)
    if not chosen:
        return ""
    parts = _Parts(context, templates)
    quoted = "「{}」" if context.language == "ja" else "“{}”"
    lines = [
        f"{quoted.format(printable(comment.text))}\n{parts.part('chosen', comment=comment)}".rstrip("\n")
        for comment in chosen
    ]
    return plain("\n\n".join([parts.part("part", which="voices"), *lines, parts.part("voices")])) + "\n"


# ------------------------------------------------------------------------------------------------------- JSON


def render_json(context: DigestContext) -> dict[str, Any]:
    """The digest as plain JSON values; suppressed results carry n and no score."""
    counts = context.response.counts
    window = {"start": context.window_start.isoformat(), "end": context.week_end.isoformat()}
    week = {"start": context.week_start.isoformat(), "end": context.week_end.isoformat()}
    return {
        "digest": context.digest_id,
        "period": context.period,
        "language": context.language,
        "computed_ms": context.computed_ms,
        "week": week,
        "window": window,
        "mode": context.mode,
        "first": context.first,
        "filtered": context.filtered,
        "primary": _row_json(context.primary),
        # in rolling mode four weeks minus this week must not give a hidden remainder away
        "week_result": context.week_result.to_json() if context.mode == "week" or context.show_week_result else None,
        "metrics": [_row_json(row) for row in context.rows],
        "indices": [_indices_json(row, context.language) for row in context.indices],
        "response": {
            "window": week,
            "invited": counts.invited,
            "undeliverable": counts.undeliverable,
            "answered": counts.answered,
            "started": counts.started,
            "completed": counts.completed,
            "held": counts.held,
            "skipped": dict(counts.skipped),
            "immature": context.response.immature,
            "rate": context.response.rate.to_json(),
            "completion": context.response.completion.to_json(),
        },
        "every": context.every,
        "pause": context.pause,
        "mix": [
            {"channel": channel, "touchpoint": touchpoint, "n": n, "window": window}
            for (channel, touchpoint), n in context.mix.answers
        ],
        "standardised": None
        if context.mix.standardised is None
        else {"score": context.mix.standardised, "n_valid": context.primary.result.n_valid, "window": window},
        "benchmarks": [
            {
                "metric": standing.result.metric,
                "survey_kind": standing.result.stratum.survey_kind,
                "touchpoint": standing.result.stratum.touchpoint,
                "wording_id": standing.result.stratum.wording_id,
                "lang": standing.result.stratum.lang,
                "n_valid": standing.result.n_valid,
                "window": asdict(standing.result.window),
                **standing.to_json(),
            }
            for standing in context.benchmarks
        ],
        "drivers": [record for analysis in context.drivers for record in analysis.to_json()],
        "quality": context.quality.to_json(),
        "segments": [result.to_json() for result in context.segments],
        "kpis": None if context.kpis is None else kpi_report.to_json(context.kpis),
        "reach": {
            "window": week,
            "line": None if context.reach.line is None else asdict(context.reach.line),
            "left": context.reach.left,
            "left_at_month_end": context.reach.left_at_month_end,
            "blocked": context.reach.blocked.to_json(),
            "linked": context.reach.linked.to_json(),
        },
        "free_text": (context.texts or FreeTexts()).to_json(),
        "care": {
            "window": week,
            "opened": context.care.opened,
            "open_now": context.care.open_now,
            "overdue": context.care.overdue,
            "unattended": context.care.unattended,
            "closed_loop": context.care.closed_loop.to_json(),
            "first_reply": context.care.first_reply.to_json(),
            "solved": context.care.solved.to_json(),
            "recovered": context.care.recovered.to_json(),
        },
        "experiments": [found.to_json() for found in context.experiments],
        "trust": [] if context.trust is None else [found.shown().to_json() for found in context.trust.results],
        "late": context.late,
        "revisions": [
            {
                "period": revision.period,
                "window": asdict(revision.window),
                "before": revision.before,
                "after": revision.after,
                "added": revision.added,
                "n_valid": revision.n,
            }
            for revision in context.revisions
        ],
        "flags": list(context.flags),
        "missing_blocks": [asdict(gap) for gap in context.missing_blocks],
        "spec_version": SPEC_VERSION,
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "result": row.result.to_json(),
        "others": [result.to_json() for result in row.others.values()],
        "change": _comparison_json(row.change),
        "longer": _comparison_json(row.longer) if row.longer is not None else None,
        "target": row.target,
        "trend": [result.to_json() for result in row.trend],
    }


def _indices_json(row: IndexRow, lang: Language) -> dict[str, Any]:
    return {
        "battery": row.battery,
        "label": own_label(row.battery, lang),
        "results": [{"result": line.result.to_json(), "change": _comparison_json(line.change)} for line in row.lines],
        "others": [result.to_json() for result in row.others],
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "against": comparison.against,
        "earlier": comparison.earlier.to_json(),
        "verdict": comparison.verdict,
        "why_not": comparison.why_not,
        "delta": comparison.delta,
        "ci_low": comparison.low,
        "ci_high": comparison.high,
        "p": comparison.p,
        "p_adjusted": comparison.p_adjusted,
        "detectable": comparison.detectable,
        "flags": list(comparison.flags),
    }
