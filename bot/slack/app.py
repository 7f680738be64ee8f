"""What Slack sends: over HTTP or Socket Mode, stored before it is acknowledged, then handed to whom it
belongs.

Bolt runs its listeners after it has answered, so everything that must not be lost happens in the first
middleware: a customer's message or click is the whole conversation's transaction there; a member of
staff's is noted (a repeated delivery ends there) and then handled by a listener.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from bot.channel import Ignored, Inbound, JsonObject
from bot.slack import blocks as kit
from bot.slack import messages, report
from bot.slack.channel import SlackChannel, SlackError
from bot.slack.messages import CHANGE, WRITE
from bot.slack.payloads import Kind, is_payload, kind_of
from bot.slack.socket_mode import CHECK_S, SILENCE_S, SocketMode
from bot.staff import access, home
from bot.staff.access import ANYTHING_ELSE, Access, acting_person
from bot.staff.bulk import VIEW as BULK_VIEW
from bot.staff.bulk import BulkDesk
from bot.staff.card import ACTION, WORDS
from bot.staff.cases import TEMPLATE, CaseDesk
from bot.staff.commands import CommandDesk
from bot.staff.home import HomeDesk
from bot.staff.people import People, Person
from bot.staff.survey import ABOUT, COMMAND, CUSTOMER, START, SURVEY_VIEW, SurveyDesk
from bot.staff.telling import Teller
from storage.errors import StoreError
from storage.failpoints import hit

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from starlette.requests import Request
    from starlette.responses import Response

log = structlog.get_logger(__name__)

BODY_LIMIT: Final = 1_048_576
"""Bytes of a request. Slack's own are far smaller; more is somebody else's."""


_TOO_LATE: Final = frozenset(("expired_trigger_id", "trigger_expired", "exchanged_trigger_id", "invalid_trigger_id"))
"""A window can be opened for three seconds after the click, once.

Source: https://docs.slack.dev/reference/methods/views.open."""

_MALFORMED: Final = "The body is not a Slack payload."

_NOT_STORED: Final = "not_stored"
"""Where a request's context keeps why the store did not take it: Bolt itself knows only 500."""


Handler = Callable[[JsonObject, Person], Awaitable[Any]]
"""What a member of staff's command, click or window does, once their permission is checked. A command returns the
sentence to answer with, a window how it is acknowledged (None: it closes)."""


@dataclass(frozen=True, slots=True)
class SlackInbound:
    """Something that came from Slack and is no customer's conversation: to be noted once, by (workspace,
    key)."""

    key: str
    workspace: str
    kind: Kind
    name: str
    """Event type, action id, callback id or command."""
    user_id: str
    at_ms: int


