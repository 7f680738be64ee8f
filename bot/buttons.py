"""The data behind a button: which session, which node of the conversation, which value.

Packed and read here only. Old buttons stay in a chat for years, so the format carries a version, and whatever
comes back – from another tool's button, a rich menu, or a stranger – is either one of ours or None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LINE_DATA: Final = 300
"""Most UTF-16 units in the data of a LINE postback (platforms: R#action-objects)."""
SLACK_VALUE: Final = 2000
"""Most characters in the value of a Slack button."""

_VERSION = "k1"
_SESSION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NODE = re.compile(r"@?[A-Za-z][A-Za-z0-9_.-]{0,63}")
_VALUE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")
_PACKED = re.compile(
    rf"{_VERSION}:(?P<session>{_SESSION.pattern})?:(?P<node>{_NODE.pattern}):(?P<value>{_VALUE.pattern})"
)


@dataclass(frozen=True, slots=True)
class Button:
    """What a tap names. `session_id` is "" for a button of the person rather than of a survey (@rights)."""

    session_id: str
    node: str
    value: str


def pack(session_id: str, node: str, value: str, *, limit: int = LINE_DATA) -> str:
    """The text that `parse` gives back as Button(session_id, node, value).

    Args:
        session_id: UUID text in lower case, or "" for none.
        limit: Most UTF-16 units the platform takes: LINE_DATA or SLACK_VALUE.

    Raises:
        ValueError: A part that could not be read back, or a text longer than `limit`. Both are mistakes of a
            flow's author or of ours; no customer can cause them.

    >>> pack("0197a3c2-1111-7000-8000-000000000001", "nps", "9")
    'k1:0197a3c2-1111-7000-8000-000000000001:nps:9'
    """
    tail, units = _tail(node, value)
    if session_id and not _SESSION.fullmatch(session_id):
        raise ValueError(f"the session {session_id!r} of the button {node!r} could not be read back")
    data = f"{_VERSION}:{session_id}{tail}"
    units += len(data) - len(tail)
    if units > limit:
        raise ValueError(f"the button {node!r} = {value!r} needs {units} characters, the platform takes {limit}")
    return data


@lru_cache(maxsize=4096)
def _tail(node: str, value: str) -> tuple[str, int]:
    """The part that is the same for every session, with its length in UTF-16 units."""
    if not _NODE.fullmatch(node) or not _VALUE.fullmatch(value):
        raise ValueError(f"the button {node!r} = {value!r} could not be read back")
    tail = f":{node}:{value}"
    return tail, len(tail) if tail.isascii() else len(tail.encode("utf-16-le")) // 2


def parse(data: object) -> Button | None:
    """The button behind a tap; None for anything `pack` did not make, whatever its type, length or content.

    >>> parse("k1::@rights:erase")
    Button(session_id='', node='@rights', value='erase')
    >>> parse("action=buy&itemid=1") is None
    True
    """
    if not isinstance(data, str) or len(data) > SLACK_VALUE:  # the longest that any platform takes
        return None
    found = _PACKED.fullmatch(data)
    if found is None:
        return None
    return Button(found["session"] or "", found["node"], found["value"])
