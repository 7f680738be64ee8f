"""The conversation, as a pure function: `step(flow, state, input) → Step(state, outputs)`.

Nothing here waits, sends, stores, draws lots or asks for the time: inputs carry their time, outputs are the complete
list of what the world must do. `step` is total: a late button, a stale timer, a sticker where a number was asked are
ordinary inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, cast

from flows.exchange import (
    Ask,
    Begin,
    CaseSettled,
    Choice,
    Content,
    Dates,
    Defer,
    Elapsed,
    End,
    EraseAnswers,
    Input,
    Media,
    NotOurs,
    OpenCase,
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
from flows.flow import Course, Ending, Flow, Question, Wave
from flows.questions import (
    Between,
    Left,
    Understood,
    Value,
    command,
    is_request,
    key,
    says_nothing,
)
from flows.rights import recognise
from flows.state import Bubble, Outcome, Recorded, State
from flows.texts import Lang, item_name, quote
from flows.voice import THE_SHOPS, voice_of


@dataclass(frozen=True, slots=True)
class Step:
    """The state after an input, and what the world must do, in order."""

    state: State
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """One question of the path and what was answered, for cards, pages and 「私の回答」."""

    question: str
    instrument: str
    name: str
    """What the question is called, in the session's language."""
    value: Value | None
    """None: left out."""
    label: str
    """In the session's language: 「8点」, 「やや満足」, the words; "" when left out."""


def new_state(
    flow: Flow,
    *,
    lang: str,
    vars: Mapping[str, str],  # noqa: A002
    facts: Mapping[str, object],
    part: int = 1,
) -> State:
    """The state before Begin.

    Args:
        flow: What will be asked.
        lang: "ja" or "en".
        vars: Values of the blanks in texts: name, company, item, brand, team, here, expires, date (of the invitation),
            privacy_url, retention, support_hours. Empty ones count as missing.
        facts: Event data; what the flow speaks of (`Flow.fact_names`) is kept, the rest is not.
        part: Which session of its wave it is.

    Raises:
        ValueError: a language the flow does not have, or a value its own texts cannot do without.
    """
    if lang not in flow.languages:
        raise ValueError(f"flow `{flow.id}` has no language `{lang}`")
    spoken: Lang = lang
    given = {name: value for name, value in vars.items() if value}
    if "item" in given:
        given["item"] = item_name(given["item"])
    missing = sorted(voice_of(flow, spoken).required - given.keys())
    if missing:
        raise ValueError(f"flow `{flow.id}` needs a value for {', '.join(missing)} in its texts")
    kept = {name: found for name in sorted(flow.fact_names) if (found := _plain(_fact(facts, name))) is not None}
    if _fact(facts, "open_case") is True:
        kept["open_case"] = True
    if flow.wave is not None:
        kept["part"] = part
    return State(spoken, given, kept)


def step(flow: Flow, state: State, input: Input) -> Step:  # noqa: A002
    """What an input leads to. Total: it never raises for what a customer, a timer or a late message does."""
    turn = _Turn(flow, state.copy(), input.at_ms)
    match input:
        case Begin():
            turn.begin(input)
        case Reply():
            turn.reply(input)
        case Elapsed():
            turn.elapsed(input)
        case Stop():
            turn.stop_from_outside(input)
    return Step(turn.state, tuple(turn.out))


def summary(flow: Flow, state: State) -> tuple[Given, ...]:
    """The answers of this session, in the order of the flow."""
    found = []
    for question in flow.questions:
        given = state.answers.get(question.id)
        if given is not None:
            label = _label(question, given.value, state.lang)
            name = question.name_in(state.lang)
            found.append(Given(question.id, question.instrument, name, given.value, label))
    return tuple(found)


def asked(flow: Flow, state: State, question_id: str) -> Ask | None:
    """A question as this session asks it, without what led to it: for a channel that changes an earlier message.

    None for a question that the flow does not have.
    """
    question = flow.find(question_id)
    if question is None:
        return None
    turn = _Turn(flow, state.copy(), 0)
    turn.ask(question, "")
    (shown,) = turn.out
    return shown if isinstance(shown, Ask) else None


# --------------------------------------------------------------------------------------------------------- a turn

NOISE_LIMIT = 20
"""Replies of one session that are no answers; from then on they are not answered, so that two machines cannot talk
to each other for ever."""
DOUBLE_TAP_MS = 2000
"""The same button twice within this time is one tap of a trembling finger."""
CLOCKS_APART_MS = 60_000
"""By how much a platform's clock may be behind ours."""
ALBUM_MS = 30_000
"""Photos that come within this time of each other are thanked for once."""
TRYING_MS = 600_000
"""How long after the invitation (or its reminder) what is no answer still is an attempt at one, and is asked about.
An invitation lies in the chat for days: later a customer who has answered nothing yet writes to the shop, not to us."""


