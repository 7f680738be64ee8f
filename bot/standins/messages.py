"""LINE's rules for message objects, checked as the platform checks them: unknown types and properties are
refused, and so is everything the SDK lets through (labels, text lengths, counts, sizes).

Source: https://developers.line.biz/en/reference/messaging-api/#message-objects and
https://developers.line.biz/en/docs/messaging-api/text-character-count/
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

Problem = dict[str, str]
"""`message` and `property`, as in the `details` of LINE's 400."""

MAX_MESSAGES = 5
MAX_QUICK_REPLIES = 13
MAX_BUBBLE_BYTES = 30 * 1024
MAX_CAROUSEL_BYTES = 50 * 1024


def utf16_units(text: str) -> int:
    """How long LINE says most texts are.

    >>> utf16_units("声"), utf16_units("🍎")
    (1, 2)
    """
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def graphemes(text: str) -> int:
    """How many characters a person sees, as LINE counts labels: joined emoji, flags, modifiers and combining
    marks belong to the character before them.

    >>> graphemes("👨‍👩‍👧"), graphemes("🇯🇵🇯🇵"), graphemes("が"), graphemes("1️⃣")
    (1, 2, 1, 1)
    """
    count, joined, flags = 0, False, 0
    for char in text:
        code = ord(char)
        flag = 0x1F1E6 <= code <= 0x1F1FF
        extends = (
            unicodedata.category(char) in ("Mn", "Me", "Mc")
            or code == 0x200D
            or 0x1F3FB <= code <= 0x1F3FF
            or 0xE0020 <= code <= 0xE007F
        )
        if not count or not (joined or extends or (flag and flags % 2)):
            count += 1
        flags = flags + 1 if flag else 0
        joined = code == 0x200D
    return count


def check_messages(messages: Any) -> list[Problem]:
    """Every problem of a call's `messages`; an empty list when LINE would take them."""
    report = _Report()
    if not isinstance(messages, list):
        report.add("messages", "May not be empty" if messages is None else "must be an array")
    elif not 1 <= len(messages) <= MAX_MESSAGES:
        report.add("messages", f"Size must be between 1 and {MAX_MESSAGES}")
    else:
        for index, message in enumerate(messages):
            _message(report, f"messages[{index}]", message)
    return report.problems


class _Report:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, where: str, message: str) -> None:
        self.problems.append({"message": message, "property": where})

    def shape(self, where: str, value: Any, required: Iterable[str], optional: Iterable[str]) -> bool:
        """Whether this is an object; says which properties are missing or unknown."""
        if not isinstance(value, dict):
            self.add(where, "must be an object")
            return False
        required = tuple(required)
        for name in required:
            if value.get(name) is None:
                self.add(f"{where}.{name}", "May not be empty")
        known = {"type", *required, *optional}
        for name in value:
            if name not in known:
                self.add(f"{where}.{name}", "unknown field")
        return True

    def text(
        self,
        where: str,
        value: Any,
        most: int,
        *,
        least: int = 1,
        count: Callable[[str], int] = utf16_units,
    ) -> None:
        if value is None:
            return
        if not isinstance(value, str):
            self.add(where, "must be a string")
        elif not least <= count(value) <= most:
            empty = least == 1 and not value
            message = "May not be empty" if empty else f"Length must be between {least} and {most}"
            self.add(where, message)

    def one_of(self, where: str, value: Any, allowed: Iterable[str]) -> None:
        allowed = tuple(allowed)
        if value is not None and value not in allowed:
            self.add(where, f"Must be one of the following values: [{', '.join(allowed)}]")

    def matches(self, where: str, value: Any, pattern: str) -> None:
        if value is not None and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            self.add(where, "invalid property")

    def whole(self, where: str, value: Any, least: int = 0) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            self.add(where, f"must be an integer of at least {least}")

    def flag(self, where: str, value: Any) -> None:
        if value is not None and not isinstance(value, bool):
            self.add(where, "must be a boolean")

    def https(self, where: str, value: Any) -> None:
        self.text(where, value, 2000)
        if isinstance(value, str) and not value.startswith("https://"):
            self.add(where, "invalid uri scheme")


