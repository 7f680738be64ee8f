"""`python -m reports results`: one metric in a window up to today, for somebody who asks in Slack."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from flows.days import local_date
from flows.definitions import Instrument
from reports.frames import answers_frame, measure_frame
from reports.instruments import specs_of
from reports.metrics import InstrumentSpec, Result, Span
from reports.templating import plain
from reports.words import Words, sentences_in
from storage.records import Answer
from storage.store import open_store


class ResultsRequest(BaseModel):
    """The JSON object on stdin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str
    metric: str = Field(min_length=1)
    """Id of an instrument that is scored."""
    days: int = Field(ge=1, le=366)
    """Length of the window in days of the calendar; the last one is today."""
    now_ms: int
    language: Literal["ja", "en"]
    timezone: str
    instruments: dict[str, Instrument]


class NotScored(ValueError):
    """The metric is no instrument that is scored."""


def window_of(now_ms: int, days: int, tz: ZoneInfo) -> tuple[date, date]:
    """[first day, day after today) of a window of so many days.

    >>> window_of(1_795_050_000_000, 30, ZoneInfo("Asia/Tokyo"))
    (datetime.date(2026, 10, 21), datetime.date(2026, 11, 20))
    """
    end = local_date(now_ms, tz) + timedelta(days=1)
    return end - timedelta(days=days), end


def measure_answers(answers: Sequence[Answer], spec: InstrumentSpec, window: Span) -> list[Result]:
    """The leading statistic of an instrument per occasion, wording and label set, those with most answers first; a
    customer counts once in each, with their latest answer. Suppressed ones keep nothing but their n."""
    found = measure_frame(answers_frame(answers), {spec.id: spec}, window=window, by_language=False)
    leading: dict[object, Result] = {}
    for result in found:
        leading.setdefault(result.stratum, result.shown())
    return sorted(leading.values(), key=lambda result: -result.n_valid)


def render_results(
    results: Sequence[Result], spec: InstrumentSpec, *, lang: Literal["ja", "en"], first: date, end: date
) -> str:
    """The lines that a person reads: the metric with its window, then a line per occasion with score, n and interval
    as its status allows."""
    text = sentences_in(lang).said(
        "results",
        name=Words(lang).metric(spec),
        window=Words(lang).window(first, end),
        days=(end - first).days,
        results=results,
        spec=spec,
        several={(r.stratum.survey_kind, r.stratum.touchpoint) for r in results},
        foot={"indices": False, "shows_nps": spec.id == "nps"},
    )
    return plain(text)


async def make_results(request: ResultsRequest) -> dict[str, object]:
    """{"text": lines for a person, "results": result records}.

    Raises:
        NotScored: the metric does not exist, or has no score.
        StoreError: the database could not be read.
    """
    tz = ZoneInfo(request.timezone)
    spec = specs_of(request.instruments).get(request.metric)
    if spec is None:
        raise NotScored(f"metric {request.metric!r} is no instrument that is scored")
    first, end = window_of(request.now_ms, request.days, tz)
    start_ms, end_ms = (round(datetime(d.year, d.month, d.day, tzinfo=tz).timestamp() * 1000) for d in (first, end))
    store = await open_store(request.database, now_ms=request.now_ms, create=False)
    async with store:
        answers = await store.read(lambda tx: tx.answers_between(start_ms, end_ms, instrument=spec.id))
    results = measure_answers(answers, spec, Span(first.isoformat(), end.isoformat()))
    return {
        "text": render_results(results, spec, lang=request.language, first=first, end=end),
        "results": [result.to_json() for result in results],
    }
