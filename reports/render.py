"""A digest in three shapes: Slack blocks, plain text, JSON. The sentences stand in templates/{ja,en}/.

The same templates write text and mrkdwn: they mark bold with two control characters, and the whole text is
escaped once, at the end, so that no name of a shop, segment or wording can become a mention or a link.

Source: https://docs.slack.dev/reference/block-kit/blocks (50 blocks, 3000 characters a section, 150 a
header).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import drivers, kpi_report, quality
from reports.benchmarks import sentence
from reports.digest import Comparison, DigestContext, IndexRow, Row
from reports.free_text import FreeTexts
from reports.indices import own_label, owners, variant_name
from reports.metrics import SPEC_VERSION
from reports.words import Language, Words

SECTION_CHARS = 2900
HEADER_CHARS = 150
NOTICE_CHARS = 300
ASIDE_CHARS = 2000
TOTAL_CHARS = 11_000
"""Slack refuses messages of roughly 13,000 characters in all blocks without documenting it."""

_BOLD_ON, _BOLD_OFF = "\x02", "\x03"


def _bold(text: object) -> str:
    return f"{_BOLD_ON}{text}{_BOLD_OFF}"


def _finalize(value: object) -> object:
    """Printed values without control characters: names come from outside."""
    if not isinstance(value, str):
        return value
    return "".join(char for char in value if ord(char) >= 0x20 or char in (_BOLD_ON, _BOLD_OFF, "\n"))


@cache
def _templates() -> Environment:
    env = Environment(
        loader=PackageLoader("reports", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML is made here; mrkdwn is escaped in to_mrkdwn
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    env.filters["b"] = _bold
    return env


def plain_template(template: str, /, **values: object) -> str:
    """A template rendered as plain text; a name it does not get is an error."""
    return _plain(_templates().get_template(template).render(**values))


class _Parts:
    """The rendered pieces of one digest, as text with bold marks."""

    def __init__(self, context: DigestContext) -> None:
        self._context = context
        self._words = Words(context.language, limits=context.limits)

    def part(self, name: str, **more: object) -> str:
        template = _templates().get_template(f"{self._context.language}/{name}.j2")
        text = template.render(d=self._context, w=self._words, **more)
        return "\n".join(line for line in (line.strip() for line in text.splitlines()) if line)

    def lead(self) -> str:
        """What follows the headline: the change, and what somebody has to look at today."""
        return "\n".join(text for text in (self.part("change"), self.part("todo")) if text)

    def benchmarks(self, limit: int) -> str:
        """Our scores beside published figures; "" without any."""
        figures = [sentence(standing, self._context.language) for standing in self._context.benchmarks]
        return self._fitting("benchmarks", [figure for figure in figures if figure], limit)

    def drivers(self, limit: int) -> str:
        """What moves the recommendation; "" but after the end of a quarter."""
        lang, specs = self._context.language, self._context.specs
        found = [(drivers.title(a, lang), drivers.sentences(a, specs, lang)) for a in self._context.drivers]
        return self._fitting("drivers", found, limit)

    def checks(self, limit: int) -> str:
        """Whether the answers can be trusted; "" where every check is fine."""
        found = quality.sentences(self._context.quality, self._context.specs, self._context.language)
        return self._fitting("quality", found, limit)

    def _fitting(self, name: str, pieces: Sequence[object], limit: int) -> str:
        """The part with as many of the pieces as fit into so many characters of mrkdwn; it counts the others."""
        for shown in range(len(pieces), -1, -1):
            text = self.part(name, pieces=pieces[:shown], hidden=len(pieces) - shown)
            if len(to_mrkdwn(text)) <= limit:
                return text
        return ""

    def rows(self) -> list[str]:
        return [
            *(self.part("row", row=row) for row in self._context.rows),
            *(self._indices(row) for row in self._context.indices),
        ]

    def _indices(self, row: IndexRow) -> str:
        lang = self._context.language
        names = {line.result.variant: variant_name(row.battery, line.result.variant, lang) for line in row.lines}
        return self.part("indices", row=row, label=own_label(row.battery, lang), names=names)

    def experiments(self, limit: int) -> list[str]:
        """The A/B tests in as few texts of at most `limit` characters as hold them."""
        told = (self.part("experiment", e=found) for found in self._context.experiments)
        return _packed([_clip(text, limit // 2) for text in told], limit)

    def foot(self) -> str:
        return self.part("foot", owners=owners(self._context.language))


def to_mrkdwn(text: str) -> str:
    """Marked text as Slack mrkdwn: `&`, `<` and `>` escaped once, bold marks as asterisks."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace(_BOLD_ON, "*").replace(_BOLD_OFF, "*")


