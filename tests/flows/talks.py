"""Talks written down: what a customer does, and what Koe answers, in lines a person can read.

A transcript is a YAML file: `flow`, `lang`, optional `week` (local date of the first question), `facts`, `vars`,
`first_contact`, and `talk`: a list of `{in: …, out: […]}`. What goes in: `begin`, `type WORDS`, `tap NODE VALUE`,
`sticker`, `photo`, `voice`, `unsend ID`, `timer NAME`, `stop REASON`. `after` is the time since the line before, in
seconds (10); a negative one is a late delivery.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

from flows.builtin import builtin_library
from flows.engine import (
    Ask,
    Begin,
    Choice,
    Dates,
    Elapsed,
    Input,
    Media,
    Output,
    Record,
    Reply,
    Say,
    State,
    Stop,
    Tap,
    Typed,
    Unsent,
    Wake,
    new_state,
    step,
)
from flows.survey import Flow, Library, Rules

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
    ) -> None:
        self.flow = flow
        self.lang = lang
        self.week = week
        self.first_contact = first_contact
        self.sample = sample
        self.at_ms = START_MS
        self.count = 0
        self.state = new_state(flow, lang=lang, vars={**VARS[lang], **(vars or {})}, facts=facts or {})
        self.log: list[Output] = []

    def do(self, line: str, *, after: float = 10) -> list[Output]:
        """Put one line in (see the module) and give back what came out."""
        self.at_ms += int(after * 1000)
        result = step(self.flow, State.parse(self.state.dump()), self._input(line))
        self.state = State.parse(result.state.dump())
        assert self.state == result.state
        self.log += result.outputs
        return list(result.outputs)

    def _input(self, line: str) -> Input:
        verb, _, rest = line.partition(" ")
        dates = DATES[self.lang]
        match verb:
            case "begin":
                return Begin(self.at_ms, self.week, self.first_contact, self.sample)
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
                content = Media(verb)  # type: ignore[arg-type]
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


def told(output: Output) -> str:
    """An output in a few readable lines."""
    match output:
        case Ask():
            lines = [f"ask {output.question}" + (" (invitation)" if output.invitation else "")]
            lines += [f"  {line}" for part in (output.intro, output.text) if part for line in part.split("\n")]
            if output.low:
                lines.append(f"  {output.low} ↔ {output.high}")
            lines += _buttons(output.choices) + _buttons(output.controls) + _buttons(output.exits)
            if output.chosen is not None:
                lines.append(f"  chosen: {output.chosen!r}")
            lines += [f"  † {line}" for line in output.small.split("\n") if line]
            lines += _buttons(output.small_choices)
            lines.append(f"  alt: {output.alt}")
            return "\n".join(lines)
        case Say():
            return "\n".join(["say", *(f"  {line}" for line in output.text.split("\n")), *_buttons(output.choices)])
        case Wake():
            return f"wake {output.timer}"
        case Record():
            late = " late" if output.late else ""
            return f"record {output.question} = {output.value!r} {output.missing}{late}".rstrip() + (
                f" 「{output.label}」" if output.label else ""
            )
        case _:
            return repr(output)


def _buttons(choices: tuple[Choice, ...]) -> list[str]:
    return ["  " + "".join(f"[{choice.label}]" for choice in choices)] if choices else []
