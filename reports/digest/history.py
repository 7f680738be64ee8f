"""What earlier digests said: headlines that later answers changed, and whether the digest was pausing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from reports.digest.counting import Group, Source, Wording
from reports.digest.shop import DigestRule
from reports.digest.weeks import Period, WeekRange
from reports.metrics import Form, InstrumentSpec, Result, Span, Stratum, measure
from reports.rounding import rounded
from storage.records import Digest
from storage.store import Tx

FIRST_LOOK_WEEKS = 53
"""How far back "first week" looks once the last eight weeks are empty."""
CORRECTED = {"week": 8, "month": 2}
"""So many periods back headlines are computed anew."""
MOST_SAID = 2
"""Corrections under a headline; what else was corrected is told after it."""
SILENT = {"week": 4, "month": 2}
"""So many periods without an answer, and the digest pauses."""

Pause = Literal["", "pausing", "paused", "resumed"]
"""pausing: this digest says that no more will come; paused: it is not posted; resumed: the first one again."""


@dataclass(frozen=True, slots=True)
class Revision:
    """An earlier headline as it was last told, and what it is with the answers that arrived since."""

    period: str
    window: Span
    form: Form
    before: float
    after: float
    added: int
    n: int
    """Answers that there are with them."""
    last: bool
    """Of the period right before."""


def foremost(revisions: Sequence[Revision], most: int = MOST_SAID) -> tuple[tuple[Revision, ...], tuple[Revision, ...]]:
    """(what is said under the headline, what follows further down): the period right before, then by the size of the
    change."""
    ranked = sorted(revisions, key=lambda r: (not r.last, -abs(r.after - r.before), r.period))
    return tuple(ranked[:most]), tuple(ranked[most:])


@dataclass(frozen=True, slots=True)
class _Told:
    group: Group
    wording: Wording
    window: WeekRange
    score: float
    n: int


def is_first(tx: Tx, metric: str, weeks: WeekRange) -> bool:
    """Whether the metric was never answered before, as far back as anybody would compare."""
    older = weeks.first - timedelta(weeks=FIRST_LOOK_WEEKS)
    last = weeks.first - timedelta(weeks=1)
    return not tx.rollup(older.isoformat(), last.isoformat(), instrument=metric)


def pause_of(tx: Tx, rule: DigestRule, period: Period, *, silent: bool) -> Pause:
    """Whether this digest pauses, when the last periods brought no answer (`silent`), or comes again.

    It pauses only after it has said for as many periods that there were none.
    """
    newest: Digest | None = None
    for back in range(1, CORRECTED[rule.every] + 1):
        newest = tx.find_digest(rule.id, period.earlier(back).name)
        if newest is not None:
            break
    was = newest is not None and _content(newest).get("pause") in ("pausing", "paused")
    if not silent:
        return "resumed" if was else ""
    if was:
        return "paused"
    return "pausing" if tx.find_digest(rule.id, period.earlier(SILENT[rule.every] - 1).name) is not None else ""


def revisions_of(
    tx: Tx, rule: DigestRule, period: Period, *, source: Source, specs: Mapping[str, InstrumentSpec]
) -> tuple[Revision, ...]:
    """What to correct of the headlines of the last periods, the oldest first; each is said once.

    Only answers that were added are spoken of: a score without an erased answer would tell what it was.
    """
    told: dict[str, _Told] = {}
    for back in range(CORRECTED[rule.every], 0, -1):
        name = period.earlier(back).name
        digest = tx.find_digest(rule.id, name)
        if digest is None:
            continue
        content = _content(digest)
        headline = _headline(content)
        if headline is not None:
            told[name] = headline
        for said in content.get("revisions") or ():
            if said["period"] in told:
                earlier = told[said["period"]]
                told[said["period"]] = _Told(
                    earlier.group, earlier.wording, earlier.window, said["after"], earlier.n + said["added"]
                )
    found = (_revision(name, said, period, source, specs) for name, said in told.items())
    return tuple(revision for revision in found if revision is not None)


def _revision(
    name: str, said: _Told, period: Period, source: Source, specs: Mapping[str, InstrumentSpec]
) -> Revision | None:
    spec = specs.get(said.group.instrument)
    if spec is None:
        return None
    now = leading_result(source, said.group, said.wording, spec, said.window)
    if now.score is None or now.n_valid <= said.n:
        return None
    digits = 2 if now.form == "mean" else 1
    if rounded(said.score, digits) == rounded(now.score, digits):
        return None
    return Revision(
        name,
        said.window.span(),
        now.form,
        said.score,
        now.score,
        now.n_valid - said.n,
        now.n_valid,
        last=name == period.earlier().name and said.window.weeks == period.weeks.weeks,
    )


def leading_result(
    source: Source, group: Group, wording: Wording, spec: InstrumentSpec, window: WeekRange, *, segment: str = ""
) -> Result:
    """The leading statistic of a group in a window, as it may be printed."""
    counted = source.counted(group, window)
    langs = counted.langs.get(wording, ())
    lang = langs[0] if len(langs) == 1 else ("mixed" if langs else "")
    stratum = Stratum(group.survey_kind, group.touchpoint, *wording, lang)
    found = measure(spec, counted.of(wording), stratum=stratum, window=window.span(), segment=segment)[0]
    return source.guarded((found,), group, wording, window)[0].shown()


def _content(digest: Digest) -> dict[str, Any]:
    """The JSON of a stored digest; {} when it was stored by another version, or not in this shape."""
    try:
        content = json.loads(digest.content)["json"]
    except (ValueError, KeyError, TypeError):
        return {}
    return content if isinstance(content, dict) else {}


def _headline(content: Mapping[str, Any]) -> _Told | None:
    """The score that led it; None where there was none to print."""
    try:
        old = content["primary"]["result"]
        first, end = (date.fromisoformat(old["window"][bound]) for bound in ("start", "end"))
        if not isinstance(old["score"], (int, float)):
            return None
        return _Told(
            Group(old["metric"], old["survey_kind"], old["touchpoint"]),
            (old["wording_id"], old["label_set"]),
            WeekRange(first, (end - first).days // 7),
            float(old["score"]),
            int(old["n_valid"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
