"""A sentence for one person alone, after Slack had its acknowledgement: by the way that is at hand, and as a direct
message of the app when that way is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from bot.channel import JsonObject
from bot.outbox import Units
from bot.slack import blocks as kit
from bot.slack.words import cut, escape
from bot.staff.people import Call

log = structlog.get_logger(__name__)

_LINES_LIMIT: Final = 2900
_FALLBACK_LIMIT: Final = 300

Respond = Callable[[str, str, Sequence[JsonObject]], Awaitable[None]]
"""Tells the person who typed a command or pressed a button something: (response_url, fallback, blocks). Repeats what
did not arrive."""


class Teller:
    """Tells one person something.

    Args:
        call: One Web API call.
        respond: By the address that came with a click or a command.
        failure: The exception of both.
    """

    def __init__(
        self,
        call: Call,
        respond: Respond,
        *,
        failure: type[Exception],
        units: Units,
    ) -> None:
        self._call = call
        self._respond = respond
        self._failure = failure
        self._units = units

    async def tell(
        self,
        user_id: str,
        sentence: str,
        *,
        url: str = "",
        channel: str = "",
        blocks: Sequence[JsonObject] = (),
        customer_id: str = "",
        otherwise: str = "",
    ) -> None:
        """To be read by this person alone: by `url` (a response_url) or in `channel` when given, else, and when Slack
        takes neither (they have left the channel, the address is older than half an hour), as a direct message that is
        stored until it is sent.

        Args:
            blocks: In place of the sentence, which is then the notification.
            customer_id: Whom the words are about: an erasure takes them along.
            otherwise: What the direct message says in their place, where words about customers would be kept.
        """
        shown = tuple(blocks) or _shown(sentence)
        try:
            if url:
                await self._respond(url, escape(cut(sentence, _LINES_LIMIT)), shown)
                return
            if channel:
                args = {"channel": channel, "user": user_id, "text": _notice(sentence), "blocks": list(shown)}
                await self._call("chat.postEphemeral", {**args, "parse": "none"})
                return
        except self._failure as failed:
            log.info("slack_person_told_directly", reason=str(failed))
        if otherwise:
            sentence, shown = otherwise, _shown(otherwise)
        message: JsonObject = {"text": _notice(sentence), "blocks": list(shown), "parse": "none"}
        told: JsonObject = {"method": "chat.postMessage", "args": message, "open": user_id}
        lane = f"slack:dm:{user_id}"
        await self._units.write(
            lambda tx, outbox: outbox.queue(tx, "send", told, lane=lane, channel="slack", customer_id=customer_id)
        )


def _shown(sentence: str) -> tuple[JsonObject, ...]:
    """The sentence as a block: what staff typed and customers' names stand in it as words, never as markup."""
    return (kit.words((cut(sentence, _LINES_LIMIT), False)),)


def _notice(sentence: str) -> str:
    return escape(cut(sentence.split("\n", 1)[0], _FALLBACK_LIMIT))
