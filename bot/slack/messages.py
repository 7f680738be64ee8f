"""A conversation as Slack shows it and sends it back: turns to message calls, events and clicks to
Inbound. Pure.

What a button carries is packed by bot.buttons; everything a customer wrote is shown in text that Slack
does not parse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bot import buttons
from bot.channel import Ignored, Inbound, JsonObject, Outgoing, Turn
from bot.slack import blocks as kit
from bot.slack.words import cut, escape, plain, storable
from flows.exchange import Ask, Choice, Content, Media, Record, Say, Tap, Typed, Unsent
from flows.questions import Value
from flows.texts import Deck

TAP: Final = "koe.tap"
"""Action id (prefix) of a button that answers, skips, stops …"""
PICK: Final = "koe.pick"
"""Checkboxes of a multi-select (prefix, also of their block ids): what is ticked travels with the next
click."""
DONE: Final = "koe.done"
WRITE: Final = "koe.write"
"""Opens the window for a free text."""
CHANGE: Final = "koe.change"
"""Shows the choices of an answered question again."""
ANSWER_VIEW: Final = "koe.answer"
"""Callback id of the window for a free text."""
ANSWER_LIMIT: Final = 1000
"""Most characters of a free text written in the window."""

_ROW = 7
"""Buttons with a number that fit one row; longer scales take two (0–5, 6–10)."""


def say(deck: Deck, text_id: str, lang: str, **values: str) -> str:
    """One of the few texts of the copy deck that only Slack's own controls need."""
    return deck.template(text_id, "en" if lang == "en" else "ja").fill(values)


# -------------------- rendering


def render_turn(turn: Turn, external_id: str, deck: Deck) -> list[Outgoing]:
    """The calls that show this turn in the customer's DM: first the answered questions, then what comes
    next."""
    made = [_answered(turn, record, external_id, deck) for record in turn.recorded]
    for bubble in turn.bubbles:
        match bubble:
            case Ask():
                body = question_blocks(bubble, session_id=turn.session_id, lang=turn.lang, deck=deck)
                fallback = bubble.alt or bubble.text
                made.append(Outgoing(_post(external_id, fallback, body), asks=bubble.question))
            case Say():
                made.append(Outgoing(_post(external_id, bubble.text, _said(bubble, turn.session_id))))
    return made


def question_blocks(ask: Ask, *, session_id: str, lang: str, deck: Deck) -> list[JsonObject]:
    """A question with everything that can be tapped."""
    names = _Names()
    intro = ask.intro.rstrip("\n")
    made = [kit.words((f"{intro}\n\n" if intro else "", False), (ask.text, True))]
    made += choice_blocks(
        _Choices(
            session_id=session_id,
            question=ask.question,
            kind=ask.kind,
            choices=tuple((choice.label, choice.node, choice.value) for choice in ask.choices),
            chosen=_codes(ask.chosen),
            low=ask.low,
            high=ask.high,
        ),
        names,
    )
    controls: list[JsonObject] = []
    if ask.kind == "text":
        made.append(kit.small_plain(say(deck, "slack.here", lang)))
        controls.append(_write_button(ask, session_id, lang, deck))
    for choice in ask.controls:
        verb = choice.value.partition(":")[0] if ask.kind == "multi" else ""
        if verb == "remove":
            continue  # a tick can simply be taken away
        if verb == "done":
            packed = buttons.pack(session_id, choice.node, choice.value, limit=buttons.SLACK_VALUE)
            controls.insert(0, kit.button(choice.label, DONE, packed, style="primary"))
        else:
            controls.append(_tap_button(choice, session_id, names))
    made += kit.rows(controls, kit.BUTTONS_PER_BLOCK)
    made += kit.rows([_tap_button(choice, session_id, names) for choice in ask.exits], kit.BUTTONS_PER_BLOCK)
    if ask.small:
        made.append(kit.small(ask.small))
    quiet = [_tap_button(choice, session_id, names) for choice in ask.small_choices]
    made += kit.rows(quiet, kit.BUTTONS_PER_BLOCK)
    return made


