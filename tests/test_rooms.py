"""The rooms: who may import whom, where the SDKs and the time live, and what a file is called."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("bot", "flows", "storage", "reports")
FORBIDDEN = {
    "flows": {"bot", "storage", "reports", "sqlite3", "aiosqlite", "aiohttp", "asyncio", "starlette", "msgspec"},
    "storage": {"bot", "flows", "reports", "aiohttp", "starlette", "slack_sdk", "slack_bolt", "linebot", "pandas"},
    "reports": {"bot", "sqlite3", "aiosqlite", "aiohttp", "starlette", "slack_sdk", "slack_bolt", "linebot"},
    "bot": {"sqlite3", "aiosqlite", "asyncpg", "pandas", "numpy", "matplotlib", "scipy", "statsmodels"},
}
SDKS = {"linebot": {"bot/line"}, "slack_sdk": {"bot/slack"}, "slack_bolt": {"bot/slack"}}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Everything a file imports, wherever it does so; of `from a import b` both a and a.b."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return frozenset(found)


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(room)
        for name in imports(path)
        if name.split(".")[0] in FORBIDDEN[room]
    }
    assert found == set()


def test_each_sdk_is_imported_in_one_place() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for room in ROOMS
        for path in files(room)
        for name in imports(path)
        for sdk, homes in SDKS.items()
        if name.split(".")[0] == sdk and str(path.parent.relative_to(ROOT)) not in homes
    }
    assert found == set()


def test_no_file_needs_one_that_needs_it() -> None:
    """Imports for type checkers count, too: who has to be read together should be one file."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in ROOMS
        for path in files(room)
    }
    needs: dict[str, set[str]] = {}
    for name, path in modules.items():
        asked = {other for other in imports(path) if other in modules and not name.startswith(f"{other}.")}
        # `from a import b` takes of a package that holds b nothing else
        needs[name] = {other for other in asked if not any(more.startswith(f"{other}.") for more in asked)} - {name}
    tuple(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


def test_nothing_but_the_demo_commands_imports_the_standins() -> None:
    found = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in files(room)
        for name in imports(path)
        if name.startswith("bot.standins") and "standins" not in path.parts
    }
    assert found <= {"bot/commands/running.py"}


def test_flows_and_storage_never_ask_for_the_time_or_for_chance() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files("flows")
        for name in imports(path)
        if name.split(".")[0] in {"time", "random", "secrets", "uuid", "os", "socket", "threading"}
    }
    assert found == set()


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_opens_with_its_promise(room: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in files(room)
        if path.stat().st_size and not ast.get_docstring(parsed(path))
    ]
    assert silent == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_called_by_what_it_is_not(room: str) -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}
    assert [path for path in files(room) if path.stem in vague] == []


def test_every_data_file_of_a_room_is_part_of_the_package() -> None:
    """`pip install` must bring what a checkout has: the demo's shop, templates, schema, texts."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    for room in ("bot", "flows", "storage", "reports"):
        packed = {path for pattern in settings[room] for path in (ROOT / room).glob(pattern)}
        data = {p for p in (ROOT / room).rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
        assert data <= packed, sorted(str(path.relative_to(ROOT)) for path in data - packed)
