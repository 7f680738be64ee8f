"""The shape of what Slack sends: whether it is a payload at all, and which kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

Kind = Literal["event", "action", "view", "command", "shortcut", "other"]

_OBJECTS: Final = ("view", "user", "team", "message", "container")
_NAMES: Final = ("type", "command", "callback_id", "action_id", "block_id", "team_id", "user_id")


def is_payload(body: object) -> bool:
    """Whether it has the shape on which Bolt and its listeners rely; Bolt itself fails on others."""
    if not isinstance(body, dict) or not body:
        return False
    if not all(isinstance(body.get(name), dict | None) for name in _OBJECTS):
        return False
    if not all(isinstance(body.get(name), str | None) for name in _NAMES):
        return False
    grants = body.get("authorizations") or []
    if not isinstance(grants, list) or not all(
        isinstance(grant, dict) and isinstance(grant.get("team_id"), str | None) for grant in grants
    ):
        return False
    match body.get("type"):
        case "block_actions":
            actions = body.get("actions")
            return isinstance(actions, list) and bool(actions) and all(map(_is_action, actions))
        case "view_submission" | "view_closed":
            return isinstance((body.get("view") or {}).get("callback_id"), str)
        case "shortcut" | "message_action":
            return isinstance(body.get("callback_id"), str)
        case "block_suggestion":
            return _is_action(body)
        case _:
            return True


def _is_action(action: object) -> bool:
    return isinstance(action, dict) and all(isinstance(action.get(name), str) for name in ("action_id", "block_id"))


def kind_of(body: Mapping[str, Any]) -> Kind | None:
    """What kind of payload it is; None for Slack's check of the address and for lookups that change
    nothing."""
    match body.get("type"):
        case "url_verification":
            return None
        case "block_suggestion":
            return None
        case "event_callback" | "app_rate_limited":
            return "event"
        case "block_actions" | "interactive_message":
            return "action"
        case "view_submission" | "view_closed":
            return "view"
        case "shortcut" | "message_action":
            return "shortcut"
        case _:
            return "command" if isinstance(body.get("command"), str) else "other"
