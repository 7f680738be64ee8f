"""What a person reads of Slack's blocks, as mrkdwn text: buttons in [ ], options in ( ), pictures by description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bot.standins.blocks import elements_of
from bot.standins.elements import STATE_KEYS
from bot.standins.wire import JsonObject


def block_words(blocks: list[JsonObject]) -> Iterator[str]:
    """One text per block, top to bottom; the blocks must be valid ones."""
    for block in blocks:
        match block.get("type"):
            case "section":
                parts = [block.get("text"), *(block.get("fields") or [])]
                buttons = "".join(_element_words(element) for element in elements_of(block))
                yield "\n".join(plain_words(part) for part in parts if part) + buttons
            case "header":
                yield plain_words(block["text"])
            case "context":
                yield " ".join(
                    plain_words(part) if "text" in part else f"(image: {part.get('alt_text')})"
                    for part in block["elements"]
                )
            case "actions":
                yield "".join(_element_words(element) for element in elements_of(block)).strip()
            case "input":
                yield plain_words(block["label"]) + _element_words(block["element"])
            case "image":
                yield f"(image: {block['alt_text']})"
            case "rich_text":
                yield _rich_words(block)
            case "markdown":
                yield block["text"]
            case "divider":
                yield "---"
            case "table" | "data_table":
                for row in block["rows"]:
                    cells = (_rich_words(c) if c["type"] == "rich_text" else _cell(c) for c in row)
                    yield " | ".join(cells)
            case "data_visualization":
                yield f"(chart: {block['title']})"
            case kind:
                yield f"({kind})"


def window_words(view: JsonObject) -> Iterator[str]:
    """A modal as somebody reads it: its title, a text per block with what is entered there, its buttons."""
    yield f"「{plain_words(view['title'])}」"
    for block in view["blocks"]:
        if block.get("type") == "input":
            held = view["state"]["values"][block["block_id"]][block["element"]["action_id"]]
            yield f"{plain_words(block['label'])}：{_entered(held)}"
        else:
            yield from block_words([block])
    yield " ".join(f"[{plain_words(view[name])}]" for name in ("submit", "close") if view.get(name))


def _entered(held: JsonObject) -> str:
    match held[STATE_KEYS[held["type"]]]:
        case None | []:
            return "―"
        case {"text": text}:
            return plain_words(text)
        case list(options):
            return "、".join(plain_words(option["text"]) if "text" in option else str(option) for option in options)
        case other:
            return escaped(str(other))


def _cell(cell: JsonObject) -> str:
    return escaped(str(cell.get("text", cell.get("value", cell.get("number", "")))))


def _rich_words(part: JsonObject) -> str:
    match part.get("type"):
        case "text":
            return escaped(str(part["text"]))
        case "link":
            return escaped(str(part.get("text") or part["url"]))
        case "emoji":
            return f":{part['name']}:"
        case "user":
            return f"<@{part['user_id']}>"
        case "rich_text" | "rich_text_list":
            return "\n".join(_rich_words(child) for child in part["elements"])
        case _:
            return "".join(_rich_words(child) for child in part.get("elements", ()))


def _element_words(element: JsonObject) -> str:
    match element["type"]:
        case "button" | "workflow_button":
            return f" [{plain_words(element['text'])}]"
        case "radio_buttons" | "checkboxes" | "overflow":
            return "".join(f" ( {plain_words(option['text'])} )" for option in element["options"])
        case "image":
            return f" (image: {element['alt_text']})"
        case _:
            return f" [{plain_words(element.get('placeholder')) or element['type']} ▾]"


def plain_words(text: Any) -> str:
    """A text object as mrkdwn: plain text is never parsed, so it is escaped."""
    if not isinstance(text, Mapping):
        return ""
    return escaped(str(text["text"])) if text.get("type") == "plain_text" else str(text["text"])


def parsed_texts(part: Any) -> Iterator[str]:
    """The texts of a message that Slack parses for mentions."""
    if isinstance(part, list):
        for item in part:
            yield from parsed_texts(item)
    elif isinstance(part, dict):
        if part.get("type") in ("mrkdwn", "markdown"):
            yield str(part.get("text"))
        elif part.get("type") == "broadcast":
            yield f"<!{part.get('range')}>"
        elif part.get("type") == "user":
            yield f"<@{part.get('user_id')}>"
        else:
            for value in part.values():
                yield from parsed_texts(value)


def escaped(text: str) -> str:
    """The text as Slack stores what a person typed.

    >>> escaped("a < b & c")
    'a &lt; b &amp; c'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