def _plain(text: str) -> str:
    return text.replace(_BOLD_ON, "").replace(_BOLD_OFF, "")


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: Slack must not turn bare addresses or @names into links
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(to_mrkdwn(text))}


def _packed(pieces: list[str], limit: int) -> list[str]:
    """Pieces joined by blank lines into as few texts as fit the limit after escaping."""
    out: list[str] = []
    for piece in pieces:
        if out and len(to_mrkdwn(f"{out[-1]}\n\n{piece}")) <= limit:
            out[-1] = f"{out[-1]}\n\n{piece}"
        else:
            out.append(piece)
    return out


def render_slack(context: DigestContext) -> dict[str, Any]:
    """`{"text", "blocks"}` for chat.postMessage: the headline first, the notices last.

    `text` is what a notification shows: the headline and the period, nothing about a person.
    """
    parts = _Parts(context)
    headline = parts.part("head")
    notes, foot = parts.part("notes"), parts.foot()
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": _clip(_plain(headline), HEADER_CHARS), "emoji": False},
        },
        {"type": "context", "elements": [_mrkdwn(to_mrkdwn(_clip(parts.part("title"), NOTICE_CHARS)))]},
        _section(parts.lead()),
    ]
    pieces = (
        parts.part("groups"),
        parts.benchmarks(ASIDE_CHARS),
        parts.drivers(ASIDE_CHARS),
        *parts.experiments(SECTION_CHARS),
        parts.part("care"),
        parts.checks(ASIDE_CHARS),
    )
    after = [_section(text) for text in pieces if text]
    blocks.append(_section(parts.part("numbers")))
    blocks.extend(_table(parts, len(to_mrkdwn(notes + foot)) + sum(map(_chars, [*blocks, *after]))))
    blocks.extend(after)
    blocks.append({"type": "divider"})
    blocks.extend({"type": "context", "elements": [_mrkdwn(to_mrkdwn(text))]} for text in (notes, foot) if text)
    text = to_mrkdwn(_plain(parts.part("title") + ("：" if context.language == "ja" else ": ") + headline))
    return {"text": text, "blocks": blocks}


def _table(parts: _Parts, used: int) -> list[dict[str, Any]]:
    rows = parts.rows()
    if not rows:
        return []
    kept: list[str] = []
    for row in rows:
        used += len(to_mrkdwn(row)) + 2
        if used > TOTAL_CHARS:
            break
        kept.append(row)
    if len(kept) < len(rows):
        kept.append(parts.part("more", hidden_rows=len(rows) - len(kept)))
    packed = _packed([parts.part("table"), *kept], SECTION_CHARS)
    return [{"type": "divider"}, *(_section(text) for text in packed)]


def _chars(block: dict[str, Any]) -> int:
    texts = [block["text"], *block.get("elements", ())] if "text" in block else block.get("elements", ())
    return sum(len(text["text"]) for text in texts)


