"""All that is known of LINE: what it sends (webhook), what it shows (messages), what it answers (api)."""

from bot.line.api import BotInfo, LineChannel, LineError, Quota
from bot.line.messages import validate_messages
from bot.line.webhook import BadWebhook, parse_webhook

__all__ = [
    "BadWebhook",
    "BotInfo",
    "LineChannel",
    "LineError",
    "Quota",
    "parse_webhook",
    "validate_messages",
]