def _message(report: _Report, where: str, message: Any) -> None:
    if not isinstance(message, dict):
        report.add(where, "must be an object")
        return
    kind = message.get("type")
    shapes: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "text": (("text",), ("emojis", "quoteToken")),
        "textV2": (("text",), ("substitution", "quoteToken")),
        "sticker": (("packageId", "stickerId"), ("quoteToken",)),
        "image": (("originalContentUrl", "previewImageUrl"), ()),
        "video": (("originalContentUrl", "previewImageUrl"), ("trackingId",)),
        "audio": (("originalContentUrl", "duration"), ()),
        "location": (("title", "address", "latitude", "longitude"), ()),
        "imagemap": (("baseUrl", "altText", "baseSize", "actions"), ("video",)),
        "template": (("altText", "template"), ()),
        "flex": (("altText", "contents"), ()),
    }
    if not isinstance(kind, str) or kind not in shapes:
        report.add(f"{where}.type", f"Must be one of the following values: [{', '.join(shapes)}]")
        return
    required, optional = shapes[kind]
    report.shape(where, message, required, (*optional, "quickReply", "sender"))
    _quick_reply(report, f"{where}.quickReply", message.get("quickReply"))
    _sender(report, f"{where}.sender", message.get("sender"))
    match kind:
        case "text":
            report.text(f"{where}.text", message.get("text"), 5000)
            _emojis(report, f"{where}.emojis", message.get("text"), message.get("emojis"))
        case "textV2":
            _text_v2(report, where, message)
        case "image" | "video":
            report.https(f"{where}.originalContentUrl", message.get("originalContentUrl"))
            report.https(f"{where}.previewImageUrl", message.get("previewImageUrl"))
        case "audio":
            report.https(f"{where}.originalContentUrl", message.get("originalContentUrl"))
            report.whole(f"{where}.duration", message.get("duration"), 1)
        case "sticker":
            for name in ("packageId", "stickerId"):
                report.matches(f"{where}.{name}", message.get(name), r"\d{1,20}")
        case "location":
            report.text(f"{where}.title", message.get("title"), 100)
            report.text(f"{where}.address", message.get("address"), 100)
        case "imagemap":
            report.text(f"{where}.altText", message.get("altText"), 1500)
        case "template":
            report.text(f"{where}.altText", message.get("altText"), 1500)
            _template(report, f"{where}.template", message.get("template"))
        case _:
            report.text(f"{where}.altText", message.get("altText"), 1500)
            _flex(report, f"{where}.contents", message.get("contents"))


def _emojis(report: _Report, where: str, text: Any, emojis: Any) -> None:
    if emojis is None:
        return
    if not isinstance(emojis, list) or len(emojis) > 20:
        report.add(where, "Size must be between 0 and 20")
        return
    units = text.encode("utf-16-le", "surrogatepass") if isinstance(text, str) else b""
    for index, emoji in enumerate(emojis):
        here = f"{where}[{index}]"
        if report.shape(here, emoji, ("index", "productId", "emojiId"), ()):
            at = emoji.get("index")
            if not isinstance(at, int) or units[at * 2 : at * 2 + 2] != "$".encode("utf-16-le"):
                report.add(f"{here}.index", "the index does not point at a $ of the text")


def _text_v2(report: _Report, where: str, message: dict[str, Any]) -> None:
    text, substitution = message.get("text"), message.get("substitution") or {}
    report.text(f"{where}.text", text, 5000)
    if not isinstance(substitution, dict) or len(substitution) > 100:
        report.add(f"{where}.substitution", "Size must be between 0 and 100")
        return
    for key, value in substitution.items():
        if not re.fullmatch(r"[0-9A-Za-z_]{1,20}", key):
            report.add(f"{where}.substitution.{key}", "invalid property")
        if not isinstance(value, dict) or value.get("type") not in ("mention", "emoji"):
            report.add(f"{where}.substitution.{key}.type", "Must be one of the following values: [mention, emoji]")
    if isinstance(text, str):
        rest = text.replace("{{", "").replace("}}", "")
        used = re.findall(r"\{([^{}]*)\}", rest)
        if any(key not in substitution for key in used) or re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", rest)):
            report.add(f"{where}.text", "a placeholder has no substitution")


