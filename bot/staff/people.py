"""Who is who among the people of the Slack workspace: their language, and what they may do."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import structlog

from bot.channel import JsonObject

log = structlog.get_logger(__name__)

_FRESH_MS = 10 * 60_000
"""How long what Slack said of a person or a group is believed."""
_KEPT = 5_000

Refusal = Literal["stranger", "bot", "guest", "unknown", "unlisted", "nobody_listed", "groups_unreadable"]

_REFUSALS: dict[Refusal, tuple[str, str]] = {
    "stranger": (
        "申し訳ございません。この操作は、このワークスペースのメンバーだけがご利用いただけます。",
        "Sorry, only members of this workspace can do this.",
    ),
    "bot": ("この操作は、ボットからはご利用いただけません。", "Bots can't do this."),
    "guest": (
        "申し訳ございません。ゲストの方は、この操作をご利用いただけません。",
        "Sorry, guests can't do this.",
    ),
    "unknown": (
        "権限を確認できませんでした。しばらくしてから、もう一度お試しください。",
        "We couldn't check your permission. Please try again in a little while.",
    ),
    "unlisted": (
        "申し訳ございません。この操作の権限がありません。koe.yaml の {key} への追加を、管理者にご依頼ください。",
        "Sorry, you don't have permission for this. Please ask the administrator to add you to {key} in koe.yaml.",
    ),
    "nobody_listed": (
        "この操作の権限を持つ人が、まだ登録されていません。管理者が koe.yaml の {key} に追加できます。",
        "Nobody has permission for this yet. The administrator can add people to {key} in koe.yaml.",
    ),
    "groups_unreadable": (
        "権限を確認できませんでした。ユーザーグループを読めません。アプリに usergroups:read の権限があるか、"
        "管理者にご確認ください。",
        "We couldn't check your permission: the user groups can't be read. "
        "Please ask the administrator whether the app has the scope usergroups:read.",
    ),
}


def refusal_text(refusal: Refusal, lang: str, *, key: str = "staff") -> str:
    """Why somebody may not do something, to be shown to them. `key`: where in koe.yaml the permission is given.

    >>> refusal_text("bot", "en")
    "Bots can't do this."
    """
    ja, en = _REFUSALS[refusal]
    return (en if lang == "en" else ja).format(key=key)


class Call(Protocol):
    """Makes one call of the platform's API; raises SlackError (bot.slack.channel) for anything but
    success."""

    async def __call__(
        self, method: str, args: JsonObject, *, timeout_s: float = ..., harmless: bool = ..., repeatable: bool = ...
    ) -> JsonObject: ...


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the workspace, as far as Slack tells. `known` is False while Slack could not be asked."""

    id: str
    lang: str
    name: str = ""
    """As customers read it: the family name, "" when Slack does not say."""
    team_id: str = ""
    is_bot: bool = False
    is_guest: bool = False
    is_stranger: bool = False
    """Of another organisation (Slack Connect)."""
    is_gone: bool = False
    known: bool = True