class _Turn:
    """One input being worked on: reads the flow, moves a copy of the state, collects outputs."""

    def __init__(self, flow: Flow, state: State, at_ms: int) -> None:
        self.flow = flow
        self.state = state
        self.at_ms = at_ms
        self.out: list[Output] = []
        self.voice = voice_of(flow, state.lang)
        self.dates = _NO_DATES
        self.message_id = ""
        self.changes = 0
        """How often the answers changed in this turn: a path is good until then."""
        self.paths: dict[tuple[bool, bool, bool, int], list[Question]] = {}

    # ---------------------------------------------------------------------------------------------- inputs

    def begin(self, begin: Begin) -> None:
        state = self.state
        if state.phase != "new":
            return
        state.parity = (begin.local_date.toordinal() - _WEEK_ZERO) // 7 % 2
        state.seed = begin.sample
        block = self.draw_block()
        if block:
            state.facts = {**state.facts, "block": block}
        state.n = self.flow.longest(self.course(), state.facts, lambda question: not question.follows)
        state.phase = "asking"
        first = next(iter(self.path()), None)
        if first is None:
            self.end("completed")
            return
        small = self.say_text("inv.small")
        if begin.first_contact:
            small = "\n".join(part for part in (small, self.say_text("inv.first")) if part)
        self.ask_first(first, self.voice.fill(self.opening().invite, self.values()), small)

    def opening(self) -> Flow | Wave:
        """Whose invitation and notification line begin this session."""
        wave = self.flow.wave
        return self.flow if wave is None or self.course().part == 1 else wave

    def draw_block(self) -> str:
        """One of the blocks that fit the event, each as likely as the other; "" when none fits or none is drawn."""
        flow, facts = self.flow, self.state.facts
        fitting = [name for name, when in flow.blocks.items() if when is None or when.holds(facts)]
        if not fitting or self.lot("whether") >= flow.block_sample:
            return ""
        return fitting[int(self.lot("which") * len(fitting))]

    def lot(self, what: str) -> float:
        """0 ≤ x < 1, another for each thing to decide, the same each time it is asked in this session."""
        drawn = hashlib.sha256(f"{self.state.seed!r}:block:{what}".encode()).hexdigest()[:13]
        return int(drawn, 16) / 16**13

    def reply(self, reply: Reply) -> None:
        self.dates = reply.dates
        self.message_id = reply.message_id
        content = reply.content
        match self.state.phase:
            case "new":
                return
            case "done":
                self.after_the_end(content)
            case _:
                match content:
                    case Tap(node, value):
                        self.tap(node, value)
                    case Typed(text):
                        self.typed(text)
                    case Media():
                        self.media(content)
                    case Unsent(message_id, text):
                        self.unsent(message_id, text)

    def elapsed(self, elapsed: Elapsed) -> None:
        self.dates = elapsed.dates
        state = self.state
        if state.phase in ("new", "done"):
            return
        match elapsed.timer:
            case "text":
                if state.parts and self.at_ms >= state.due_ms:
                    self.finish_text()
            case "remind":
                first = self.flow.find(state.at)
                if (
                    first is not None
                    and not state.answers
                    and not state.parts
                    and not state.chosen
                    and state.phase == "asking"
                ):
                    state.reminded_ms = self.at_ms
                    self.ask_first(first, self.say_text("inv.reminder"), self.say_text("inv.small"), again=True)
            case "expire":
                self.keep_unfinished()
                self.end("expired")

    def stop_from_outside(self, stop: Stop) -> None:
        if self.state.phase == "done":
            return
        if stop.reason != "erased":
            self.keep_unfinished()
        self.end(stop.reason)

    # ------------------------------------------------------------------------------------------------ taps

    def tap(self, node: str, value: str) -> None:
        match node:
            case "@exit":
                self.leave(value)
            case "@later":
                if value == "later":
                    self.put_off()
            case "@inquiry":
                if self.state.phase == "inquiry":
                    self.decide_inquiry(go_on=value == "go")
            case "@control":
                self.control(value)
            case _:
                question = self.flow.find(node)
                if question is not None:
                    self.tap_question(question, value)

    def control(self, value: str) -> None:
        verb, _, question_id = value.partition(":")
        state = self.state
        current = self.current()
        match verb:
            case "skip" if current is not None and question_id in ("", current.id):
                if state.parts:
                    self.finish_text()
                else:
                    self.skip(current)
            case "person":
                self.person("")
            case "done" if current is not None and state.phase == "asking":
                if current.kind == "multi" and question_id in ("", current.id):
                    self.multi_done(current)
            case "remove" if current is not None and state.phase == "asking":
                if current.kind == "multi" and question_id in ("", current.id):
                    self.multi_remove(current)
            case "back" | "change":
                self.back()
            case "help":
                self.help()
            case "stop":
                self.stop()
            case _:
                return

    def tap_question(self, question: Question, code: str) -> None:
        state = self.state
        before = state.answers.get(question.id)
        if before is not None and self.at_ms < before.at_ms:
            return  # an older tap that arrives late: the newer answer stands
        if question not in self.path(spared=True):
            return
        if question.kind == "multi":
            self.tap_multi(question, code)
            return
        value = question.from_code(code)
        if value is None:
            return
        if before is not None and before.value == value and question.id != state.at:
            self.say_same(question, before)
            return
        if question.id == state.at and state.phase == "asking":
            self.answer(question, value)
            return
        self.keep_unfinished()
        self.record(question, value)
        state.phase = "asking"
        if before is None and question.id not in state.shown:
            # Deliveries in another order: the answer counts, the question it seems to skip still waits.
            self.settle_path()
            return
        self.advance(self.changed(question, before, "fix.resume"))

    def tap_multi(self, question: Question, code: str) -> None:
        state = self.state
        if ";" in code:  # a whole selection at once (checkboxes)
            wanted = set(code.split(";"))
            codes = tuple(known for known in question.codes if isinstance(known, str) and known in wanted)
            if question.exclusive in codes and len(codes) > 1:
                codes = tuple(known for known in codes if known != question.exclusive)
            if codes:
                self.settle_multi(question, codes)
            return
        if question.from_code(code) is None:
            return
        if question.id != state.at or state.phase != "asking":
            before = state.answers.get(question.id)
            if before is None and question.id not in state.shown:
                return
            if before is not None and self.at_ms - before.at_ms < DOUBLE_TAP_MS and _holds_code(before.value, code):
                return
            self.keep_unfinished()
            state.phase = "asking"
            self.move_to(question)
            state.chosen = tuple(c for c in _codes(before.value if before else None) if c != question.exclusive)
        if code == question.exclusive:
            self.settle_multi(question, (code,))
        elif code in (state.chosen or ()):
            self.ask_multi(question, "multi.added")
        else:
            self.choose(question, (code,))

    def choose(self, question: Question, codes: Sequence[str]) -> None:
        chosen = self.state.chosen or ()
        # In the order of choosing, so that 「1つ外す」 takes the latest back.
        self.state.chosen = (*chosen, *(code for code in codes if code not in chosen))
        self.ask_multi(question, "multi.added")

    def multi_remove(self, question: Question) -> None:
        chosen = self.state.chosen or ()
        if not chosen:
            self.ask_multi(question, "multi.empty")
            return
        self.state.chosen = chosen[:-1]
        choice = question.wordings[self.state.lang].quoted[chosen[-1]]
        self.ask_multi(question, "multi.removed", {"choice": choice})

    def multi_done(self, question: Question) -> None:
        chosen = self.state.chosen
        if not chosen:
            self.ask_multi(question, "multi.empty")
            return
        self.settle_multi(question, chosen)

    def settle_multi(self, question: Question, codes: Sequence[str]) -> None:
        value = tuple(code for code in question.codes if isinstance(code, str) and code in codes)
        before = self.state.answers.get(question.id)
        if before is not None and before.value == value and question.id != self.state.at:
            self.say_same(question, before)
            return
        self.state.phase = "asking"
        if before is not None and before.value == value:
            self.advance(self.say_text("same", {"score": self.score(question, value)}))
            return
        resume = question.id != self.state.at
        self.record(question, value)
        if before is not None and before.value is not None:
            self.advance(self.changed(question, before, "fix.resume" if resume else "fix.done"))
        elif value == (question.exclusive,):
            self.advance(self.say_text("multi.none"), worth_a_bubble=False)
        else:
            self.advance(self.say_text("multi.done", {"chosen": self.score(question, value)}), worth_a_bubble=False)

    # ----------------------------------------------------------------------------------------------- words

    def typed(self, text: str) -> None:
        state = self.state
        question = self.current()
        if question is None or not text.strip():
            return
        if self.at_ms < state.shown.get(question.id, 0) and not self.clocks_apart(question, text):
            self.older_words(text)
            return
        if state.phase == "inquiry":
            self.typed_in_inquiry(text)
            return
        wanted = recognise(text)
        if wanted is not None:
            # The caller sees to these four words; here they must only never become somebody's answer.
            if wanted == "unsubscribe" and self.heard():
                self.aside(self.say_text("unsub.ask"), self.voice.unsubscribe)
            return
        order = command(text)
        if order in ("back", "stop", "person", "help"):
            self.obey(order, text)
            return
        if question.kind == "text":
            self.typed_words(question, text, order)
            return
        if order in ("skip", "dk"):
            self.skip(question, "dk" if order == "dk" else "skipped")
            return
        if question.kind == "multi" and order in ("done", "remove"):
            if order == "done":
                self.multi_done(question)
            else:
                self.multi_remove(question)
            return
        if not state.answers:
            spoken = key(text)
            left = next((name for name, label in self.voice.exit_keys.items() if label == spoken), None)
            if left is not None:
                self.leave(left)
                return
            if order == "later":
                self.put_off()
                return
        reading = question.reader.read(text, self.shown_codes(question))
        match reading:
            case Understood(value, echo):
                if question.kind == "multi" and isinstance(value, tuple):
                    if value == (question.exclusive,):
                        self.settle_multi(question, value)
                    else:
                        self.choose(question, value)
                else:
                    self.answer(question, value, echo=echo)
            case Between(a, b):
                self.between(question, a, b)
            case Left(missing):
                self.skip(question, missing)
            case _:
                self.unread(question, text)

    def obey(self, order: str, text: str) -> None:
        match order:
            case "back":
                self.back()
            case "stop":
                self.stop()
            case "person":
                self.person(text)
            case _:
                self.help()

    def help(self) -> None:
        if self.heard():
            self.aside(self.say_text("help"))

    def typed_words(self, question: Question, text: str, order: str | None) -> None:
        state = self.state
        if order in ("skip", "dk") or (not state.parts and says_nothing(text)):
            if state.parts:
                self.finish_text()
            else:
                self.skip(question, "dk" if order == "dk" else "skipped")
            return
        if self.message_id and any(part.message_id == self.message_id for part in state.parts):
            return
        state.parts = (*state.parts, Bubble(self.message_id, self.at_ms, text[: self.flow.rules.text_max]))
        state.due_ms = max(self.at_ms + self.flow.rules.text_quiet_ms, state.due_ms)
        self.out.append(Wake("text", state.due_ms))

    def older_words(self, text: str) -> None:
        """Words sent before the present question was shown: they belong to an earlier free text, or to nothing."""
        state = self.state
        for question in reversed(self.flow.questions):
            shown_ms = state.shown.get(question.id)
            if shown_ms is None or self.at_ms < shown_ms:
                continue
            if question.kind == "text" and question.id in state.kept and command(text) is None:
                parts = state.kept[question.id]
                if not self.message_id or all(part.message_id != self.message_id for part in parts):
                    self.keep_text(
                        question, (*parts, Bubble(self.message_id, self.at_ms, text[: self.flow.rules.text_max]))
                    )
            return
        if not state.answers and command(text) is None:
            self.out.append(NotOurs())  # written before the invitation arrived

    def meant_for_the_shop(self, question: Question) -> bool:
        """Whether a reply that is no answer is not even an attempt at one: nothing is answered, and the invitation
        has been lying there for a while."""
        state = self.state
        begun = state.answers or state.parts or state.chosen or state.phase != "asking"
        lying_since_ms = max(state.shown.get(question.id, 0), state.reminded_ms)
        return not begun and self.at_ms - lying_since_ms > TRYING_MS

    def clocks_apart(self, question: Question, text: str) -> bool:
        """Whether these words answer the invitation although they bear an earlier time.

        The invitation has our time, a reply the platform's, and the clocks may differ. Before the first answer
        no other question can be meant.
        """
        if self.state.answers or self.state.shown[question.id] - self.at_ms > CLOCKS_APART_MS:
            return False
        return isinstance(question.reader.read(text, self.shown_codes(question)), Understood)

    def typed_in_inquiry(self, text: str) -> None:
        spoken = key(text)
        if spoken in self.voice.go_on:
            self.decide_inquiry(go_on=True)
        elif spoken in self.voice.stop_here or command(text) == "stop":
            self.decide_inquiry(go_on=False)
        elif self.heard():
            self.open_case("request", text, promised=True)
            self.out.append(Say(self.say_text("retry.person"), self.voice.inquiry))

    def decide_inquiry(self, *, go_on: bool) -> None:
        self.state.phase = "asking"
        if go_on:
            self.advance("")
        else:
            self.stop()

    def unread(self, question: Question, text: str) -> None:
        """The reply says nothing that can be an answer."""
        state = self.state
        request = text != "" and is_request(text, self.flow.rules.words)
        if not request and self.meant_for_the_shop(question):
            self.out.append(NotOurs())
            return
        if not self.heard():
            return
        state.last = text[: self.flow.rules.text_max]
        if request:
            self.open_case("request", state.last, promised=True)
            state.phase = "inquiry"
            self.out.append(Say(self.say_text("text.inquiry"), self.voice.inquiry))
            return
        state.tries += 1
        if state.tries > self.flow.rules.retry_limit:
            if state.answers.get(question.id) is None:
                self.record(question, None, missing="skipped")
            self.advance(self.say_text("retry.over"), worth_a_bubble=False)
            return
        if state.tries == 1:
            intro = self.say_text("retry.1", {"range": self.voice.range(question)})
        else:
            intro = self.say_text("retry.2")
        self.ask(question, intro, controls=self.with_person(question))

    def between(self, question: Question, a: int, b: int) -> None:
        quoted = question.wordings[self.state.lang].quoted
        text = self.say_text("between", {"a": quoted[a], "b": quoted[b]})
        choices = tuple(choice for choice in self.choices(question) if choice.value in (str(a), str(b)))
        if self.heard():
            self.ask(question, "", text=text, choices=choices, ends=False)

    # --------------------------------------------------------------------------------------- other content

    def media(self, media: Media) -> None:
        question = self.current()
        if question is None:
            return
        if self.meant_for_the_shop(question):
            self.out.append(NotOurs())
        elif media.kind == "photo":
            self.photo()
        elif media.kind == "sticker":
            if not self.state.parts and self.state.phase == "asking" and self.heard():
                self.ask(question, self.say_text("sticker"))
        elif question.kind == "text" or self.state.phase == "inquiry":
            if self.heard():
                self.aside(self.say_text("retry.1", {"range": self.voice.range(question)}))
        else:
            self.unread(question, "")

    def photo(self) -> None:
        state = self.state
        first = self.at_ms - state.photo_ms > ALBUM_MS
        state.photo_ms = max(self.at_ms, state.photo_ms)
        self.open_case("photo", "")
        if first and self.heard():
            self.aside(self.say_text("photo.got"))

    def unsent(self, message_id: str, text: str = "") -> None:
        """The customer took a message back, or edited it: its words go from the answer (and the answer with them), or
        the new words stand in their place."""
        state = self.state
        if not message_id:
            return
        if any(part.message_id == message_id for part in state.parts):
            state.parts = _reworded(state.parts, message_id, text)
            return
        for question_id, parts in state.kept.items():
            if any(part.message_id == message_id for part in parts):
                self.keep_text(self.flow.question(question_id), _reworded(parts, message_id, text))
                return

    # ------------------------------------------------------------------------------ what a customer can do

    def answer(self, question: Question, value: Value, *, echo: bool = False) -> None:
        """The question that waits is answered."""
        before = self.state.answers.get(question.id)
        if before is not None and before.value == value:
            self.advance(self.say_text("same", {"score": self.score(question, value)}), worth_a_bubble=False)
            return
        self.record(question, value)
        if before is not None and before.value is not None:
            self.advance(self.changed(question, before, "fix.done"))
        elif echo:
            self.advance(self.say_text("same", {"score": self.score(question, value)}), worth_a_bubble=False)
        else:
            self.advance("")

    def skip(self, question: Question, missing: Literal["skipped", "dk"] = "skipped") -> None:
        if self.state.answers.get(question.id) is None:
            self.record(question, None, missing=missing)
        self.advance(self.say_text("skip"), worth_a_bubble=False)

    def back(self) -> None:
        state = self.state
        if not self.heard():
            return
        if state.parts:
            self.keep_unfinished()
        path = self.path()
        here = next((index for index, question in enumerate(path) if question.id == state.at), len(path))
        before = [question for question in path[:here] if question.id in state.answers]
        state.phase = "asking"
        if not before:
            question = self.current()
            if question is not None:
                # The first bubble's exits may lie far above by now.
                self.ask(question, self.say_text("back.first"), exits=here == 0)
            return
        question = before[-1]
        given = state.answers[question.id]
        self.move_to(question)
        if question.kind == "multi":
            state.chosen = tuple(code for code in _codes(given.value) if code != question.exclusive)
        intro = self.say_text("back", {"score": self.score(question, given.value)})
        self.ask(question, intro, chosen=given.value)

    def leave(self, name: str) -> None:
        left = next((found for found in self.flow.exits if found.id == name), None)
        if left is None:
            return
        self.keep_unfinished()
        values = {**self.values(), "date": self.dates.again}
        text = self.voice.fill(left.texts, values)
        if name == "unused":
            self.out.append(Say(text, self.voice.never))
            self.out.append(Defer("unused"))
        else:
            reason: Literal["undelivered", "unsolved"] = "undelivered" if name == "undelivered" else "unsolved"
            self.open_case(reason, "", promised=True)
            self.out.append(Say(text))
        self.end("exited")

    def put_off(self) -> None:
        self.keep_unfinished()
        self.out.append(Say(self.say_text("inv.later", {"date": self.dates.later})))
        self.out.append(Defer("later"))
        self.end("exited")

    def person(self, text: str) -> None:
        if not self.heard():
            return
        self.open_case("person", self.state.last or text, promised=True)
        self.aside(self.say_text("retry.person"))

    def stop(self) -> None:
        self.keep_unfinished()
        answered = any(given.value is not None for given in self.state.answers.values())
        self.out.append(Say(self.say_text("stop"), self.voice.erase if answered else ()))
        self.end("break_off")

    # ------------------------------------------------------------------------------------------- free text

    def finish_text(self) -> None:
        """The free text that was being written is complete: record it, and go on – or see to what it asks for."""
        state = self.state
        question = self.current()
        parts, state.parts, state.due_ms = state.parts, (), 0
        if question is None or not parts:
            return
        before = state.answers.get(question.id)
        words = self.keep_text(question, parts)
        if words and is_request(words, self.flow.rules.words):
            self.open_case("request", words, promised=True)
            self.settle_path()
            if self.next_question() is None:
                # Nothing is left to go on with: the promise, then the ending.
                self.finish(self.say_text("retry.person"))
                return
            state.phase = "inquiry"
            self.out.append(Say(self.say_text("text.inquiry"), self.voice.inquiry))
            return
        self.advance(
            self.say_text("text.got" if before is None or before.value is None else "same"), worth_a_bubble=False
        )

    def keep_text(self, question: Question, parts: Sequence[Bubble]) -> str:
        """Record a free text from its bubbles, in the order they were written; "" when nothing is left of them."""
        state = self.state
        ordered = tuple(sorted(parts, key=lambda part: part.at_ms))
        words = "\n".join(part.text.strip() for part in ordered).strip()[: self.flow.rules.text_max]
        ids = tuple(part.message_id for part in ordered if part.message_id)
        if words:
            state.kept[question.id] = ordered
            self.record(question, words, message_ids=ids)
            return words
        state.kept.pop(question.id, None)
        if question.id in state.answers:
            self.record(question, None, missing="skipped")
        return ""

    def keep_unfinished(self) -> None:
        """Record what is half done (bubbles of a text, ticks of a multi-select) before something else happens."""
        state = self.state
        question = self.current()
        parts, chosen = state.parts, state.chosen
        state.parts, state.due_ms, state.chosen = (), 0, None
        if question is None:
            return
        if parts:
            words = self.keep_text(question, parts)
            if words and is_request(words, self.flow.rules.words):
                self.open_case("request", words)
        elif chosen and question.kind == "multi":
            value = tuple(code for code in question.codes if isinstance(code, str) and code in chosen)
            before = state.answers.get(question.id)
            if before is None or before.value != value:
                self.record(question, value)

    # ------------------------------------------------------------------------------------------- moving on

    def advance(self, intro: str, *, worth_a_bubble: bool = True) -> None:
        """Ask what comes next, with `intro` above it, or end. At the end an intro that is only a bridge is left out."""
        self.settle_path()
        following = self.next_question()
        if following is not None:
            self.ask(following, intro)
        else:
            self.finish(intro if worth_a_bubble else "")

    def settle_path(self) -> None:
        """Take back answers that are no longer on the path, and open or settle the case that the answers ask for."""
        state = self.state
        on_path = {question.id for question in self.path()}
        for question_id in [found for found in state.answers if found not in on_path]:
            del state.answers[question_id]
            self.changes += 1
            state.kept.pop(question_id, None)
            self.out.append(Retract(question_id))
        unhappy = self.unhappy()
        if unhappy and not state.unhappy:
            state.unhappy = True
            self.open_case("unhappy", "")
        elif state.unhappy and not unhappy:
            state.unhappy = False
            if not state.promised:  # who was told that somebody will write is still written to
                self.out.append(CaseSettled("corrected"))
                state.case = False

    def next_question(self) -> Question | None:
        return next((question for question in self.path() if question.id not in self.state.answers), None)

    def finish(self, intro: str) -> None:
        facts = self.facts()
        facts["unhappy"] = self.unhappy()
        for ending in self.flow.endings:
            if ending.when is None or ending.when.holds(facts):
                if intro:
                    self.out.append(Say(intro))
                if ending.apology:
                    self.apologise(ending)
                else:
                    self.out.append(Say(self.voice.fill(ending.texts, self.values())))
                break
        self.end("completed")

    def apologise(self, ending: Ending) -> None:
        """The apology, with the offer of contact – unless a reply is promised already: a 「連絡は不要」 tapped under
        another question would take that promise back."""
        if self.state.promised:
            own = f"{ending.say}.promised"
            self.out.append(Say(self.say_text(own if self.flow.deck.has(own) else "end.apology.promised")))
            return
        self.state.contact = self.state.contact or "offered"
        self.out.append(Say(self.voice.fill(ending.texts, self.values()), self.voice.contact))

    def end(self, outcome: Literal["completed", "break_off", "exited", "expired"] | str) -> None:
        state = self.state
        state.phase = "done"
        state.outcome = cast("Outcome", outcome)
        state.ended_ms = self.at_ms
        state.parts, state.chosen, state.due_ms = (), None, 0
        self.out.append(End(outcome))  # type: ignore[arg-type]

    # --------------------------------------------------------------------------------------- after the end

    def after_the_end(self, content: Content) -> None:
        state = self.state
        match content:
            case Tap("@contact", value):
                self.contact(value)
            case Tap("@later", "never") if state.outcome == "exited":
                if self.heard():
                    self.out.append(Defer("never"))
                    self.out.append(Say(self.say_text("stop").split("\n", 1)[0]))
            case Tap("@control", "erase") if state.outcome in ("break_off", "completed", "exited", *_LATE):
                state.answers, state.kept, state.last = {}, {}, ""
                self.changes += 1
                state.outcome = "erased"
                self.out.append(EraseAnswers())
                self.out.append(Say(self.say_text("erase.done")))
            case Tap("@control", "change") if state.outcome == "completed":
                self.change_after_the_end()
            case Tap("@control", value) if state.outcome == "completed":
                question = self.current()
                if question is not None and question.kind == "multi" and state.chosen is not None:
                    self.multi_after_the_end(question, value)
            case Tap(node, value) if state.outcome in ("completed", *_LATE) and self.flow.find(node):
                self.tap_after_the_end(self.flow.question(node), value)
            case Tap():
                if self.heard():
                    self.out.append(Say(self.say_text("closed.button")))
            case Typed(text):
                self.typed_after_the_end(text)
            case Media(kind="photo") if state.promised or state.contact == "yes":
                self.photo()
            case Unsent(message_id, text):
                self.unsent(message_id, text)
            case _:
                return

    def contact(self, value: str) -> None:
        state = self.state
        if state.contact not in ("offered", "yes", "no") or value not in ("yes", "no") or state.contact == value:
            return
        if not self.heard():
            return
        state.contact = "yes" if value == "yes" else "no"
        if value == "yes":
            self.open_case("contact", "", promised=True)
        else:
            self.out.append(CaseSettled("no_contact"))
        self.out.append(Say(self.say_text(f"contact.{value}")))

    def typed_after_the_end(self, text: str) -> None:
        """Words after the end belong to the shop, except an answer to our last question or one that is merely late."""
        state = self.state
        if state.contact == "offered":
            value = self.voice.contact_keys.get(key(text))
            if value is not None:
                self.contact(value)
                return
        question = self.current()
        if state.outcome != "expired" or question is None or question.id in state.answers:
            return
        if self.at_ms < state.shown.get(question.id, 0):
            return
        reading = question.reader.read(text, self.shown_codes(question))
        if isinstance(reading, Understood):
            self.take_late(question, reading.value)

    def tap_after_the_end(self, question: Question, code: str) -> None:
        state = self.state
        before = state.answers.get(question.id)
        if before is not None and self.at_ms < before.at_ms:
            return
        if question not in self.path(spared=True):
            if self.heard():
                self.out.append(Say(self.say_text("closed.button")))
            return
        if question.kind == "multi":
            codes = tuple(known for known in question.codes if isinstance(known, str) and known in code.split(";"))
            if not codes:
                return
            if ";" not in code and state.outcome == "completed" and codes != (question.exclusive,):
                # One tick of a list that was closed: take the earlier ticks up again and wait for 「決定」.
                earlier = _codes(before.value if before else None) if state.chosen is None else state.chosen
                self.move_to(question)
                state.chosen = tuple(dict.fromkeys((*(c for c in earlier if c != question.exclusive), *codes)))
                if self.heard():
                    self.ask_multi(question, "multi.added")
                return
            value: Value | None = codes if len(codes) == 1 else tuple(c for c in codes if c != question.exclusive)
        else:
            value = question.from_code(code)
        if value is None:
            return
        if state.outcome in _LATE:
            self.take_late(question, value)
        else:
            self.correct_after_the_end(question, value)

    def correct_after_the_end(self, question: Question, value: Value) -> None:
        state = self.state
        before = state.answers.get(question.id)
        if before is not None and before.value == value:
            self.say_same(question, before)
            return
        was_unhappy = self.unhappy()
        self.record(question, value)
        self.settle_path()
        self.out.append(Say(self.changed(question, before, "fix.done")))
        apology = next((ending for ending in self.flow.endings if ending.apology), None)
        if self.unhappy() and not was_unhappy and not state.contact and apology is not None:
            self.apologise(apology)

    def multi_after_the_end(self, question: Question, value: str) -> None:
        state = self.state
        if not self.heard():
            return
        chosen = state.chosen or ()
        verb = value.partition(":")[0]
        if verb == "remove":
            self.multi_remove(question)
        elif verb == "done":
            if not chosen:
                self.ask_multi(question, "multi.empty")
                return
            state.chosen = None
            self.correct_after_the_end(question, tuple(c for c in question.codes if isinstance(c, str) and c in chosen))

    def change_after_the_end(self) -> None:
        """「訂正する」: show the questions' buttons again, the first one first; any of them may be tapped."""
        question = next(
            (found for found in self.path() if found.kind != "text" and found.id in self.state.answers), None
        )
        if question is not None and self.heard():
            given = self.state.answers[question.id]
            self.move_to(question)
            self.ask(question, self.say_text("back", {"score": self.score(question, given.value)}), chosen=given.value)

    def take_late(self, question: Question, value: Value) -> None:
        before = self.state.answers.get(question.id)
        if before is not None and before.value == value:
            self.say_same(question, before)
            return
        self.record(question, value, late=self.at_ms >= self.state.ended_ms)
        self.settle_path()
        if self.heard():
            self.out.append(Say(self.say_text("late")))

    # --------------------------------------------------------------------------------------------- outputs

    def record(
        self,
        question: Question,
        value: Value | None,
        *,
        missing: Literal["", "skipped", "dk"] = "",
        message_ids: tuple[str, ...] | None = None,
        late: bool = False,
    ) -> None:
        state = self.state
        shown_ms = state.shown.get(question.id, 0)
        ids = message_ids if message_ids is not None else ((self.message_id,) if self.message_id else ())
        before = state.answers.get(question.id)
        at_ms = max(self.at_ms, before.at_ms) if before is not None and question.kind == "text" else self.at_ms
        state.answers[question.id] = Recorded(value, missing, shown_ms, at_ms, ids)
        self.changes += 1
        label = _label(question, value, state.lang)
        self.out.append(Record(question.id, value, missing, shown_ms, late, ids, label))

    def open_case(
        self,
        reason: Literal["unhappy", "undelivered", "unsolved", "request", "person", "contact", "photo"],
        words: str,
        *,
        promised: bool = False,
    ) -> None:
        self.state.case = True
        self.state.promised = self.state.promised or promised
        self.out.append(OpenCase(reason, words, promised))

    def aside(self, text: str, choices: tuple[Choice, ...] = ()) -> None:
        """Say something without leaving the question. A free text keeps its button, the only one it has."""
        state = self.state
        question = self.current()
        if not choices and state.phase == "inquiry":
            choices = self.voice.inquiry
        elif not choices and question is not None and question.kind == "text" and state.phase == "asking":
            choices = self.controls(question)
        self.out.append(Say(text, choices))

    def say_same(self, question: Question, before: Recorded) -> None:
        if self.at_ms - before.at_ms >= DOUBLE_TAP_MS and self.heard():
            self.aside(self.say_text("same", {"score": self.score(question, before.value)}))

    def changed(self, question: Question, before: Recorded | None, text_id: str) -> str:
        given = self.state.answers[question.id]
        score = self.score(question, given.value)
        if before is None or before.value is None:
            return self.say_text("same", {"score": score})
        return self.say_text(text_id, {"old": self.score(question, before.value), "score": score})

    def heard(self) -> bool:
        """Count a reply that is no answer; False once there were too many of them."""
        self.state.noise += 1
        return self.state.noise <= NOISE_LIMIT

    def move_to(self, question: Question) -> None:
        state = self.state
        if state.at != question.id or question.id not in state.shown:
            state.at = question.id
            state.shown[question.id] = max(self.at_ms, state.shown.get(question.id, 0))
            state.tries = 0
            state.last = ""
        state.chosen = None

    def ask_first(self, question: Question, intro: str, small: str, *, again: bool = False) -> None:
        wording = question.wordings[self.state.lang]
        if wording.small is not None:
            small = "\n".join((wording.small.fill(self.values()), small))
        alt = self.voice.fill(self.opening().alt, self.values())
        controls = self.controls(question) if question.kind in ("multi", "text") else ()
        self.ask(question, intro, controls=controls, small=small, alt=alt, first=True, invitation=not again)

    def ask_multi(self, question: Question, text_id: str, more: Mapping[str, str] | None = None) -> None:
        """The multi-select again, with what is chosen so far and the rest."""
        chosen = self.state.chosen or ()
        ordered = tuple(code for code in question.codes if isinstance(code, str) and code in chosen)
        text = self.say_text(text_id, {"chosen": self.score(question, ordered), **(more or {})})
        self.ask(question, "", text=text, chosen=ordered, keep=True)

    def ask(
        self,
        question: Question,
        intro: str,
        *,
        text: str | None = None,
        choices: tuple[Choice, ...] | None = None,
        controls: tuple[Choice, ...] | None = None,
        chosen: Value | None = None,
        small: str | None = None,
        alt: str = "",
        ends: bool = True,
        first: bool = False,
        exits: bool = False,
        invitation: bool = False,
        keep: bool = False,
    ) -> None:
        state = self.state
        picked = state.chosen
        self.move_to(question)
        if picked and (keep or question.kind == "multi"):
            state.chosen = picked
        common: tuple[object, ...] | None = None
        if text is None and choices is None and controls is None and chosen is None and small is None and not alt:
            common = self.common(question, intro, ends=ends, first=first, exits=exits)
            if common is not None and (shown := self.voice.asks.get(common)) is not None:
                self.out.append(shown)
                return
        wording = question.wordings[state.lang]
        if text is None:
            values = self.question_values(question)
            text = wording.text.fill(values)
            if wording.note is not None:
                text = f"{text}\n{wording.note.fill(values)}"
            if small is None and wording.small is not None:
                small = wording.small.fill(values)
        if question.kind == "multi" and chosen is None:
            chosen = tuple(code for code in question.codes if isinstance(code, str) and code in (state.chosen or ()))
        made = Ask(
            question=question.id,
            kind=question.kind,
            text=text,
            intro=intro,
            low=wording.low if ends else "",
            high=wording.high if ends else "",
            choices=self.choices(question) if choices is None else choices,
            controls=self.controls(question) if controls is None else controls,
            exits=self.voice.exits if first or exits else (),
            small=small or "",
            small_choices=self.voice.small_choices if first else (),
            chosen=chosen or None if isinstance(chosen, tuple) else chosen,
            alt=alt or self.say_text("alt.question", {"i": str(self.position(question))}),
            invitation=invitation,
            shared=not first and self.is_shared(question),
        )
        if common is not None:
            self.voice.keep(common, made)
        self.out.append(made)

    def common(
        self, question: Question, intro: str, *, ends: bool, first: bool, exits: bool
    ) -> tuple[object, ...] | None:
        """What a question that is asked in the same words of many customers depends on; None for any other."""
        if first or question.shuffle or question.kind == "multi" or not self.is_shared(question):
            return None
        state = self.state
        place = (self.position(question), state.n, self.course().part)
        spoken = tuple(state.vars.get(name) for name in THE_SHOPS)
        return (question.id, intro, ends, exits, place, spoken)

    # ----------------------------------------------------------------------------------- looking things up

    def is_shared(self, question: Question) -> bool:
        """Whether the question's words are the same for every customer: no blank of theirs, no event's own `brand`."""
        blanks = self.voice.blanks[question.id]
        return blanks is not None and self.voice.common_alt and blanks.isdisjoint(self.state.facts)

    def current(self) -> Question | None:
        return self.flow.find(self.state.at)

    def course(self) -> Course:
        """What was settled before the first question."""
        facts = self.state.facts
        return Course(self.state.parity, cast("int", facts.get("part", 1)), str(facts.get("block", "")))

    def facts(self) -> dict[str, object]:
        facts: dict[str, object] = dict(self.state.facts)
        facts["lang"] = self.state.lang
        facts["open_case"] = self.state.case or facts.get("open_case") is True
        for question_id, given in self.state.answers.items():
            if given.value is not None:
                facts[question_id] = given.value
        return facts

    def path(self, *, spared: bool = False) -> list[Question]:
        """The questions of this session as things stand: what was answered decides what comes.

        `spared` includes the questions about feelings and the block, which an unhappy customer is spared: not asked,
        yet a tap on one that was shown before counts.
        """
        state = self.state
        key = (spared, state.case, state.unhappy, self.changes)
        found = self.paths.get(key)
        if found is None:
            found = self.paths[key] = self.walk(spared=spared)
        return found

    def walk(self, *, spared: bool) -> list[Question]:
        state = self.state
        facts: dict[str, object] = dict(state.facts)
        facts["lang"] = state.lang
        troubled = state.case or state.unhappy or facts.get("open_case") is True
        path: list[Question] = []
        unhappy = False
        for question in self.flow.asked_in(self.course()):
            given = state.answers.get(question.id)
            # Trouble spares the customer a question; it does not take back what they had answered before it.
            kept = spared or given is not None
            if (question.feelings or question.block) and (unhappy or troubled) and not kept:
                continue
            if question.when is not None:
                facts["unhappy"], facts["open_case"] = unhappy, troubled
                if not question.when.holds(facts):
                    facts["unhappy"] = facts["open_case"] = False
                    if not kept or not (unhappy or troubled) or not question.when.holds(facts):
                        continue
            path.append(question)
            if given is not None and given.value is not None:
                facts[question.id] = given.value
                unhappy = unhappy or _crosses(question, given.value, self.flow)
        return path

    def unhappy(self) -> bool:
        answers = self.state.answers
        return any(
            question.unhappy and question.id in answers and _crosses(question, answers[question.id].value, self.flow)
            for question in self.path()
        )

    def position(self, question: Question) -> int:
        path = [found.id for found in self.path() if not found.follows]
        own = question.follows or question.id
        return min(path.index(own) + 1 if own in path else len(path), self.state.n)

    def score(self, question: Question, value: Value | None) -> str:
        """An answer inside a sentence: 「8点」, a label in 「」, "" for free text and for nothing."""
        wording = question.wordings[self.state.lang]
        if isinstance(value, tuple):
            return quote(self.flow.deck, self.state.lang, [wording.labels[code] for code in value])
        if value is None or question.kind == "text":
            return ""
        return wording.quoted.get(value, "")

    def shown_codes(self, question: Question) -> tuple[str, ...]:
        return tuple(choice.value for choice in self.choices(question))

    def choices(self, question: Question) -> tuple[Choice, ...]:
        choices = self.voice.choices[question.id]
        if not question.shuffle:
            return choices
        # Each customer their own order, the same each time it is shown.
        seed = f"{self.state.seed!r}:{question.id}:"
        last = (question.exclusive, question.other)
        mixed = [choice for choice in choices if choice.value not in last]
        mixed.sort(key=lambda choice: hashlib.sha256((seed + choice.value).encode()).digest())
        return (*mixed, *(choice for choice in choices if choice.value in last))

    def controls(self, question: Question) -> tuple[Choice, ...]:
        controls = self.voice.controls[question.id]
        if question.kind == "multi" and self.state.chosen:
            return (self.voice.remove, *controls)
        return controls

    def with_person(self, question: Question) -> tuple[Choice, ...]:
        controls = self.controls(question)
        if question.kind == "multi":
            return (*controls, self.voice.person)
        return (self.voice.person, *(controls or (self.voice.skip(question),)))

    def values(self) -> dict[str, str]:
        state = self.state
        values = {**state.vars, "n": str(state.n), "i": "1", "reply_by": self.dates.reply_by}
        if self.flow.wave is not None:
            values |= {"part": str(self.course().part), "parts": str(self.flow.parts)}
        return values

    def say_text(self, text_id: str, more: Mapping[str, str] | None = None) -> str:
        template = self.voice.template(text_id)
        if not template.blanks:
            return template.raw
        values = self.values()
        if more:
            values.update(more)
        return template.fill(values)

    def question_values(self, question: Question) -> dict[str, str]:
        """What the blanks of a question's text stand for: the session's values, event data, earlier answers."""
        values = self.values()
        for name, found in self.state.facts.items():
            values[name] = str(found)
        for question_id, given in self.state.answers.items():
            asked = self.flow.find(question_id)
            if asked is not None:
                values[question_id] = self.score(asked, given.value) or (
                    given.value if isinstance(given.value, str) else ""
                )
        for name, words in question.vars.items():
            filled = words[self.state.lang].fill_whole(values)
            if filled is not None:
                values[name] = item_name(filled) if name == "item" else filled
        return values