def _quick_reply(report: _Report, where: str, value: Any) -> None:
    if value is None or not report.shape(where, value, ("items",), ()):
        return
    items = value.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_QUICK_REPLIES:
        report.add(f"{where}.items", f"Size must be between 1 and {MAX_QUICK_REPLIES}")
        return
    for index, item in enumerate(items):
        here = f"{where}.items[{index}]"
        if report.shape(here, item, ("action",), ("imageUrl",)):
            report.one_of(f"{here}.type", item.get("type"), ("action",))
            report.https(f"{here}.imageUrl", item.get("imageUrl"))
            _action(report, f"{here}.action", item.get("action"), label_most=20, quick_reply=True)


def _sender(report: _Report, where: str, value: Any) -> None:
    if value is None or not report.shape(where, value, (), ("name", "iconUrl")):
        return
    report.text(f"{where}.name", value.get("name"), 20)
    if isinstance(value.get("name"), str) and re.search(r"(?i)(?<![a-z])line(?![a-z])", value["name"]):
        report.add(f"{where}.name", "a word that may not be used in a name")
    report.https(f"{where}.iconUrl", value.get("iconUrl"))


_ACTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "postback": (("data",), ("displayText", "text", "inputOption", "fillInText")),
    "message": (("text",), ()),
    "uri": (("uri",), ("altUri",)),
    "datetimepicker": (("data", "mode"), ("initial", "min", "max")),
    "clipboard": (("clipboardText",), ()),
    "camera": ((), ()),
    "cameraRoll": ((), ()),
    "location": ((), ()),
}
_QUICK_REPLY_ONLY = {"camera", "cameraRoll", "location"}
_MOMENTS = {
    "date": r"\d{4}-\d{2}-\d{2}",
    "time": r"\d{2}:\d{2}",
    "datetime": r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}",
}


def _action(
    report: _Report,
    where: str,
    action: Any,
    *,
    label_most: int,
    label_required: bool = True,
    quick_reply: bool = False,
) -> None:
    if action is None:
        return  # the missing property was already named
    kind = action.get("type") if isinstance(action, dict) else None
    allowed = [name for name in _ACTIONS if quick_reply or name not in _QUICK_REPLY_ONLY]
    if not isinstance(kind, str) or kind not in allowed:
        report.add(f"{where}.type", f"Must be one of the following values: [{', '.join(allowed)}]")
        return
    required, optional = _ACTIONS[kind]
    label = ("label",) if label_required else ()
    report.shape(where, action, (*required, *label), (*optional, "label"))
    report.text(f"{where}.label", action.get("label"), label_most, count=graphemes)
    match kind:
        case "postback":
            report.text(f"{where}.data", action.get("data"), 300)
            for name in ("displayText", "text", "fillInText"):
                report.text(f"{where}.{name}", action.get(name), 300, count=graphemes)
            if action.get("displayText") is not None and action.get("text") is not None:
                report.add(f"{where}.text", "displayText and text may not be used together")
            options = ("closeRichMenu", "openRichMenu", "openKeyboard", "openVoice")
            report.one_of(f"{where}.inputOption", action.get("inputOption"), options)
            if action.get("fillInText") is not None and action.get("inputOption") != "openKeyboard":
                report.add(f"{where}.fillInText", "needs inputOption openKeyboard")
        case "message":
            report.text(f"{where}.text", action.get("text"), 300, count=graphemes)
        case "uri":
            report.text(f"{where}.uri", action.get("uri"), 1000)
            if isinstance(action.get("uri"), str) and not re.match(r"(https?|line|tel):", action["uri"]):
                report.add(f"{where}.uri", "invalid uri scheme")
        case "datetimepicker":
            report.text(f"{where}.data", action.get("data"), 300)
            report.one_of(f"{where}.mode", action.get("mode"), _MOMENTS)
            if isinstance(action.get("mode"), str) and action["mode"] in _MOMENTS:
                for name in ("initial", "min", "max"):
                    report.matches(f"{where}.{name}", action.get(name), _MOMENTS[action["mode"]])
        case "clipboard":
            report.text(f"{where}.clipboardText", action.get("clipboardText"), 1000)
        case _:
            pass


