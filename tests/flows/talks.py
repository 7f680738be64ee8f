"""Talks written down: what a customer does, and what Koe answers, in lines a person can read.

A transcript is a YAML file: `flow`, `lang`, optional `week` (local date of the first question), `facts`, `vars`,
`first_contact`, `dates` (the promises that hold), and `talk`: a list of `{in: …, out: […]}`. What goes in: `begin`
(`begin 2`: the second session of a wave), `type WORDS`, `tap NODE VALUE`, `sticker [WORDS]`, `photo`, `voice`,
`unsend ID`, `timer NAME`, `stop REASON`. `after` is the time since the line before, in seconds (10); a negative one is
a late delivery. `koe talk --record` writes such files.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

from flows.builtin import builtin_library
from flows.engine import new_state, step
from flows.exchange import Begin, Dates, Elapsed, Input, Media, Output, Record, Reply, Stop, Tap, Typed, Unsent
from flows.flow import Flow, Rules
from flows.state import State
from flows.survey import Library
from flows.transcript import told

__all__ = ["DATES", "START_MS", "VARS", "Talk", "library", "told"]

START_MS = 1_795_000_000_000
DATES = {
    "ja": Dates("11月24日（火）18:00まで", "11月25日（水）", "12月1日（火）"),
    "en": Dates("by Tue 24 Nov, 18:00", "Wed 25 Nov", "Tue 1 Dec"),
}
VARS = {
    "ja": {
        "name": "田中",
        "brand": "声の店",
        "team": "お客さま窓口",
        "here": "このトーク",
        "expires": "11月30日（月）",
        "date": "11月16日（月）",
        "privacy_url": "https://shop.example/privacy",
        "retention": "2年",
        "support_hours": "平日10:00〜17:00",
    },
    "en": {
        "name": "Emma",
        "brand": "Koe Store",
        "team": "our team",
        "here": "this chat",
        "expires": "Mon 30 Nov",
        "date": "Mon 16 Nov",
        "privacy_url": "https://shop.example/privacy",
        "retention": "2 years",
        "support_hours": "weekdays 10:00–17:00",
    },
}


@cache
def library() -> Library:
    return builtin_library(Rules(words=("交換", "返品", "届かない")))


class Talk:
    """A conversation under test. The state goes through text between every two inputs."""

    def __init__(
        self,
        flow: Flow,
        *,
        lang: str = "ja",
        week: date = date(2026, 11, 16),
        facts: dict[str, object] | None = None,
        vars: dict[str, str] | None = None,  # noqa: A002
        first_contact: bool = False,
        sample: float = 0.25,
        dates: dict[str, str] | None = None,
    ) -> None:
        self.flow = flow
        self.lang = lang
        self.week = week
        self.first_contact = first_contact
        self.sample = sample
        self.dates = DATES[lang] if dates is None else Dates(**dates)
        self.at_ms = START_MS
        self.count = 0
        self.vars = {**VARS[lang], **(vars or {})}
        self.facts = facts or {}
        self.state = new_state(flow, lang=lang, vars=self.vars, facts=self.facts)
        self.log: list[Output] = []

    def do(self, line: str, *, after: float = 10) -> list[Output]:
        """Put one line in (see the module) and give back what came out."""
        self.at_ms += int(after * 1000)
        said = self._input(line)
        result = step(self.flow, State.parse(self.state.dump()), said)
        self.state = State.parse(result.state.dump())
        assert self.state == result.state
        self.log += result.outputs
        return list(result.outputs)

    def _input(self, line: str) -> Input:
        verb, _, rest = line.partition(" ")
        dates = self.dates
        match verb:
            case "begin":
                if rest:
                    part = int(rest)
                    self.state = new_state(self.flow, lang=self.lang, vars=self.vars, facts=self.facts, part=part)
                return Begin(self.at_ms, self.week, self.first_contact and not rest, self.sample)
            case "timer":
                return Elapsed(self.at_ms, rest, dates)
            case "stop":
                return Stop(self.at_ms, rest)  # type: ignore[arg-type]
        self.count += verb != "tap"
        content: Any
        match verb:
            case "type":
                content = Typed(rest)
            case "tap":
                node, _, value = rest.partition(" ")
                return Reply(self.at_ms, Tap(node, value), dates)
            case "sticker" | "photo":
                content = Media(verb, rest)  # type: ignore[arg-type]
            case "voice":
                content = Media("other")
            case "unsend":
                content = Unsent(rest)
            case _:
                raise ValueError(line)
        return Reply(self.at_ms, content, dates, message_id=f"m{self.count}")

    @property
    def answers(self) -> dict[str, object]:
        """What counts now, from the outputs alone."""
        counted: dict[str, object] = {}
        for output in self.log:
            match output:
                case Record(question, value):
                    counted[question] = value
                case _ if type(output).__name__ == "Retract":
                    counted.pop(output.question, None)  # type: ignore[union-attr]
        return counted
