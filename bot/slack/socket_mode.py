"""Socket Mode: one connection to Slack, kept up whatever happens to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
    from slack_bolt.async_app import AsyncApp
    from slack_sdk.web.async_client import AsyncWebClient

log = structlog.get_logger(__name__)

CHECK_S: Final = 15.0
SILENCE_S: Final = 1800.0
"""A connection that brings nothing at all for so long is replaced, whatever it says of itself: after an idle
reconnect events can stop without a sign (bolt-python issue 1529)."""


class SocketMode:
    """The connection of one Bolt app.

    Args:
        client: Makes the client that asks Slack where to connect.
        silence_s: Seconds without anything from Slack after which the connection is replaced.
        check_s: Seconds between two looks at the connection.
    """

    def __init__(
        self,
        bolt: AsyncApp,
        *,
        client: Callable[[], AsyncWebClient],
        silence_s: float,
        check_s: float,
    ) -> None:
        self._bolt = bolt
        self._client = client
        self._silence_s = silence_s
        self._check_s = check_s
        self._socket: AsyncSocketModeHandler | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._heard_s = 0.0

    async def start(self, app_token: str, *, wait_s: float = 10.0) -> bool:
        """Connect, and keep connected until `stop`. True when the connection stands within `wait_s`
        seconds; otherwise it goes on trying behind the scenes."""
        if self._watchdog is not None:
            raise RuntimeError("Socket Mode is running already")
        connected = asyncio.Event()
        self._watchdog = asyncio.create_task(self._keep_connected(app_token, connected), name="slack-socket")
        try:
            async with asyncio.timeout(wait_s):
                await connected.wait()
        except TimeoutError:
            return False
        return True

    @property
    def connected(self) -> bool:
        """True while a Socket Mode connection stands."""
        client = self._socket.client if self._socket else None
        return client is not None and client.current_session is not None and not client.current_session.closed

    async def stop(self) -> None:
        """Disconnect."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.cancel()
            await asyncio.wait({watchdog})
        await self._drop_socket()

    async def _keep_connected(self, app_token: str, connected: asyncio.Event) -> None:
        """Rebuild the connection whenever it is down at two looks in a row, or brings nothing for too
        long: the SDK's own reconnecting can get stuck after a loss of network (python-slack-sdk issues
        1446, 1701)."""
        down = 0
        while True:
            if self._socket is None:
                if await self._connect(app_token):
                    connected.set()
                down = 0
            await asyncio.sleep(self._check_s)
            socket = self._socket
            alive = socket is not None and await socket.client.is_connected()
            down = 0 if alive else down + 1
            silent_s = time.monotonic() - self._heard_s
            if down >= 2 or silent_s > self._silence_s:
                log.warning("slack_socket_rebuilt", down=down, silent_s=round(silent_s))
                await self._drop_socket()

    async def _connect(self, app_token: str) -> bool:
        from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler

        self._heard_s = time.monotonic()
        socket = AsyncSocketModeHandler(
            self._bolt,
            app_token,
            web_client=self._client(),
            logger=logging.getLogger("koe.slack"),
        )
        self._socket = socket
        socket.client.on_message_listeners.append(self._on_frame)
        try:
            # the SDK's connect() repeats for ever; the watchdog rather starts afresh
            async with asyncio.timeout(max(self._check_s, 10.0)):
                await socket.client.connect()  # type: ignore[no-untyped-call] # the SDK's
        except TimeoutError:
            log.warning("slack_socket_unreachable")
            await self._drop_socket()
            return False
        return True

    async def _on_frame(self, _: object) -> None:
        self._heard_s = time.monotonic()

    async def _drop_socket(self) -> None:
        socket, self._socket = self._socket, None
        if socket is None:
            return
        client = socket.client
        tasks = (client.message_processor, client.current_session_monitor, client.message_receiver)
        try:
            await client.close()  # type: ignore[no-untyped-call] # the SDK's
        except (OSError, RuntimeError) as failed:
            # a connection that is already broken may refuse to be closed; what holds it goes all the same
            log.info("slack_socket_not_closed", reason=type(failed).__name__)
            await client.aiohttp_client_session.close()
        running = {task for task in tasks if task is not None}
        for task in running:
            task.cancel()
        if running:
            # the SDK cancels without waiting
            await asyncio.wait(running, timeout=5)
