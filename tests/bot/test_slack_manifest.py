"""The manifest asks for what the code uses: each Web API method and event, and no scope besides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.http import make_app
from bot.slack import manifest as made
from bot.slack.manifest import EVENTS, METHODS, SCOPES, SHORTCUTS, NotReachable, manifest, needed_scopes
from bot.staff import access
from bot.staff.survey import COMMAND
from tests.nursery import Done, run

ROOT = Path(__file__).parents[2]
FAMILIES = "api|auth|apps|blocks|bookmarks|canvases|chat|conversations|files|reactions|team|usergroups|users|views"
CODE = {
    path: path.read_text("utf-8")
    for path in (ROOT / "bot").rglob("*.py")
    if "standins" not in path.parts and path.name != "manifest.py"
}


def used_methods() -> set[str]:
    """Every string in the code that reads like a method of the Web API."""
    return {name for text in CODE.values() for name in re.findall(rf'"((?:{FAMILIES})\.[a-zA-Z.]+[a-zA-Z])"', text)}


def whole(**changes: Any) -> dict[str, Any]:
    asked = {"name": "声の店", "lang": "ja", "public_url": "https://koe.example.com", "socket": False}
    return manifest(**{**asked, "channels": True, "groups": True, **changes})


def test_every_method_of_the_web_api_that_the_code_calls_is_in_the_table_and_back() -> None:
    assert used_methods() == set(METHODS)


def test_the_sdks_own_methods_are_called_nowhere_past_the_table() -> None:
    """`web().chat_postMessage(…)` would be a call that the search above does not see."""
    for path, text in CODE.items():
        assert not re.findall(r"web\(\)\.(?!api_call)\w+\(", text), path


def test_the_scopes_are_those_of_the_methods_and_events_and_no_more() -> None:
    used = {scope for scopes in (*METHODS.values(), *EVENTS.values()) for scope in scopes}
    assert set(SCOPES) == used | {"commands"}
    assert whole()["oauth_config"]["scopes"]["bot"] == sorted(SCOPES)
    few = whole(channels=False, groups=False)["oauth_config"]["scopes"]["bot"]
    assert set(few) == {scope for scope, (need, _) in SCOPES.items() if need == "always"}
    assert "usergroups:read" not in needed_scopes(channels=True, groups=False)


def test_the_events_are_those_that_the_code_looks_at() -> None:
    text = (ROOT / "bot/slack/messages.py").read_text("utf-8") + (ROOT / "bot/slack/app.py").read_text("utf-8")
    for event in EVENTS:
        assert f'"{event.partition(".")[0]}"' in text, event


def test_the_command_and_the_shortcuts_are_those_that_are_listened_to() -> None:
    features = whole()["features"]
    assert [command["command"] for command in features["slash_commands"]] == [COMMAND]
    assert set(SHORTCUTS) == set(access.SHORTCUTS) - {access.ANYTHING_ELSE}
    assert {shortcut["callback_id"] for shortcut in features["shortcuts"]} == set(SHORTCUTS)
    for word in set(access.COMMANDS) - {"", access.ANYTHING_ELSE}:
        assert word in features["slash_commands"][0]["usage_hint"]


def test_every_address_is_a_route_of_ours_and_with_a_socket_there_is_none() -> None:
    addresses = set(re.findall(r"https://[^\"]+", json.dumps(whole())))
    assert addresses == {"https://koe.example.com/slack/events"}
    application: Any = make_app(None)  # type: ignore[arg-type]
    assert made.EVENTS_PATH in {route.path for route in application.framework.routes}
    over_socket = whole(socket=True, public_url=None)
    assert "url" not in json.dumps(over_socket)
    assert over_socket["settings"]["socket_mode_enabled"] is True


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_it_keeps_slacks_limits(lang: str) -> None:
    """Manifest schema: name 35, description 140, bot 80, command 32 and 2000, hint 1000, shortcut 24, 255 and 150."""
    app = whole(lang=lang, name="店" * 200)
    assert len(app["display_information"]["name"]) <= 35
    assert len(app["display_information"]["description"]) <= 140
    assert len(app["features"]["bot_user"]["display_name"]) <= 80
    (command,) = app["features"]["slash_commands"]
    assert len(command["command"]) <= 32
    assert len(command["description"]) <= 2000
    assert len(command["usage_hint"]) <= 1000
    assert len(app["features"]["shortcuts"]) <= 10
    for shortcut in app["features"]["shortcuts"]:
        assert len(shortcut["name"]) <= 24
        assert len(shortcut["callback_id"]) <= 255
        assert len(shortcut["description"]) <= 150
    assert app["features"]["app_home"]["messages_tab_read_only_enabled"] is False, "customers answer there"


@pytest.mark.parametrize("address", [None, "http://koe.example.com"])
def test_an_address_that_slack_cannot_call_is_refused_with_what_to_do(address: str | None) -> None:
    with pytest.raises(NotReachable, match=r"KOE_PUBLIC_URL.*--socket"):
        whole(public_url=address)


def koe(directory: Path, *words: str, **environ: str) -> Done:
    return run("slack-manifest", *words, cwd=directory, environ=environ)


def test_the_command_prints_it_before_there_is_any_token(tmp_path: Path) -> None:
    (tmp_path / "koe.yaml").write_text((ROOT / "koe.example.yaml").read_text("utf-8"), "utf-8")
    printed = koe(tmp_path, KOE_PUBLIC_URL="https://koe.example.com")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout) == whole(groups=False)
    as_json = koe(tmp_path, "--socket", "--format", "json")
    assert json.loads(as_json.stdout) == whole(groups=False, socket=True)
    refused = koe(tmp_path)
    assert refused.returncode == 2
    assert "KOE_PUBLIC_URL" in refused.stderr
