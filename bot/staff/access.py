"""Who may do what: one table of every way in, each with the permission it asks for, and the check behind it.

Whatever has no line here is refused when the program is built (Slack) or by a test (routes). A window is checked when
it is opened and again when it is sent: both are ways in of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from bot.staff.people import People, Person, Refusal, refusal_text

if TYPE_CHECKING:
    from bot.config import Staff

Permission = Literal[
    "everyone", "member", "staff", "trigger", "handle_cases", "read_comments", "override", "export", "erase", "manage"
]
"""What a way in asks for.

everyone: nothing – it is a customer's own (what it may touch is decided by whose session it is), or does nothing.
member: a full member of our workspace. staff: somebody whom koe.yaml lists for anything.
The others: the list of that name in koe.yaml, section `staff` (see `holders`). Managers hold them all.
"""

Kind = Literal["command", "action", "view", "shortcut", "option"]

ANYTHING_ELSE: Final = "*"
"""The way in of what has no line of its own: it is acknowledged, explained, and does nothing."""

COMMANDS: Final[Mapping[str, Permission]] = {
    # the first word after /survey; "" opens the window
    "": "trigger",
    "help": "member",
    "status": "staff",
    # who asks for the same window a day later may work out one customer's score
    "results": "read_comments",
    # posting it asks for "manage" besides (bot.staff.commands)
    "digest": "read_comments",
    "find": "trigger",
    "dry-run": "trigger",
    "bulk": "manage",
    "pause": "manage",
    "resume": "manage",
    ANYTHING_ELSE: "member",
}
ACTIONS: Final[Mapping[str, Permission]] = {
    # a customer's own controls
    "koe.write": "everyone",
    "koe.change": "everyone",
    # the link below a digest: Slack tells of the click
    "koe.page": "everyone",
    # choices in the window of /survey that show at once whether it may be sent
    "customer": "trigger",
    "flow": "trigger",
    "channel": "trigger",
    "when": "trigger",
    # the buttons of a list that was previewed
    "koe.bulk.send": "manage",
    "koe.bulk.cancel": "manage",
    # the buttons of App Home
    "koe.home.start": "trigger",
    "koe.home.cases": "handle_cases",
    "koe.home.digest": "read_comments",
    "koe.home.refresh": "staff",
    # the buttons of a digest: what its channel shows, without customers' words
    "koe.digest.details": "member",
    "koe.digest.previous": "member",
    # the buttons of a case's card, and the choice of a text to start from
    "koe.case": "handle_cases",
    "koe.case.template": "handle_cases",
    # what the card of a public channel leaves out
    "koe.case.words": "read_comments",
    ANYTHING_ELSE: "everyone",
}
VIEWS: Final[Mapping[str, Permission]] = {
    "koe.survey": "trigger",
    # a list of customers
    "koe.bulk": "manage",
    # the windows behind the buttons of a case
    "koe.case": "handle_cases",
    "koe.case.preview": "handle_cases",
    ANYTHING_ELSE: "everyone",
}
SHORTCUTS: Final[Mapping[str, Permission]] = {
    # the window of /survey, from Slack's own menu and from a message
    "koe.start": "trigger",
    "koe.about": "trigger",
    ANYTHING_ELSE: "everyone",
}
OPTIONS: Final[Mapping[str, Permission]] = {
    # what a field offers while somebody types: names of customers
    "customer": "trigger",
}
FIELDS: Final = frozenset({"note", "file", "override", "to", "reached", "until", "outcome", "follow_up"})
"""Action ids of fields that send nothing by themselves: they are read when their window is sent."""
CONVERSATION: Final = ("koe.tap", "koe.pick", "koe.done", "koe.answer")
"""Prefixes of a customer's controls: each belongs to a session, and only its own customer moves that
(bot.slack.messages.parse_action)."""
TABLES: Final[Mapping[Kind, Mapping[str, Permission]]] = {
    "command": COMMANDS,
    "action": ACTIONS,
    "view": VIEWS,
    "shortcut": SHORTCUTS,
    "option": OPTIONS,
}

Proof = Literal["line_signature", "slack_signature", "events_signature", "link_token", "nothing"]
ROUTES: Final[Mapping[str, Proof]] = {
    # what a caller has to prove before the body is read as anything; "nothing" routes hold no personal data
    "/line/webhook": "line_signature",
    "/slack/events": "slack_signature",
    "/events": "events_signature",
    "/reports/{digest}/{period}": "link_token",
    "/healthz": "nothing",
    "/readyz": "nothing",
    "/metrics": "nothing",
}


_DECIDE_S: Final = 2.0
_UNSURE_TRIES: Final = 4


class Undeclared(LookupError):
    """A way in without a permission; the sentence says where to declare it."""


class Unanswered(Exception):
    """Slack does not say just now who somebody is."""


def permission_of(kind: Kind, name: str) -> Permission:
    """What this way in asks for.

    Raises:
        Undeclared: it has no line.

    >>> permission_of("view", "koe.survey")
    'trigger'
    """
    try:
        return TABLES[kind][name]
    except KeyError:
        raise Undeclared(f"the {kind} {name!r} declares no permission: add a line to bot/staff/access.py") from None


def holders(staff: Staff, permission: Permission) -> tuple[str, ...]:
    """User ids and S… user groups that hold a permission, each once; managers always among them.

    A list that koe.yaml leaves out falls back: cases to `may_trigger`, comments to those who handle cases; overriding,
    exporting and erasing to the managers. An empty list means managers only. "everyone" and "member" have no list: ().

    >>> from bot.config import Staff
    >>> holders(Staff(may_trigger=("U0STAFF",), managers=("U0BOSS",)), "handle_cases")
    ('U0BOSS', 'U0STAFF')
    """
    match permission:
        case "everyone" | "member":
            return ()
        case "trigger":
            listed = staff.may_trigger
        case "handle_cases":
            listed = _or(staff.may_handle_cases, staff.may_trigger)
        case "read_comments":
            listed = _or(staff.may_read_comments, holders(staff, "handle_cases"))
        case "override":
            listed = _or(staff.may_override, ())
        case "export":
            listed = _or(staff.may_export, ())
        case "erase":
            listed = _or(staff.may_erase, ())
        case "manage":
            listed = ()
        case "staff":
            lists: tuple[Permission, ...] = tuple(p for p in _KEYS if p != "staff")
            listed = tuple(entry for one in lists for entry in holders(staff, one))
    return tuple(dict.fromkeys((*staff.managers, *listed)))


def _or(listed: tuple[str, ...] | None, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return otherwise if listed is None else listed


_KEYS: Final[Mapping[Permission, str]] = {
    "staff": "staff",
    "trigger": "staff.may_trigger",
    "handle_cases": "staff.may_handle_cases",
    "read_comments": "staff.may_read_comments",
    "override": "staff.may_override",
    "export": "staff.may_export",
    "erase": "staff.may_erase",
    "manage": "staff.managers",
}
"""Where in koe.yaml each permission is given."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody may not do something. `sentence` is for them, in their language."""

    reason: Refusal
    sentence: str


