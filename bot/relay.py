"""LINE events that are not Koe's go on to the shop's own tools (LINE_RELAY_URL), signed as LINE signs them.

Answers to a survey are never relayed: a reply token has one owner.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
import msgspec
import structlog

from bot.clock import Clock
from bot.signatures import sign_line
from storage.records import Job
from storage.store import Store

log = structlog.get_logger(__name__)

_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Relay:
    """Passes one event on. Once: a reply token lives a minute, so a late copy would only confuse."""

    url: str
    secrets: list[str]
    destination: str
    session: aiohttp.ClientSession
    store: Store
    clock: Clock

    async def pass_on(self, job: Job) -> None:
        """A "relay" job: the event in a body of its own, in LINE's form."""
        body = b'{"destination":%s,"events":[%s]}' % (
            msgspec.json.encode(self.destination),
            job.payload.encode(),
        )
        state, error = "done", ""
        try:
            async with self.session.post(
                self.url,
                data=body,
                headers={
                    "content-type": "application/json; charset=utf-8",
                    **sign_line(body, self.secrets[0]),
                },
                timeout=aiohttp.ClientTimeout(total=_WITHIN_S),
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    state, error = "dead", f"the relay answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            state, error = "dead", f"the relay could not be reached: {type(failure).__name__}"
        if error:
            log.warning("relay_failed", job=job.id, error=error)
        await self.store.write(lambda tx: tx.finish_job(job, state=state, at_ms=self.clock.now_ms(), error=error))
