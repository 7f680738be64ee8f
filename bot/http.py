"""The routes: verify, parse, hand over, answer. No decisions.

Signatures are checked on the raw bytes before anything is parsed; bodies are bounded while they are read; errors are
`{"error": code, "message": sentence}`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec

import structlog
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bot import measures, reports, signatures
from bot.events.business import BadEvent, parse_event
from bot.line import BadWebhook, parse_webhook
from bot.listener import Post, RawHeaders
from storage.errors import StoreError
from storage.failpoints import hit

if TYPE_CHECKING:
    from bot.app import Koe

P = ParamSpec("P")

log = structlog.get_logger(__name__)

_LINE_PATH = "/line/webhook"
_LINE_BODY = 2 * 1024 * 1024
_SLACK_BODY = 1024 * 1024
_EVENT_BODY = 256 * 1024


class _BodyRefused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def error(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": code, "message": message}, status, headers=dict(headers or {}))


async def read_body(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes. How long it may take is the listener's business (bot/listener.py)."""
    scope, receive = request.scope, request.receive
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _BodyRefused(413, "too_large", f"the body may have {limit} bytes at most")
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _BodyRefused(400, "disconnected", "the sender hung up before the body was complete")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise _BodyRefused(413, "too_large", f"the body may have {limit} bytes at most")
    return body


@dataclass(frozen=True, slots=True)
class Web:
    """The web application: for any ASGI server, and for our listener's short way (bot/listener.py)."""

    framework: Starlette
    posts: Mapping[bytes, Post]
    """Customers' answers, by path: they come by the thousand, and the layers of a framework are a sixth of what their
    HTTP costs (docs/benchmarks.md). The routes have the same."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.framework(scope, receive, send)


def make_app(koe: Koe) -> Web:
    """The web application around a built Koe."""

    def guarded(surface: str, handler: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
        async def endpoint(*args: P.args, **kwargs: P.kwargs) -> Response:
            try:
                return await handler(*args, **kwargs)
            except _BodyRefused as refused:
                measures.refused.labels(surface, refused.code).inc()
                return error(refused.status, refused.code, refused.message, headers={"connection": "close"})
            except StoreError as trouble:
                # not stored, so not acknowledged: the platform asks again
                log.warning("store_refused", surface=surface, error=str(trouble))
                measures.refused.labels(surface, "store").inc()
                return error(503, "store_busy", "not stored; please send it again", headers={"retry-after": "5"})

        return endpoint

    received_from_line = measures.received.labels("line")
    taken = Response(b"{}", media_type="application/json")

    async def line_post(headers: RawHeaders, body: bytes) -> Response:
        if not koe.settings.line_on:
            return error(404, "line_off", "LINE is not set up here")
        if not signatures.verify_line(headers, body, koe.line_secrets):
            measures.refused.labels("line", "signature").inc()
            return error(401, "bad_signature", "x-line-signature does not match the body and a channel secret")
        try:
            inbounds = parse_webhook(body)
        except BadWebhook as bad:
            measures.refused.labels("line", "body").inc()
            return error(400, "bad_webhook", str(bad))
        started = time.perf_counter()
        if len(inbounds) == 1:
            await koe.take_in(inbounds[0])
        elif inbounds:
            # units run in the order in which they are queued, so events of one customer stay in order
            outcomes = await asyncio.gather(*(koe.take_in(i) for i in inbounds), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        measures.answer_seconds.observe(time.perf_counter() - started)
        received_from_line.inc(len(inbounds))
        hit("http.before_answer")
        return taken

    async def line_webhook(request: Request) -> Response:
        return await line_post(request.headers.raw, await read_body(request, _LINE_BODY))

    async def slack_events(request: Request) -> Response:
        if koe.slack is None:
            return error(404, "slack_off", "Slack is not set up here for HTTP")
        body = await read_body(request, _SLACK_BODY)
        return await koe.slack.handle_http(request, body)

    async def business_events(request: Request) -> Response:
        body = await read_body(request, _EVENT_BODY)
        if not koe.event_secrets:
            return error(404, "events_off", "set KOE_EVENTS_SECRETS to take business events")
        if not signatures.verify_standard_webhooks(request.headers.raw, body, koe.event_secrets, time.time()):
            measures.refused.labels("events", "signature").inc()
            return error(
                401,
                "bad_signature",
                "webhook-signature does not match, or webhook-timestamp is over 5 minutes off",
            )
        try:
            event, occurred_ms = parse_event(body, koe.shop.tz)
        except BadEvent as bad:
            measures.refused.labels("events", "body").inc()
            return error(400, "bad_event", str(bad))
        fresh = await koe.events.take(event, occurred_ms)
        measures.received.labels("events").inc()
        hit("http.before_answer")
        return JSONResponse({"id": event.id}, 202 if fresh else 200)

    async def report_page(request: Request) -> Response:
        digest_id, period = request.path_params["digest"], request.path_params["period"]
        why = koe.report_links.why_refused(digest_id, period, request.query_params.get("token", ""))
        if why is not None:
            log.info("report_refused", reason=why)
            measures.refused.labels("reports", why).inc()
            return _told(request, 403, "bad_link", reports.REFUSED)
        page = await koe.report_page(digest_id, period)
        if page is None:
            return _told(request, 404, "no_page", reports.NO_PAGE)
        return HTMLResponse(page.html, headers={**reports.HEADERS, "Content-Security-Policy": page.policy})

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if koe.stopping:
            return error(503, "stopping", "shutting down")
        try:
            await koe.store.read(lambda tx: tx.get_meta("schema"))
        except StoreError as trouble:
            return error(503, "store", str(trouble))
        return JSONResponse({"status": "ready"})

    async def metrics(request: Request) -> Response:
        await koe.measure()
        return Response(generate_latest(measures.registry), media_type="text/plain; version=0.0.4")

    app = Starlette(
        routes=[
            Route(_LINE_PATH, guarded("line", line_webhook), methods=["POST"]),
            Route("/slack/events", guarded("slack", slack_events), methods=["POST"]),
            Route("/events", guarded("events", business_events), methods=["POST"]),
            Route(reports.PATH, guarded("reports", report_page), methods=["GET"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", guarded("metrics", metrics)),
        ],
        exception_handlers={
            404: lambda request, exc: error(404, "not_found", "no such route"),
            405: lambda request, exc: error(
                405, "bad_method", "this route takes another method", headers=getattr(exc, "headers", None)
            ),
            # the traceback goes to the log, never to the sender
            Exception: lambda request, exc: error(500, "internal", "this is our mistake; the log has the details"),
        },
    )
    # a webhook with a slash too many is a mistake to be told, not a redirect that drops the body
    app.router.redirect_slashes = False
    return Web(app, {_LINE_PATH.encode(): guarded("line", line_post)})


def _told(request: Request, status: int, code: str, sentences: tuple[str, str]) -> Response:
    """A refusal for whoever asks: a page for a browser, JSON for a program."""
    if "text/html" in request.headers.get("accept", ""):
        policy = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
        return HTMLResponse(reports.notice(sentences), status, headers={**reports.HEADERS, **policy})
    return error(status, code, sentences[1], headers=reports.HEADERS)
