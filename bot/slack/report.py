"""The button below a digest that opens its page in a browser."""

from __future__ import annotations

from typing import Final

from bot.channel import JsonObject

OPEN: Final = "koe.page"
"""Slack tells us of the click; nothing follows from it."""


def open_button(address: str, lang: str) -> JsonObject:
    """A button with the signed address of a page."""
    words = "詳しいページを開く" if lang == "ja" else "Open the full page"
    return {
        "type": "button",
        "action_id": OPEN,
        "text": {"type": "plain_text", "text": words, "emoji": False},
        "url": address,
    }
