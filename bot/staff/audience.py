"""Before whom customers' words and names may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bot.slack.channel import SlackChannel, SlackError
from bot.staff.access import Access

if TYPE_CHECKING:
    from bot.config import Staff

log = structlog.get_logger(__name__)

_MOST_READERS = 200


class Audience:
    """Those who read along in the channels of a workspace."""

    def __init__(self, slack: SlackChannel, access: Access, staff: Staff) -> None:
        self._slack = slack
        self._access = access
        self._staff = staff

    async def may_read_words(self, channel: str) -> bool:
        """Whether customers' words and names may stand in a Slack channel: it is private, and when koe.yaml lists who
        may read comments, everybody in it is one of them. Asked each time it matters – a channel can be made public,
        people join – and answered no when Slack does not say, or the channel is too large to look through."""
        try:
            answer = await self._slack.call("conversations.info", {"channel": channel}, harmless=True)
            if not answer.get("channel", {}).get("is_private"):
                return False
            if self._staff.may_read_comments is None:
                return True
            asked = {"channel": channel, "limit": _MOST_READERS}
            answer = await self._slack.call("conversations.members", asked, harmless=True)
        except SlackError as error:
            log.warning("slack_channel_unknown", channel=channel, reason=str(error))
            return False
        if (answer.get("response_metadata") or {}).get("next_cursor"):
            return False
        members = [str(user) for user in answer.get("members") or ()]
        return not await self._access.those_who_may_not("read_comments", members)
