"""The data behind a button: which session, which node of the conversation, which value.

Packed and read here only. Old buttons stay in a chat for years, so the format carries a version, and whatever
comes back – from another tool's button, a rich menu, or a stranger – is either one of ours or None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LINE_DATA: Final = 300
"""Most UTF-16 units in the data of a LINE postback (platforms: R#action-objects)."""
SLACK_VALUE: Final = 2000
"""Most characters in the value of a Slack button."""
SLACK_OPTION: Final = 75
"""Most characters in the value of a Slack option (radio, checkbox, select)."""

_VERSION = "k1"
_PACKED = re.compile(
    r"k1:(?P<session>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?"
    r":(?P<node>@?[A-Za-z][A-Za-z0-9_.-]{0,63}):(?P<value>[^\x00-\x1f\x7f\ud800-\udfff]*)"
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
        limit: Most UTF-16 units the platform takes: LINE_DATA, SLACK_VALUE or SLACK_OPTION.

    Raises:
        ValueError: A part that could not be read back, or a text longer than `limit`. Both are mistakes of a
            flow's author or of ours; no customer can cause them.

    >>> pack("0197a3c2-1111-7000-8000-000000000001", "nps", "9")
    'k1:0197a3c2-1111-7000-8000-000000000001:nps:9'
    """
    data = f"{_VERSION}:{session_id}:{node}:{value}"
    # ASCII is the common case: one unit a character, no encoding needed to count
    units = len(data) if data.isascii() else len(data.encode("utf-16-le", "surrogatepass")) // 2
    if units > limit:
        raise ValueError(
            f"the button {node!r} = {value!r} needs {units} characters, the platform takes {limit}"
        )
    if parse(data) != Button(session_id, node, value):
        raise ValueError(f"the button {node!r} = {value!r} of session {session_id!r} could not be read back")
    return data


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
