"""Block Kit's documented limits, checked as Slack's server checks them, including those `slack_sdk` lets
through: 50 or 100 blocks, ten radio options, unique ids, option values of 75 characters, the total text of
a message.

Each problem reads as Slack words it: a sentence and a JSON pointer. An empty list means Slack would take it.
Source: https://docs.slack.dev/reference/block-kit/ (pages of August 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

Surface = Literal["message", "modal", "home"]

MAX_BLOCKS = {"message": 50, "modal": 100, "home": 100}
MAX_MESSAGE_TEXT = 13_000
"""All text of a message's blocks together; undocumented, observed as `msg_blocks_too_long`."""
MAX_MARKDOWN_TEXT = 12_000
MAX_METADATA_CHARS = 3000


def validate_blocks(blocks: Any, surface: Surface = "message") -> list[str]:
    """Every problem of these blocks on that surface."""
    check = _Check(surface)
    check.blocks("/blocks", blocks)
    return check.problems


def validate_message(message: Any) -> list[str]:
    """Every problem of a message's `blocks`, and of all their text together (`too much text` is
    `msg_blocks_too_long` on the wire)."""
    if not isinstance(message, dict):
        return [_problem("", "must be an object")]
    blocks = message.get("blocks") or []
    problems = validate_blocks(blocks, "message")
    if not problems and text_length(blocks) > MAX_MESSAGE_TEXT:
        problems.append(_problem("/blocks", f"too much text: no more than {MAX_MESSAGE_TEXT} characters"))
    return problems


def validate_view(view: Any) -> list[str]:
    """Every problem of a modal or Home view."""
    check = _Check("modal")
    if not isinstance(view, dict):
        return [_problem("/view", "must be an object")]
    kind = view.get("type")
    if kind not in ("modal", "home"):
        return [_problem("/view/type", "must be one of: modal, home")]
    check.surface = kind
    common = {"type", "blocks", "private_metadata", "callback_id", "external_id"}
    modal = {"title", "submit", "close", "clear_on_close", "notify_on_close", "submit_disabled"}
    check.known("/view", view, common | modal if kind == "modal" else common)
    check.string("/view/private_metadata", view.get("private_metadata"), MAX_METADATA_CHARS, least=0)
    for name in ("callback_id", "external_id"):
        check.string(f"/view/{name}", view.get(name), 255, least=0)
    check.blocks("/view/blocks", view.get("blocks"))
    if kind == "modal":
        check.text("/view/title", view.get("title"), 24, plain=True, required=True)
        for name in ("submit", "close"):
            check.text(f"/view/{name}", view.get(name), 24, plain=True)
        blocks = view.get("blocks")
        has_input = isinstance(blocks, list) and any(
            isinstance(block, dict) and block.get("type") == "input" for block in blocks
        )
        if has_input and view.get("submit") is None:
            check.add("/view/submit", "is required when the view has an input block")
    return check.problems


def validate_options(options: Any) -> list[str]:
    """Every problem of what an app offers for an `external_select`: at most 100 options, each within its lengths."""
    check = _Check("modal")
    check.options("", {"options": options}, 100)
    return check.problems


def text_length(part: Any) -> int:
    """All the characters a message's blocks show, labels of buttons and options included."""
    if isinstance(part, list):
        return sum(text_length(item) for item in part)
    if isinstance(part, dict):
        return sum(
            len(value) if name == "text" and isinstance(value, str) else text_length(value)
            for name, value in part.items()
        )
    return 0


def elements_of(block: Any) -> Iterator[dict[str, Any]]:
    """The interactive and image elements of one block, in order."""
    if not isinstance(block, dict):
        return
    candidates: list[Any] = [block.get("accessory"), block.get("element")]
    if block.get("type") in ("actions", "context_actions", "context"):
        elements = block.get("elements")
        candidates += elements if isinstance(elements, list) else []
    for element in candidates:
        if isinstance(element, dict):
            yield element