def render_text(context: DigestContext) -> str:
    """The whole digest as plain text, blocks parted by blank lines, ending with a line break."""
    parts = _Parts(context)
    blocks = [parts.part("title"), parts.part("head") + "\n" + parts.lead()]
    blocks.append(parts.part("numbers"))
    if context.rows or context.indices:
        blocks.append("\n".join([parts.part("table"), *parts.rows()]))
    blocks += [parts.part("groups"), parts.benchmarks(TOTAL_CHARS), parts.drivers(TOTAL_CHARS)]
    blocks += [*parts.experiments(TOTAL_CHARS), parts.part("care"), parts.checks(TOTAL_CHARS)]
    blocks += [parts.part("notes"), parts.foot()]
    return _plain("\n\n".join(block for block in blocks if block)) + "\n"


def page_words(context: DigestContext) -> dict[str, str]:
    """The sentences of a digest by part, as plain text, for a renderer that has shapes of its own; "" where a part has
    nothing to say."""
    parts = _Parts(context)
    found = {
        "title": parts.part("title"),
        "head": parts.part("head"),
        "lead": parts.lead(),
        "numbers": parts.part("numbers"),
        "benchmarks": parts.benchmarks(TOTAL_CHARS),
        "experiments": "\n".join(parts.experiments(TOTAL_CHARS)),
        "care": parts.part("care"),
        "checks": parts.checks(TOTAL_CHARS),
        "notes": parts.part("notes"),
        "foot": parts.foot(),
    }
    return {name: _plain(text) for name, text in found.items()}


# ------------------------------------------------------------------------------------------------------- JSON


def render_json(context: DigestContext) -> dict[str, Any]:
    """The digest as plain JSON values; suppressed results carry n and no score."""
    counts = context.response.counts
    return {
        "digest": context.digest_id,
        "period": context.period,
        "language": context.language,
        "computed_ms": context.computed_ms,
        "week": {"start": context.week_start.isoformat(), "end": context.week_end.isoformat()},
        "window": {"start": context.window_start.isoformat(), "end": context.week_end.isoformat()},
        "mode": context.mode,
        "first": context.first,
        "filtered": context.filtered,
        "primary": _row_json(context.primary),
        # in rolling mode four weeks minus this week must not give a hidden remainder away
        "week_result": context.week_result.to_json() if context.mode == "week" or context.show_week_result else None,
        "metrics": [_row_json(row) for row in context.rows],
        "indices": [_indices_json(row, context.language) for row in context.indices],
        "response": {
            "invited": counts.invited,
            "undeliverable": counts.undeliverable,
            "answered": counts.answered,
            "started": counts.started,
            "completed": counts.completed,
            "skipped": dict(counts.skipped),
            "immature": context.response.immature,
            "rate": context.response.rate.to_json(),
            "completion": context.response.completion.to_json(),
        },
        "every": context.every,
        "pause": context.pause,
        "mix": [
            {"channel": channel, "touchpoint": touchpoint, "n": n} for (channel, touchpoint), n in context.mix.answers
        ],
        "standardised": context.mix.standardised,
        "benchmarks": [
            {
                "metric": standing.result.metric,
                "survey_kind": standing.result.stratum.survey_kind,
                "touchpoint": standing.result.stratum.touchpoint,
                "wording_id": standing.result.stratum.wording_id,
                "lang": standing.result.stratum.lang,
                **standing.to_json(),
            }
            for standing in context.benchmarks
        ],
        "drivers": [record for analysis in context.drivers for record in analysis.to_json()],
        "quality": context.quality.to_json(),
        "segments": [result.to_json() for result in context.segments],
        "kpis": None if context.kpis is None else kpi_report.to_json(context.kpis),
        "reach": {
            "line": None if context.reach.line is None else asdict(context.reach.line),
            "left": context.reach.left,
            "left_at_month_end": context.reach.left_at_month_end,
            "blocked": context.reach.blocked.to_json(),
            "linked": context.reach.linked.to_json(),
        },
        "free_text": (context.texts or FreeTexts()).to_json(),
        "care": {
            "opened": context.care.opened,
            "open_now": context.care.open_now,
            "overdue": context.care.overdue,
            "closed_loop": context.care.closed_loop.to_json(),
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