def _actions(report: _Report, where: str, actions: Any, least: int, most: int) -> None:
    if not isinstance(actions, list) or not least <= len(actions) <= most:
        report.add(where, f"Size must be between {least} and {most}")
        return
    for index, action in enumerate(actions):
        _action(report, f"{where}[{index}]", action, label_most=20)


def _template(report: _Report, where: str, template: Any) -> None:
    if template is None:
        return
    kind = template.get("type") if isinstance(template, dict) else None
    pictures = ("thumbnailImageUrl", "imageAspectRatio", "imageSize", "imageBackgroundColor")
    match kind:
        case "buttons":
            report.shape(where, template, ("text", "actions"), (*pictures, "title", "defaultAction"))
            _card(report, where, template, plain=160, beside=60)
            _actions(report, f"{where}.actions", template.get("actions"), 1, 4)
        case "confirm":
            report.shape(where, template, ("text", "actions"), ())
            report.text(f"{where}.text", template.get("text"), 240, count=graphemes)
            _actions(report, f"{where}.actions", template.get("actions"), 2, 2)
        case "carousel":
            report.shape(where, template, ("columns",), ("imageAspectRatio", "imageSize"))
            columns = template.get("columns")
            if not isinstance(columns, list) or not 1 <= len(columns) <= 10:
                report.add(f"{where}.columns", "Size must be between 1 and 10")
                return
            counts = set()
            for index, column in enumerate(columns):
                here = f"{where}.columns[{index}]"
                names = ("thumbnailImageUrl", "imageBackgroundColor", "title", "defaultAction")
                if report.shape(here, column, ("text", "actions"), names):
                    _card(report, here, column, plain=120, beside=60)
                    _actions(report, f"{here}.actions", column.get("actions"), 1, 3)
                    counts.add(len(column.get("actions") or ()))
            if len(counts) > 1:
                report.add(f"{where}.columns", "all columns must have the same number of actions")
        case "image_carousel":
            report.shape(where, template, ("columns",), ())
            columns = template.get("columns")
            if not isinstance(columns, list) or not 1 <= len(columns) <= 10:
                report.add(f"{where}.columns", "Size must be between 1 and 10")
                return
            for index, column in enumerate(columns):
                here = f"{where}.columns[{index}]"
                if report.shape(here, column, ("imageUrl", "action"), ()):
                    report.https(f"{here}.imageUrl", column.get("imageUrl"))
                    _action(report, f"{here}.action", column.get("action"), label_most=12, label_required=False)
        case _:
            allowed = "buttons, confirm, carousel, image_carousel"
            report.add(f"{where}.type", f"Must be one of the following values: [{allowed}]")


def _card(report: _Report, where: str, card: dict[str, Any], *, plain: int, beside: int) -> None:
    crowded = card.get("title") is not None or card.get("thumbnailImageUrl") is not None
    report.text(f"{where}.text", card.get("text"), beside if crowded else plain, count=graphemes)
    report.text(f"{where}.title", card.get("title"), 40, count=graphemes)
    report.https(f"{where}.thumbnailImageUrl", card.get("thumbnailImageUrl"))


