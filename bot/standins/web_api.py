"""Slack's Web API and what belongs to it: uploads, downloads, response URLs; with the scopes, rates and refusals of the
real one.

Source: https://docs.slack.dev/ (pages of August 2026).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.standins.blocks import elements_of, validate_blocks, validate_message, validate_view
from bot.standins.wire import Bucket, Dropped, Faults, JsonObject, Recorded, Silent, json_or_none, read_body
from bot.standins.workspace import (
    NotOkError,
    ResponseUrl,
    SlackChannel,
    SlackMessage,
    Workspace,
    copy_of,
    new_id,
)

RESPONSE_URL_USES = 5
MAX_VIEWS = 3
MAX_VIEW_CHARS = 250_000
MAX_METADATA_CHARS = 16_000
_MAX_BODY_BYTES = 8 * 1024 * 1024
_PER_MINUTE = {  # calls a minute of the documented tiers; chat.postMessage has its own rule
    "auth.test": 600,
    "chat.update": 50,
    "chat.postEphemeral": 100,
    "chat.delete": 50,
    "conversations.open": 50,
    "conversations.info": 50,
    "conversations.list": 20,
    "conversations.members": 100,
    "conversations.history": 50,
    "conversations.replies": 50,
    "users.info": 100,
    "users.list": 20,
    "usergroups.list": 20,
    "usergroups.users.list": 20,
    "views.open": 100,
    "views.push": 100,
    "views.update": 100,
    "views.publish": 100,
    "apps.connections.open": 50,
    "files.info": 100,
    "files.getUploadURLExternal": 100,
    "files.completeUploadExternal": 100,
}
_POST_BURST = 10
"""chat.postMessage: one a second and channel; the burst Slack tolerates is not documented, this is a
guess."""
_SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.delete": "chat:write",
    "conversations.open": "im:write",
    "users.info": "users:read",
    "users.list": "users:read",
    "usergroups.list": "usergroups:read",
    "usergroups.users.list": "usergroups:read",
    "files.info": "files:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
_OF_A_PLACE = {  # what such a method asks for depends on the kind of conversation
    "conversations.info": "read",
    "conversations.members": "read",
    "conversations.history": "history",
    "conversations.replies": "history",
}
_LISTED = {"public_channel": "channels:read", "private_channel": "groups:read"}
EVERY_SCOPE = frozenset(
    {*_SCOPES.values(), "commands", "app_mentions:read", "usergroups:read"}
    | {f"{kind}:{verb}" for kind in ("channels", "groups", "im", "mpim") for verb in ("read", "history", "write")}
)
"""What an installation that was granted everything says in `x-oauth-scopes`."""
_JSON_FIELDS = ("blocks", "view", "metadata", "attachments", "files", "message")
_END: JsonObject = {"response_metadata": {"next_cursor": ""}}


class WebApi:
    """The methods of the Web API over one workspace, for the app that has these tokens.

    Args:
        ticket: What opens one more connection of Socket Mode, or None when there are too many.
        rate_limits: False switches the documented rates off.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        bot_token: str,
        app_token: str,
        ticket: Callable[[], str | None],
        rate_limits: bool,
    ) -> None:
        self.bot_token = bot_token
        self.app_token = app_token
        self.rate_limits = rate_limits
        self.requests: list[Recorded] = []
        self.answering = asyncio.Event()
        """Cleared: every call waits, until it is set again."""
        self.answering.set()
        self.faults = Faults()
        self.seen_url = ""
        """Under which address somebody called last."""
        self._team = workspace
        self._ticket = ticket
        self._buckets: dict[str, Bucket] = {}
        self.routes = [
            Route("/api/{method}", self._api, methods=["GET", "POST"]),
            Route("/upload/{file_id}", self._upload, methods=["POST"]),
            Route("/files-pri/{file_id}/{name}", self._download, methods=["GET"]),
            Route("/response/{token}", self._response_url, methods=["POST"]),
        ]

    async def _api(self, request: Request) -> Response:
        method = request.path_params["method"]
        raw = await read_body(request, _MAX_BODY_BYTES) or b""
        args = _arguments(request, raw)
        self.seen_url = f"{request.url.scheme}://{request.url.netloc}"
        kept = ("content-type", "user-agent")
        record = Recorded(
            method=request.method,
            path=method,
            headers={name: request.headers[name] for name in kept if name in request.headers},
            body={name: value for name, value in args.items() if name != "token"},
            status=0,
            at_ms=self._team.clock.now_ms(),
        )
        self.requests.append(record)
        await self.answering.wait()
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return await self._answer(
            record, self.faults.take(method), lambda: self._call(method, bearer or args.get("token", ""), args)
        )

    async def _answer(self, record: Recorded, kind: str, call: Callable[[], JsonObject]) -> Response:
        """Runs the call with this fault and notes the status that went out."""
        match kind:
            case "timeout":
                return Silent()
            case "reset_before":
                return Dropped()
            case "500html":
                record.status = 500
                return HTMLResponse("<html><body>Server Error</body></html>", 500)
            case "500json" | "503":
                record.status = int(kind[:3])
                return JSONResponse({"ok": False, "error": "internal_error"}, record.status)
            case _ if kind.startswith("ratelimited"):
                return self._limited(record, kind.partition(":")[2] or "1")
            case _ if kind.startswith("ok_false:"):
                record.status = 200
                return JSONResponse({"ok": False, "error": kind.removeprefix("ok_false:")})
            case "" | "timeout_after_accept" | "reset_after_accept":
                pass
            case _ if not kind.startswith("slow:"):
                raise ValueError(f"unknown kind of fault {kind!r}")
        try:
            body = call()
        except NotOkError as refused:
            body = refused.body
        if kind == "reset_after_accept":
            return Dropped()
        if kind == "timeout_after_accept":
            return Silent()
        if kind.startswith("slow:"):
            await asyncio.sleep(float(kind.removeprefix("slow:")))
        if body.get("error") == "ratelimited":
            return self._limited(record, body["retry_after"])
        record.status = 200
        headers = {"x-slack-req-id": secrets.token_hex(16)}
        if record.path != "response_url" and body.get("error") not in ("not_authed", "invalid_auth"):
            headers["x-oauth-scopes"] = ",".join(
                sorted(EVERY_SCOPE if self._team.scopes is None else self._team.scopes)
            )
        return JSONResponse(body, headers=headers)

    def _limited(self, record: Recorded, seconds: str) -> Response:
        record.status = 429
        return JSONResponse({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": seconds})

    def _call(self, method: str, token: str, args: JsonObject) -> JsonObject:
        expected = self.app_token if method == "apps.connections.open" else self.bot_token
        if not token:
            raise NotOkError("not_authed")
        if token != expected:
            wrong_kind = token and token in (self.app_token, self.bot_token)
            raise NotOkError("not_allowed_token_type" if wrong_kind else "invalid_auth")
        self._pace(method, args)
        self._scoped(method, args)
        match method:
            case "auth.test":
                team = {
                    "team": self._team.team_id.lower(),
                    "team_id": self._team.team_id,
                    "url": f"{self._team.address()}/",
                }
                me = {
                    "user": self._team.users[self._team.bot_user].name,
                    "user_id": self._team.bot_user,
                    "bot_id": self._team.bot_id,
                }
                return {"ok": True, **team, **me, "is_enterprise_install": False}
            case "chat.postMessage":
                return self._post_message(args)
            case "chat.update":
                return self._update_message(args)
            case "chat.postEphemeral":
                return self._post_ephemeral(args)
            case "chat.delete":
                message = self._own(args, "cant_delete_message")
                self._team.written[args["channel"]].remove(message)
                self._team.changed()
                return {"ok": True, "channel": args["channel"], "ts": message.ts}
            case "conversations.open":
                return self._open_conversation(args)
            case "conversations.info":
                return {"ok": True, "channel": self._team.channel_json(self._place(args).id)}
            case "conversations.list":
                kinds = _kinds(args)
                listed = [
                    c.id
                    for c in self._team.channels.values()
                    if not c.is_im
                    and self._team.visible(c)
                    and ("private_channel" if c.private else "public_channel") in kinds
                ]
                return {"ok": True, "channels": [self._team.channel_json(key) for key in listed], **_END}
            case "conversations.members":
                return {"ok": True, "members": list(self._place(args).members), **_END}
            case "conversations.history" | "conversations.replies":
                return self._history(method, args)
            case "users.info":
                user = self._team.users.get(str(args.get("user")))
                if user is None:
                    raise NotOkError("user_not_found")
                return {"ok": True, "user": self._team.user_json(user, _true(args.get("include_locale")))}
            case "users.list":
                locale, everybody = _true(args.get("include_locale")), list(self._team.users.values())
                limit, start = _whole(args, "limit", 1000), _whole(args, "cursor", 0)
                shown = [self._team.user_json(u, locale) for u in everybody[start : start + limit]]
                more = {"next_cursor": str(start + limit) if start + limit < len(everybody) else ""}
                return {"ok": True, "members": shown, "response_metadata": more}
            case "usergroups.list":
                listed_groups = [{"id": key, "handle": name} for key, (name, _) in self._team.groups.items()]
                return {"ok": True, "usergroups": listed_groups}
            case "usergroups.users.list":
                group = self._team.groups.get(str(args.get("usergroup")))
                if group is None:
                    raise NotOkError("no_such_subteam")
                return {"ok": True, "users": list(group[1])}
            case "views.open" | "views.push" | "views.update" | "views.publish":
                return {"ok": True, "view": copy_of(self._views(method, args))}
            case "apps.connections.open":
                ticket = self._ticket()
                if ticket is None:
                    raise NotOkError("too_many_websockets")
                return {
                    "ok": True,
                    "url": f"{self._team.address().replace('http', 'ws', 1)}/socket?ticket={ticket}",
                }
            case "files.info":
                return {"ok": True, "file": self._team.file_json(self._readable_file(args))}
            case "files.getUploadURLExternal":
                return self._new_file(args)
            case "files.completeUploadExternal":
                return self._complete_files(args)
            case "blocks.validate":
                return self._validate(args)
            case _:
                raise NotOkError("unknown_method", req_method=method)

    def _pace(self, method: str, args: JsonObject) -> None:
        if not self.rate_limits:
            return
        if method == "chat.postMessage":
            key = f"{method} {args.get('channel')}"
            bucket = self._buckets.setdefault(key, Bucket(_POST_BURST, _POST_BURST * 1000.0))
        elif method in _PER_MINUTE:
            bucket = self._buckets.setdefault(method, Bucket(_PER_MINUTE[method], 60_000.0))
        else:
            return
        wait_ms = bucket.take(self._team.clock.now_ms())
        if wait_ms:
            raise NotOkError("ratelimited", retry_after=str(max(1, -int(-wait_ms // 1000))))

    def _scoped(self, method: str, args: JsonObject) -> None:
        if self._team.scopes is None:
            return
        needed = {_SCOPES[method]} if method in _SCOPES else set()
        channel = self._team.channels.get(str(args.get("channel")))
        if method in _OF_A_PLACE:
            kind = "channels"
            if channel is not None and (channel.is_im or channel.private):
                kind = "im" if channel.is_im else "groups"
            needed = {f"{kind}:{_OF_A_PLACE[method]}"}
        elif method == "conversations.list":
            needed = {_LISTED[kind] for kind in _kinds(args) if kind in _LISTED}
        if missing := sorted(needed - self._team.scopes):
            raise NotOkError("missing_scope", needed=missing[0], provided=",".join(sorted(self._team.scopes)))

    def _place(self, args: JsonObject) -> SlackChannel:
        channel = self._team.channels.get(str(args.get("channel") or ""))
        if channel is None or not self._team.visible(channel):
            raise NotOkError("channel_not_found")
        return channel

    def _post_message(self, args: JsonObject) -> JsonObject:
        channel_id = str(args.get("channel") or "")
        if channel_id in self._team.users and channel_id != self._team.bot_user:
            args = {**args, "channel": self._team.dm_of(channel_id)}
        channel = self._place(args)
        if self._team.bot_user not in channel.members:
            raise NotOkError("channel_not_found" if channel.private else "not_in_channel")
        if channel.is_archived:
            raise NotOkError("is_archived")
        self._valid_message(args)
        thread_ts = args.get("thread_ts")
        if thread_ts and not any(m.ts == thread_ts for m in self._team.written[channel.id]):
            raise NotOkError("thread_not_found")
        message = self._team.append(channel.id, args)
        return {"ok": True, "channel": channel.id, "ts": message.ts, "message": self._team.message_json(message)}

    def _valid_message(self, args: JsonObject) -> None:
        blocks = args.get("blocks")
        if not (args.get("text") or blocks or args.get("attachments")):
            raise NotOkError("no_text")
        if blocks is not None:
            problems = validate_message({"blocks": blocks})
            if any("too much text" in problem for problem in problems):
                raise NotOkError("msg_blocks_too_long")
            if isinstance(blocks, list):
                problems += self._missing_files(blocks) + self._charts_refused(blocks)
            if problems:
                said = [f"[ERROR] {problem}" for problem in problems]
                raise NotOkError("invalid_blocks", errors=problems, response_metadata={"messages": said})
        metadata = args.get("metadata")
        if metadata:
            if (
                not isinstance(metadata, dict)
                or not isinstance(metadata.get("event_type"), str)
                or not isinstance(metadata.get("event_payload"), dict)
            ):
                raise NotOkError("invalid_metadata_format")
            if len(json.dumps(metadata)) > MAX_METADATA_CHARS:
                raise NotOkError("metadata_too_large")

    def _missing_files(self, blocks: list[Any]) -> list[str]:
        images = [block for block in blocks if isinstance(block, dict) and block.get("type") == "image"]
        images += [e for block in blocks for e in elements_of(block) if e.get("type") == "image"]
        named = [image["slack_file"] for image in images if isinstance(image.get("slack_file"), dict)]
        ready = {key for key, file in self._team.files.items() if file["completed"]}
        missing = [file["id"] for file in named if file.get("id") and file["id"] not in ready]
        return [f"invalid slack file {file_id} [json-pointer:/blocks]" for file_id in missing]

    def _charts_refused(self, blocks: list[Any]) -> list[str]:
        kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
        if self._team.takes_charts or "data_visualization" not in kinds:
            return []
        place = kinds.index("data_visualization")
        return [f"unsupported type: data_visualization [json-pointer:/blocks/{place}/type]"]

    def _own(self, args: JsonObject, refusal: str) -> SlackMessage:
        channel = self._place(args)
        for message in self._team.written[channel.id]:
            if message.ts == str(args.get("ts")) and not message.only_for:
                if message.user != self._team.bot_user:
                    raise NotOkError(refusal)
                return message
        raise NotOkError("message_not_found")

    def _update_message(self, args: JsonObject) -> JsonObject:
        message = self._own(args, "cant_update_message")
        self._valid_message(args)
        self._team.change(message, args)
        body = self._team.message_json(message)
        return {"ok": True, "channel": args["channel"], "ts": message.ts, "text": message.text, "message": body}

    def _post_ephemeral(self, args: JsonObject) -> JsonObject:
        channel = self._place(args)
        if self._team.bot_user not in channel.members:
            raise NotOkError("not_in_channel")
        if args.get("user") not in channel.members:
            raise NotOkError("user_not_in_channel")
        self._valid_message(args)
        return {"ok": True, "message_ts": self._team.append(channel.id, args, only_for=args["user"]).ts}

    def _open_conversation(self, args: JsonObject) -> JsonObject:
        user_id = str(args.get("users") or "")
        if args.get("channel"):
            return {"ok": True, "channel": {"id": self._place(args).id}}
        user = self._team.users.get(user_id)
        if user is None:
            raise NotOkError("user_not_found" if user_id else "invalid_arguments")
        if user.is_bot:
            raise NotOkError("cannot_dm_bot")
        if user.deleted:
            raise NotOkError("user_disabled")
        known = user_id in self._team.dms
        return {"ok": True, "no_op": known, "already_open": known, "channel": {"id": self._team.dm_of(user_id)}}

    def _history(self, method: str, args: JsonObject) -> JsonObject:
        channel = self._place(args)
        if self._team.bot_user not in channel.members:
            raise NotOkError("not_in_channel")
        inclusive = _true(args.get("inclusive"))
        oldest, latest = str(args.get("oldest") or ""), str(args.get("latest") or "")
        for name, given in (("oldest", oldest), ("latest", latest)):
            if given and not re.fullmatch(r"\d+(\.\d*)?", given):
                raise NotOkError(f"invalid_ts_{name}")
        found = [
            message
            for message in self._team.messages(channel.id)
            if (not oldest or _after(message.ts, oldest) or (inclusive and message.ts == oldest))
            and (not latest or _after(latest, message.ts) or (inclusive and message.ts == latest))
        ]
        if method == "conversations.replies":
            root = str(args.get("ts"))
            found = [message for message in found if root in (message.ts, message.thread_ts)]
            if not found:
                raise NotOkError("thread_not_found")
        else:
            found = [m for m in reversed(found) if m.thread_ts in (None, m.ts)]
        limit, start = _whole(args, "limit", 100), _whole(args, "cursor", 0)
        page, more = found[start : start + limit], len(found) > start + limit
        # without include_all_metadata only the app's own metadata would be left out for others; Koe reads
        # its own
        with_metadata = _true(args.get("include_all_metadata"))
        bodies = [self._team.message_json(message, metadata=with_metadata) for message in page]
        cursor = {"next_cursor": str(start + limit) if more else ""}
        return {"ok": True, "messages": bodies, "has_more": more, "response_metadata": cursor}

    def _views(self, method: str, args: JsonObject) -> JsonObject:
        view = args.get("view")
        problems = validate_view(view)
        wanted = "home" if method == "views.publish" else "modal"
        if not problems and isinstance(view, dict) and view["type"] != wanted:
            problems = [f"must be a {wanted} view [json-pointer:/view/type]"]
        if problems or not isinstance(view, dict):
            said = [f"[ERROR] {problem}" for problem in problems]
            raise NotOkError("invalid_arguments", response_metadata={"messages": said})
        if len(json.dumps(view, ensure_ascii=False)) > MAX_VIEW_CHARS:
            raise NotOkError("view_too_large")
        if method == "views.publish":
            return self._publish(args, view)
        if method == "views.update":
            return self._update_view(args, view)
        trigger = self._team.triggers.get(str(args.get("trigger_id")))
        if trigger is None:
            raise NotOkError("invalid_trigger_id")
        if trigger.used:
            raise NotOkError("exchanged_trigger_id")
        if self._team.clock.now_ms() > trigger.until_ms:
            raise NotOkError("expired_trigger_id")
        trigger.used = True
        stack = self._team.modals.setdefault(trigger.user_id, [])
        if method == "views.push" and not stack:
            raise NotOkError("not_found")
        if len(stack) >= MAX_VIEWS:
            raise NotOkError("push_limit_reached")
        return self._team.push_view(trigger.user_id, view, fresh=method == "views.open")

    def _publish(self, args: JsonObject, view: JsonObject) -> JsonObject:
        user_id = str(args.get("user_id"))
        if user_id not in self._team.users:
            raise NotOkError("invalid_arguments")
        before = self._team.homes.get(user_id)
        if args.get("hash") and (before is None or args["hash"] != before["hash"]):
            raise NotOkError("hash_conflict")
        return self._team.publish_view(user_id, view)

    def _update_view(self, args: JsonObject, view: JsonObject) -> JsonObject:
        for user_id, stack in self._team.modals.items():
            for index, old in enumerate(stack):
                by_external = args.get("external_id") and old["external_id"] == args["external_id"]
                if old["id"] == args.get("view_id") or by_external:
                    if args.get("hash") and args["hash"] != old["hash"]:
                        raise NotOkError("hash_conflict")
                    return self._team.replace_view(user_id, index, view)
        raise NotOkError("not_found")

    def _new_file(self, args: JsonObject) -> JsonObject:
        length = _whole(args, "length", 0)
        if not args.get("filename") or length <= 0:
            raise NotOkError("invalid_arguments")
        file_id = new_id("F")
        self._team.files[file_id] = {
            "id": file_id,
            "title": args["filename"],
            "name": args["filename"],
            "alt_txt": args.get("alt_txt") or "",
            "size": length,
            "content": b"",
            "completed": False,
        }
        return {"ok": True, "file_id": file_id, "upload_url": f"{self._team.address()}/upload/{file_id}"}

    def _complete_files(self, args: JsonObject) -> JsonObject:
        named = args.get("files")
        if not isinstance(named, list) or not named:
            raise NotOkError("invalid_arguments")
        done = []
        for item in named:
            file = self._team.files.get(str(item.get("id"))) if isinstance(item, dict) else None
            if file is None or len(file["content"]) != file["size"]:
                raise NotOkError("file_not_found")
            file.update(title=item.get("title") or file["title"], completed=True)
            done.append({"id": file["id"], "title": file["title"]})
        channel_id = args.get("channel_id") or args.get("channels")
        if channel_id:
            channel = self._place({"channel": channel_id})
            if self._team.bot_user not in channel.members:
                raise NotOkError("not_in_channel")
            words = {"text": args.get("initial_comment") or "", "thread_ts": args.get("thread_ts")}
            self._team.append(channel.id, words).files = done
        return {"ok": True, "files": done}

    def _validate(self, args: JsonObject) -> JsonObject:
        problems: list[str] = []
        if args.get("blocks") is not None:
            problems += validate_blocks(args["blocks"], "message")
        if args.get("message") is not None:
            problems += validate_message(args["message"])
        if args.get("view") is not None:
            problems += validate_view(args["view"])
        if problems:
            said = [f"[ERROR] {problem}" for problem in problems]
            raise NotOkError("invalid_blocks", errors=problems, response_metadata={"messages": said})
        return {"ok": True}

    def _readable_file(self, args: JsonObject) -> JsonObject:
        file = self._team.files.get(str(args.get("file")))
        if file is None:
            raise NotOkError("file_not_found")
        if file.get("deleted"):
            raise NotOkError("file_deleted")
        return file

    async def _download(self, request: Request) -> Response:
        """The bytes for who brings the bot's token; for anybody else the page on which people sign in."""
        file = self._team.files.get(request.path_params["file_id"])
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        kind = self.faults.take("download")
        self.requests.append(Recorded("GET", "download", {}, None, 200, self._team.clock.now_ms()))
        if kind == "reset_before":
            return Dropped()
        if kind in ("503", "500html"):
            return HTMLResponse("<html><body>Server Error</body></html>", int(kind[:3]))
        if kind.startswith("ratelimited"):
            return PlainTextResponse("", 429, {"Retry-After": kind.partition(":")[2] or "1"})
        scoped = self._team.scopes is None or "files:read" in self._team.scopes
        if bearer != self.bot_token or not scoped:
            return HTMLResponse("<!DOCTYPE html><html><body>Sign in to Slack</body></html>")
        if file is None or file.get("deleted"):
            return PlainTextResponse("not found", 404)
        return Response(file["content"], media_type="application/octet-stream")

    async def _upload(self, request: Request) -> Response:
        file = self._team.files.get(request.path_params["file_id"])
        raw = await read_body(request, _MAX_BODY_BYTES)
        if file is None or raw is None:
            return PlainTextResponse("not found", 404)
        if request.headers.get("content-type", "").startswith("multipart/"):
            return PlainTextResponse("raw bytes expected", 400)
        file["content"] = raw
        return PlainTextResponse(f"OK - {len(raw)}")

    async def _response_url(self, request: Request) -> Response:
        raw = await read_body(request, _MAX_BODY_BYTES) or b""
        body = json_or_none(raw)
        record = Recorded("POST", "response_url", {}, body, 0, self._team.clock.now_ms())
        self.requests.append(record)
        await self.answering.wait()

        def call() -> JsonObject:
            known = self._team.response_urls.get(request.path_params["token"])
            if known is None or self._team.clock.now_ms() >= known.until_ms:
                raise NotOkError("expired_url")
            if known.uses >= RESPONSE_URL_USES:
                raise NotOkError("used_url")
            if not isinstance(body, dict):
                raise NotOkError("invalid_payload")
            self._respond(known, body)
            known.uses += 1
            return {"ok": True}

        answer = await self._answer(record, self.faults.take("response_url"), call)
        if record.status == 200 and b'"ok":false' in bytes(answer.body):
            record.status = 404
            return Response(answer.body, 404, media_type="application/json")
        return answer

    def _respond(self, url: ResponseUrl, body: JsonObject) -> None:
        original = next((m for m in self._team.written[url.channel_id] if m.ts == url.ts), None)
        if body.get("delete_original"):
            if original is not None:
                self._team.written[url.channel_id].remove(original)
                self._team.changed()
            return
        self._valid_message(body)
        if body.get("replace_original") and original is not None:
            self._team.change(original, {"blocks": [], **body})
            return
        only_for = "" if body.get("response_type") == "in_channel" else url.user_id
        self._team.append(url.channel_id, body, only_for=only_for)


def _kinds(args: JsonObject) -> list[str]:
    return [kind.strip() for kind in str(args.get("types") or "public_channel").split(",")]


def _arguments(request: Request, raw: bytes) -> JsonObject:
    """A call's arguments, whichever of the three ways the SDK sends them: query, form or JSON."""
    args: JsonObject = dict(request.query_params)
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("application/json"):
        body = json_or_none(raw)
        args |= body if isinstance(body, dict) else {}
    elif raw:
        args |= dict(parse_qsl(raw.decode(errors="replace"), keep_blank_values=True))
    for name in _JSON_FIELDS:
        if isinstance(args.get(name), str):
            parsed = json_or_none(args[name].encode())
            args[name] = parsed if parsed is not None else args[name]
    return args


def _whole(args: JsonObject, name: str, default: int) -> int:
    given = str(args.get(name) or default)
    if not given.isdecimal():
        raise NotOkError("invalid_cursor" if name == "cursor" else "invalid_arguments")
    return int(given)


def _after(ts: str, other: str) -> bool:
    def parts(value: str) -> tuple[int, int]:
        seconds, _, micros = value.partition(".")
        return int(seconds or 0), int((micros or "0").ljust(6, "0")[:6])

    return parts(ts) > parts(other)


def _true(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")
