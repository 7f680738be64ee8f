"""Columns of numbers and texts, and how they are kept as bytes. No I/O."""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

K = TypeVar("K", bound=Hashable)
Codes = npt.NDArray[np.int32]
"""Places in a list of texts or cells."""
Arrays = Mapping[str, npt.NDArray[Any]]


def placed(found: Sequence[K], places: dict[K, int]) -> Codes:
    """The place of each in `places`, where those that are not there yet come behind the others."""
    return np.array([places.setdefault(one, len(places)) for one in found], dtype=np.int32)


def packed(columns: Arrays) -> bytes:
    """Columns as bytes: their names as a line of JSON, then each as NumPy writes an array."""
    out = io.BytesIO()
    out.write(json.dumps(list(columns)).encode() + b"\n")
    for column in columns.values():
        np.save(out, column, allow_pickle=False)
    return out.getvalue()


def unpacked(kept: bytes) -> dict[str, npt.NDArray[Any]]:
    """What was packed."""
    file = io.BytesIO(kept)
    return {name: np.load(file, allow_pickle=False) for name in json.loads(file.readline())}


def texts_as_column(texts: Sequence[object]) -> npt.NDArray[np.uint8]:
    """Texts, or tuples of texts, as a column of bytes."""
    return np.frombuffer(json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode(), dtype=np.uint8)


def texts_of(column: npt.NDArray[np.uint8]) -> list[Any]:
    """What `texts_as_column` was made of, tuples as lists."""
    found: list[Any] = json.loads(column.tobytes())
    return found