class Access:
    """Checks permissions of members of the workspace.

    Args:
        people: Who is who, and who is in which group.
        staff: The section of koe.yaml.
        note_refused: Keeps a refusal for the audit: (user id, their workspace as told, way in, reason).
    """

    def __init__(
        self, people: People, staff: Staff, *, note_refused: Callable[[str, str, str, Refusal], Awaitable[object]]
    ) -> None:
        self._people = people
        self._staff = staff
        self._note_refused = note_refused

    async def check(
        self, permission: Permission, user_id: str, *, team_id: str = "", way: str = ""
    ) -> tuple[Person, Refused | None]:
        """Who it is, and why they may not; None: they may.

        Args:
            team_id: The person's workspace as the payload names it; "" when it does not.
            way: The way in, for the audit of a refusal; "" when this is only a look at what to show.
        """
        person = await self._people.who(user_id)
        reason = await self._people.refusal(user_id, self._allowed(permission), team_id=team_id)
        return person, await self._told(reason, permission, person, team_id=team_id, way=way)

    async def check_now(
        self, permission: Permission, user_id: str, *, team_id: str = "", way: str = "", lang: str = ""
    ) -> tuple[Person, Refused | None]:
        """As `check`, without waiting for Slack: for what stands between a click and its acknowledgement. When Slack
        has not told of this person yet, they are asked to try again (in `lang`), and it is asked beside."""
        reason = self._people.refusal_now(user_id, self._allowed(permission), team_id=team_id)
        person = self._people.somebody(user_id, lang=lang)
        return person, await self._told(reason, permission, person, team_id=team_id, way=way)

    async def check_stored(
        self, permission: Permission, user_id: str, *, team_id: str, way: str, attempts: int
    ) -> tuple[Person, str]:
        """As `decide`, for what was stored before anybody could be asked, at the so-manieth attempt.

        Raises:
            Unanswered: Slack does not say just now who they are. That is no reason to drop what somebody has done: it
                is tried again. After some attempts it is decided by what is known.
        """
        person, refused = await self.check(permission, user_id, team_id=team_id)
        unsure = not person.known or (refused is not None and refused.reason == "groups_unreadable")
        if unsure and attempts < _UNSURE_TRIES:
            raise Unanswered(f"Slack does not say who {user_id} is")
        if refused is None:
            return person, ""
        await self._note_refused(user_id, team_id, way, refused.reason)
        return person, refused.sentence

    def _allowed(self, permission: Permission) -> tuple[str, ...] | None:
        return None if permission == "member" else holders(self._staff, permission)

    async def _told(
        self, reason: Refusal | None, permission: Permission, person: Person, *, team_id: str, way: str
    ) -> Refused | None:
        if reason is None:
            return None
        if way and reason != "checking":
            await self._note_refused(person.id, team_id, way, reason)
        return Refused(reason, refusal_text(reason, person.lang, key=_KEYS.get(permission, "staff")))

    async def decide(self, permission: Permission, body: Mapping[str, Any], *, way: str) -> tuple[Person, str]:
        """Who a payload of Slack's comes from, and the sentence that refuses; "" when they may. For after the
        acknowledgement.

        Within two seconds, for a window can be opened for three; when Slack does not say in time who it is, they are
        asked to try again."""
        user_id, team_id = acting_person(body)
        if permission == "everyone":
            return self._people.somebody(user_id), ""
        try:
            async with asyncio.timeout(_DECIDE_S):
                person, refused = await self.check(permission, user_id, team_id=team_id, way=way)
        except TimeoutError:
            person = self._people.somebody(user_id)
            return person, refusal_text("unknown", person.lang)
        return person, "" if refused is None else refused.sentence

    async def decide_now(self, permission: Permission, body: Mapping[str, Any], *, way: str) -> tuple[Person, str]:
        """As `decide`, before the acknowledgement: from what is known (see `check_now`)."""
        user_id, team_id = acting_person(body)
        lang = window_language(body)
        if permission == "everyone":
            return self._people.somebody(user_id, lang=lang), ""
        person, refused = await self.check_now(permission, user_id, team_id=team_id, way=way, lang=lang)
        return person, "" if refused is None else refused.sentence

    async def learn(self) -> None:
        """Ask Slack who the people are that koe.yaml lists: nobody's first click in an open window has to wait then."""
        await self._people.learn(holders(self._staff, "staff"))

    async def may(self, permission: Permission, user_id: str, *, team_id: str = "") -> bool:
        """Whether they may: for what a window or a Home shows. No refusal is noted."""
        return (await self.check(permission, user_id, team_id=team_id))[1] is None

    async def those_who_may_not(self, permission: Permission, user_ids: Sequence[str]) -> tuple[str, ...]:
        """Who of these people may not, bots aside: they read nothing aloud."""
        return tuple(
            [
                user_id
                for user_id in user_ids
                if not (await self._people.who(user_id)).is_bot and not await self.may(permission, user_id)
            ]
        )


