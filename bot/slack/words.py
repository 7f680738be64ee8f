"""Slack's markup against plain text: customers' words stay words in both directions."""

from __future__ import annotations

import re

_MENTION = re.compile(r"<([@#!])([^<>|]*)(?:\|([^<>]*))?>")
_LINK = re.compile(r"<([a-zA-Z][a-zA-Z0-9+.-]*:[^<>|\s]*)(?:\|([^<>]*))?>")
_URL = re.compile(r"https?://[^\s<>|、。（）「」]+")
_SHORTCODE = re.compile(r":([a-z0-9_+-]+):(?::skin-tone-\d:)?")
_EMOJI = {
    # Slack sends an emoji somebody typed as its short code; these are the ones an answer may consist of.
    "+1": "👍", "thumbsup": "👍", "-1": "👎", "thumbsdown": "👎", "ok_hand": "👌", "ok": "🆗",
    "o": "⭕", "x": "❌", "heavy_check_mark": "✔", "white_check_mark": "✅",
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "keycap_ten": "10",
}  # fmt: skip


def escape(text: str) -> str:
    """The text as `mrkdwn` and fallback fields want it: three characters, the ampersand first, once.

    Source: docs.slack.dev, messaging/formatting-message-text.

    >>> escape("<!channel> R&D")
    '&lt;!channel&gt; R&amp;D'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def linked(text: str) -> str:
    """Our own words (never a customer's) as mrkdwn in which addresses of pages can be tapped.

    >>> linked("Privacy: https://example.com/p_1")
    'Privacy: <https://example.com/p_1>'
    """
    return _URL.sub(lambda found: f"<{found[0]}>", escape(text))


def plain(markup: str) -> str:
    """What the customer wrote, from the text of a Slack event: unescaped once, mentions and links as their
    words.

    A mention of a person becomes "@name" when Slack gives the name, else "@…": ids of colleagues are
    nobody's answer.

    >>> plain("R&amp;D &lt;3 <https://a.example/x|ここ> <@U123> <!here> :+1::skin-tone-3:")
    'R&D <3 ここ @… @here 👍'
    """
    text = _SHORTCODE.sub(lambda found: _EMOJI.get(found[1], found[0]), _LINK.sub(_link_words, markup))
    text = _MENTION.sub(_mention_words, text)
    return storable(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def storable(text: str) -> str:
    """The text without NUL and lone surrogates, which no database and no encoder takes.

    >>> storable("a\\x00b\\ud83d")
    'ab�'
    """
    return text.replace("\x00", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, the last one "…" where something is missing.

    >>> cut("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _link_words(found: re.Match[str]) -> str:
    address, label = found[1], found[2]
    return label or re.sub(r"^(mailto|tel):", "", address)


def _mention_words(found: re.Match[str]) -> str:
    kind, target, label = found[1], found[2], found[3]
    if kind == "!" and target.split("^")[0] in ("here", "channel", "everyone"):
        return f"@{target}"
    sign = "#" if kind == "#" else "@"
    return sign + (label or "…").lstrip("#@")
