"""Block Kit values, each within its documented length; a customer's words only ever go into text that is
not parsed.

Limits: docs.slack.dev, reference/block-kit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.channel import JsonObject
from bot.slack.words import cut, linked

TEXT_LIMIT = 3000
BUTTON_TEXT_LIMIT = 75
BUTTON_VALUE_LIMIT = 2000
OPTIONS_PER_GROUP = 10
BUTTONS_PER_BLOCK = 25


def plain_text(text: str, limit: int) -> JsonObject:
    """A text object in which nothing is a mention, a link, a format or an emoji code."""
    return {"type": "plain_text", "text": cut(text, limit) or " ", "emoji": False}


def words(*parts: tuple[str, bool]) -> JsonObject:
    """A rich text block of (text, bold) parts: text elements are never parsed, so anybody's words may
    stand here."""
    elements: list[JsonObject] = []
    room = TEXT_LIMIT
    for text, bold in parts:
        shown = cut(text, room) if room > 0 else ""
        room -= len(shown)
        if shown:
            element: JsonObject = {"type": "text", "text": shown}
            if bold:
                element["style"] = {"bold": True}
            elements.append(element)
    elements = elements or [{"type": "text", "text": " "}]
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}


def quote(text: str) -> JsonObject:
    """A rich text block with somebody's words set off as a quotation."""
    element = {"type": "text", "text": cut(text, TEXT_LIMIT) or " "}
    return {"type": "rich_text", "elements": [{"type": "rich_text_quote", "elements": [element]}]}


def small(text: str) -> JsonObject:
    """Small grey words of ours, addresses of pages tappable."""
    return {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": linked(cut(text, 1800)), "verbatim": True}],
    }


def small_plain(text: str) -> JsonObject:
    """Small grey words that may be anybody's."""
    return {"type": "context", "elements": [plain_text(text, 2000)]}


def button(label: str, action_id: str, value: str, *, style: str = "") -> JsonObject:
    """A button. A value that does not fit is a programming error: it must come back whole.

    Raises:
        ValueError: The value is longer than Slack returns.
    """
    if len(value) > BUTTON_VALUE_LIMIT:
        raise ValueError(f"button value of {len(value)} characters, Slack takes {BUTTON_VALUE_LIMIT}: {action_id}")
    made = {
        "type": "button",
        "text": plain_text(label, BUTTON_TEXT_LIMIT),
        "action_id": cut(action_id, 255),
        "value": value,
    }
    if style:
        made["style"] = style
    return made


def actions(elements: Sequence[JsonObject], *, block_id: str = "") -> JsonObject:
    """A row of controls (at most 25)."""
    made: JsonObject = {"type": "actions", "elements": list(elements)}
    if block_id:
        made["block_id"] = block_id
    return made


def rows(elements: Sequence[JsonObject], per_row: int) -> Iterable[JsonObject]:
    """The controls, `per_row` to a block."""
    for start in range(0, len(elements), per_row):
        yield actions(elements[start : start + per_row])


def option(label: str, value: str) -> JsonObject:
    """A choice of a select or a checkbox group.

    Raises:
        ValueError: The value is longer than 75 characters.
    """
    if len(value) > 75:
        raise ValueError(f"option value of {len(value)} characters, Slack takes 75: {value[:40]}…")
    return {"text": plain_text(label, 75), "value": value}


def text_input(
    block_id: str,
    label: str,
    *,
    limit: int,
    multiline: bool = False,
    optional: bool = False,
    hint: str = "",
    initial: str = "",
    dispatch: bool = False,
) -> JsonObject:
    """A field of a modal; its action_id is its block_id. With `dispatch`, Enter sends an action at once."""
    element: JsonObject = {
        "type": "plain_text_input",
        "action_id": block_id,
        "multiline": multiline,
        "max_length": limit,
    }
    if initial:
        element["initial_value"] = cut(initial, limit)
    if dispatch:
        element["dispatch_action_config"] = {"trigger_actions_on": ["on_enter_pressed"]}
    return field(block_id, label, element, optional=optional, hint=hint, dispatch=dispatch)


def field(
    block_id: str,
    label: str,
    element: JsonObject,
    *,
    optional: bool = False,
    hint: str = "",
    dispatch: bool = False,
) -> JsonObject:
    """An input block: its `block_id` is where an error about it is shown."""
    made: JsonObject = {
        "type": "input",
        "block_id": block_id,
        "label": plain_text(label, 2000),
        "element": element,
        "optional": optional,
    }
    if hint:
        made["hint"] = plain_text(hint, 2000)
    if dispatch:
        made["dispatch_action"] = True
    return made


def modal(
    callback_id: str,
    title: str,
    blocks: Sequence[JsonObject],
    *,
    close: str,
    submit: str = "",
    private: str = "",
) -> JsonObject:
    """A modal view; `submit` is needed as soon as it has an input block."""
    made: JsonObject = {
        "type": "modal",
        "callback_id": callback_id,
        "title": plain_text(title, 24),
        "close": plain_text(close, 24),
        "blocks": list(blocks),
        "private_metadata": private,
    }
    if submit:
        made["submit"] = plain_text(submit, 24)
    return made
