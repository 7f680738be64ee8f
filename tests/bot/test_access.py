"""P24: only the permitted may act. Every way in declares a permission; each lets in whom koe.yaml lists."""

from __future__ import annotations

import ast
import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from desks import command_desk, teller_of

import bot.http
from bot.config import Staff
from bot.reports import ReportLinks
from bot.slack.app import SlackApp
from bot.slack.channel import SlackChannel, SlackError
from bot.staff import access
from bot.staff.access import ANYTHING_ELSE, Access, Permission, Undeclared, acting_person, holders, permission_of
from bot.staff.asking import SurveyPorts
from bot.staff.home import HomeDesk
from bot.staff.people import People, Refusal
from bot.staff.survey import SurveyDesk
from bot.standins.wire import serve
from flows.builtin import builtin_library
from storage.store import open_store

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "bot/slack").glob("*.py"), *(ROOT / "bot/staff").glob("*.py")]
NOW_MS = 1_795_050_000_000

STAFF = Staff(
    managers=("U0BOSS",),
    may_trigger=("U0STAFF", "S0SHOP"),
    may_handle_cases=("S0SUPPORT",),
    may_read_comments=("U0READER", "S0SUPPORT"),
    may_override=(),
    may_export=("U0READER",),
)
GROUPS = {"S0SHOP": ["U0SHOP", "U0GUEST", "U0BOT"], "S0SUPPORT": ["U0SUPPORT"]}
USERS: dict[str, dict[str, Any]] = {
    "U0GUEST": {"is_restricted": True},
    "U0ULTRA": {"is_ultra_restricted": True},
    "U0BOT": {"is_bot": True},
    "U0GONE": {"deleted": True},
    "U0CONNECT": {"is_stranger": True, "team_id": "T9"},
    "U0OTHERTEAM": {"team_id": "T9"},
}


class NotAnswered(Exception):
    pass