_ACTION_ELEMENTS = {
    "button",
    "checkboxes",
    "radio_buttons",
    "overflow",
    "static_select",
    "external_select",
    "users_select",
    "conversations_select",
    "channels_select",
    "multi_static_select",
    "multi_external_select",
    "multi_users_select",
    "multi_conversations_select",
    "multi_channels_select",
    "datepicker",
    "timepicker",
    "datetimepicker",
    "workflow_button",
}
_INPUT_ELEMENTS = (_ACTION_ELEMENTS - {"button", "overflow", "workflow_button"}) | {
    "plain_text_input",
    "email_text_input",
    "url_text_input",
    "number_input",
    "rich_text_input",
    "file_input",
}
_SECTION_ACCESSORIES = _ACTION_ELEMENTS | {"image"}
_INLINE = {"text", "link", "user", "usergroup", "channel", "emoji", "date", "broadcast", "color"}
_RICH = {
    "rich_text_section": _INLINE,
    "rich_text_preformatted": {"text", "link"},
    "rich_text_quote": _INLINE,
    "rich_text_list": {"rich_text_section"},
}
_ELEMENT_KEYS = {
    "button": "text url value style accessibility_label",
    "checkboxes": "options initial_options focus_on_load",
    "radio_buttons": "options initial_option focus_on_load",
    "overflow": "options",
    "static_select": "options option_groups initial_option placeholder focus_on_load",
    "external_select": "initial_option min_query_length placeholder focus_on_load",
    "users_select": "initial_user placeholder focus_on_load",
    "conversations_select": (
        "initial_conversation default_to_current_conversation response_url_enabled filter placeholder focus_on_load"
    ),
    "channels_select": "initial_channel response_url_enabled placeholder focus_on_load",
    "multi_static_select": ("options option_groups initial_options max_selected_items placeholder focus_on_load"),
    "multi_external_select": "initial_options min_query_length max_selected_items placeholder focus_on_load",
    "multi_users_select": "initial_users max_selected_items placeholder focus_on_load",
    "multi_conversations_select": (
        "initial_conversations default_to_current_conversation filter max_selected_items placeholder focus_on_load"
    ),
    "multi_channels_select": "initial_channels max_selected_items placeholder focus_on_load",
    "datepicker": "initial_date placeholder focus_on_load",
    "timepicker": "initial_time placeholder focus_on_load timezone",
    "datetimepicker": "initial_date_time focus_on_load",
    "workflow_button": "text workflow style accessibility_label",
    "plain_text_input": (
        "initial_value multiline min_length max_length dispatch_action_config placeholder focus_on_load"
    ),
    "email_text_input": "initial_value dispatch_action_config placeholder focus_on_load",
    "url_text_input": "initial_value dispatch_action_config placeholder focus_on_load",
    "number_input": (
        "is_decimal_allowed initial_value min_value max_value dispatch_action_config placeholder focus_on_load"
    ),
    "rich_text_input": "initial_value dispatch_action_config placeholder focus_on_load",
    "file_input": "filetypes max_files",
    "image": "image_url slack_file alt_text",
}
_BLOCK_KEYS = {
    "section": "text fields accessory expand",
    "header": "text",
    "divider": "",
    "image": "image_url slack_file alt_text title",
    "context": "elements",
    "actions": "elements",
    "input": "label element hint optional dispatch_action",
    "rich_text": "elements",
    "markdown": "text",
    "video": (
        "alt_text author_name description provider_icon_url provider_name title title_url thumbnail_url video_url"
    ),
    "file": "external_id source",
    "table": "rows column_settings",
    "data_table": "rows caption page_size row_header_column_index",
    "data_visualization": "title chart",
}
_MESSAGE_ONLY = {"file", "markdown", "table", "data_table", "data_visualization"}