class People:
    """Looks people and user groups up, and remembers them for some minutes.

    Args:
        call: One Web API call.
        team_id: Our workspace; "" while unknown.
        default_lang: For people whose locale is unknown.
        failure: The exception of `call`.
        now_ms: The clock that ages what is remembered.
    """

    def __init__(
        self,
        call: Call,
        *,
        team_id: Callable[[], str],
        default_lang: str,
        failure: type[Exception],
        now_ms: Callable[[], int],
    ) -> None:
        self._call = call
        self._team_id = team_id
        self._default_lang = default_lang
        self._failure = failure
        self._now_ms = now_ms
        self._people: OrderedDict[str, tuple[int, Person]] = OrderedDict()
        self._groups: dict[str, tuple[int, frozenset[str]]] = {}

    def somebody(self, user_id: str) -> Person:
        """The person as remembered, without asking Slack; with the shop's language when nothing is remembered."""
        known = self._people.get(user_id)
        return Person(user_id, self._default_lang, known=False) if known is None else known[1]

    async def who(self, user_id: str) -> Person:
        """The person, with the language of their Slack; the shop's language when Slack does not say."""
        known = self._people.get(user_id)
        if known is not None and abs(self._now_ms() - known[0]) < _FRESH_MS:
            return known[1]
        if not user_id:
            return self.somebody(user_id)
        try:
            # the trigger of a window lives three seconds
            answer = await self._call(
                "users.info", {"user": user_id, "include_locale": True}, timeout_s=1.5, harmless=True
            )
        except self._failure as failed:
            log.info("slack_person_unknown", reason=str(failed))
            return self.somebody(user_id)
        person = _person(user_id, answer.get("user"), self._default_lang)
        self._people[user_id] = (self._now_ms(), person)
        if len(self._people) > _KEPT:
            self._people.popitem(last=False)
        return person

    async def refusal(self, user_id: str, allowed: Sequence[str] | None, *, team_id: str = "") -> Refusal | None:
        """Why this person may not do what `allowed` (user ids and S… user groups) is the list for; None:
        they may. Without a list (None) every full member may.

        Bots, guests and people of other workspaces never may, listed or not. Somebody whom Slack tells
        nothing about may when listed by their own id.

        Args:
            team_id: The person's workspace as the payload names it; "" when it does not.
        """
        person, ours = await self.who(user_id), self._team_id()
        if user_id == "USLACKBOT" or person.is_bot:
            return "bot"
        for theirs in (team_id, person.team_id):
            if theirs and ours and theirs != ours:
                return "stranger"
        if person.is_gone or person.is_stranger or not user_id:
            return "stranger"
        if person.is_guest:
            return "guest"
        if allowed is not None and user_id in allowed:
            return None
        if allowed is None:
            return None if person.known else "unknown"
        groups = [entry for entry in allowed if entry.startswith("S")]
        if not groups:
            return "unlisted" if allowed else "nobody_listed"
        if not person.known:
            return "unknown"  # without a word about guests a group alone is not enough
        found = await asyncio.gather(*(self._members(group) for group in groups), return_exceptions=True)
        if any(user_id in group for group in found if isinstance(group, frozenset)):
            return None
        for group_id, failed in zip(groups, found, strict=True):
            if isinstance(failed, self._failure):
                log.warning("slack_group_unreadable", group=group_id, reason=str(failed))
            elif isinstance(failed, BaseException):
                raise failed
        # who may be in a group that cannot be read is not told that they are in none
        return "unlisted" if all(isinstance(group, frozenset) for group in found) else "groups_unreadable"

    async def _members(self, group_id: str) -> frozenset[str]:
        known = self._groups.get(group_id)
        if known is not None and abs(self._now_ms() - known[0]) < _FRESH_MS:
            return known[1]
        answer = await self._call("usergroups.users.list", {"usergroup": group_id}, timeout_s=1.5, harmless=True)
        members = frozenset(str(user) for user in answer.get("users") or ())
        self._groups[group_id] = (self._now_ms(), members)
        return members


def short_name(name: str) -> str:
    """The part of a member's name that customers may read: without what stands in brackets, the first word of it.

    >>> short_name("高木 由美（スタッフ）"), short_name("Emma Brown (Support)"), short_name("高木（スタッフ）")
    ('高木', 'Emma', '高木')
    """
    bare = re.split(r"[（(\[【|/]", name, maxsplit=1)[0].split()
    return bare[0][:40] if bare else ""


def _person(user_id: str, told: object, default_lang: str) -> Person:
    person = Person(user_id, default_lang)
    if not isinstance(told, dict):
        return replace(person, known=False)
    locale = str(told.get("locale") or "")
    return Person(
        user_id,
        lang=("ja" if locale.startswith("ja") else "en") if locale else default_lang,
        name=short_name(str(told.get("real_name") or told.get("name") or "")),
        team_id=str(told.get("team_id") or ""),
        is_bot=bool(told.get("is_bot")),
        is_guest=bool(told.get("is_restricted") or told.get("is_ultra_restricted")),
        is_stranger=bool(told.get("is_stranger")),
        is_gone=bool(told.get("deleted")),
    )