class Directory:
    """What the workspace says of people and groups, a call at a time."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.without: set[str] = set()
        self.everybody: list[str] = []

    @staticmethod
    def told(user: str) -> dict[str, Any]:
        return {"id": user, "team_id": "T1", "locale": "en-GB", **USERS.get(user, {})}

    async def __call__(
        self, method: str, args: dict[str, Any], *, timeout_s: float = 7.0, harmless: bool = False
    ) -> dict[str, Any]:
        self.calls.append(method)
        if method in self.without:
            raise NotAnswered("missing_scope")
        if method == "users.info":
            return {"ok": True, "user": self.told(args["user"])}
        if method == "users.list":
            start = int(args.get("cursor", 0))
            end = start + args["limit"]
            cursor = str(end) if end < len(self.everybody) else ""
            members = [self.told(user) for user in self.everybody[start:end]]
            return {"ok": True, "members": members, "response_metadata": {"next_cursor": cursor}}
        return {"ok": True, "users": GROUPS[args["usergroup"]]}


@pytest.fixture
def directory() -> Directory:
    return Directory()


def access_of(directory: Directory, staff: Staff, noted: list[tuple[str, ...]]) -> Access:
    async def note(user_id: str, team_id: str, way: str, reason: Refusal) -> None:
        noted.append((user_id, team_id, way, reason))

    people = People(directory, team_id=lambda: "T1", default_lang="ja", failure=NotAnswered, now_ms=lambda: NOW_MS)
    return Access(people, staff, note_refused=note)


# ------------------------------------------------------------------------------------------- role x permission

WHO_MAY: dict[Permission, set[str]] = {
    "member": {"U0BOSS", "U0STAFF", "U0SHOP", "U0SUPPORT", "U0READER", "U0NOBODY"},
    "staff": {"U0BOSS", "U0STAFF", "U0SHOP", "U0SUPPORT", "U0READER"},
    "trigger": {"U0BOSS", "U0STAFF", "U0SHOP"},
    "handle_cases": {"U0BOSS", "U0SUPPORT"},
    "read_comments": {"U0BOSS", "U0SUPPORT", "U0READER"},
    "override": {"U0BOSS"},
    "export": {"U0BOSS", "U0READER"},
    "erase": {"U0BOSS"},
    "manage": {"U0BOSS"},
}
SAID: dict[str, Permission] = {
    "": "trigger",
    "help": "member",
    "status": "staff",
    "results": "read_comments",
    "digest": "read_comments",
    "find": "trigger",
    "dry-run": "trigger",
    "bulk": "manage",
    "pause": "manage",
    "resume": "manage",
    ANYTHING_ELSE: "member",
}
"""What may follow /survey, and what it asks for."""
EVERYBODY = sorted({*WHO_MAY["member"], *USERS, "USLACKBOT"})


def test_each_word_after_the_command_asks_for_its_permission() -> None:
    assert access.COMMANDS == SAID


def test_the_matrix_has_every_permission() -> None:
    assert set(WHO_MAY) | {"everyone"} == set(get_args(Permission))


@pytest.mark.parametrize("permission", WHO_MAY)
async def test_each_permission_lets_in_exactly_those_whom_the_file_lists(permission: Permission) -> None:
    for user in EVERYBODY:
        noted: list[tuple[str, ...]] = []
        checked = access_of(Directory(), STAFF, noted)
        person, refused = await checked.check(permission, user, team_id="", way="view:test")
        assert (refused is None) == (user in WHO_MAY[permission]), user
        if refused is None:
            assert noted == []
        else:
            assert noted == [(user, "", "view:test", refused.reason)]
            assert refused.sentence.endswith(".")
            assert person.id == user


@pytest.mark.parametrize("user", sorted(WHO_MAY["staff"]))
async def test_somebody_of_another_workspace_with_a_listed_id_is_refused(directory: Directory, user: str) -> None:
    _, refused = await access_of(directory, STAFF, []).check("member", user, team_id="T9")
    assert refused is not None
    assert refused.reason == "stranger"


async def test_guests_and_bots_in_a_listed_group_are_refused_all_the_same(directory: Directory) -> None:
    checked = access_of(directory, STAFF, [])
    for user, reason in (("U0GUEST", "guest"), ("U0BOT", "bot")):
        _, refused = await checked.check("trigger", user)
        assert refused is not None
        assert refused.reason == reason


async def test_a_group_that_cannot_be_read_refuses_with_what_to_do_and_is_asked_again(directory: Directory) -> None:
    directory.without = {"usergroups.users.list"}
    checked = access_of(directory, STAFF, [])
    _, refused = await checked.check("handle_cases", "U0SUPPORT")
    assert refused is not None
    assert "usergroups:read" in refused.sentence
    directory.without = set()
    assert await checked.may("handle_cases", "U0SUPPORT"), "a failure is not remembered"
    before = directory.calls.count("usergroups.users.list")
    assert await checked.may("handle_cases", "U0SUPPORT")
    assert directory.calls.count("usergroups.users.list") == before, "an answer is"


async def test_the_sentence_names_the_list_of_koe_yaml(directory: Directory) -> None:
    _, refused = await access_of(directory, STAFF, []).check("override", "U0STAFF")
    assert refused is not None
    assert "staff.may_override" in refused.sentence


async def test_a_look_at_what_to_show_is_no_refusal(directory: Directory) -> None:
    noted: list[tuple[str, ...]] = []
    assert not await access_of(directory, STAFF, noted).may("erase", "U0STAFF")
    assert noted == []


async def test_words_may_stand_where_everybody_may_read_them_bots_aside(directory: Directory) -> None:
    checked = access_of(directory, STAFF, [])
    members = ("U0READER", "U0NOBODY", "U0SUPPORT", "U0BOT", "U0GUEST")
    assert await checked.those_who_may_not("read_comments", members) == ("U0NOBODY", "U0GUEST")


async def test_who_cannot_wait_for_slack_goes_by_what_it_said_within_half_an_hour(directory: Directory) -> None:
    now_ms, noted = NOW_MS, []

    async def note(*refusal: str) -> None:
        noted.append(refusal)

    people = People(directory, team_id=lambda: "T1", default_lang="ja", failure=NotAnswered, now_ms=lambda: now_ms)
    checked = Access(people, STAFF, note_refused=note)

    async def reason(user: str = "U0SUPPORT") -> str | None:
        refused = (await checked.check_now("handle_cases", user, way="view:test"))[1]
        return None if refused is None else refused.reason

    async def slack_tells() -> None:
        while people._asking:
            await asyncio.gather(*people._asking.values())
            await asyncio.sleep(0)

    assert await reason() == "checking"
    await slack_tells()
    assert await reason() == "checking", "who they are is known, who is in the group is not"
    await slack_tells()
    assert await reason() is None
    before = len(directory.calls)
    now_ms += 11 * 60_000
    assert await reason() is None, "not fresh, yet believed"
    await slack_tells()
    assert len(directory.calls) > before, "and asked beside"
    now_ms += 31 * 60_000
    assert await reason() == "checking"
    await slack_tells()
    assert noted == [], "nobody was refused"
    assert await reason("U0NOBODY") == "checking"
    await slack_tells()
    await reason("U0NOBODY")
    await slack_tells()
    assert await reason("U0NOBODY") == "unlisted"
    assert [entry[0] for entry in noted] == ["U0NOBODY"] * len(noted)
    assert noted


async def test_after_a_look_around_nobody_listed_is_asked_to_try_again(directory: Directory) -> None:
    checked = access_of(directory, STAFF, [])
    await checked.learn()
    for user in ("U0SUPPORT", "U0READER"):
        assert (await checked.check_now("read_comments", user))[1] is None
    assert len(directory.calls) <= 12, "a handful of questions, each once"


async def test_a_large_group_is_found_among_everybody_and_guests_in_it_are_told_apart(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [f"U0{number:04}" for number in range(300)]
    directory.everybody = [*(f"U1{number:04}" for number in range(350)), *crowd, "U0GUEST", "U2LATER", "U0BOSS"]
    monkeypatch.setitem(GROUPS, "S0CROWD", [*crowd, "U0GUEST"])
    checked = access_of(directory, Staff(managers=("U0BOSS",), may_trigger=("S0CROWD",)), [])
    await checked.learn()
    assert [(await checked.check_now("trigger", user))[1] for user in (*crowd, "U0BOSS")] == [None] * 301
    refused = (await checked.check_now("trigger", "U0GUEST"))[1]
    assert refused is not None
    assert refused.reason == "guest"
    assert directory.calls.count("users.info") == 0
    assert directory.calls.count("users.list") == 4, "nobody beyond the last one wanted"


async def test_a_list_of_everybody_that_slack_does_not_give_leaves_the_question_for_later(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GROUPS, "S0CROWD", [f"U0{number:04}" for number in range(50)])
    directory.without = {"users.list"}
    checked = access_of(directory, Staff(may_trigger=("S0CROWD",)), [])
    await checked.learn()
    assert (await checked.check("trigger", "U00007"))[1] is None


# ------------------------------------------------------------------------------------------- what is left out


@pytest.mark.parametrize(
    ("staff", "permission", "expected"),
    [
        (Staff(), "trigger", ()),
        (Staff(may_trigger=("U0A",)), "handle_cases", ("U0A",)),
        (Staff(may_trigger=("U0A",)), "read_comments", ("U0A",)),
        (Staff(may_trigger=("U0A",), may_handle_cases=("U0B",)), "read_comments", ("U0B",)),
        (Staff(may_trigger=("U0A",), may_read_comments=("U0B",)), "read_comments", ("U0B",)),
        (Staff(may_trigger=("U0A",), may_read_comments=("U0B",)), "handle_cases", ("U0A",)),
        (Staff(may_trigger=("U0A",), may_handle_cases=()), "handle_cases", ()),
        (Staff(may_trigger=("U0A",), managers=("U0C",)), "trigger", ("U0C", "U0A")),
        (Staff(may_trigger=("U0A",)), "override", ()),
        (Staff(may_trigger=("U0A",)), "export", ()),
        (Staff(may_trigger=("U0A",)), "erase", ()),
        (Staff(may_trigger=("U0A",), may_export=("U0A", "U0B")), "staff", ("U0A", "U0B")),
    ],
)
def test_a_list_that_is_left_out_has_a_meaning(staff: Staff, permission: Permission, expected: tuple[str, ...]) -> None:
    assert holders(staff, permission) == expected


# ------------------------------------------------------------------------------------------- every way in


def test_a_way_in_without_a_permission_cannot_be_built() -> None:
    with pytest.raises(Undeclared, match=r"koe\.nobody"):
        permission_of("action", "koe.nobody")


@pytest.fixture
async def slack_app(directory: Directory, tmp_path: Path) -> AsyncIterator[SlackApp]:
    """Slack's way in as it is built for a shop, with nobody behind it."""
    channel = SlackChannel("xoxb-1", deck=builtin_library().deck, base_url="http://127.0.0.1:1/api/")
    people = People(directory, team_id=lambda: "T1", default_lang="ja", failure=NotAnswered, now_ms=lambda: NOW_MS)

    async def never(*_: Any) -> Any:
        raise AssertionError("nothing may come so far")

    ports = SurveyPorts(
        flows=lambda lang: [],
        channels=("line", "slack"),
        find=never,
        recognise=never,
        eligibility=never,
        overridable=lambda reason: False,
        budget=never,
        budget_known=lambda: None,
        start=never,
    )
    checked = access_of(directory, STAFF, [])
    desk = SurveyDesk(
        channel.call,
        failure=SlackError,
        access=checked,
        ports=ports,
        tz=ZoneInfo("Asia/Tokyo"),
        now_ms=lambda: NOW_MS,
    )
    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)
    yield SlackApp(
        channel,
        converse=never,
        store=never,
        desk=desk,
        commands=command_desk(channel, desk, checked, store=store, facts=never, now_ms=NOW_MS),
        people=people,
        teller=teller_of(channel, store=store, now_ms=NOW_MS),
        access=access_of(directory, STAFF, []),
        home_desk=HomeDesk(
            channel.call,
            access=access_of(directory, STAFF, []),
            facts=never,
            preview=never,
            tz=ZoneInfo("Asia/Tokyo"),
            failure=SlackError,
        ),
        verify=lambda headers, body: False,
        now_ms=lambda: NOW_MS,
    )
    await channel.close()
    await store.close()


