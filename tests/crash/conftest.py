from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage import failpoints
from tests.nursery import SERVER, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts servers for the whole run."""
    started = Nursery(SERVER)
    yield started
    started.close()


@pytest.fixture(autouse=True)
def disarm() -> Iterator[None]:
    yield
    failpoints.arm("")
