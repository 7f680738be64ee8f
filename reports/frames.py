"""Rows to one tidy frame: a row per answer, dtypes declared once; and from a frame to tallies.

Columns (all text unless said otherwise): `id`, `answered_ms` (Int64, milliseconds UTC, missing when a file
does not say), `customer` ("" when unknown: such a row counts for itself), `survey_kind`, `touchpoint`,
`channel`, `segment`, `session`, `instrument`, `value` (as stored; "" when missing), `lang`, `wording_id`,
`label_set`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from reports.metrics import (
    InstrumentSpec,
    Result,
    Span,
    Stratum,
    Tally,
    Unit,
    clustered,
    measure,
    parse_value,
    tally,
)
from storage.records import Answer

COLUMNS: Mapping[str, str] = {
    "id": "str",
    "answered_ms": "Int64",
    "customer": "str",
    "survey_kind": "str",
    "touchpoint": "str",
    "channel": "str",
    "segment": "str",
    "session": "str",
    "instrument": "str",
    "value": "str",
    "lang": "str",
    "wording_id": "str",
    "label_set": "str",
}
_KEY = ("instrument", "survey_kind", "touchpoint")


def frame_of(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A tidy frame of plain records; columns a record lacks are "" (time: missing), other keys are left
    out."""
    rows = [
        {
            name: row.get(name) if dtype == "Int64" else ("" if row.get(name) is None else str(row[name]))
            for name, dtype in COLUMNS.items()
        }
        for row in records
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict(COLUMNS))


def answers_frame(answers: Iterable[Answer]) -> pd.DataFrame:
    """The counted answers among stored rows: replaced ones are history, free text is not counted."""
    return frame_of(
        {
            "id": answer.id,
            "answered_ms": answer.answered_ms,
            "customer": answer.customer_id,
            "survey_kind": answer.survey_kind,
            "touchpoint": answer.touchpoint,
            "channel": answer.channel,
            "segment": answer.segment,
            "session": answer.session_id,
            "instrument": answer.instrument,
            "value": "" if answer.missing else answer.value,
            "lang": answer.lang,
            "wording_id": answer.wording_id,
            "label_set": answer.label_set,
        }
        for answer in answers
        if answer.numeric and answer.replaced_ms is None
    )


def _kinds(frame: pd.DataFrame, specs: Mapping[str, InstrumentSpec]) -> list[str]:
    known: dict[tuple[str, str], str] = {}
    kinds = []
    for instrument, value in zip(frame["instrument"], frame["value"], strict=True):
        key = (instrument, value)
        if key not in known:
            spec = specs.get(instrument)
            known[key] = parse_value(spec, value).kind if spec is not None else "unknown"
        kinds.append(known[key])
    return kinds


def latest_per_customer(valid: pd.DataFrame) -> pd.DataFrame:
    """The latest row of each customer within instrument × survey_kind × touchpoint; a tie in time goes to
    the highest id. Rows without a customer all stay, and so does the order of time."""
    ordered = valid.sort_values(["answered_ms", "id"], kind="stable", na_position="first")
    named = ordered["customer"] != ""
    kept = ordered[named].drop_duplicates([*_KEY, "customer"], keep="last")
    return pd.concat([kept, ordered[~named]]).sort_index()


def tallies(
    frame: pd.DataFrame,
    specs: Mapping[str, InstrumentSpec],
    *,
    unit: Unit = "latest_per_customer",
    by_language: bool = True,
) -> dict[tuple[str, Stratum], Tally]:
    """(instrument, stratum) → tally, in order of first appearance; instruments without a spec are left out.

    Args:
        frame: one window of answers (the frame given is not changed).
        specs: instrument → how it is scored.
        unit: `latest_per_customer`, or `per_event` where every answer counts.
        by_language: False pools languages; `lang` is then "mixed" where there was more than one.
    """
    counted = frame.reset_index(drop=True)
    counted = counted.assign(kind=_kinds(counted, specs))
    counted = counted[counted["kind"] != "unknown"]
    kept = counted[counted["kind"] == "valid"]
    if unit == "latest_per_customer":
        kept = latest_per_customer(kept)
    stratum_columns = [
        "survey_kind",
        "touchpoint",
        "wording_id",
        "label_set",
        *(["lang"] if by_language else []),
    ]
    columns = ["instrument", *stratum_columns]
    kept_rows = set(kept.index)
    out: dict[tuple[str, Stratum], Tally] = {}
    for key, rows in counted.groupby(columns, sort=False):
        spec = specs[str(key[0])]
        langs = sorted(set(rows["lang"]))
        lang = str(key[5]) if by_language else (langs[0] if len(langs) == 1 else "mixed")
        stratum = Stratum(str(key[1]), str(key[2]), str(key[3]), str(key[4]), lang)
        values = Counter(
            value
            for index, value, kind in zip(rows.index, rows["value"], rows["kind"], strict=True)
            if kind != "valid" or index in kept_rows
        )
        valid = int((rows["kind"] == "valid").sum())
        superseded = valid - sum(1 for index in rows.index if index in kept_rows)
        out[(spec.id, stratum)] = tally(spec, sorted(values.items()), superseded=superseded)
    return out


def measure_frame(
    frame: pd.DataFrame,
    specs: Mapping[str, InstrumentSpec],
    *,
    window: Span | None = None,
    segment: str = "",
    unit: Unit = "latest_per_customer",
    by_language: bool = True,
) -> list[Result]:
    """Result records of a window of answers, per instrument × survey_kind × touchpoint × wording × label
    set × language.

    With `per_event`, when more than a tenth of the customers gave two answers or more, results carry
    `clustered` and the interval of a bootstrap over customers (S7).
    """
    results: list[Result] = []
    for (instrument, stratum), counted in tallies(frame, specs, unit=unit, by_language=by_language).items():
        spec = specs[instrument]
        flags = ("mixed_lang",) if stratum.lang == "mixed" else ()
        found = measure(spec, counted, stratum=stratum, window=window, segment=segment, unit=unit, flags=flags)
        if unit == "per_event" and spec.kind != "multi":
            found = _clustered(found, spec, _rows_of(frame, instrument, stratum))
        results.extend(found)
    return results


def _rows_of(frame: pd.DataFrame, instrument: str, stratum: Stratum) -> pd.DataFrame:
    mask = frame["instrument"] == instrument
    for column in ("survey_kind", "touchpoint", "wording_id", "label_set"):
        mask &= frame[column] == getattr(stratum, column)
    if stratum.lang != "mixed":
        mask &= frame["lang"] == stratum.lang
    return frame[mask]


def _clustered(found: tuple[Result, ...], spec: InstrumentSpec, rows: pd.DataFrame) -> tuple[Result, ...]:
    customers: dict[str, Counter[int]] = {}
    for row, (customer, value) in enumerate(zip(rows["customer"], rows["value"], strict=True)):
        parsed = parse_value(spec, value)
        if parsed.code is not None:
            customers.setdefault(customer or f"\0{row:012}", Counter())[parsed.code] += 1
    return clustered(found, spec, customers)