_LATE = ("expired", "superseded")
"""Ends that a customer need not know of: a tap after one of them is an answer that comes late."""
_NO_DATES = Dates(reply_by="", later="", again="")
_WEEK_ZERO = date(1970, 1, 5).toordinal()


def _crosses(question: Question, value: Value | None, flow: Flow) -> bool:
    """Whether this answer alone makes the customer unhappy (koe.yaml `unhappy`)."""
    if not question.unhappy or not isinstance(value, int):
        return False
    rules = flow.rules
    match question.unhappy:
        case "satisfaction":
            # The limit is told on five points; a ten-point scale has twice as many.
            return rules.satisfaction_max is not None and value <= rules.satisfaction_max * (
                2 if question.high == 10 else 1
            )
        case "effort":
            return rules.effort_min is not None and value >= rules.effort_min
        case "ease":
            return rules.effort_min is not None and value <= question.low + question.high - rules.effort_min
        case "nps":
            return rules.nps_max is not None and value <= rules.nps_max
        case _:
            return False


def _label(question: Question, value: Value | None, lang: Lang) -> str:
    if value is None:
        return ""
    if question.kind == "text":
        return str(value)
    return question.label_of(";".join(value) if isinstance(value, tuple) else str(value), lang)


def _codes(value: Value | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _reworded(parts: Sequence[Bubble], message_id: str, text: str) -> tuple[Bubble, ...]:
    """The bubbles after one of them was edited, or taken back (no text)."""
    edited = (Bubble(part.message_id, part.at_ms, text) if part.message_id == message_id else part for part in parts)
    return tuple(part for part in edited if part.text.strip())


def _holds_code(value: Value | None, code: str) -> bool:
    return code in _codes(value)


def _fact(facts: Mapping[str, object], name: str) -> object:
    if name in facts:
        return facts[name]
    found: object = facts
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _plain(value: object) -> object:
    """A fact that can be kept as JSON: a scalar, or a list of scalars; None for anything else."""
    if isinstance(value, bool | int | str) or (
        isinstance(value, float) and value == value and abs(value) != float("inf")
    ):
        return value
    if isinstance(value, list | tuple):
        return [item for item in value if isinstance(item, bool | int | float | str)]
    return None