class SlackApp:
    """Slack's way in. Built inside the running loop.

    Args:
        channel: Sends, and knows the connection pool.
        converse: Takes in one event of a customer's conversation in one transaction; notes its event id itself.
        store: Notes anything else; True the first time.
        desk: The window of `/survey`.
        commands: `/survey` with words behind it.
        bulk: Surveys to a list; None offers none.
        cases: The buttons and windows of cases; None where no alert channel shows any.
        people: Languages of staff.
        teller: Tells a person what is for them alone.
        access: Permissions of staff.
        home_desk: App Home.
        verify: True when Slack signed this body (bot.signatures.verify_slack with secrets and the real clock).
        now_ms: Koe's clock, for what Slack gives no time.
        silence_s, check_s: See SocketMode.
    """

    def __init__(
        self,
        channel: SlackChannel,
        *,
        converse: Callable[[Inbound], Awaitable[object]],
        store: Callable[[SlackInbound], Awaitable[bool]],
        desk: SurveyDesk,
        commands: CommandDesk,
        people: People,
        teller: Teller,
        access: Access,
        home_desk: HomeDesk,
        verify: Callable[[Mapping[str, str], bytes], bool],
        now_ms: Callable[[], int],
        cases: CaseDesk | None = None,
        bulk: BulkDesk | None = None,
        silence_s: float = SILENCE_S,
        check_s: float = CHECK_S,
    ) -> None:
        self._channel = channel
        self._converse = converse
        self._store = store
        self._desk = desk
        self._commands = commands
        self._cases = cases
        self._bulk = bulk
        self._people = people
        self._teller = teller
        self._access = access
        self._home = home_desk
        self._verify = verify
        self._now_ms = now_ms
        self._bolt = self._build()
        self.socket = SocketMode(self._bolt, client=lambda: channel.client(None), silence_s=silence_s, check_s=check_s)

    def _build(self) -> AsyncApp:
        from slack_bolt.async_app import AsyncApp
        from slack_bolt.authorization import AuthorizeResult

        async def authorize() -> AuthorizeResult:
            """One workspace, one token: no network call stands between a click and its answer."""
            known = self._channel.identity
            return AuthorizeResult(
                enterprise_id=None,
                team_id=known.team_id if known else None,
                bot_user_id=known.bot_user_id if known else None,
                bot_token=self._channel.web().token,
            )

        app = AsyncApp(
            # without a name Bolt looks for its caller's, and opens the sources of the whole stack for that
            name="koe",
            client=self._channel.client(None),
            before_authorize=self._keep_first,
            authorize=authorize,
            # signatures are checked before Bolt sees a request, with several secrets
            request_verification_enabled=False,
            ssl_check_enabled=False,
            # own messages are told apart by what they are: this one would need auth.test, and acknowledges
            # unstored
            ignoring_self_events_enabled=False,
            logger=logging.getLogger("koe.slack"),
        )
        app.command(COMMAND)(self._guarded_command(self._commands.answer))
        app.view(SURVEY_VIEW)(self._guarded("view", SURVEY_VIEW, self._desk.submitted))
        for name in (CUSTOMER, "flow", "channel", "when"):
            chosen = self._guarded("action", name, self._desk.changed)
            app.action({"block_id": name, "action_id": name})(chosen)
        app.options(CUSTOMER)(self._guarded_options(CUSTOMER, self._desk.suggested))
        app.shortcut(START)(self._guarded("shortcut", START, self._desk.open))
        app.shortcut(ABOUT)(self._guarded("shortcut", ABOUT, self._desk.open_about))
        app.action(home.START)(self._guarded("action", home.START, self._desk.open))
        app.action(home.CASES)(self._guarded("action", home.CASES, self._home.list_cases))
        app.action(home.DIGEST)(self._guarded("action", home.DIGEST, self._home.show_digest))
        for way in (home.DETAILS, home.PREVIOUS):
            app.action(way)(self._guarded("action", way, self._home.show_digest))
        app.action(home.REFRESH)(self._guarded("action", home.REFRESH, self._home.refresh))
        app.action(report.OPEN)(self._guarded("action", report.OPEN, _nothing))
        app.action(WRITE)(self._guarded("action", WRITE, self._on_write))
        app.action(CHANGE)(self._guarded("action", CHANGE, self._on_change))
        if self._bulk is not None:
            app.view(BULK_VIEW)(self._guarded("view", BULK_VIEW, self._bulk.submitted))
        if self._cases is not None:
            app.action(WORDS)(self._guarded("action", WORDS, self._on_words))
            app.action(TEMPLATE)(self._guarded("action", TEMPLATE, self._cases.picked))
            app.action(re.compile(rf"{re.escape(ACTION)}\.\w+"))(self._guarded("action", ACTION, self._on_case))
        # nothing may answer 404: what we do not know is acknowledged, and where a person waits, explained
        anything = re.compile(".*", re.DOTALL)
        app.action(anything)(self._guarded("action", ANYTHING_ELSE, self._on_unknown_action))
        app.command(anything)(self._on_unknown_command)
        app.view(anything)(self._guarded("view", ANYTHING_ELSE, _nothing))
        app.view_closed(anything)(_only_ack)
        app.shortcut(anything)(self._guarded("shortcut", ANYTHING_ELSE, _nothing))
        app.options(anything)(_no_options)

        @app.error
        async def failed(error: Exception, body: JsonObject, context: dict[str, Any]) -> None:
            if isinstance(error, StoreError):
                context[_NOT_STORED] = error
            await self._on_error(error, body)

        return app

    # -------------------- stored, then acknowledged

    async def _keep_first(self, body: Any, next: Callable[[], Awaitable[Any]]) -> Any:  # noqa: A002
        from slack_bolt import BoltResponse

        done = BoltResponse(status=200, body="")
        if not is_payload(body):
            return BoltResponse(status=400, body={"error": "malformed", "message": _MALFORMED})
        kind = kind_of(body)
        if kind is None:
            return await next()
        if not self._is_ours(body, kind):
            log.info("slack_foreign_workspace", kind=kind)
            return done
        workspace = self._workspace(body)
        if kind == "event":
            known = self._channel.identity
            inbound = messages.parse_event(body, workspace=workspace, bot_user_id=known.bot_user_id if known else "")
            if isinstance(inbound.content, Ignored):
                fresh = await self._store(self._noted(body, kind, workspace))
                event = body.get("event")
                if fresh and isinstance(event, dict) and event.get("type") == "app_home_opened":
                    self._home.opened(event, team_id=str(event.get("user_team") or ""))
            else:
                await self._converse(inbound)
            hit("slack.before_ack")
            return done
        answered = messages.parse_action(body, workspace=workspace, now_ms=self._now_ms())
        if answered is not None:
            await self._converse(answered)
            hit("slack.before_ack")
            return done
        if self._cases is not None:
            case_answer = await self._cases.take(body, key=messages.interaction_key(body), workspace=workspace)
            if case_answer is not None:
                hit("slack.before_ack")
                return BoltResponse(status=200, body=case_answer)
        key = messages.interaction_key(body)
        if self._bulk is not None and kind == "action" and await self._bulk.take(body, key=key, workspace=workspace):
            hit("slack.before_ack")
            return done
        if kind == "command" and await self._commands.take(
            body, key=messages.interaction_key(body), workspace=workspace
        ):
            hit("slack.before_ack")
            return done
        if not await self._store(self._noted(body, kind, workspace)):
            return done
        if kind == "other":
            return done
        return await next()

    def _noted(self, body: Mapping[str, Any], kind: Kind, workspace: str) -> SlackInbound:
        if kind == "event":
            event = body.get("event")
            name = event.get("type") if isinstance(event, dict) else body.get("type")
            return SlackInbound(messages.event_key(body), workspace, kind, str(name), "", self._now_ms())
        user, view = body.get("user"), body.get("view")
        name = body.get("command") or body.get("callback_id")
        name = name or messages.first_action(body).get("action_id")
        name = name or (view.get("callback_id") if isinstance(view, dict) else "")
        user_id = user.get("id") if isinstance(user, dict) else body.get("user_id")
        key = messages.interaction_key(body)
        return SlackInbound(key, workspace, kind, str(name or ""), str(user_id or ""), self._now_ms())

    def _workspace(self, body: Mapping[str, Any]) -> str:
        known = self._channel.identity
        if known is not None and known.team_id:
            return known.team_id
        team = body.get("team")
        return str(body.get("team_id") or (team.get("id") if isinstance(team, dict) else "") or "")

    def _is_ours(self, body: Mapping[str, Any], kind: Kind) -> bool:
        """Whether it comes from our installation. People of other teams may well write to it (Slack
        Connect); what is open to them is decided by who they are, later."""
        known = self._channel.identity
        if known is None or not known.team_id or kind != "event":
            return True
        teams = {body.get("team_id")}
        for authorization in body.get("authorizations") or ():
            if isinstance(authorization, dict):
                teams.add(authorization.get("team_id"))
        return known.team_id in teams or not (teams - {None})

    # -------------------- listeners

    def _guarded(self, kind: access.Kind, name: str, handle: Handler) -> Callable[..., Awaitable[None]]:
        """A listener that asks for the permission which bot.staff.access declares for this way in, each time.

        A click is acknowledged first. A window's answer is its acknowledgement: before it stands only what is known
        and stored here, never a call of Slack's.

        Raises:
            Undeclared: no permission is declared.
        """
        permission = access.permission_of(kind, name)

        async def window(ack: Any, body: JsonObject) -> None:
            person, refused = await self._access.decide_now(permission, body, way=f"{kind}:{name}")
            answer = self._refusal_of(body, refused, person.lang) if refused else await handle(body, person)
            hit("slack.before_ack")
            await ack(**(answer or {}))

        async def click(ack: Any, body: JsonObject) -> None:
            await ack()
            await self._afterwards(body, work(body))

        async def work(body: JsonObject) -> None:
            person, refused = await self._access.decide(permission, body, way=f"{kind}:{name}")
            await (self._tell(body, refused, person.lang) if refused else handle(body, person))

        return window if kind == "view" else click

    async def _afterwards(self, body: JsonObject, work: Awaitable[None]) -> None:
        """What follows an acknowledgement. Its failure ends here: Bolt, which looks every 10 ms whether there is an
        acknowledgement, forgets one whose listener fails before it has looked, and lets Slack wait in vain."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - as Bolt itself: it ends in the log, and in a sentence for the person
            await self._on_error(error, body)

    def _guarded_command(self, handle: Handler) -> Callable[..., Awaitable[None]]:
        """The listener of the slash command; what it asks for is decided by the first word behind it."""

        async def listener(ack: Any, body: JsonObject) -> None:
            await ack()
            await self._afterwards(body, work(body))

        async def work(body: JsonObject) -> None:
            word = (str(body.get("text") or "").split() or [""])[0].lower()
            word = word if word in access.COMMANDS else ANYTHING_ELSE
            person, refused = await self._access.decide(
                access.permission_of("command", word), body, way=f"command:{word}"
            )
            sentence = refused or await handle(body, person)
            if sentence:
                await self._tell(body, sentence, person.lang)

        return listener

    def _guarded_options(
        self, name: str, offer: Callable[[JsonObject, Person], Awaitable[list[JsonObject]]]
    ) -> Callable[..., Awaitable[None]]:
        """The listener of a field that offers choices while somebody types: none for who may not, and none to the
        first letter of somebody whom Slack has not told of yet. Each letter asks again, so that a refusal leaves no
        row in the audit."""
        permission = access.permission_of("option", name)

        async def listener(ack: Any, body: JsonObject) -> None:
            person, refused = await self._access.decide_now(permission, body, way="")
            await ack(options=[] if refused else await offer(body, person))

        return listener

    def _refusal_of(self, body: Mapping[str, Any], sentence: str, lang: str) -> JsonObject:
        """How a window says that it may not be sent: under its first field, or in its place."""
        view = body.get("view")
        blocks = view.get("blocks") if isinstance(view, dict) else None
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and block.get("type") == "input":
                return {"response_action": "errors", "errors": {block.get("block_id"): sentence}}
        return {"response_action": "update", "view": self._told_view(sentence, lang)}

    def _told_view(self, sentence: str, lang: str) -> JsonObject:
        close = self._words("button.cancel", lang)
        return kit.modal("koe.told", "Koe", [kit.words((sentence, False))], close=close)

    async def _on_case(self, body: JsonObject, person: Person) -> None:
        sentence = "" if self._cases is None else await self._cases.pressed(body, person)
        if sentence:
            await self._tell(body, sentence, person.lang)

    async def _on_words(self, body: JsonObject, person: Person) -> None:
        sentence = "" if self._cases is None else await self._cases.opened(body, person)
        if sentence:
            await self._tell(body, sentence, person.lang)

    async def _on_write(self, body: JsonObject, _: Person) -> None:
        view = messages.answer_view(str(messages.first_action(body).get("value", "")), self._channel.deck)
        if view is not None:
            await self._channel.call("views.open", {"trigger_id": body.get("trigger_id"), "view": view})

    async def _on_change(self, body: JsonObject, _: Person) -> None:
        message, channel = body.get("message") or {}, body.get("channel") or {}
        again = messages.choices_again(str(messages.first_action(body).get("value", "")), message.get("blocks"))
        if again is None:
            return
        args = {"channel": channel.get("id"), "ts": message.get("ts"), "blocks": again}
        # the fallback in the payload is escaped already, as it was sent
        await self._channel.call("chat.update", {**args, "text": str(message.get("text") or " ")}, repeatable=True)

    async def _on_unknown_action(self, body: JsonObject, _: Person) -> None:
        lang = await self._language(body)
        await self._tell(body, self._words("slack.closed", lang), lang)

    async def _on_unknown_command(self, ack: Any, body: JsonObject) -> None:
        await ack()
        lang = await self._language(body)
        await self._tell(body, self._commands.help_text(lang), lang)

    async def _on_error(self, error: Exception, body: JsonObject) -> None:
        """A listener failed: the log has the reason, the person a sentence that says what to do."""
        log.error("slack_listener_failed", kind=kind_of(body), exc_info=error)
        if body.get("type") in ("view_submission", "block_suggestion"):
            return  # it was not acknowledged: Slack's own window says that something went wrong
        late = isinstance(error, SlackError) and error.code in _TOO_LATE
        user_id, url = acting_person(body)[0], _response_url(body)
        if user_id:
            sentence = self._words("slack.late" if late else "slack.failed", await self._language(body))
            await self._teller.tell(user_id, sentence, url=url)

    async def _tell(self, body: JsonObject, sentence: str, lang: str) -> None:
        """A sentence for the person alone: below the message, or where there is none in a window of its own (on top of
        the one they are in); as a direct message when that window comes too late."""
        view, user_id, url = body.get("view"), acting_person(body)[0], _response_url(body)
        if not url and body.get("trigger_id"):
            in_window = isinstance(view, dict) and view.get("type") == "modal"
            args = {"trigger_id": body["trigger_id"], "view": self._told_view(sentence, lang)}
            try:
                await self._channel.call("views.push" if in_window else "views.open", args)
                return
            except SlackError as failed:
                log.info("slack_person_told_directly", reason=failed.code)
        await self._teller.tell(user_id, sentence, url=url)

    def _words(self, text_id: str, lang: str) -> str:
        return messages.say(self._channel.deck, text_id, lang)

    async def _language(self, body: Mapping[str, Any]) -> str:
        return (await self._people.who(acting_person(body)[0])).lang

    # -------------------- HTTP

    async def handle_http(self, request: Request, body: bytes | None = None) -> Response:
        """The answer to one POST of Slack's: 200 only for what is stored, 4xx for what Slack did not send,
        500 for a mistake of ours. `body` is given by who has read it already.

        Raises:
            StoreError: it could not be stored; whoever serves the route says so (Slack delivers events again).
        """
        from slack_bolt.adapter.starlette.async_handler import to_async_bolt_request, to_starlette_response

        if body is None:
            body = await _read(request)
        if body is None:
            return _refused(413, "too_large", "Slack never sends a request of this size.")
        if not self._verify(request.headers, body):
            return _refused(401, "invalid_signature", "This request was not signed by Slack in the last five minutes.")
        try:
            dispatched = to_async_bolt_request(request, body)
            answer = await self._bolt.async_dispatch(dispatched)
        except (ValueError, RecursionError, TypeError, AttributeError, LookupError) as unreadable:
            # what our own code raises is answered with 500 by Bolt; what escapes it is a payload Bolt
            # cannot read: not UTF-8, not JSON, nested beyond measure, no object, a click without an
            # action. Signed, yet nothing of Slack's
            log.warning("slack_payload_unreadable", reason=type(unreadable).__name__)
            return _refused(400, "malformed", _MALFORMED)
        if answer.status == 500 and (not_stored := dispatched.context.get(_NOT_STORED)) is not None:
            raise not_stored
        return to_starlette_response(answer)

    async def stop(self) -> None:
        """Disconnect from Socket Mode, and wait for what goes on behind the scenes. HTTP needs no stopping."""
        await self.socket.stop()
        await self._home.stop()
        await self._people.stop()


def _response_url(body: Mapping[str, Any]) -> str:
    url = body.get("response_url")
    return url if isinstance(url, str) else ""


async def _nothing(body: JsonObject, _: Person) -> None:
    """Somebody's window or shortcut from another time."""


async def _only_ack(ack: Any) -> None:
    await ack()


async def _no_options(ack: Any) -> None:
    await ack(options=[])


async def _read(request: Request) -> bytes | None:
    """The body; None as soon as it is longer than any of Slack's."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > BODY_LIMIT:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)


def _refused(status: int, code: str, sentence: str) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": code, "message": sentence}, status_code=status)
