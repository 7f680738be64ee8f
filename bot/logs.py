"""How Koe logs: one line an event, in words or as JSON. Names, words of customers, answers and secrets stay out: events
carry ids and reasons only, and whatever looks like a credential is struck out on its way."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from flows.visible import spelled, spelled_line

_SECRET = re.compile(r"(xox[abprs]-|xapp-|whsec_|Bearer\s+)[A-Za-z0-9._~+/=-]{6,}")


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
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(_OneLine())
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[libraries])


def redact(logger: object, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Strike credentials out of every text of an event, however deep, and spell out what could forge another line or
    speak to the terminal that shows it: line breaks, control characters, reversed writing."""
    for key, value in event.items():
        # a trace is several lines
        event[key] = spelled(_struck(value)) if key == "exception" and isinstance(value, str) else _told(value)
    return event


def _told(value: Any) -> Any:
    match value:
        case str():
            return spelled_line(_struck(value))
        case dict():
            return {_told(name): _told(part) for name, part in value.items()}
        case list() | tuple():
            return [_told(part) for part in value]
        case None | bool() | int() | float():
            return value
        case _:
            # exceptions and bytes would be written by whoever renders the line
            return spelled_line(_struck(repr(value)))


def _struck(text: str) -> str:
    return _SECRET.sub(lambda m: f"{m[1]}…", text)


class _OneLine(logging.Formatter):
    """What libraries log, under the same rules."""

    def format(self, record: logging.LogRecord) -> str:
        told = spelled_line(_struck(record.getMessage()))
        line = f"{record.levelname} {record.name} {told}"
        if record.exc_info:
            line += "\n" + spelled(_struck(self.formatException(record.exc_info)))
        return line
