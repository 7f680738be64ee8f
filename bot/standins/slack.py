"""The local Slack: a workspace behind the Web API's own methods, Socket Mode and signed HTTP, with the refusals of the
real platform; and here the people in it, who write, click, type and submit.

Message times, trigger ids, response URLs and rate limits follow the injected clock; signatures and the three seconds
for an acknowledgement follow the real one. Source: https://docs.slack.dev/ (pages of August 2026).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from bot.standins.blocks import elements_of, validate_options, validate_view
from bot.standins.elements import STATE_KEYS, find_element, initial_state, state_of
from bot.standins.reading import escaped, plain_words
from bot.standins.to_bot import Ack, ToBot, Transport
from bot.standins.web_api import MAX_VIEWS, WebApi
from bot.standins.wire import Clock, JsonObject, NotOnScreenError
from bot.standins.workspace import SlackMessage, Workspace, copy_of, new_id, new_uuid

_TROUBLE = "We had some trouble connecting. Try again?"


class SlackStandin(Workspace):
    """The platform and its people. Start `app` with `bot.standins.serve`; it closes its connections at shutdown.

    Args:
        request_url: Where events, commands and interactions go over HTTP ("" when Socket Mode is used).
        transport: How the bot is reached; may be changed at any time, as `to_bot.transport`.
        scopes: The bot's scopes; None grants everything.
        events: The subscribed event types.
        rate_limits: False switches the documented rates off.
        takes_charts: Whether messages may have chart blocks, which came in June 2026 and not to every workspace.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        signing_secret: str,
        bot_token: str,
        app_token: str = "",
        request_url: str = "",
        team_id: str = "T0DEMO",
        bot_user: str = "U0KOE",
        bot_id: str = "B0KOE",
        app_id: str = "A0KOE",
        bot_name: str = "Koe",
        transport: Transport = "http",
        scopes: frozenset[str] | None = None,
        events: frozenset[str] = frozenset({"message.im", "app_mention", "app_home_opened"}),
        rate_limits: bool = True,
        takes_charts: bool = True,
    ) -> None:
        super().__init__(
            clock=clock,
            address=self._url,
            team_id=team_id,
            bot_user=bot_user,
            bot_id=bot_id,
            app_id=app_id,
            bot_name=bot_name,
            scopes=scopes,
            events=events,
            takes_charts=takes_charts,
        )
        self.to_bot = ToBot(app_id=app_id, signing_secret=signing_secret, request_url=request_url, transport=transport)
        self.api = WebApi(
            self, bot_token=bot_token, app_token=app_token, ticket=self.to_bot.ticket, rate_limits=rate_limits
        )
        self.events: list[JsonObject] = []
        """Every event envelope sent, in order, as first sent."""
        self._message_state: dict[tuple[str, str, str], JsonObject] = {}
        self._offered: dict[tuple[str, str, str], list[JsonObject]] = {}
        self.app = Starlette(
            routes=[*self.api.routes, WebSocketRoute("/socket", self.to_bot.serve)], lifespan=self._lifespan
        )

    def _url(self) -> str:
        served: str = getattr(self.app.state, "url", "")
        return served or self.api.seen_url

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.to_bot.close()

    def fail_next(self, method: str, kind: str, times: int = 1) -> None:
        """Makes the next calls of `method` ("*": any; "response_url") go wrong.

        Kinds: "ratelimited:SECONDS" (429 with Retry-After), "ok_false:CODE", "timeout" and "reset_before"
        (nothing done), "timeout_after_accept" and "reset_after_accept" (done, never told), "500html",
        "500json", "503", "slow:SECONDS" (done, answered late).
        """
        self.api.faults.add(method, kind, times)

    # --- what people do ---

    async def says(self, user_id: str, channel_id: str, text: str, *, thread_ts: str | None = None) -> Ack:
        """The person writes. The bot hears of it in direct messages, and in channels when it is mentioned;
        an Ack of status 0 without an event id means that nothing was sent."""
        channel = self.place_seen_by(user_id, channel_id)
        message = SlackMessage(self.new_ts(), user_id, escaped(text), [], thread_ts=thread_ts)
        self.written[channel_id].append(message)
        self.changed()
        event: JsonObject = {
            "type": "message",
            "user": user_id,
            "text": re.sub(r"&lt;(@[A-Z0-9]+)&gt;", r"<\1>", message.text),
            "ts": message.ts,
            "event_ts": message.ts,
            "channel": channel_id,
            "team": self.users[user_id].team_id,
            "client_msg_id": new_uuid(),
        }
        message.text = event["text"]
        if thread_ts:
            event["thread_ts"] = thread_ts
        if channel.is_im:
            return replace(await self._event("message.im", {**event, "channel_type": "im"}), ts=message.ts)
        if f"<@{self.bot_user}>" in message.text:
            return replace(await self._event("app_mention", {**event, "type": "app_mention"}), ts=message.ts)
        kind = "message.groups" if channel.private else "message.channels"
        channel_type = "group" if channel.private else "channel"
        return replace(await self._event(kind, {**event, "channel_type": channel_type}), ts=message.ts)

    async def edits(self, user_id: str, channel_id: str, ts: str, text: str) -> Ack:
        """The person edits a message of theirs (the event has the subtype message_changed)."""
        message = self.message_at(channel_id, ts)
        before = self.message_json(message)
        message.text, message.edited = escaped(text), {"user": user_id, "ts": self.new_ts()}
        self.changed()
        return await self._event(
            "message.im",
            {
                "type": "message",
                "subtype": "message_changed",
                "channel": channel_id,
                "channel_type": "im",
                "hidden": True,
                "message": self.message_json(message),
                "previous_message": before,
                "ts": self.new_ts(),
                "event_ts": message.edited["ts"],
            },
        )

    async def clicks(
        self,
        user_id: str,
        channel_id: str,
        ts: str,
        action_id: str,
        *,
        block_id: str | None = None,
        value: str | None = None,
        selected: Any = None,
        seen: SlackMessage | None = None,
    ) -> Ack:
        """The person uses an element of a message. `value` tells buttons of one action_id apart; `selected`
        is an option's value, an option, or a list of them; `seen` is an older copy of the message still on
        their screen. A view's id as `ts` means an element of the modal.

        Raises:
            NotOnScreenError: the message, the element or the option is not there.
        """
        if ts.startswith("V"):
            return await self.picks(user_id, action_id, selected if selected is not None else value, block_id=block_id)
        payload = self._click(user_id, channel_id, ts, action_id, block_id, value, selected, seen)
        return await self.to_bot.send("interactive", payload)

    async def double_clicks(
        self, user_id: str, channel_id: str, ts: str, action_id: str, *, value: str | None = None
    ) -> tuple[Ack, Ack]:
        """The person clicks a button twice before the message changes: two interactions at once."""
        payloads = [self._click(user_id, channel_id, ts, action_id, None, value, None, None) for _ in range(2)]
        sending = [self.to_bot.send("interactive", payload) for payload in payloads]
        first, second = await asyncio.gather(*sending)
        return first, second

    async def command(self, user_id: str, channel_id: str, command: str, text: str = "") -> Ack:
        """The person types a slash command. A text in the acknowledgement is shown to them (or to the
        channel)."""
        channel = self.place_seen_by(user_id, channel_id)
        user = self.users[user_id]
        token = self.new_response_url(channel_id, user_id, "")
        fields = {
            "token": "verification",
            "team_id": user.team_id,
            "team_domain": user.team_id.lower(),
            "channel_id": channel_id,
            "channel_name": "directmessage" if channel.is_im else channel.name,
            "user_id": user_id,
            "user_name": user.name,
            "command": command,
            "text": text,
            "api_app_id": self.app_id,
            "is_enterprise_install": "false",
            "response_url": f"{self.address()}/response/{token}",
            "trigger_id": self.new_trigger(user_id),
        }
        ack = await self.to_bot.send("slash_commands", fields)
        body = {"text": ack.body} if isinstance(ack.body, str) and ack.body else ack.body
        if ack.ok and isinstance(body, dict) and (body.get("text") or body.get("blocks")):
            only_for = "" if body.get("response_type") == "in_channel" else user_id
            self.append(channel_id, body, only_for=only_for)
        return ack

    async def types(self, user_id: str, action_id: str, text: str, *, block_id: str | None = None) -> list[JsonObject]:
        """The person types into a field of the top modal that searches (`external_select`): the options the app
        offers, which they then `picks` or `submits` by value. Nothing is asked before `min_query_length` characters.

        Raises:
            NotOnScreenError: no such field, or the app's answer is none that Slack would show.
        """
        view = self.top_view(user_id)
        block, element = find_element(view["blocks"], action_id, block_id, None)
        if element["type"] != "external_select":
            raise NotOnScreenError(f"{action_id!r} is no field that searches")
        if len(text) < element.get("min_query_length", 3):
            return []
        payload = self._interaction(user_id, "block_suggestion")
        payload.pop("trigger_id")
        payload |= {
            "container": {"type": "view", "view_id": view["id"]},
            "view": copy_of(view),
            "action_id": action_id,
            "block_id": block["block_id"],
            "value": text,
        }
        ack = await self.to_bot.send("interactive", payload)
        body = ack.body if ack.ok and isinstance(ack.body, dict) else {}
        options = body.get("options")
        if not isinstance(options, list) or (options and (problems := validate_options(options))):
            why = problems if isinstance(options, list) else "no options in the answer"
            raise NotOnScreenError(f"{action_id!r} shows no options: {why}")
        self._offered[(view["id"], block["block_id"], action_id)] = options
        return options

    async def picks(self, user_id: str, action_id: str, selected: Any = None, *, block_id: str | None = None) -> Ack:
        """The person uses an element of the top modal that dispatches an action (a button, a select …)."""
        view = self.top_view(user_id)
        block, element = find_element(view["blocks"], action_id, block_id, None)
        selected = self._chosen(user_id, view, block, element, selected)
        action = self._action(block, element, None, selected)
        if element["type"] != "button":
            state = view["state"]["values"].setdefault(block["block_id"], {})
            state[action_id] = state_of(element, selected)
        return await self._view_action(user_id, view, action, "view")

    async def clicks_home(self, user_id: str, action_id: str, selected: Any = None, *, value: str | None = None) -> Ack:
        """The person uses an element of their App Home."""
        view = self.homes.get(user_id)
        if view is None:
            raise NotOnScreenError(f"{user_id} has no App Home")
        block, element = find_element(view["blocks"], action_id, None, value)
        return await self._view_action(user_id, view, self._action(block, element, value, selected), "view")

    async def submits(self, user_id: str, values: Mapping[str, Any] | None = None, *, forged: bool = False) -> Ack:
        """The person presses the top modal's submit button. `values` by action id, by block id, or nested
        as in Slack's state; an option may be named by its value. The modal closes, stays with errors,
        changes or stacks as the acknowledgement says. `forged` skips what the client checks (required
        inputs, lengths).

        Raises:
            NotOnScreenError: no modal, an input or option that is not there, a required input left empty.
        """
        view = self.top_view(user_id)
        self._fill(user_id, view, values or {}, forged=forged)
        self.errors.pop(user_id, None)
        ack = await self.to_bot.send(
            "interactive",
            {**self._interaction(user_id, "view_submission"), "view": copy_of(view), "response_urls": []},
        )
        self._after_submit(user_id, view, ack)
        self.changed()
        return ack

    async def closes(self, user_id: str, *, all_views: bool = False) -> Ack:
        """The person closes the top modal (or the whole stack). The bot hears of it when the view asked for
        that."""
        view = self.top_view(user_id)
        stack = self.modals[user_id]
        del stack[0 if all_views else -1 :]
        self.errors.pop(user_id, None)
        self.changed()
        if not view.get("notify_on_close"):
            return Ack(0)
        closed = {**self._interaction(user_id, "view_closed"), "view": copy_of(view), "is_cleared": all_views}
        closed.pop("trigger_id", None)
        return await self.to_bot.send("interactive", closed)

    async def shortcut(
        self, user_id: str, callback_id: str, *, channel_id: str | None = None, ts: str | None = None
    ) -> Ack:
        """The person uses a global shortcut, or with `channel_id` and `ts` a message shortcut."""
        if channel_id is None or ts is None:
            payload = {**self._interaction(user_id, "shortcut"), "callback_id": callback_id}
            return await self.to_bot.send("interactive", {**payload, "action_ts": self.new_ts()})
        message = self.message_at(channel_id, ts)
        token = self.new_response_url(channel_id, user_id, ts)
        payload = {
            **self._interaction(user_id, "message_action"),
            "callback_id": callback_id,
            "channel": self.channel_json(channel_id),
            "message": self.message_json(message),
            "message_ts": ts,
            "response_url": f"{self.address()}/response/{token}",
            "action_ts": self.new_ts(),
        }
        return await self.to_bot.send("interactive", payload)

    async def opens_home(self, user_id: str, tab: Literal["home", "messages"] = "home") -> Ack:
        """The person opens the app's Home or its messages tab."""
        event: JsonObject = {
            "type": "app_home_opened",
            "user": user_id,
            "channel": self.dm_of(user_id),
            "tab": tab,
            "event_ts": self.new_ts(),
        }
        if tab == "home" and (view := self.homes.get(user_id)) is not None:
            event["view"] = copy_of(view)
        return await self._event("app_home_opened", event)

    async def sends_event(self, event: JsonObject) -> Ack:
        """Any event, whether subscribed or not (`tokens_revoked`, an unknown one …)."""
        return await self._event("", {"event_ts": self.new_ts(), **event})

    async def redeliver(self, event_id: str, retry_num: int = 1, reason: str = "http_timeout") -> Ack:
        """The same event again: Slack tries three times more, at once, after a minute, after five."""
        for envelope in self.events:
            if envelope["event_id"] == event_id:
                return await self.to_bot.send("events_api", envelope, retry_num=retry_num, reason=reason)
        raise NotOnScreenError(f"no event {event_id} was sent")

    async def verifies_url(self) -> Ack:
        """Slack checks the request URL; the body of the answer must hold the challenge."""
        body = json.dumps({"type": "url_verification", "challenge": "c-" + new_id("")}).encode()
        return await self.to_bot.post(body, "application/json", {})

    async def deliver_raw(
        self,
        body: bytes,
        *,
        content_type: str = "application/json",
        timestamp: str | None = None,
        signature: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Ack:
        """Exactly this body over HTTP; `timestamp` and `signature` replace the true ones."""
        return await self.to_bot.post(body, content_type, dict(headers or {}), timestamp, signature)

    # --- what the bot hears of it ---

    async def _event(self, kind: str, event: JsonObject) -> Ack:
        if kind and kind not in self.subscribed:
            return Ack(0)
        user = self.users.get(str(event.get("user")))
        envelope = {
            "token": "verification",
            "team_id": self.team_id,
            "api_app_id": self.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": new_id("Ev"),
            "event_time": self.clock.now_ms() // 1000,
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": self.team_id,
                    "user_id": self.bot_user,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": user is not None and user.team_id != self.team_id,
        }
        self.events.append(envelope)
        return await self.to_bot.send("events_api", envelope)

    def _interaction(self, user_id: str, kind: str) -> JsonObject:
        user = self.person(user_id)
        return {
            "type": kind,
            "token": "verification",
            "api_app_id": self.app_id,
            "team": {"id": self.team_id, "domain": self.team_id.lower()},
            "user": {"id": user_id, "username": user.name, "name": user.name, "team_id": user.team_id},
            "enterprise": None,
            "is_enterprise_install": False,
            "trigger_id": self.new_trigger(user_id),
        }

    def _click(
        self,
        user_id: str,
        channel_id: str,
        ts: str,
        action_id: str,
        block_id: str | None,
        value: str | None,
        selected: Any,
        seen: SlackMessage | None,
    ) -> JsonObject:
        self.place_seen_by(user_id, channel_id)
        message = seen or self.message_at(channel_id, ts)
        if message.only_for not in ("", user_id):
            raise NotOnScreenError(f"only {message.only_for} sees the message {ts}")
        block, element = find_element(message.blocks, action_id, block_id, value)
        action = self._action(block, element, value, selected)
        state = self._message_state.setdefault((user_id, channel_id, ts), initial_state(message.blocks))
        if element["type"] in STATE_KEYS and element["type"] != "overflow":
            state.setdefault(block["block_id"], {})[action_id] = state_of(element, selected)
        token = self.new_response_url(channel_id, user_id, ts)
        return {
            **self._interaction(user_id, "block_actions"),
            "container": {
                "type": "message",
                "message_ts": ts,
                "channel_id": channel_id,
                "is_ephemeral": bool(message.only_for),
            },
            "channel": self.channel_json(channel_id),
            "message": self.message_json(message),
            "state": {"values": copy_of(state)},
            "response_url": f"{self.address()}/response/{token}",
            "actions": [action],
        }

    async def _view_action(self, user_id: str, view: JsonObject, action: JsonObject, container: str) -> Ack:
        payload = self._interaction(user_id, "block_actions")
        self.triggers[payload["trigger_id"]].view_id = view["id"]
        payload |= {
            "container": {"type": container, "view_id": view["id"]},
            "view": copy_of(view),
            "actions": [action],
        }
        return await self.to_bot.send("interactive", payload)

    def _action(self, block: JsonObject, element: JsonObject, value: str | None, selected: Any) -> JsonObject:
        action: JsonObject = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": block["block_id"],
            "action_ts": self.new_ts(),
        }
        if element["type"] == "button":
            action["text"] = element["text"]
            action |= {name: element[name] for name in ("value", "style") if name in element}
        else:
            action |= state_of(element, selected if selected is not None else value)
        return action

    def _chosen(self, user_id: str, view: JsonObject, block: JsonObject, element: JsonObject, given: Any) -> Any:
        """What the person chose, where the form of it is Slack's: an option that was offered, their own files."""
        if element["type"] == "external_select" and given:
            value = given.get("value") if isinstance(given, Mapping) else given
            if isinstance(given, Mapping) and "selected_option" in given:
                chosen = given["selected_option"]
                value = chosen.get("value") if isinstance(chosen, Mapping) else None
                if value is None:
                    return None
            seen = self._offered.get((view["id"], block["block_id"], element["action_id"]), [])
            for option in (*seen, *([element["initial_option"]] if "initial_option" in element else ())):
                if option["value"] == value:
                    return option
            raise NotOnScreenError(f"{element['action_id']} offers no option {value!r}; type first")
        if element["type"] == "file_input" and given:
            named = given.get("files") if isinstance(given, Mapping) else given
            files = [self.files[file_id] for file_id in ([named] if isinstance(named, str) else named or [])]
            kinds = element.get("filetypes")
            if len(files) > element.get("max_files", 10):
                raise NotOnScreenError(f"{element['action_id']} takes {element.get('max_files', 10)} files")
            for file in files:
                if file.get("user") != user_id:
                    raise NotOnScreenError(f"{user_id} has no file {file['id']}")
                if kinds and str(file["name"]).rpartition(".")[2].lower() not in kinds:
                    raise NotOnScreenError(f"{element['action_id']} takes {', '.join(kinds)}, not {file['name']}")
            return {"files": [self.file_json(file) for file in files]}
        return given

    def _fill(self, user_id: str, view: JsonObject, values: Mapping[str, Any], *, forged: bool) -> None:
        used: set[str] = set()
        state: dict[str, JsonObject] = view["state"]["values"]
        for block in view["blocks"]:
            for element in elements_of(block):
                action_id, block_id = element.get("action_id"), block["block_id"]
                if element["type"] not in STATE_KEYS or not isinstance(action_id, str):
                    continue
                nested = values.get(block_id)
                if isinstance(nested, Mapping) and action_id in nested:
                    given = nested[action_id]
                elif action_id in values:
                    given = values[action_id]
                elif block_id in values:
                    given = nested
                else:
                    continue
                used |= {block_id, action_id}
                given = self._chosen(user_id, view, block, element, given)
                state.setdefault(block_id, {})[action_id] = state_of(element, given)
        strange = [name for name in values if name not in used]
        if strange:
            raise NotOnScreenError(f"the modal has no input {strange[0]!r}")
        if forged:
            return
        for block in view["blocks"]:
            if block["type"] == "input":
                element = block["element"]
                held = state[block["block_id"]][element["action_id"]]
                content = held[STATE_KEYS[element["type"]]]
                if not content and not block.get("optional"):
                    raise NotOnScreenError(f"{plain_words(block['label'])!r} must be filled in")
                if isinstance(content, str) and element["type"] == "plain_text_input":
                    longest = element.get("max_length", 3000)
                    if not element.get("min_length", 0) <= len(content) <= longest:
                        label = plain_words(block["label"])
                        raise NotOnScreenError(f"{label!r} takes at most {longest} characters")

    def _after_submit(self, user_id: str, view: JsonObject, ack: Ack) -> None:
        stack = self.modals.get(user_id, [])
        if view not in stack:
            return  # the bot changed the stack itself meanwhile
        body = ack.body if ack.body not in ("", None) else {}
        if not ack.ok or not isinstance(body, dict):
            self.errors[user_id] = {"": _TROUBLE}
            return
        match body.get("response_action"):
            case None:
                stack.remove(view)
            case "clear":
                stack.clear()
            case "errors":
                inputs = {block["block_id"] for block in view["blocks"] if block["type"] == "input"}
                errors = body.get("errors") or {}
                strange = [name for name in errors if name not in inputs]
                self.errors[user_id] = {"": _TROUBLE} if strange or not errors else dict(errors)
            case "update" | "push" as action:
                given = body.get("view")
                if validate_view(given) or not isinstance(given, dict):
                    self.errors[user_id] = {"": _TROUBLE}
                elif action == "update":
                    self.replace_view(user_id, stack.index(view), given)
                elif len(stack) < MAX_VIEWS:
                    self.push_view(user_id, given, fresh=False)
                else:
                    self.errors[user_id] = {"": _TROUBLE}
            case _:
                self.errors[user_id] = {"": _TROUBLE}
