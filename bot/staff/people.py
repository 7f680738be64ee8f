"""Who is who among the people of the Slack workspace: their language, and what they may do."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import structlog

from bot.channel import JsonObject

log = structlog.get_logger(__name__)

_FRESH_MS = 10 * 60_000
"""How long what Slack said of a person or a group is believed without asking again."""
_BELIEVED_MS = 30 * 60_000
"""How long it is believed where nobody can wait for Slack; once it is no longer fresh, Slack is asked meanwhile."""
_ASK_S = 1.5
_KEPT = 5_000
_LEARNT = 40
"""People asked about one by one: Slack answers a hundred such questions a minute. More are found in the list of
everybody."""
_PAGE, _PAGES, _PAGE_S = 200, 20, 10.0
"""Slack's advice for a page of everybody, how many such questions it answers a minute, and how long one may take.

Source: https://docs.slack.dev/reference/methods/users.list."""

Refusal = Literal["stranger", "bot", "guest", "unknown", "checking", "unlisted", "nobody_listed", "groups_unreadable"]

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
    "checking": (
        "権限を確認しています。お手数ですが、少し待ってもう一度お試しください。",
        "We are checking your permission. Please try again in a moment.",
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
        self._groups: dict[str, tuple[int, frozenset[str] | None]] = {}
        self._asking: dict[str, asyncio.Task[object]] = {}

    def somebody(self, user_id: str, *, lang: str = "") -> Person:
        """The person as remembered, without asking Slack; with `lang` or the shop's language when nothing is
        remembered."""
        known = self._people.get(user_id)
        return Person(user_id, lang or self._default_lang, known=False) if known is None else known[1]

    async def who(self, user_id: str) -> Person:
        """The person, with the language of their Slack; the shop's language when Slack does not say."""
        known = self._people.get(user_id)
        if known is not None and self._is_younger(known[0], _FRESH_MS):
            return known[1]
        if not user_id:
            return self.somebody(user_id)
        try:
            # the trigger of a window lives three seconds
            answer = await self._call(
                "users.info", {"user": user_id, "include_locale": True}, timeout_s=_ASK_S, harmless=True
            )
        except self._failure as failed:
            log.info("slack_person_unknown", reason=str(failed))
            # the next one asks again; who cannot wait goes by this meanwhile
            return self._remember(self.somebody(user_id), self._now_ms() - _FRESH_MS)
        return self._remember(_person(user_id, answer.get("user"), self._default_lang), self._now_ms())

    def _remember(self, person: Person, at_ms: int) -> Person:
        self._people[person.id] = (at_ms, person)
        self._people.move_to_end(person.id)
        if len(self._people) > _KEPT:
            self._people.popitem(last=False)
        return person

    def _is_younger(self, at_ms: int, age_ms: int) -> bool:
        return abs(self._now_ms() - at_ms) < age_ms

    async def refusal(self, user_id: str, allowed: Sequence[str] | None, *, team_id: str = "") -> Refusal | None:
        """Why this person may not do what `allowed` (user ids and S… user groups) is the list for; None:
        they may. Without a list (None) every full member may.

        Bots, guests and people of other workspaces never may, listed or not. Somebody whom Slack tells
        nothing about may when listed by their own id.

        Args:
            team_id: The person's workspace as the payload names it; "" when it does not.
        """
        person = await self.who(user_id)
        told = self._without_groups(person, allowed, team_id)
        if told != "groups":
            return told
        groups = _groups_of(allowed)
        found = await asyncio.gather(*(self._members(group) for group in groups), return_exceptions=True)
        for group_id, failed in zip(groups, found, strict=True):
            if isinstance(failed, self._failure):
                log.warning("slack_group_unreadable", group=group_id, reason=str(failed))
            elif isinstance(failed, BaseException):
                raise failed
        return _of_groups(user_id, [group if isinstance(group, frozenset) else None for group in found])

    def refusal_now(self, user_id: str, allowed: Sequence[str] | None, *, team_id: str = "") -> Refusal | None:
        """As `refusal`, from what Slack said within half an hour, without waiting for it: "checking" when it said
        nothing. Then, and when that is no longer fresh, it is asked beside, so that the next answer is better."""
        known = self._people.get(user_id)
        if user_id and (known is None or not self._is_younger(known[0], _FRESH_MS)):
            self._ask_beside(user_id, self.who(user_id))
        if known is None or not self._is_younger(known[0], _BELIEVED_MS):
            ours = self._team_id()
            return "stranger" if not user_id or (team_id and ours and team_id != ours) else "checking"
        told = self._without_groups(known[1], allowed, team_id)
        if told != "groups":
            return told
        found: list[frozenset[str] | None] = []
        for group_id in _groups_of(allowed):
            group = self._groups.get(group_id)
            if group is None or not self._is_younger(group[0], _FRESH_MS):
                self._ask_beside(group_id, self._members(group_id))
            if group is None or not self._is_younger(group[0], _BELIEVED_MS):
                return "checking"
            found.append(group[1])
        return _of_groups(user_id, found)

    def _without_groups(
        self, person: Person, allowed: Sequence[str] | None, team_id: str
    ) -> Refusal | Literal["groups"] | None:
        """What can be said before anybody looks into a group; "groups" when it depends on them."""
        ours = self._team_id()
        if person.id == "USLACKBOT" or person.is_bot:
            return "bot"
        for theirs in (team_id, person.team_id):
            if theirs and ours and theirs != ours:
                return "stranger"
        if person.is_gone or person.is_stranger or not person.id:
            return "stranger"
        if person.is_guest:
            return "guest"
        if allowed is not None and person.id in allowed:
            return None
        if allowed is None:
            return None if person.known else "unknown"
        if not _groups_of(allowed):
            return "unlisted" if allowed else "nobody_listed"
        # without a word about guests a group alone is not enough
        return "groups" if person.known else "unknown"

    async def _members(self, group_id: str) -> frozenset[str]:
        known = self._groups.get(group_id)
        if known is not None and known[1] is not None and self._is_younger(known[0], _FRESH_MS):
            return known[1]
        try:
            answer = await self._call("usergroups.users.list", {"usergroup": group_id}, timeout_s=_ASK_S, harmless=True)
        except self._failure:
            self._groups[group_id] = (self._now_ms() - _FRESH_MS, None)
            raise
        members = frozenset(str(user) for user in answer.get("users") or ())
        self._groups[group_id] = (self._now_ms(), members)
        return members

    async def learn(self, allowed: Sequence[str]) -> None:
        """Ask Slack about these people and user groups, and who is in them, before they press anything: after a start
        nobody is known, and who cannot wait for Slack would be asked to try again."""
        members: list[str] = []
        for group_id in _groups_of(allowed):
            try:
                members += sorted(await self._members(group_id))
            except self._failure as failed:
                log.info("slack_not_learnt", reason=str(failed))
        people = {*members, *(entry for entry in allowed if not entry.startswith("S"))}
        if len(people) > _LEARNT:
            await self._learn_from_everybody(people)
            return
        for user_id in sorted(people):
            await self.who(user_id)

    async def _learn_from_everybody(self, wanted: set[str]) -> None:
        """Look these people up among everybody of the workspace, a page at a time."""
        cursor = ""
        for _ in range(_PAGES):
            args = {"limit": _PAGE, "include_locale": True, **({"cursor": cursor} if cursor else {})}
            try:
                answer = await self._call("users.list", args, timeout_s=_PAGE_S, harmless=True)
            except self._failure as failed:
                log.info("slack_not_learnt", reason=str(failed))
                return
            for told in answer.get("members") or ():
                user_id = str(told.get("id")) if isinstance(told, dict) else ""
                if user_id in wanted:
                    wanted.discard(user_id)
                    self._remember(_person(user_id, told, self._default_lang), self._now_ms())
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not wanted or not cursor:
                return

    # -------------------- asked beside

    def _ask_beside(self, subject: str, question: Coroutine[Any, Any, object]) -> None:
        """Ask Slack about a person or a group while nobody waits; once at a time for each."""
        if subject in self._asking:
            question.close()
            return
        task = self._asking[subject] = asyncio.ensure_future(self._asked(question))
        task.add_done_callback(lambda _: self._asking.pop(subject, None))

    async def _asked(self, question: Coroutine[Any, Any, object]) -> None:
        try:
            await question
        except self._failure as failed:
            log.info("slack_not_learnt", reason=str(failed))

    async def stop(self) -> None:
        """End what is being asked beside."""
        running = tuple(self._asking.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=2)


def _groups_of(allowed: Sequence[str] | None) -> list[str]:
    return [entry for entry in allowed or () if entry.startswith("S")]


def _of_groups(user_id: str, found: Sequence[frozenset[str] | None]) -> Refusal | None:
    """Whether somebody is in one of the groups; None stands for one that cannot be read."""
    if any(group is not None and user_id in group for group in found):
        return None
    # who may be in a group that cannot be read is not told that they are in none
    return "groups_unreadable" if None in found else "unlisted"


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