def window_private(lang: str, **more: str) -> str:
    """What a window carries unseen: the language it was opened in, and what it is about.

    >>> window_private("ja", c="0197")
    '{"l":"ja","c":"0197"}'
    """
    return json.dumps({"l": lang, **more}, ensure_ascii=False, separators=(",", ":"))


def window_told(view: object) -> dict[str, str]:
    """What `window_private` put into this view; {} when it is none of ours."""
    text = view.get("private_metadata") if isinstance(view, dict) else None
    try:
        told = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return {key: value for key, value in told.items() if isinstance(value, str)} if isinstance(told, dict) else {}


def window_language(body: Mapping[str, Any]) -> str:
    """The language in which the payload's window was opened; "" when it comes from none of ours."""
    lang = window_told(body.get("view")).get("l", "")
    return lang if lang in ("ja", "en") else ""


def acting_person(body: Mapping[str, Any]) -> tuple[str, str]:
    """(user id, team id) of whom a payload comes from; in Slack Connect the team is not always ours. "" where it says
    nothing."""
    user, team = body.get("user"), body.get("team")
    if not isinstance(user, dict):
        return str(body.get("user_id") or ""), str(body.get("team_id") or "")
    team_id = user.get("team_id") or (team.get("id") if isinstance(team, dict) else "")
    return str(user.get("id") or ""), str(team_id or "")
