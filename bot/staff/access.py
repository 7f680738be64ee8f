"""Who may do what: one table of every way in, each with the permission it asks for, and the check behind it.

Whatever has no line here is refused when the program is built (Slack) or by a test (routes). A window is checked when
it is opened and again when it is sent: both are ways in of their own.
"""

from __future__ import annotations

import asyncio
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


class Undeclared(LookupError):
    """A way in without a permission; the sentence says where to declare it."""


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
        allowed = None if permission == "member" else holders(self._staff, permission)
        reason = await self._people.refusal(user_id, allowed, team_id=team_id)
        if reason is None:
            return person, None
        if way:
            await self._note_refused(user_id, team_id, way, reason)
        return person, Refused(reason, refusal_text(reason, person.lang, key=_KEYS.get(permission, "staff")))

    async def decide(self, permission: Permission, body: Mapping[str, Any], *, way: str) -> tuple[Person, str]:
        """Who a payload of Slack's comes from, and the sentence that refuses; "" when they may.

        Within two seconds, for a window waits three for its answer; when Slack does not say in time who it is, they are
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


def acting_person(body: Mapping[str, Any]) -> tuple[str, str]:
    """(user id, team id) of whom a payload comes from; in Slack Connect the team is not always ours. "" where it says
    nothing."""
    user, team = body.get("user"), body.get("team")
    if not isinstance(user, dict):
        return str(body.get("user_id") or ""), str(body.get("team_id") or "")
    team_id = user.get("team_id") or (team.get("id") if isinstance(team, dict) else "")
    return str(user.get("id") or ""), str(team_id or "")