# --- flex ---


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PLACE = "position offsetTop offsetBottom offsetStart offsetEnd"
_COMPONENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "box": (
        ("layout", "contents"),
        _names(
            "flex spacing margin backgroundColor borderColor borderWidth cornerRadius width maxWidth height"
            " maxHeight paddingAll paddingTop paddingBottom paddingStart paddingEnd action justifyContent"
            f" alignItems background {_PLACE}"
        ),
    ),
    "button": (
        ("action",),
        _names(f"flex color style gravity margin height adjustMode scaling {_PLACE}"),
    ),
    "image": (
        ("url",),
        _names(f"flex margin align gravity size aspectRatio aspectMode backgroundColor action animated {_PLACE}"),
    ),
    "video": (("url", "previewUrl", "altContent"), ("aspectRatio", "action")),
    "icon": (("url",), _names(f"size aspectRatio margin scaling {_PLACE}")),
    "text": (
        (),
        _names(
            "flex text size align gravity color weight style decoration wrap lineSpacing margin action"
            f" maxLines contents adjustMode scaling {_PLACE}"
        ),
    ),
    "span": (("text",), ("size", "color", "weight", "style", "decoration")),
    "separator": ((), ("margin", "color")),
    "filler": ((), ("flex",)),
}
_INSIDE = {
    "vertical": {"box", "button", "image", "text", "separator", "filler", "video"},
    "horizontal": {"box", "button", "image", "text", "separator", "filler", "video"},
    "baseline": {"icon", "text", "filler"},
}
_BUBBLE_SIZES = ("nano", "micro", "deca", "hecto", "kilo", "mega", "giga")
_PIXELS = r"-?\d+(\.\d+)?px"
_LENGTH = rf"({_PIXELS}|\d+(\.\d+)?%)"
_STEP = "none|xs|sm|md|lg|xl|xxl"
_PATTERNS = {
    "color": r"#([0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})",
    "margin": rf"({_STEP}|{_PIXELS})",
    "spacing": rf"({_STEP}|{_PIXELS})",
    "cornerRadius": rf"({_STEP}|{_PIXELS})",
    "borderWidth": rf"(none|light|normal|medium|semi-bold|bold|{_PIXELS})",
    "width": _LENGTH,
    "maxWidth": _LENGTH,
    "height": _LENGTH,
    "maxHeight": _LENGTH,
    "lineSpacing": _PIXELS,
    "aspectRatio": r"\d+(\.\d+)?:\d+(\.\d+)?",
    **dict.fromkeys(
        ("paddingAll", "paddingTop", "paddingBottom", "paddingStart", "paddingEnd"), rf"({_STEP}|{_LENGTH})"
    ),
    **dict.fromkeys(("offsetTop", "offsetBottom", "offsetStart", "offsetEnd"), rf"({_STEP}|{_LENGTH})"),
}
_ENUMS: dict[str, tuple[str, ...]] = {
    "layout": tuple(_INSIDE),
    "align": ("start", "end", "center"),
    "gravity": ("top", "bottom", "center"),
    "weight": ("regular", "bold"),
    "decoration": ("none", "underline", "line-through"),
    "aspectMode": ("cover", "fit"),
    "adjustMode": ("shrink-to-fit",),
    "position": ("relative", "absolute"),
    "justifyContent": ("center", "flex-start", "flex-end", "space-between", "space-around", "space-evenly"),
    "alignItems": ("center", "flex-start", "flex-end"),
}
_TEXT_SIZE = rf"(xxs|xs|sm|md|lg|xl|xxl|3xl|4xl|5xl|{_PIXELS})"
_IMAGE_SIZE = rf"(xxs|xs|sm|md|lg|xl|xxl|3xl|4xl|5xl|full|{_LENGTH})"
MAX_DEPTH = 10


def _flex(report: _Report, where: str, contents: Any) -> None:
    if contents is None:
        return
    kind = contents.get("type") if isinstance(contents, dict) else None
    if kind == "bubble":
        _bubble(report, where, contents)
        _size(report, where, contents, MAX_BUBBLE_BYTES)
    elif kind == "carousel":
        report.shape(where, contents, ("contents",), ())
        bubbles = contents.get("contents")
        if not isinstance(bubbles, list) or not 1 <= len(bubbles) <= 12:
            report.add(f"{where}.contents", "Size must be between 1 and 12")
            return
        for index, bubble in enumerate(bubbles):
            _bubble(report, f"{where}.contents[{index}]", bubble)
            _size(report, f"{where}.contents[{index}]", bubble, MAX_BUBBLE_BYTES)
        if len({str(bubble.get("size", "mega")) for bubble in bubbles if isinstance(bubble, dict)}) > 1:
            report.add(f"{where}.contents", "all bubbles of a carousel must have the same size")
        _size(report, where, contents, MAX_CAROUSEL_BYTES)
    else:
        report.add(f"{where}.type", "Must be one of the following values: [bubble, carousel]")


def _size(report: _Report, where: str, value: Any, most: int) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    if size > most:
        report.add(where, f"the JSON is larger than {most // 1024} KB")


