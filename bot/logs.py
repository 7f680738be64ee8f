"""How Koe logs: one line an event, in words or as JSON. Names, words of customers, answers and secrets stay out: events
carry ids and reasons only, and whatever looks like a credential is struck out on its way."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET = re.compile(r"(xox[abprs]-|xapp-|whsec_|Bearer\s+)[A-Za-z0-9._~+/=-]{6,}")
_LIVE_IN_TRACES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LIVE = re.compile(rf"{_LIVE_IN_TRACES.pattern}|\n")


def set_up(log_format: str = "text", *, level: str = "INFO") -> None:
    """Configure logging for this process: "json" for machines, "text" for people."""
    number = logging.getLevelNamesMapping()[level]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), format="%(levelname)s %(name)s %(message)s", stream=sys.stderr
    )


def redact(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Strike credentials out of every text of an event, and spell out what could forge another line or speak to the
    terminal that shows it: line breaks, control characters, reversed writing."""
    for key, value in event.items():
        if isinstance(value, str):
            clean = _SECRET.sub(lambda m: f"{m[1]}…", value)
            spelled = _LIVE if key != "exception" else _LIVE_IN_TRACES
            event[key] = spelled.sub(lambda m: m[0].encode("unicode_escape").decode(), clean)
    return event