@dataclass(frozen=True, slots=True)
class _Choices:
    """What can be chosen of a question: enough to show its controls again."""

    session_id: str
    question: str
    kind: str
    choices: tuple[tuple[str, str, str], ...]
    """(label, node, value)"""
    chosen: tuple[str, ...] = ()
    low: str = ""
    high: str = ""


class _Names:
    """Action ids that are readable and differ within one message."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def of(self, node: str, value: str) -> str:
        base = cut(f"{TAP}.{node}.{value}", 240)
        name, number = base, 1
        while name in self._used:
            number += 1
            name = f"{base}.{number}"
        self._used.add(name)
        return name


def choice_blocks(shown: _Choices, names: _Names | None = None) -> list[JsonObject]:
    """The choices of a question as Slack's controls; nothing for a free text."""
    names = names or _Names()
    if shown.kind == "text":
        return []
    if shown.kind == "multi":
        return list(_checkboxes(shown))
    made = []
    taps = [_tap_button(Choice(label, node, value), shown.session_id, names) for label, node, value in shown.choices]
    if shown.low or shown.high:
        made.append(kit.small_plain(" ↔ ".join(end for end in (shown.low, shown.high) if end)))
    numbers = all(label.isascii() and len(label) <= 2 for label, _, _ in shown.choices)
    per_row = kit.BUTTONS_PER_BLOCK
    if numbers and len(taps) > _ROW:
        per_row = min(-(-len(taps) // 2), kit.BUTTONS_PER_BLOCK)
    return made + list(kit.rows(taps, per_row))


def _checkboxes(shown: _Choices) -> Iterator[JsonObject]:
    for group, start in enumerate(range(0, len(shown.choices), kit.OPTIONS_PER_GROUP)):
        part = shown.choices[start : start + kit.OPTIONS_PER_GROUP]
        options = [kit.option(label, value) for label, _, value in part]
        element: JsonObject = {"type": "checkboxes", "action_id": f"{PICK}.{group}", "options": options}
        ticked = [option for option in options if option["value"] in shown.chosen]
        if ticked:
            element["initial_options"] = ticked
        # the node rides on the block id: option values have 75 characters and hold the code alone
        packed = buttons.pack(shown.session_id, shown.question, str(group), limit=200)
        yield kit.actions([element], block_id=f"{PICK}:{packed}")


def _tap_button(choice: Choice, session_id: str, names: _Names) -> JsonObject:
    packed = buttons.pack(session_id, choice.node, choice.value, limit=buttons.SLACK_VALUE)
    return kit.button(choice.label, names.of(choice.node, choice.value), packed)


def _write_button(ask: Ask, session_id: str, lang: str, deck: Deck) -> JsonObject:
    value = _packed_json({"s": session_id, "q": ask.question, "l": lang, "t": cut(ask.text, 400)})
    return kit.button(say(deck, "button.write", lang), WRITE, value)


def _said(bubble: Say, session_id: str) -> list[JsonObject]:
    names = _Names()
    taps = [_tap_button(choice, session_id, names) for choice in bubble.choices]
    return [kit.words((bubble.text, False)), *kit.rows(taps, kit.BUTTONS_PER_BLOCK)]


def _answered(turn: Turn, record: Record, external_id: str, deck: Deck) -> Outgoing:
    """The question's message after the answer: the question, the chosen value, a 変更 button; the scale is
    gone."""
    ask = turn.shown.get(record.question)
    label = say(deck, "slack.skipped.label", turn.lang) if record.value is None else _label(record)
    made = [] if ask is None else [kit.words((ask.text, True))]
    label = cut(label, 300)
    made.append(kit.words((f"✓ {label}" if ask else say(deck, "slack.noted", turn.lang, answer=label), False)))
    if ask is not None and ask.kind != "text":
        change = _change_button(ask, record, turn, deck)
        if change is not None:
            made.append(kit.actions([change]))
    fallback = ask.text if ask else say(deck, "slack.question.label", turn.lang)
    args = _shown(fallback, made)
    return Outgoing({"method": "chat.update", "args": args, "open": external_id}, updates=record.question)


def answered(question: str, answer: str) -> JsonObject:
    """The call by which a message becomes its question and the choice that was made."""
    body = [kit.words((question, True)), kit.words((f"✓ {cut(answer, 300)}", False))]
    return {"method": "chat.update", "args": _shown(question, body)}


def _label(record: Record) -> str:
    if record.label:
        return record.label
    return "、".join(record.value) if isinstance(record.value, tuple) else str(record.value)


def _change_button(ask: Ask, record: Record, turn: Turn, deck: Deck) -> JsonObject | None:
    value = _packed_json(
        {
            "s": turn.session_id,
            "q": ask.question,
            "k": ask.kind,
            "c": [[choice.label, choice.node, choice.value] for choice in ask.choices],
            "x": _codes(record.value),
            "e": [ask.low, ask.high],
            "d": [
                [choice.label, choice.node, choice.value]
                for choice in ask.controls
                if ask.kind == "multi" and choice.value.partition(":")[0] == "done"
            ],
        }
    )
    if len(value) > kit.BUTTON_VALUE_LIMIT:
        return None  # a list too long to come back through Slack: 「戻る」 typed still corrects it
    return kit.button(say(deck, "button.change", turn.lang), CHANGE, value)


def _post(external_id: str, fallback: str, body: Sequence[JsonObject]) -> JsonObject:
    args = {**_shown(fallback, body), "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
    return {"method": "chat.postMessage", "args": args, "open": external_id}


def _shown(fallback: str, body: Sequence[JsonObject]) -> JsonObject:
    return {"text": escape(cut(fallback, 1000)), "blocks": list(body), "parse": "none", "link_names": False}


def _codes(value: Value | None) -> tuple[str, ...]:
    match value:
        case None:
            return ()
        case tuple():
            return value
        case _:
            return (str(value),)


def _packed_json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# -------------------- controls that ask nothing of a conversation


def answer_view(packed: str, deck: Deck) -> JsonObject | None:
    """The window for a free text, from the value of its 書く button; None for a value that is not ours."""
    told = _read_json(packed)
    session_id, question = told.get("s"), told.get("q")
    if not isinstance(session_id, str) or not isinstance(question, str) or not question:
        return None
    lang = "en" if told.get("l") == "en" else "ja"
    label = told.get("t") if isinstance(told.get("t"), str) and told.get("t") else say(deck, "slack.answer.label", lang)
    try:
        private = buttons.pack(session_id, question, lang)
    except ValueError:
        return None
    return kit.modal(
        ANSWER_VIEW,
        say(deck, "slack.answer.label", lang),
        [kit.text_input("answer", str(label), limit=ANSWER_LIMIT, multiline=True)],
        close=say(deck, "button.cancel", lang),
        submit=say(deck, "button.send", lang),
        private=private,
    )


def choices_again(packed: str, message_blocks: object) -> list[JsonObject] | None:
    """The blocks of an answered message with its choices back, from the value of its 変更 button and its
    present blocks.

    None for a value that is not ours.
    """
    told = _read_json(packed)
    try:
        shown = _Choices(
            session_id=str(told["s"]),
            question=str(told["q"]),
            kind=str(told["k"]),
            choices=tuple((str(label), str(node), str(value)) for label, node, value in told["c"]),
            chosen=tuple(str(code) for code in told["x"]),
            low=str(told["e"][0]),
            high=str(told["e"][1]),
        )
        made = choice_blocks(shown)
        for label, node, value in told["d"]:
            done = buttons.pack(shown.session_id, str(node), str(value), limit=buttons.SLACK_VALUE)
            made.append(kit.actions([kit.button(str(label), DONE, done, style="primary")]))
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return [*_question_again(message_blocks), *made]


def _question_again(message_blocks: object) -> Iterator[JsonObject]:
    """The question and the present answer, rebuilt from their words: blocks from outside are not passed on
    as they are."""
    if not isinstance(message_blocks, list):
        return
    for block in message_blocks[:2]:
        if isinstance(block, dict) and block.get("type") == "rich_text":
            yield kit.words(*_rich_words(block))


def _rich_words(block: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for section in _dicts(block.get("elements")):
        for element in _dicts(section.get("elements")):
            if isinstance(element.get("text"), str):
                style = element.get("style")
                yield plain(element["text"]), isinstance(style, dict) and style.get("bold") is True


# -------------------- parsing


def parse_event(body: Mapping[str, Any], *, workspace: str, bot_user_id: str = "") -> Inbound:
    """What an event callback means to a customer's conversation; Ignored for everything that is none of
    its business.

    Words typed in the DM come back unescaped once. A message taken back is Unsent: its words leave the answer they
    were part of; with an edit the new words take their place. Messages of bots, the app's own included, are ignored.
    """
    event = _dict(body.get("event"))
    kind = _text(event.get("type")) or _text(body.get("type")) or "unknown"
    subtype = _text(event.get("subtype"))
    name = f"{kind}.{subtype}" if subtype else kind
    author, message_id = _text(event.get("user")), _text(event.get("ts"))
    content: Content | Ignored = Ignored(name)
    in_dm = kind == "message" and (event.get("channel_type") == "im" or _text(event.get("channel")).startswith("D"))
    if in_dm:
        match subtype:
            case "message_changed":
                now, before = _dict(event.get("message")), _dict(event.get("previous_message"))
                author, message_id = _text(now.get("user")), _text(now.get("ts"))
                # an unfurled link "changes" a message, too; only other words are an edit
                if not _is_bots(now, bot_user_id) and now.get("text") != before.get("text"):
                    content = Unsent(message_id, plain(_text(now.get("text"))))
            case "message_deleted":
                before = _dict(event.get("previous_message"))
                author, message_id = _text(before.get("user")), _text(event.get("deleted_ts"))
                if not _is_bots(before, bot_user_id):
                    content = Unsent(message_id)
            case "" | "file_share" | "thread_broadcast":
                if not _is_bots(event, bot_user_id):
                    content = _written(event)
    elif kind == "app_home_opened":
        author = ""
    return Inbound(
        channel="slack",
        workspace=workspace,
        event_id=event_key(body),
        at_ms=_ms(event.get("event_ts") or event.get("ts")) or _ms(body.get("event_time")),
        external_id="" if isinstance(content, Ignored) else author,
        content=content if author else Ignored(name),
        message_id=message_id,
    )


def parse_action(body: Mapping[str, Any], *, workspace: str, now_ms: int) -> Inbound | None:
    """A click or a sent window of a customer's conversation; None when it belongs to somebody else.

    A multi-select's 決定 carries all that is ticked as one Tap on its question, codes joined by ";" (with
    nothing ticked it is the tap on 決定 itself). A tick alone asks nothing yet.
    """
    content: Content | Ignored
    button: buttons.Button | None
    message_id = ""
    if body.get("type") == "view_submission":
        view = _dict(body.get("view"))
        button = buttons.parse(view.get("private_metadata"))
        if view.get("callback_id") != ANSWER_VIEW or button is None:
            return None
        written = _dict(_dict(_dict(_dict(view.get("state")).get("values")).get("answer")).get("answer")).get("value")
        words = storable(written)[:ANSWER_LIMIT].strip() if isinstance(written, str) else ""
        content = Typed(words) if words else Ignored("view_submission.empty")
        message_id, at_ms = f"view:{_text(view.get('id'))}", now_ms
    else:
        action = first_action(body)
        action_id = _text(action.get("action_id"))
        at_ms = _ms(action.get("action_ts")) or now_ms
        message_id = _text(_dict(body.get("container")).get("message_ts"))
        if action_id == DONE or action_id.startswith(f"{TAP}."):
            button = buttons.parse(action.get("value"))
            if button is None:
                return None
            content = Tap(button.node, button.value)
            ticked = _ticked(body, button.session_id) if action_id == DONE else None
            if ticked:
                content = ticked
        elif action_id.startswith(f"{PICK}."):
            button = buttons.parse(_text(action.get("block_id")).removeprefix(f"{PICK}:"))
            if button is None:
                return None
            content = Ignored("checkboxes")
        else:
            return None
    return Inbound(
        channel="slack",
        workspace=workspace,
        event_id=interaction_key(body),
        at_ms=at_ms,
        external_id=_text(_dict(body.get("user")).get("id")),
        content=content,
        session_id=button.session_id,
        message_id=message_id,
    )


def _ticked(body: Mapping[str, Any], session_id: str) -> Tap | None:
    codes: list[str] = []
    question = ""
    for block_id, fields in _dict(_dict(body.get("state")).get("values")).items():
        button = buttons.parse(str(block_id).removeprefix(f"{PICK}:"))
        if button is None or button.session_id != session_id:
            continue
        question = button.node
        for element in _dict(fields).values():
            codes += [_text(option.get("value")) for option in _dicts(_dict(element).get("selected_options"))]
    return Tap(question, "".join(f"{code};" for code in codes if code)) if codes else None


def _written(event: Mapping[str, Any]) -> Content:
    text = plain(_text(event.get("text")))
    files = list(_dicts(event.get("files")))
    if files and not text.strip():
        photo = any(_text(file.get("mimetype")).startswith("image/") for file in files)
        return Media("photo" if photo else "other")
    return Typed(text)


def _is_bots(message: Mapping[str, Any], bot_user_id: str) -> bool:
    author = message.get("user")
    return bool(message.get("bot_id")) or author == "USLACKBOT" or (bool(bot_user_id) and author == bot_user_id)


def event_key(body: Mapping[str, Any]) -> str:
    """The same for every delivery of an event: Slack's own `event_id`."""
    return _text(body.get("event_id")) or f"body:{_digest(body)}"


def interaction_key(body: Mapping[str, Any]) -> str:
    """The same for every delivery of one click, so that a double delivery acts once.

    A click is (team, user, message or view, action, its time). A window sent, a command and a shortcut
    have no time: a customer's window is itself with its words, everything else its single-use trigger.
    """
    user = _text(_dict(body.get("user")).get("id")) or _text(body.get("user_id"))
    team = _text(_dict(body.get("team")).get("id")) or _text(body.get("team_id"))
    view, container = _dict(body.get("view")), _dict(body.get("container"))
    where = _text(container.get("message_ts")) or _text(view.get("id"))
    action = first_action(body)
    if action:
        what: object = [action.get("action_id"), action.get("block_id"), action.get("action_ts")]
    elif view.get("callback_id") == ANSWER_VIEW and body.get("type") == "view_submission":
        what = _dict(view.get("state")).get("values")
    else:
        what = body.get("trigger_id") or body
    return f"{_text(body.get('type')) or 'command'}:{_digest([team, user, where, what])}"


def first_action(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The click of a block_actions payload ({} when there is none)."""
    return next(_dicts(body.get("actions")), {})


def _digest(value: object) -> str:
    packed = json.dumps(value, sort_keys=True, separators=(",", ":"))  # ASCII: lone surrogates stay encodable
    return hashlib.sha256(packed.encode()).hexdigest()[:40]


def _read_json(text: str) -> dict[str, Any]:
    try:
        return _dict(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _text(value: object) -> str:
    return storable(value) if isinstance(value, str) else ""


def _ms(value: object) -> int:
    """Milliseconds of a Slack time ("1763692800.000200", or whole seconds); 0 when it is none."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return 0
    return round(seconds * 1000) if 0 <= seconds < 1e11 else 0
