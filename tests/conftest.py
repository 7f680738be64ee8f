"""What all tests share: where they write, how they log, what is no garbage, and which files come first."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

# no property fails for its speed: a machine may be busy; `make prove` looks ten times as long for a counterexample
settings.register_profile("test", deadline=None)
settings.register_profile("prove", max_examples=1_000, deadline=None)
settings.load_profile("test")

_MEMORY = Path("/dev/shm")  # where Linux keeps files in memory
_ROOM = 2**30
"""More bytes than a run leaves there before its folders go."""

_LONGEST = (
    "standins/test_demo.py",
    "standins/test_page_browser.py",
    "reports/test_small_parts.py",
    "reports/test_digest.py",
    "reports/test_digest_page.py",
    "crash/test_digest_kills.py",
    "crash/test_kills.py",
    "reports/test_small_cells.py",
    "flows/test_engine_properties.py",
    "reports/test_digest_page_browser.py",
    "whole/test_cases.py",
    "reports/test_own_templates.py",
    "reports/test_telling.py",
    "bot/test_sinks.py",
    "bot/test_exports.py",
)
"""A file stays in one process: what takes long starts first, or one process would end alone with the last of them."""


def _write_in_memory() -> None:
    """Temporary folders, of programs that tests start too, lie in memory where there is room.

    Waiting for a disk proves nothing here: what a kill leaves behind is the same, and no test can cut the power.
    """
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_configure() -> None:
    # in words and without colour; structlog by itself draws each traceback with all variables, which takes seconds
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    )
    # what is imported and collected stays to the end: to look through it for garbage, again and again, doubles the
    # time of collecting and makes each test slower by an eighth
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: first.get("/".join(item.path.parts[-2:]), len(first)))


if "TMPDIR" not in os.environ:
    _write_in_memory()
