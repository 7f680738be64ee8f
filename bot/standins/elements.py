"""The interactive elements of Slack's blocks: finding one, and the state it has after a person used it, as Slack's
`state.values` shows it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from bot.standins.blocks import elements_of
from bot.standins.wire import JsonObject, NotOnScreenError

STATE_KEYS = {
    "plain_text_input": "value",
    "email_text_input": "value",
    "url_text_input": "value",
    "number_input": "value",
    "rich_text_input": "rich_text_value",
    "file_input": "files",
    "static_select": "selected_option",
    "external_select": "selected_option",
    "radio_buttons": "selected_option",
    "overflow": "selected_option",
    "checkboxes": "selected_options",
    "multi_static_select": "selected_options",
    "multi_external_select": "selected_options",
    "users_select": "selected_user",
    "conversations_select": "selected_conversation",
    "channels_select": "selected_channel",
    "multi_users_select": "selected_users",
    "multi_conversations_select": "selected_conversations",
    "multi_channels_select": "selected_channels",
    "datepicker": "selected_date",
    "timepicker": "selected_time",
    "datetimepicker": "selected_date_time",
}


_INITIAL_KEYS = {
    "value": "initial_value",
    "rich_text_value": "initial_value",
    "selected_option": "initial_option",
    "selected_options": "initial_options",
    "selected_user": "initial_user",
    "selected_conversation": "initial_conversation",
    "selected_channel": "initial_channel",
    "selected_users": "initial_users",
    "selected_conversations": "initial_conversations",
    "selected_channels": "initial_channels",
    "selected_date": "initial_date",
    "selected_time": "initial_time",
    "selected_date_time": "initial_date_time",
}


def find_element(
    blocks: list[JsonObject], action_id: str, block_id: str | None, value: str | None
) -> tuple[JsonObject, JsonObject]:
    """The first block and element with this action id (and block id, and button value) on the screen.

    Raises:
        NotOnScreenError: there is none; the message lists what is there.
    """
    for block in blocks:
        if block_id is None or block["block_id"] == block_id:
            for element in elements_of(block):
                if element.get("action_id") == action_id and (
                    value is None or element["type"] != "button" or element.get("value") == value
                ):
                    return block, element
    there = ", ".join(str(e.get("action_id")) for block in blocks for e in elements_of(block))
    there = there or "none"
    raise NotOnScreenError(f"no element {action_id!r} with value {value!r} here; there are: {there}")


def state_of(element: JsonObject, given: Any) -> JsonObject:
    """The state of an element after the person chose `given`: a value, an option, a list, or a state as
    Slack's."""
    kind = element["type"]
    key = STATE_KEYS[kind]
    if isinstance(given, Mapping) and key in given:
        given = given[key]
    if given is None:
        return {"type": kind, key: [] if key.endswith("s") and key != "files" else None}
    if key == "selected_option":
        return {"type": kind, key: _option(element, given)}
    if key == "selected_options":
        chosen = given if isinstance(given, (list, tuple)) else [given]
        return {"type": kind, key: [_option(element, one) for one in chosen]}
    if key.endswith("s") and not isinstance(given, (list, tuple)):
        given = [given]
    return {"type": kind, key: given}


def _option(element: JsonObject, given: Any) -> JsonObject:
    if "external" in element["type"] and isinstance(given, dict):
        return given
    wanted = given.get("value") if isinstance(given, Mapping) else given
    options: list[JsonObject] = list(element.get("options") or [])
    for group in element.get("option_groups") or []:
        options += group["options"]
    for option in options:
        if option["value"] == wanted:
            return option
    there = ", ".join(option["value"] for option in options)
    raise NotOnScreenError(f"{element.get('action_id')} has no option {wanted!r}; there are: {there}")


def initial_state(blocks: list[JsonObject]) -> dict[str, JsonObject]:
    """The state before anybody touched anything: initial values, by block id and action id."""
    state: dict[str, JsonObject] = {}
    for block in blocks:
        for element in elements_of(block):
            kind = element.get("type")
            if kind in STATE_KEYS and kind != "overflow" and "action_id" in element:
                initial = element.get(_INITIAL_KEYS.get(STATE_KEYS[kind], ""))
                state.setdefault(block["block_id"], {})[element["action_id"]] = state_of(element, initial)
    return state


def with_ids(blocks: list[JsonObject]) -> list[JsonObject]:
    """The blocks with the ids Slack makes up where none were given."""
    made: list[JsonObject] = json.loads(json.dumps(blocks))
    for block in made:
        block.setdefault("block_id", secrets.token_urlsafe(4))
        for element in elements_of(block):
            if element.get("type") != "image":
                element.setdefault("action_id", secrets.token_urlsafe(4))
    return made