def _bubble(report: _Report, where: str, bubble: Any) -> None:
    parts = ("header", "hero", "body", "footer")
    if not report.shape(where, bubble, (), (*parts, "direction", "styles", "size", "action")):
        return
    if bubble.get("type") != "bubble":
        report.add(f"{where}.type", "Must be one of the following values: [bubble]")
        return
    report.one_of(f"{where}.direction", bubble.get("direction"), ("ltr", "rtl"))
    report.one_of(f"{where}.size", bubble.get("size"), _BUBBLE_SIZES)
    _action(report, f"{where}.action", bubble.get("action"), label_most=40, label_required=False)
    if all(bubble.get(part) is None for part in parts):
        report.add(where, "At least one block must be specified")
    for part in parts:
        if (block := bubble.get(part)) is not None:
            allowed = {"box", "image", "video"} if part == "hero" else {"box"}
            _component(report, f"{where}.{part}", block, allowed, 1)
    styles = bubble.get("styles")
    if styles is not None and report.shape(f"{where}.styles", styles, (), parts):
        for part in parts:
            here, style = f"{where}.styles.{part}", styles.get(part)
            if style is not None and report.shape(here, style, (), ("backgroundColor", "separator", "separatorColor")):
                report.matches(f"{here}.backgroundColor", style.get("backgroundColor"), _PATTERNS["color"])
                report.matches(f"{here}.separatorColor", style.get("separatorColor"), _PATTERNS["color"])
                report.flag(f"{here}.separator", style.get("separator"))


def _component(report: _Report, where: str, part: Any, allowed: set[str], depth: int) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in allowed:
        report.add(f"{where}.type", f"Must be one of the following values: [{', '.join(sorted(allowed))}]")
        return
    if depth > MAX_DEPTH:
        report.add(where, "boxes are nested too deeply")
        return
    required, optional = _COMPONENTS[kind]
    report.shape(where, part, required, optional)
    _properties(report, where, kind, part)
    if kind in ("button", "box", "image", "text", "video"):
        needed = kind == "button"
        _action(report, f"{where}.action", part.get("action"), label_most=40, label_required=needed)
    if kind == "box":
        contents, inside = part.get("contents"), _INSIDE.get(str(part.get("layout")))
        if contents is not None and not isinstance(contents, list):
            report.add(f"{where}.contents", "must be an array")
        elif inside:
            for index, child in enumerate(contents or ()):
                _component(report, f"{where}.contents[{index}]", child, inside, depth + 1)
    if kind == "text":
        spans = part.get("contents")
        if part.get("text") is None and not spans:
            report.add(f"{where}.text", "must be specified")
        if spans is not None and not isinstance(spans, list):
            report.add(f"{where}.contents", "must be an array")
        for index, span in enumerate(spans if isinstance(spans, list) else ()):
            _component(report, f"{where}.contents[{index}]", span, {"span"}, depth)
    if kind == "video":
        _component(report, f"{where}.altContent", part.get("altContent"), {"box", "image"}, depth + 1)


def _properties(report: _Report, where: str, kind: str, part: dict[str, Any]) -> None:
    for name, value in part.items():
        here = f"{where}.{name}"
        if value is None or name in ("type", "contents", "action", "altContent"):
            continue
        if name == "style":
            report.one_of(here, value, ("primary", "secondary", "link") if kind == "button" else ("normal", "italic"))
        elif name == "height" and kind == "button":
            report.one_of(here, value, ("sm", "md"))
        elif name == "size":
            report.matches(here, value, _IMAGE_SIZE if kind == "image" else _TEXT_SIZE)
        elif name.lower().endswith("color"):
            report.matches(here, value, _PATTERNS["color"])
        elif name in _PATTERNS:
            report.matches(here, value, _PATTERNS[name])
        elif name in _ENUMS:
            report.one_of(here, value, _ENUMS[name])
        elif name in ("flex", "maxLines"):
            report.whole(here, value)
        elif name in ("wrap", "scaling", "animated"):
            report.flag(here, value)
        elif name in ("url", "previewUrl"):
            report.https(here, value)
        elif name == "text":
            report.text(here, value, 2000)