async def test_every_listener_of_slack_was_built_with_its_permission(slack_app: SlackApp) -> None:
    listeners = [listener.ack_function for listener in slack_app._bolt._async_listeners]
    assert len(listeners) >= 8
    unguarded = {made.__name__ for made in listeners if not made.__qualname__.startswith("SlackApp._guarded")}
    # nothing is done in these: an acknowledgement, an empty list, the list of what can be typed
    assert unguarded == {"_only_ack", "_no_options", "_on_unknown_command"}


def test_every_id_of_a_control_and_a_window_is_declared() -> None:
    controls, windows, shortcuts = _ids_in_the_code()
    assert controls >= {"customer", "koe.write", "koe.pick"}, "the search itself works"
    assert "koe.survey" in windows
    undeclared = {
        name for name in controls - set(access.ACTIONS) - access.FIELDS if not name.startswith(access.CONVERSATION)
    }
    assert not undeclared, f"declare these actions in bot/staff/access.py: {undeclared}"
    # a window without a button to send it never comes back
    undeclared = {name for name in windows - set(access.VIEWS) if not name.startswith(access.CONVERSATION)}
    assert not undeclared, f"declare these windows in bot/staff/access.py: {undeclared}"
    assert shortcuts <= set(access.SHORTCUTS)
    for kind, known in (("action", controls), ("view", windows)):
        assert set(access.TABLES[kind]) - {ANYTHING_ELSE} <= known, f"declared, but no such {kind} in the code"  # type: ignore[index]


