"""A conversation and its time, without a store: what the engine says, what time alone would bring, the transcript."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from bot.promises import Promises
from bot.talk.scene import Scene
from flows import rights
from flows.engine import new_state, step, summary
from flows.exchange import (
    Begin,
    Choice,
    Content,
    Dates,
    Elapsed,
    End,
    EraseAnswers,
    Input,
    Media,
    Output,
    Record,
    Reply,
    Retract,
    Say,
    Stop,
    Tap,
    Typed,
    Unsent,
    Wake,
)
from flows.transcript import render_transcript, told

_DAY_MS = 86_400_000
_SAMPLE = 0.25
"""What transcripts draw the order of shuffled choices from."""
_NEWS_DAYS = 3


class Rehearsal:
    """A conversation and its time: inputs in, outputs back, and what went on written down for a transcript."""

    def __init__(self, scene: Scene, *, constant: bool) -> None:
        self.scene = scene
        self.state = new_state(scene.flow, lang=scene.lang, vars=scene.vars, facts=scene.facts)
        self.at_ms = scene.start_ms
        self.wake_ms: int | None = None
        """When a free text closes by itself."""
        self.remind_ms: int | None = scene.start_ms + scene.remind_ms
        self.expire_ms: int | None = scene.start_ms + scene.expire_ms
        self.over = False
        self.part = 1
        self.next_ms: int | None = None
        """When the next session of a wave begins."""
        self.lines: list[dict[str, object]] = []
        self.day = datetime.fromtimestamp(scene.start_ms / 1000, scene.shop.tz).date()
        self.promises = Promises(scene.shop)
        self._constant = self.dates() if constant else None
        self._messages = 0
        self._typed: list[str] = []

    def dates(self) -> Dates:
        """The promises of this moment; in a transcript those of its beginning."""
        return self.promises.dates(self.at_ms, self.scene.lang)

    def begin(self) -> list[Output]:
        return self._step("begin", Begin(self.at_ms, self.day, True, _SAMPLE), self.at_ms)

    def go_on(self) -> list[Output]:
        """The next session of the wave begins."""
        at_ms = self._whole(self.next_ms or self.at_ms)
        self.part += 1
        self.next_ms = self.remind_ms = None
        self.expire_ms = at_ms + self.scene.expire_ms
        self.over = False
        scene = self.scene
        self.state = new_state(scene.flow, lang=scene.lang, vars=scene.vars, facts=scene.facts, part=self.part)
        return self._step(f"begin {self.part}", Begin(at_ms, self.day, False, _SAMPLE), at_ms)

    def typed(self, text: str, now_ms: int) -> list[Output]:
        asked = rights.recognise(text)
        if asked is not None:
            return self._right(asked, now_ms)
        if self.over:
            return []
        outputs = self._reply(f"type {text}", Typed(text), now_ms)
        self._typed.append(f"m{self._messages}")
        return outputs

    def tap(self, choice: Choice, now_ms: int) -> list[Output]:
        if choice.node == rights.NODE:
            return self._right(choice.value, now_ms)
        return self._reply(f"tap {choice.node} {choice.value}", Tap(choice.node, choice.value), now_ms)

    def media(self, kind: str, words: str, now_ms: int) -> list[Output]:
        line = f"{kind} {words}".rstrip() if kind == "sticker" else kind
        shown: Media
        match kind:
            case "sticker":
                shown = Media("sticker", words)
            case "photo":
                shown = Media("photo")
            case _:
                shown = Media("other")
        return self._reply(line, shown, now_ms)

    def unsend(self, now_ms: int) -> list[Output] | None:
        """The latest words that still stand are taken back; None when there are none."""
        if not self._typed:
            return None
        message_id = self._typed.pop()
        return self._reply(f"unsend {message_id}", Unsent(message_id), now_ms)

    def elapse(self, timer: str, now_ms: int) -> list[Output]:
        match timer:
            case "text":
                self.wake_ms = None
            case "next":
                return self.go_on()
            case "remind":
                self.remind_ms = None
            case "expire":
                self.remind_ms = self.expire_ms = None
        now_ms = self._whole(now_ms)
        return self._step(f"timer {timer}", Elapsed(now_ms, timer, self._constant or self.dates()), now_ms)

    def stop(self, reason: Any, now_ms: int) -> list[Output]:
        now_ms = self._whole(now_ms)
        return self._step(f"stop {reason}", Stop(now_ms, reason), now_ms)

    def waiting(self) -> list[tuple[int, str]]:
        """(when, timer) of what time alone would bring, soonest first."""
        if self.over:
            return [] if self.next_ms is None else [(self.next_ms, "next")]
        timers = [
            (self.wake_ms, "text"),
            (None if self.state.answers else self.remind_ms, "remind"),
            (self.expire_ms, "expire"),
        ]
        return sorted((at_ms, timer) for at_ms, timer in timers if at_ms is not None)

    def transcript(self) -> str:
        head: dict[str, object] = {
            "about": "Recorded with koe talk.",
            "flow": self.scene.flow.id,
            "lang": self.scene.lang,
            "week": date(self.day.year, self.day.month, self.day.day),
            "first_contact": True,
            "vars": dict(self.scene.vars),
        }
        if self.scene.facts:
            head["facts"] = dict(self.scene.facts)
        frozen = self._constant or self.dates()
        head["dates"] = {"reply_by": frozen.reply_by, "later": frozen.later, "again": frozen.again}
        return render_transcript(head, self.lines)

    def _reply(self, line: str, content: Content, now_ms: int) -> list[Output]:
        message_id = ""
        if not isinstance(content, Tap):
            self._messages += 1
            message_id = f"m{self._messages}"
        now_ms = self._whole(now_ms)
        return self._step(line, Reply(now_ms, content, self._constant or self.dates(), message_id), now_ms)

    def _whole(self, now_ms: int) -> int:
        # whole seconds apart, so that a transcript (which tells seconds) repeats exactly what happened here
        return self.at_ms + max(0, -(-(now_ms - self.at_ms) // 1000)) * 1000

    def _step(self, line: str, event: Input, now_ms: int) -> list[Output]:
        after_s = (now_ms - self.at_ms) // 1000
        self.at_ms = now_ms
        result = step(self.scene.flow, self.state, event)
        self.state = result.state
        for output in result.outputs:
            match output:
                case Wake(timer="text", at_ms=at_ms):
                    self.wake_ms = at_ms
                case Record() | Retract():
                    self.wake_ms = None
                case End(outcome):
                    self.over = True
                    wave = self.scene.flow.wave
                    answered = any(given.value is not None for given in summary(self.scene.flow, self.state))
                    if wave is not None and outcome == "completed" and answered and self.part < wave.parts:
                        self.next_ms = self.promises.morning_ms(now_ms, -(-wave.gap_ms // _DAY_MS))
        written: dict[str, object] = {"in": line}
        if self.lines and after_s != 10:
            written["after"] = after_s
        self.lines.append({**written, "out": [told(output) for output in result.outputs]})
        return list(result.outputs)

    # ------------------------------------------------------------- what is the customer's own (as in bot/rights.py)

    def _right(self, asked: str, now_ms: int) -> list[Output]:
        match asked:
            case "unsubscribe":
                return [self._say("unsub.ask", "unsub.yes", "unsub.no", "unsub.news")]
            case "unsub.yes":
                return [*self._stop_open("opted_out", now_ms), self._say("unsub.done")]
            case "unsub.news":
                return [*self._stop_open("opted_out", now_ms), self._say("unsub.news")]
            case "unsub.no" | "erase.no":
                return [self._say("rights.kept")]
            case "resume":
                return [self._say("resume")]
            case "erase":
                return [self._say("erase.ask", "erase.yes", "erase.no")]
            case "erase.yes":
                return [*self._stop_open("erased", now_ms), EraseAnswers(), self._say("erase.done")]
            case _:
                return [self._mine()]

    def _stop_open(self, reason: str, now_ms: int) -> list[Output]:
        return [] if self.over else self.stop(reason, now_ms)

    def _mine(self) -> Say:
        given = [one for one in summary(self.scene.flow, self.state) if one.value is not None]
        if not given:
            return self._say("mine.none")
        deck, lang = self.scene.library.deck, self.scene.lang
        lines = [deck.text("mine.line", lang, {"question": one.name, "answer": one.label}) for one in given]
        text = deck.text("mine", lang, {"date": self.promises.date_text(self.at_ms, lang), "answers": "\n".join(lines)})
        change = Choice(deck.text("mine.change.label", lang, {}), "@control", "change")
        return Say(text, (change, Choice(deck.text("mine.erase.label", lang, {}), rights.NODE, "erase")))

    def _say(self, key: str, *choices: str) -> Say:
        deck, lang = self.scene.library.deck, self.scene.lang
        text = deck.text(key, lang, {**self.scene.vars, "days": str(_NEWS_DAYS)})
        return Say(text, tuple(Choice(deck.text(f"{c}.label", lang, {}), rights.NODE, c) for c in choices))
