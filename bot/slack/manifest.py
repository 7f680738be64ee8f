"""The manifest of the Slack app: exactly what Koe uses, and nothing more. Pure.

Source: docs.slack.dev, reference/app-manifest; the scopes of each method from its page under reference/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from bot.channel import JsonObject
from bot.slack.words import cut
from bot.staff.access import ANYTHING_ELSE, COMMANDS
from bot.staff.survey import ABOUT, COMMAND, START

EVENTS_PATH: Final = "/slack/events"

Need = Literal["always", "channels", "groups"]
"""When a scope is needed: always; when koe.yaml names channels (alerts, digests); when it names user groups (S…)."""

METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    # every Web API method that Koe calls, and the bot scopes it may ask for (by the kind of conversation)
    "auth.test": (),
    "chat.postMessage": ("chat:write",),
    "chat.update": ("chat:write",),
    "chat.postEphemeral": ("chat:write",),
    "conversations.open": ("im:write",),
    "conversations.info": ("channels:read", "groups:read"),
    "conversations.members": ("channels:read", "groups:read"),
    "conversations.history": ("im:history", "groups:history"),
    "conversations.replies": ("im:history", "groups:history"),
    "files.getUploadURLExternal": ("files:write",),
    "files.completeUploadExternal": ("files:write",),
    "files.info": ("files:read",),
    "users.info": ("users:read",),
    "users.list": ("users:read",),
    "usergroups.users.list": ("usergroups:read",),
    "views.open": (),
    "views.push": (),
    "views.update": (),
    "views.publish": (),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    # every event Koe acts upon, and the bot scopes it asks for
    "message.im": ("im:history",),
    "app_home_opened": (),
}
SCOPES: Final[Mapping[str, tuple[Need, str]]] = {
    # what each scope is for, as the operator reads it
    "chat:write": ("always", "post and update messages"),
    "commands": ("always", "the slash command and the shortcuts"),
    "im:history": ("always", "read customers' answers in their direct messages"),
    "im:write": ("always", "open a customer's direct messages"),
    "files:read": ("always", "read the lists of customers that managers drop into /survey bulk"),
    "users:read": ("always", "language of staff and customers; refuse guests and bots"),
    "channels:read": ("channels", "is the channel of alerts or digests public?"),
    "groups:read": ("channels", "is the alert channel private, and who is in it?"),
    "files:write": ("channels", "the chart of a digest, where the workspace does not take Slack's own"),
    "groups:history": ("channels", "after an unknown outcome: was the message posted?"),
    "usergroups:read": ("groups", "who is in the user groups under `staff`"),
}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """An entry of Slack's shortcut menu: global, or on a message."""

    kind: Literal["global", "message"]
    name: str
    description: str


SHORTCUTS: Final[Mapping[str, Mapping[str, Shortcut]]] = {
    START: {
        "ja": Shortcut("global", "アンケートを送る", "お客さまを選んで、アンケートを送ります。"),
        "en": Shortcut("global", "Send a survey", "Choose a customer and send a survey."),
    },
    ABOUT: {
        "ja": Shortcut("message", "この件でアンケートを送る", "このメッセージをメモにして、アンケートを送ります。"),
        "en": Shortcut("message", "Survey about this", "Send a survey, with this message as its note."),
    },
}


class NotReachable(ValueError):
    """Slack could not reach Koe with this; the sentence says what to set."""


def needed_scopes(*, channels: bool, groups: bool) -> tuple[str, ...]:
    """The bot scopes a shop needs, in alphabetical order.

    Args:
        channels: koe.yaml names a channel for alerts or digests.
        groups: koe.yaml names a user group under `staff`.

    >>> needed_scopes(channels=False, groups=False)
    ('chat:write', 'commands', 'files:read', 'im:history', 'im:write', 'users:read')
    """
    wanted = {"always", *(("channels",) if channels else ()), *(("groups",) if groups else ())}
    return tuple(sorted(scope for scope, (need, _) in SCOPES.items() if need in wanted))


def manifest(*, name: str, lang: str, public_url: str | None, socket: bool, channels: bool, groups: bool) -> JsonObject:
    """The app as Slack takes it under "Create an app from a manifest".

    Args:
        name: The shop as customers know it: what the bot is called.
        lang: Language of the descriptions, "ja" or "en".
        public_url: Where Slack reaches Koe over HTTPS; not used with `socket`.
        socket: Socket Mode, which needs no address.
        channels: see `needed_scopes`.
        groups: see `needed_scopes`.

    Raises:
        NotReachable: neither a socket nor an HTTPS address.
    """
    english = lang == "en"
    if not socket and public_url is None:
        raise NotReachable(
            "KOE_PUBLIC_URL is not set: give the https address at which Slack reaches Koe, or use --socket, "
            "which needs none"
        )
    if not socket and not str(public_url).startswith("https://"):
        raise NotReachable(
            f"KOE_PUBLIC_URL is {public_url}: Slack calls https addresses only; change it, or use --socket"
        )
    there: dict[str, Any] = {} if socket else {"request_url": f"{public_url}{EVENTS_PATH}"}
    # where Slack asks for the customers that a field offers; with a socket it asks there
    suggestions = {} if socket else {"message_menu_options_url": f"{public_url}{EVENTS_PATH}"}
    command: JsonObject = {
        "command": COMMAND,
        **({} if socket else {"url": f"{public_url}{EVENTS_PATH}"}),
        "description": "Send a survey to a customer" if english else "お客さまにアンケートを送る",
        "usage_hint": cut(f"[{' | '.join(word for word in COMMANDS if word not in ('', ANYTHING_ELSE))}]", 1000),
        "should_escape": False,
    }
    shortcuts = [
        {
            "name": words.name,
            "type": words.kind,
            "callback_id": callback_id,
            "description": words.description,
        }
        for callback_id, by_lang in SHORTCUTS.items()
        for words in (by_lang["en" if english else "ja"],)
    ]
    about = (
        "Short surveys, unhappy customers, one weekly digest."
        if english
        else "アンケート、ご不満への対応、週次レポート。"
    )
    return {
        "display_information": {"name": "Koe", "description": about, "background_color": "#1f3a4d"},
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": cut(name, 80), "always_online": True},
            "slash_commands": [command],
            "shortcuts": shortcuts,
        },
        "oauth_config": {"scopes": {"bot": list(needed_scopes(channels=channels, groups=groups))}},
        "settings": {
            "event_subscriptions": {**there, "bot_events": sorted(EVENTS)},
            "interactivity": {"is_enabled": True, **there, **suggestions},
            "org_deploy_enabled": False,
            "socket_mode_enabled": socket,
            "token_rotation_enabled": False,
        },
    }
