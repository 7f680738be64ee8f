"""The demo page: a phone with the LINE chat, a Slack workspace, and buttons that make things happen.

It shows what the stand-ins hold and passes on what a person does there; it knows nothing of Koe itself. The
page is a shell (Jinja2, autoescape) and a few ES modules that draw a JSON state; the server only says *that*
something changed (server-sent events), and the browser asks for the state it is looking at.
See docs/decisions/0005-demo-page.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, assert_never
from urllib.parse import urlsplit

import msgspec
import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.standins.line import LineStandin
from bot.standins.slack import SlackStandin
from bot.standins.to_bot import Ack
from bot.standins.workspace import SlackMessage

Lang = Literal["ja", "en"]
JsonObject = dict[str, Any]

_ROOM = Path(__file__).parent / "page"
_SHOWN_ENTRIES = 200  # newest entries of a chat or channel; twelve weeks of history stay out of the browser
_SHOWN_PEOPLE = 60
_MAX_BODY = 64 * 1024
_HOME = "HOME"  # the app's Home, in the place of a channel's id
_MAX_TEXT = 5000  # LINE's own limit for one text message
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

_log = structlog.get_logger(__name__)


class Story(Protocol):
    """The world outside the chats: purchases, support cases, and time."""

    on_change: list[Callable[[], None]]

    @property
    def busy(self) -> bool: ...
    def now_text(self, lang: str) -> str: ...
    def touch(self) -> None: ...
    async def purchase(self, lang: str) -> Any: ...
    async def support_case(self, lang: str) -> Any: ...
    async def week_passes(self) -> Any: ...


# What a person on the page can do: the complete list, one struct each, told apart by "do".


class _LineSays(msgspec.Struct, tag_field="do", tag="line.says", forbid_unknown_fields=True):
    user: str
    text: str


class _LineTaps(msgspec.Struct, tag_field="do", tag="line.taps", forbid_unknown_fields=True):
    user: str
    data: str
    display_text: str = ""


class _LineSticker(msgspec.Struct, tag_field="do", tag="line.sticker", forbid_unknown_fields=True):
    user: str


class _LinePhoto(msgspec.Struct, tag_field="do", tag="line.photo", forbid_unknown_fields=True):
    user: str


class _SlackSays(msgspec.Struct, tag_field="do", tag="slack.says", forbid_unknown_fields=True):
    user: str
    channel: str
    text: str


class _SlackClicks(msgspec.Struct, tag_field="do", tag="slack.clicks", forbid_unknown_fields=True):
    user: str
    channel: str
    ts: str
    action_id: str
    block_id: str | None = None
    value: str | None = None
    selected: Any = None


class _SlackPicks(msgspec.Struct, tag_field="do", tag="slack.picks", forbid_unknown_fields=True):
    user: str
    action_id: str
    block_id: str | None = None
    selected: Any = None


class _SlackTypes(msgspec.Struct, tag_field="do", tag="slack.types", forbid_unknown_fields=True):
    user: str
    action_id: str
    text: str
    block_id: str | None = None


class _SlackAddsFile(msgspec.Struct, tag_field="do", tag="slack.adds_file", forbid_unknown_fields=True):
    user: str
    name: str
    content: bytes
    """base64 in JSON."""


class _SlackSubmits(msgspec.Struct, tag_field="do", tag="slack.submits", forbid_unknown_fields=True):
    user: str
    values: JsonObject


class _SlackCloses(msgspec.Struct, tag_field="do", tag="slack.closes", forbid_unknown_fields=True):
    user: str


class _SlackShortcut(msgspec.Struct, tag_field="do", tag="slack.shortcut", forbid_unknown_fields=True):
    user: str
    channel: str
    ts: str
    callback_id: str


class _SlackHome(msgspec.Struct, tag_field="do", tag="slack.home", forbid_unknown_fields=True):
    user: str


class _Happens(msgspec.Struct, tag_field="do", tag="story", forbid_unknown_fields=True):
    what: Literal["purchase", "support_case", "week_passes"]
    lang: Lang = "ja"


_Act = (
    _LineSays
    | _LineTaps
    | _LineSticker
    | _LinePhoto
    | _SlackSays
    | _SlackClicks
    | _SlackPicks
    | _SlackTypes
    | _SlackAddsFile
    | _SlackSubmits
    | _SlackCloses
    | _SlackShortcut
    | _SlackHome
    | _Happens
)


def page_app(*, line: LineStandin, slack: SlackStandin, story: Story, lang: Lang = "ja") -> Starlette:
    """The page as an app for a loopback address; `lang` is the chrome's language until somebody switches.

    Routes: `GET /` (`?lang=ja|en`), `GET /state?lang=&line=&me=&channel=` (JSON of what is looked at),
    `GET /files/{id}` (a picture that was uploaded to Slack), `GET /changes` (server-sent events, one `change` per
    new version), `POST /act` (JSON, same origin only),
    `/static/…`. `app.state.stop()` ends the open event streams: call it before stopping the server, which
    waits for them otherwise. Requests whose Host is not a loopback name are refused (DNS rebinding), and so
    are posts from other origins.
    """
    words: dict[str, dict[str, str]] = json.loads((_ROOM / "words.json").read_text(encoding="utf-8"))
    shell = Environment(
        loader=FileSystemLoader(_ROOM),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("index.html")
    changes = _Changes()
    for source in (line, slack, story):
        source.on_change.append(changes.note)

    def language(request: Request) -> Lang:
        asked = request.query_params.get("lang", lang)
        return "en" if asked == "en" else "ja" if asked == "ja" else lang

    async def index(request: Request) -> Response:
        chosen = language(request)
        return HTMLResponse(shell.render(lang=chosen, words=words[chosen], all=words))

    async def state(request: Request) -> Response:
        ask = request.query_params.get
        return JSONResponse(
            {
                "version": changes.version,
                "clock": story.now_text(language(request)),
                "busy": story.busy,
                "line": _line_state(line, ask("line", "")),
                "slack": _slack_state(slack, ask("me", ""), ask("channel", "")),
            }
        )

    async def picture(request: Request) -> Response:
        try:
            content = slack.file_content(request.path_params["file_id"])
        except KeyError:
            return _refusal(404, "no_file", "There is no such file.")
        # what a browser makes of the bytes is not left to the browser
        return Response(content, media_type="image/png")

    async def watch(request: Request) -> Response:
        return EventSourceResponse(changes.stream(), ping=15)

    async def act(request: Request) -> Response:
        if (problem := _foreign(request)) is not None:
            return problem
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                return _refusal(413, "too_large", f"The body is larger than {_MAX_BODY} bytes.")
        try:
            what = msgspec.json.decode(bytes(body), type=_Act)
        except msgspec.MsgspecError as error:
            return _refusal(400, "bad_action", f"This is not an action of the page: {error}.")
        try:
            story.touch()
            return await _do(what, line=line, slack=slack, story=story)
        except (LookupError, ValueError) as error:
            # a button of a message that has gone, a person who is not there: the page says so and goes on
            _log.info("page.act_refused", action=type(what).__name__, error=type(error).__name__)
            return _refusal(409, "not_possible", "That is not possible any more.")

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/state", state),
            Route("/files/{file_id}", picture),
            Route("/changes", watch),
            Route("/act", act, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_ROOM / "static")),
        ],
        middleware=[Middleware(_LoopbackOnly)],
    )
    app.state.stop = changes.stop
    return app


async def _do(what: _Act, *, line: LineStandin, slack: SlackStandin, story: Story) -> Response:
    """The answer after doing it; `{"line": id}` names the customer whom an event brought, if one came."""
    ack: Ack | None = None
    match what:
        case _LineSays(user=user, text=text):
            await line.says(_known(user, line.users), text[:_MAX_TEXT])
        case _LineTaps(user=user, data=data, display_text=shown):
            await line.taps(_known(user, line.users), data, shown)
        case _LineSticker(user=user):
            await line.sends_sticker(_known(user, line.users))
        case _LinePhoto(user=user):
            await line.sends_photo(_known(user, line.users))
        case _SlackSays(user=user, channel=channel, text=text):
            _known(user, slack.users)
            _known(channel, slack.channels)
            if text.startswith("/"):
                name, _, rest = text.partition(" ")
                ack = await slack.command(user, channel, name, rest.strip())
            else:
                await slack.says(user, channel, text[:_MAX_TEXT])
        case _SlackClicks(user=user, channel=channel) if channel == _HOME:
            user = _known(user, slack.users)
            ack = await slack.clicks_home(user, what.action_id, what.selected, value=what.value)
        case _SlackClicks(user=user, channel=channel):
            ack = await slack.clicks(
                _known(user, slack.users),
                _known(channel, slack.channels),
                what.ts,
                what.action_id,
                block_id=what.block_id,
                value=what.value,
                selected=what.selected,
            )
        case _SlackPicks(user=user):
            user = _known(user, slack.users)
            ack = await slack.picks(user, what.action_id, what.selected, block_id=what.block_id)
        case _SlackTypes(user=user):
            user = _known(user, slack.users)
            options = await slack.types(user, what.action_id, what.text[:200], block_id=what.block_id)
            return JSONResponse({"ok": True, "options": options})
        case _SlackAddsFile(user=user):
            file_id = slack.adds_file(_known(user, slack.users), what.name[:200], what.content)
            return JSONResponse({"ok": True, "file": file_id})
        case _SlackSubmits(user=user, values=values):
            await slack.submits(_known(user, slack.users), values)
        case _SlackCloses(user=user):
            await slack.closes(_known(user, slack.users))
        case _SlackShortcut(user=user, channel=channel):
            offered = {shortcut["callback_id"]: shortcut for shortcut in slack.shortcuts}
            ack = await slack.shortcut(
                _known(user, slack.users),
                _known(what.callback_id, offered),
                channel_id=_known(channel, slack.channels),
                ts=what.ts,
            )
        case _SlackHome(user=user):
            await slack.opens_home(_known(user, slack.users))
        case _Happens():
            return await _happen(what, line=line, story=story)
        case _:
            assert_never(what)
    if ack is not None and not ack.ok:  # the app did not answer in time: Slack tells the person, so does the page
        return _refusal(502, "no_answer", "Koe did not answer.")
    return JSONResponse({"ok": True})


async def _happen(event: _Happens, *, line: LineStandin, story: Story) -> Response:
    if story.busy:
        return _refusal(409, "busy", "Something is happening already; wait until it is done.")
    before = set(line.users)
    match event.what:
        case "purchase":
            await story.purchase(event.lang)
        case "support_case":
            await story.support_case(event.lang)
        case "week_passes":
            await story.week_passes()
        case _:
            assert_never(event.what)
    came = [user for user in line.users if user not in before]
    return JSONResponse({"ok": True, "line": came[-1] if came and event.what != "week_passes" else ""})


def _known(key: str, among: Mapping[str, Any]) -> str:
    if key not in among:
        raise LookupError(key)
    return key


def _line_state(line: LineStandin, chosen: str) -> JsonObject:
    """The newest customers, newest first, and the newest entries of the chosen one's chat.

    An unknown `chosen` means the newest customer.
    """
    latest: list[tuple[int, int, str]] = []
    for order, user_id in enumerate(line.users):
        entries = line.chat(user_id)
        latest.append((entries[-1].at_ms if entries else 0, order, user_id))
    latest.sort(reverse=True)
    if chosen not in line.users:
        chosen = latest[0][2] if latest else ""
    shown = latest[:_SHOWN_PEOPLE]
    shown += [row for row in latest[_SHOWN_PEOPLE:] if row[2] == chosen]
    people = []
    for at_ms, _, user_id in shown:
        user = line.users[user_id]
        people.append(
            {
                "id": user_id,
                "name": user.name,
                "lang": user.language,
                "at": at_ms,
                "blocked": user.blocked,
                "friend": user.friend,
            }
        )
    chat: list[JsonObject] = []
    quick: list[Any] = []
    if chosen:
        chat = [
            {"id": entry.id, "at": entry.at_ms, "from": entry.sender, "message": entry.message}
            for entry in line.chat(chosen)[-_SHOWN_ENTRIES:]
        ]
        quick = line.quick_replies(chosen)
    return {"chosen": chosen, "people": people, "total": len(latest), "chat": chat, "quick": quick}


def _slack_state(slack: SlackStandin, me: str, chosen: str) -> JsonObject:
    """What one person sees in Slack: channels and DMs, the newest messages of one of them, the open modal."""
    persons = {user_id: user for user_id, user in slack.users.items() if not user.is_bot}
    if me not in persons:
        me = next(iter(persons), "")
    channels: list[JsonObject] = []
    for channel_id, channel in slack.channels.items():
        members = channel.members
        if (channel.is_im or channel.private) and me not in members:
            continue
        messages = slack.messages(channel_id, seen_by=me)
        others = [member for member in members if member != me] if channel.is_im else []
        channels.append(
            {
                "id": channel_id,
                "name": slack.users[others[0]].name if others and others[0] in slack.users else channel.name,
                "im": channel.is_im,
                "private": channel.private,
                "latest": messages[-1].ts if messages else "",
            }
        )
    japanese = not me or slack.users[me].locale.startswith("ja")
    home = slack.home(me) if me else None
    if me:
        # the app's Home stands among the direct messages, as one message that is always the present one
        name = "ホーム" if japanese else "Home"
        channels.append({"id": _HOME, "name": name, "im": True, "private": True, "latest": ""})
    channels.sort(key=lambda row: row["im"])  # channels first, then direct messages; the order within stays
    if chosen not in {row["id"] for row in channels}:
        chosen = channels[0]["id"] if channels else ""
    messages = slack.messages(chosen, seen_by=me)[-_SHOWN_ENTRIES:] if chosen in slack.channels else []
    if chosen == _HOME and home is not None:
        messages = [SlackMessage(home["hash"].split(".")[0], slack.bot_user, "", home["blocks"])]
    modal = slack.modal(me) if me else None
    return {
        "me": me,
        "lang": "ja" if japanese else "en",
        "persons": [{"id": user_id, "name": user.name} for user_id, user in persons.items()],
        "names": {user_id: user.name for user_id, user in slack.users.items()},
        "bots": [user_id for user_id, user in slack.users.items() if user.is_bot],
        "channels": channels,
        "channel": chosen,
        "shortcuts": [
            {"id": shortcut["callback_id"], "name": shortcut["name"]}
            for shortcut in slack.shortcuts
            if shortcut["type"] == "message"
        ],
        "messages": [
            {
                "ts": message.ts,
                "user": message.user,
                "text": message.text,
                "blocks": message.blocks,
                "thread": message.thread_ts or "",
                "edited": message.edited is not None,
                "only_you": message.only_for != "",
            }
            for message in messages
        ],
        "modal": modal,
        "errors": dict(slack.modal_errors(me)) if modal is not None else {},
    }


class _Changes:
    """A version that grows with each change, and streams that say so; many changes at once are one event."""

    def __init__(self) -> None:
        self.version = 1
        self._wakers: set[asyncio.Event] = set()
        self._stopped = False

    def note(self) -> None:
        self.version += 1
        for waker in self._wakers:
            waker.set()

    def stop(self) -> None:
        self._stopped = True
        self.note()

    async def stream(self) -> AsyncIterator[ServerSentEvent]:
        """One event per new version, the present one first: a reconnected browser catches up by itself."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            while not self._stopped:
                waker.clear()
                yield ServerSentEvent(event="change", id=str(self.version), data=str(self.version), retry=1000)
                await waker.wait()
        finally:
            self._wakers.discard(waker)


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": code, "message": message}, status_code=status)


def _foreign(request: Request) -> Response | None:
    """A refusal when another site sent this, None when the page itself did.

    A browser always names the origin of a post, and cannot send JSON across origins without asking first.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        return _refusal(415, "not_json", "Send application/json.")
    origin = request.headers.get("origin", "")
    if origin != f"http://{request.headers.get('host', '')}":
        return _refusal(403, "other_origin", "Only the demo page itself may do this.")
    return None


class _LoopbackOnly:
    """Refuses every request whose Host is not a loopback name; puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        host: str | None = None
        with suppress(ValueError):
            host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
        if host not in _LOOPBACK:
            answer = _refusal(421, "other_host", "The demo page answers on this machine only: use 127.0.0.1.")
            await answer(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