class _Check:
    """One walk over one payload; problems in the order of the document."""

    def __init__(self, surface: Surface) -> None:
        self.surface: Surface = surface
        self.problems: list[str] = []

    def add(self, pointer: str, message: str) -> None:
        self.problems.append(_problem(pointer, message))

    # --- values ---

    def known(self, at: str, value: dict[str, Any], names: Iterable[str]) -> None:
        known = set(names)
        for name in value:
            if name not in known:
                self.add(f"{at}/{name}", f"invalid additional property: {name}")

    def string(self, at: str, value: Any, most: int, *, least: int = 1, required: bool = False) -> None:
        if value is None:
            if required:
                self.add(at, "is required")
        elif not isinstance(value, str):
            self.add(at, "must be a string")
        elif len(value) < least:
            self.add(at, f"must be more than {least - 1} characters")
        elif len(value) > most:
            self.add(at, f"must be less than {most + 1} characters")

    def array(self, at: str, value: Any, least: int, most: int) -> list[Any]:
        if not isinstance(value, list):
            self.add(at, "is required" if value is None else "must be an array")
            return []
        if len(value) < least:
            self.add(at, f"no less than {least} items required")
        elif len(value) > most:
            self.add(at, f"no more than {most} items allowed")
        return value

    def whole(self, at: str, value: Any, least: int, most: int) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            self.add(at, "must be an integer")
        elif value is not None and not least <= value <= most:
            self.add(at, f"must be between {least} and {most}")

    def text(self, at: str, value: Any, most: int, *, plain: bool = False, required: bool = False) -> None:
        if value is None:
            if required:
                self.add(at, "is required")
            return
        if not isinstance(value, dict):
            self.add(at, "must be an object")
            return
        kind = value.get("type")
        if kind not in (("plain_text",) if plain else ("plain_text", "mrkdwn")):
            self.add(f"{at}/type", "must be plain_text" if plain else "must be plain_text or mrkdwn")
        self.known(at, value, {"type", "text", "emoji" if kind == "plain_text" else "verbatim"})
        self.string(f"{at}/text", value.get("text"), most, required=True)

    # --- blocks ---

    def blocks(self, at: str, blocks: Any) -> None:
        if not isinstance(blocks, list):
            self.add(at, "must be an array")
            return
        if len(blocks) > MAX_BLOCKS[self.surface]:
            self.add(at, f"no more than {MAX_BLOCKS[self.surface]} items allowed")
        seen: set[str] = set()
        counts: dict[str, int] = {}
        markdown = 0
        for index, block in enumerate(blocks):
            here = f"{at}/{index}"
            if not isinstance(block, dict):
                self.add(here, "must be an object")
                continue
            kind = block.get("type")
            if not isinstance(kind, str) or kind not in _BLOCK_KEYS:
                self.add(f"{here}/type", f"unsupported type: {kind}")
                continue
            if kind in _MESSAGE_ONLY and self.surface != "message":
                self.add(f"{here}/type", f"unsupported type: {kind} in a {self.surface}")
            self.known(here, block, {"type", "block_id", *_BLOCK_KEYS[kind].split()})
            block_id = block.get("block_id")
            self.string(f"{here}/block_id", block_id, 255)
            if isinstance(block_id, str):
                if block_id in seen:
                    self.add(f"{here}/block_id", f"`block_id` already exists: {block_id}")
                seen.add(block_id)
            self.block(here, kind, block)
            self.unique_actions(here, block)
            counts[kind] = counts.get(kind, 0) + 1
            markdown += len(block["text"]) if kind == "markdown" and isinstance(block.get("text"), str) else 0
        if markdown > MAX_MARKDOWN_TEXT:
            self.add(at, f"markdown must be less than {MAX_MARKDOWN_TEXT + 1} characters in total")
        for kind, most in (("table", 1), ("data_visualization", 2)):
            if counts.get(kind, 0) > most:
                self.add(at, f"only {most} {kind} allowed")

    def block(self, at: str, kind: str, block: dict[str, Any]) -> None:
        match kind:
            case "section":
                self.text(f"{at}/text", block.get("text"), 3000)
                fields = block.get("fields")
                if fields is not None:
                    for index, item in enumerate(self.array(f"{at}/fields", fields, 1, 10)):
                        self.text(f"{at}/fields/{index}", item, 2000, required=True)
                if block.get("text") is None and fields is None:
                    self.add(at, "text or fields is required")
                if block.get("accessory") is not None:
                    self.element(f"{at}/accessory", block["accessory"], _SECTION_ACCESSORIES)
            case "header":
                self.text(f"{at}/text", block.get("text"), 150, plain=True, required=True)
            case "image":
                self.picture(at, block)
                self.text(f"{at}/title", block.get("title"), 2000, plain=True)
            case "context":
                for index, item in enumerate(self.array(f"{at}/elements", block.get("elements"), 1, 10)):
                    here = f"{at}/elements/{index}"
                    if isinstance(item, dict) and item.get("type") == "image":
                        self.element(here, item, {"image"})
                    else:
                        self.text(here, item, 3000, required=True)
            case "actions":
                for index, item in enumerate(self.array(f"{at}/elements", block.get("elements"), 1, 25)):
                    self.element(f"{at}/elements/{index}", item, _ACTION_ELEMENTS)
            case "input":
                self.text(f"{at}/label", block.get("label"), 2000, plain=True, required=True)
                self.text(f"{at}/hint", block.get("hint"), 2000, plain=True)
                allowed = _INPUT_ELEMENTS if self.surface == "modal" else _INPUT_ELEMENTS - {"file_input"}
                self.element(f"{at}/element", block.get("element"), allowed)
            case "rich_text":
                self.rich_text(at, block)
            case "markdown":
                self.string(f"{at}/text", block.get("text"), MAX_MARKDOWN_TEXT, required=True)
            case "table":
                rows = self.array(f"{at}/rows", block.get("rows"), 1, 100)
                self.rows(at, rows, {"raw_text", "raw_number", "rich_text"})
                if block.get("column_settings") is not None:
                    self.array(f"{at}/column_settings", block["column_settings"], 0, 20)
            case "data_table":
                self.string(f"{at}/caption", block.get("caption"), 3000, required=True)
                self.whole(f"{at}/page_size", block.get("page_size"), 1, 100)
                rows = self.array(f"{at}/rows", block.get("rows"), 2, 101)
                self.rows(at, rows[:1], {"raw_text", "raw_number"})
                self.rows(at, rows[1:], {"raw_text", "raw_number", "rich_text"}, first=1)
                if len({len(row) for row in rows if isinstance(row, list)}) > 1:
                    self.add(f"{at}/rows", "all rows must have the same number of cells")
            case "data_visualization":
                self.chart(at, block)
            case _:
                pass

    def unique_actions(self, at: str, block: dict[str, Any]) -> None:
        seen: set[str] = set()
        for element in elements_of(block):
            action_id = element.get("action_id")
            if isinstance(action_id, str):
                if action_id in seen:
                    self.add(at, f"`action_id` {action_id} already exists in this block")
                seen.add(action_id)

    def picture(self, at: str, value: dict[str, Any]) -> None:
        self.string(f"{at}/alt_text", value.get("alt_text"), 2000, required=True)
        self.string(f"{at}/image_url", value.get("image_url"), 3000)
        file = value.get("slack_file")
        if (value.get("image_url") is None) == (file is None):
            self.add(at, "either image_url or slack_file is required")
        if file is not None and not (isinstance(file, dict) and (file.get("id") or file.get("url"))):
            self.add(f"{at}/slack_file", "id or url is required")

    def rich_text(self, at: str, block: dict[str, Any]) -> None:
        for index, part in enumerate(self.array(f"{at}/elements", block.get("elements"), 1, 1000)):
            here = f"{at}/elements/{index}"
            kind = part.get("type") if isinstance(part, dict) else None
            if not isinstance(kind, str) or kind not in _RICH:
                self.add(f"{here}/type", f"unsupported type: {kind}")
                continue
            if kind == "rich_text_list" and part.get("style") not in ("bullet", "ordered"):
                self.add(f"{here}/style", "must be bullet or ordered")
            children = self.array(f"{here}/elements", part.get("elements"), 0, 1000)
            for number, child in enumerate(children):
                leaf = child.get("type") if isinstance(child, dict) else None
                if not isinstance(leaf, str) or leaf not in _RICH[kind]:
                    self.add(f"{here}/elements/{number}/type", f"unsupported type: {leaf}")
                elif leaf == "text":
                    self.string(f"{here}/elements/{number}/text", child.get("text"), 40_000, required=True)
                elif leaf == "rich_text_section":
                    self.rich_text(f"{here}/elements/{number}", {"elements": [child]})

    def rows(self, at: str, rows: list[Any], cells: set[str], *, first: int = 0) -> None:
        for number, row in enumerate(rows, first):
            for index, cell in enumerate(self.array(f"{at}/rows/{number}", row, 1, 20)):
                here = f"{at}/rows/{number}/{index}"
                kind = cell.get("type") if isinstance(cell, dict) else None
                if not isinstance(kind, str) or kind not in cells:
                    self.add(f"{here}/type", f"unsupported type: {kind}")
                elif kind == "raw_text":
                    self.string(f"{here}/text", cell.get("text"), 10_000, required=True)
                elif kind == "rich_text":
                    self.rich_text(here, cell)

    def chart(self, at: str, block: dict[str, Any]) -> None:
        self.string(f"{at}/title", block.get("title"), 50, required=True)
        chart = block.get("chart")
        kind = chart.get("type") if isinstance(chart, dict) else None
        if not isinstance(chart, dict) or kind not in ("pie", "bar", "line", "area"):
            self.add(f"{at}/chart/type", "must be one of: pie, bar, line, area")
            return
        if kind == "pie":
            self.points(f"{at}/chart/segments", chart.get("segments"), 6)
            return
        axis = chart.get("axis_config")
        categories: list[Any] = []
        if isinstance(axis, dict):
            categories = self.array(f"{at}/chart/axis_config/categories", axis.get("categories"), 1, 20)
            for index, name in enumerate(categories):
                self.string(f"{at}/chart/axis_config/categories/{index}", name, 20, required=True)
            for name in ("x_label", "y_label"):
                self.string(f"{at}/chart/axis_config/{name}", axis.get(name), 50)
        else:
            self.add(f"{at}/chart/axis_config", "is required")
        for index, series in enumerate(self.array(f"{at}/chart/series", chart.get("series"), 1, 6)):
            here = f"{at}/chart/series/{index}"
            if not isinstance(series, dict):
                self.add(here, "must be an object")
                continue
            self.string(f"{here}/name", series.get("name"), 20, required=True)
            points = self.points(f"{here}/data", series.get("data"), 20)
            labels = [point.get("label") for point in points if isinstance(point, dict)]
            if categories and sorted(map(str, labels)) != sorted(map(str, categories)):
                self.add(f"{here}/data", "must have one point for each category")

    def points(self, at: str, points: Any, most: int) -> list[Any]:
        given = self.array(at, points, 1, most)
        for index, point in enumerate(given):
            if not isinstance(point, dict):
                self.add(f"{at}/{index}", "must be an object")
                continue
            self.string(f"{at}/{index}/label", point.get("label"), 20, required=True)
            value = point.get("value")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.add(f"{at}/{index}/value", "must be a number")
        return given

    # --- elements ---

    def element(self, at: str, element: Any, allowed: set[str]) -> None:
        kind = element.get("type") if isinstance(element, dict) else None
        if not isinstance(element, dict) or not isinstance(kind, str) or kind not in allowed:
            self.add(f"{at}/type", "is required" if element is None else f"unsupported type: {kind}")
            return
        common = {"type"} if kind == "image" else {"type", "action_id", "confirm"}
        self.known(at, element, common | set(_ELEMENT_KEYS[kind].split()))
        self.string(f"{at}/action_id", element.get("action_id"), 255)
        self.text(f"{at}/placeholder", element.get("placeholder"), 150, plain=True)
        self.confirm(f"{at}/confirm", element.get("confirm"))
        match kind:
            case "image":
                self.picture(at, element)
            case "button" | "workflow_button":
                self.text(f"{at}/text", element.get("text"), 75, plain=True, required=True)
                self.string(f"{at}/value", element.get("value"), 2000)
                self.string(f"{at}/url", element.get("url"), 3000)
                self.string(f"{at}/accessibility_label", element.get("accessibility_label"), 75)
                if element.get("style") not in (None, "primary", "danger"):
                    self.add(f"{at}/style", "must be primary or danger")
            case "radio_buttons" | "checkboxes":
                self.options(at, element, 10, rich=True)
            case "overflow":
                self.options(at, element, 5)
            case "static_select" | "multi_static_select":
                self.select(at, element)
            case "external_select" | "multi_external_select":
                self.whole(f"{at}/min_query_length", element.get("min_query_length"), 0, 1000)
                if "initial_option" in element:
                    self.option(f"{at}/initial_option", element["initial_option"], rich=False)
            case "plain_text_input":
                self.string(f"{at}/initial_value", element.get("initial_value"), 3000, least=0)
                self.whole(f"{at}/min_length", element.get("min_length"), 0, 3000)
                self.whole(f"{at}/max_length", element.get("max_length"), 1, 3000)
            case "number_input":
                if not isinstance(element.get("is_decimal_allowed"), bool):
                    self.add(f"{at}/is_decimal_allowed", "is required")
            case "file_input":
                self.whole(f"{at}/max_files", element.get("max_files"), 1, 10)
                if element.get("filetypes") is not None:
                    self.array(f"{at}/filetypes", element["filetypes"], 1, 100)
            case _:
                pass

    def select(self, at: str, element: dict[str, Any]) -> None:
        groups = element.get("option_groups")
        if groups is None:
            self.options(at, element, 100)
            return
        if element.get("options") is not None:
            self.add(at, "either options or option_groups is allowed")
        offered: list[Any] = []
        for index, group in enumerate(self.array(f"{at}/option_groups", groups, 1, 100)):
            here = f"{at}/option_groups/{index}"
            if isinstance(group, dict):
                self.text(f"{here}/label", group.get("label"), 75, plain=True, required=True)
                offered += self.options(here, {"options": group.get("options")}, 100)
            else:
                self.add(here, "must be an object")
        self.initial(at, element, offered)

    def options(self, at: str, element: dict[str, Any], most: int, *, rich: bool = False) -> list[Any]:
        options = self.array(f"{at}/options", element.get("options"), 1, most)
        for index, option in enumerate(options):
            self.option(f"{at}/options/{index}", option, rich=rich)
        self.initial(at, element, options)
        return options

    def initial(self, at: str, element: dict[str, Any], offered: list[Any]) -> None:
        chosen = element.get("initial_options")
        if chosen is not None and not isinstance(chosen, list):
            self.add(f"{at}/initial_options", "must be an array")
            chosen = None
        chosen = [*(chosen or ()), *([element["initial_option"]] if "initial_option" in element else ())]
        if any(option not in offered for option in chosen):
            self.add(at, "an initial option must be one of the options, exactly")

    def option(self, at: str, option: Any, *, rich: bool) -> None:
        if not isinstance(option, dict):
            self.add(at, "must be an object")
            return
        self.known(at, option, {"text", "value", "description", "url"})
        self.text(f"{at}/text", option.get("text"), 75, plain=not rich, required=True)
        self.string(f"{at}/value", option.get("value"), 75, required=True)
        self.text(f"{at}/description", option.get("description"), 75, plain=not rich)

    def confirm(self, at: str, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            self.add(at, "must be an object")
            return
        self.known(at, value, {"title", "text", "confirm", "deny", "style"})
        self.text(f"{at}/title", value.get("title"), 100, plain=True, required=True)
        self.text(f"{at}/text", value.get("text"), 300, required=True)
        for name in ("confirm", "deny"):
            self.text(f"{at}/{name}", value.get(name), 30, plain=True, required=True)


def _problem(pointer: str, message: str) -> str:
    return f"{message} [json-pointer:{pointer}]"