def _ids_in_the_code() -> tuple[set[str], set[str], set[str]]:
    """Action ids, callback ids of windows that can be sent, shortcuts: read from the source of bot.slack and bot.staff,
    constants resolved. Of an id that is put together, its fixed beginning."""
    controls: set[str] = set()
    windows: set[str] = set()
    shortcuts: set[str] = set()
    for path in SOURCES:
        if path.name in ("blocks.py", "access.py"):
            continue  # the one takes ids as arguments, the other declares them
        module = importlib.import_module(
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "action_id":
                        controls.add(_fixed(value, module))
            elif isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                named = {word.arg for word in node.keywords}
                if called == "button":
                    controls.add(_fixed(node.args[1], module))
                elif called == "text_input" and "dispatch" in named:
                    controls.add(_fixed(node.args[0], module))
                elif called == "modal" and "submit" in named:
                    windows.add(_fixed(node.args[0], module))
                elif called in ("shortcut", "global_shortcut", "message_shortcut") and node.args:
                    found = _fixed(node.args[0], module)
                    shortcuts |= {found} - {""}
    return controls - {""}, windows, shortcuts


def _fixed(node: ast.expr, module: ModuleType) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            value = getattr(module, name, "")
            return value if isinstance(value, str) else ""
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return str(getattr(getattr(module, owner, None), name, ""))
        case ast.JoinedStr(values=[ast.FormattedValue(value=first), *_]):
            return _fixed(first, module)
        case ast.JoinedStr(values=[first, *_]):
            return _fixed(first, module)
    return ""


async def test_every_route_declares_what_a_caller_has_to_prove_and_asks_for_it(slack_app: SlackApp) -> None:
    koe = SimpleNamespace(
        settings=SimpleNamespace(line_on=True),
        line_secrets=["s"],
        event_secrets=["whsec_c2VjcmV0"],
        slack=slack_app,
        report_links=ReportLinks("https://koe.example.com", "k" * 43),
    )
    application: Any = bot.http.make_app(koe)  # type: ignore[arg-type]
    routes = {route.path for route in application.framework.routes}
    assert routes == set(access.ROUTES)
    served = await serve(application)
    try:
        async with aiohttp.ClientSession() as session:
            for path in (path for path, proof in access.ROUTES.items() if proof.endswith("_signature")):
                async with session.post(f"{served.url}{path}", json={"events": []}) as answer:
                    assert answer.status == 401, path
            for path in (path for path, proof in access.ROUTES.items() if proof == "link_token"):
                async with session.get(f"{served.url}{path}?token=1.{'A' * 43}") as answer:
                    assert answer.status == 403, path
    finally:
        await served.close()


@pytest.mark.parametrize(
    ("body", "who"),
    [
        ({"user": {"id": "U1", "team_id": "T2"}, "team": {"id": "T1"}}, ("U1", "T2")),
        ({"user": {"id": "U1"}, "team": {"id": "T1"}}, ("U1", "T1")),
        ({"user_id": "U1", "team_id": "T1"}, ("U1", "T1")),
        ({}, ("", "")),
        ({"user": None, "team": None}, ("", "")),
        ({"user": {"id": None}}, ("", "")),
    ],
)
def test_whose_payload_it_is(body: dict[str, Any], who: tuple[str, str]) -> None:
    assert acting_person(body) == who
