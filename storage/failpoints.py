"""Named points that do nothing in production and kill, raise, sleep or fill the disk in tests (reliability.md
§1.2).

A point is one line, `hit("store.before_commit")`. Tests arm points with one text, by `arm(text)` in the same
process or through the environment variable KOE_FAILPOINTS of a child process, which the command line hands to
`arm`:

    store.before_commit=kill@2, store.after_commit=raise, line.before_send=sleep:0.2@3

`@n` acts at the n-th pass only; without it every pass acts.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from dataclasses import dataclass
from typing import Literal, cast

VARIABLE = "KOE_FAILPOINTS"

Deed = Literal["kill", "raise", "sleep", "diskfull"]


class FailpointError(Exception):
    """Raised by a point armed with `raise`."""


@dataclass(slots=True)
class _Trap:
    deed: Deed
    seconds: float
    at: int
    passes: int = 0


# The one piece of module state in the project: a point must cost a single dictionary look-up, and must be
# reachable from any thread without being handed around. It is empty in production.
_armed: dict[str, _Trap] = {}


def hit(name: str) -> None:
    """Do what the point is armed for; nothing when it is not."""
    if _armed:
        _spring(name)


def arm(text: str) -> None:
    """Replace what is armed by `text` (see above); an empty text disarms everything.

    Raises:
        ValueError: the text names no known deed.
    """
    traps: dict[str, _Trap] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, rest = part.partition("=")
        deed_text, _, at = rest.partition("@")
        deed, _, seconds = deed_text.partition(":")
        if deed not in ("kill", "raise", "sleep", "diskfull"):
            raise ValueError(f"failpoint {part!r}: the deed is kill, raise, sleep:SECONDS or diskfull")
        traps[name.strip()] = _Trap(cast(Deed, deed), float(seconds or 0), int(at or 0))
    _armed.clear()
    _armed.update(traps)


def passes(name: str) -> int:
    """How often an armed point was passed; 0 for one that is not armed."""
    trap = _armed.get(name)
    return trap.passes if trap else 0


def _spring(name: str) -> None:
    trap = _armed.get(name)
    if trap is None:
        return
    trap.passes += 1
    if trap.at not in (0, trap.passes):
        return
    match trap.deed:
        case "kill":
            # as the kernel does it: no handler, no flush, no `finally`
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise FailpointError(f"failpoint {name}, pass {trap.passes}")
        case "sleep":
            time.sleep(trap.seconds)
        case "diskfull":
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full
