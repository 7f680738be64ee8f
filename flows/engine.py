"""The conversation, as a pure function: `step(flow, state, input) → Step(state, outputs)`.

Nothing here waits, sends, stores, draws lots or asks for the time: inputs carry their time, outputs are the complete
list of what the world must do. `step` is total: a late button, a stale timer, a sticker where a number was asked are
ordinary inputs. Which questions come is worked out by `flows.path`, what is shown of them by `flows.speech`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, cast

from flows.conditions import look_up
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
from flows.flow import Ending, Flow, Question
from flows.path import Path
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
from flows.speech import Speech
from flows.state import Bubble, Outcome, Recorded, State
from flows.texts import Lang, item_name
from flows.voice import voice_of


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
    kept = {name: found for name in sorted(flow.fact_names) if (found := _plain(look_up(facts, name))) is not None}
    if look_up(facts, "open_case") is True:
        kept["open_case"] = True
    if flow.wave is not None:
        kept["part"] = part
    return State(spoken, given, kept)


def step(flow: Flow, state: State, input: Input) -> Step:  # noqa: A002
    """What an input leads to. Total: it never raises for what a customer, a timer or a late message does."""
    dates = input.dates if isinstance(input, Reply | Elapsed) else _NO_DATES
    turn = _Turn(flow, state.copy(), input.at_ms, dates)
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
    return Speech(flow, state, Path(flow, state), _NO_DATES).question(question, "")


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

    def __init__(self, flow: Flow, state: State, at_ms: int, dates: Dates) -> None:
        self.flow = flow
        self.state = state
        self.at_ms = at_ms
        self.dates = dates
        self.out: list[Output] = []
        self.path = Path(flow, state)
        self.speech = Speech(flow, state, self.path, dates)
        self.voice = self.speech.voice
        self.message_id = ""

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
        state.n = self.flow.longest(self.path.course(), state.facts, lambda question: not question.follows)
        state.phase = "asking"
        first = next(iter(self.path.questions()), None)
        if first is None:
            self.end("completed")
            return
        small = self.speech.text("inv.small")
        if begin.first_contact:
            small = "\n".join(part for part in (small, self.speech.text("inv.first")) if part)
        self.ask_first(first, self.speech.invitation(), small, invitation=True)

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
                    self.ask_first(
                        first, self.speech.text("inv.reminder"), self.speech.text("inv.small"), invitation=False
                    )
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
        if question not in self.path.questions(spared=True):
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
            self.ask_again(question, "multi.added")
        else:
            self.choose(question, (code,))

    def choose(self, question: Question, codes: Sequence[str]) -> None:
        chosen = self.state.chosen or ()
        # In the order of choosing, so that 「1つ外す」 takes the latest back.
        self.state.chosen = (*chosen, *(code for code in codes if code not in chosen))
        self.ask_again(question, "multi.added")

    def multi_remove(self, question: Question) -> None:
        chosen = self.state.chosen or ()
        if not chosen:
            self.ask_again(question, "multi.empty")
            return
        self.state.chosen = chosen[:-1]
        choice = question.wordings[self.state.lang].quoted[chosen[-1]]
        self.ask_again(question, "multi.removed", {"choice": choice})

    def multi_done(self, question: Question) -> None:
        chosen = self.state.chosen
        if not chosen:
            self.ask_again(question, "multi.empty")
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
            self.advance(self.speech.text("same", {"score": self.speech.score(question, value)}))
            return
        resume = question.id != self.state.at
        self.record(question, value)
        if before is not None and before.value is not None:
            self.advance(self.changed(question, before, "fix.resume" if resume else "fix.done"))
        elif value == (question.exclusive,):
            self.advance(self.speech.text("multi.none"), worth_a_bubble=False)
        else:
            self.advance(
                self.speech.text("multi.done", {"chosen": self.speech.score(question, value)}), worth_a_bubble=False
            )

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
                self.aside(self.speech.text("unsub.ask"), self.voice.unsubscribe)
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
        self.typed_answer(question, text)

    def typed_answer(self, question: Question, text: str) -> None:
        match question.reader.read(text, self.speech.codes(question)):
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
            self.aside(self.speech.text("help"))

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
        return isinstance(question.reader.read(text, self.speech.codes(question)), Understood)

    def typed_in_inquiry(self, text: str) -> None:
        spoken = key(text)
        if spoken in self.voice.go_on:
            self.decide_inquiry(go_on=True)
        elif spoken in self.voice.stop_here or command(text) == "stop":
            self.decide_inquiry(go_on=False)
        elif self.heard():
            self.open_case("request", text, promised=True)
            self.out.append(Say(self.speech.text("retry.person"), self.voice.inquiry))

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
            self.out.append(Say(self.speech.text("text.inquiry"), self.voice.inquiry))
            return
        state.tries += 1
        if state.tries > self.flow.rules.retry_limit:
            if state.answers.get(question.id) is None:
                self.record(question, None, missing="skipped")
            self.advance(self.speech.text("retry.over"), worth_a_bubble=False)
            return
        if state.tries == 1:
            intro = self.speech.text("retry.1", {"range": self.voice.range(question)})
        else:
            intro = self.speech.text("retry.2")
        self.move_to(question)
        self.out.append(self.speech.with_person(question, intro))

    def between(self, question: Question, a: int, b: int) -> None:
        if self.heard():
            self.move_to(question)
            self.out.append(self.speech.between(question, a, b))

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
                self.ask(question, self.speech.text("sticker"))
        elif question.kind == "text" or self.state.phase == "inquiry":
            if self.heard():
                self.aside(self.speech.text("retry.1", {"range": self.voice.range(question)}))
        else:
            self.unread(question, "")

    def photo(self) -> None:
        state = self.state
        first = self.at_ms - state.photo_ms > ALBUM_MS
        state.photo_ms = max(self.at_ms, state.photo_ms)
        self.open_case("photo", "")
        if first and self.heard():
            self.aside(self.speech.text("photo.got"))

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
            self.advance(self.speech.text("same", {"score": self.speech.score(question, value)}), worth_a_bubble=False)
            return
        self.record(question, value)
        if before is not None and before.value is not None:
            self.advance(self.changed(question, before, "fix.done"))
        elif echo:
            self.advance(self.speech.text("same", {"score": self.speech.score(question, value)}), worth_a_bubble=False)
        else:
            self.advance("")

    def skip(self, question: Question, missing: Literal["skipped", "dk"] = "skipped") -> None:
        if self.state.answers.get(question.id) is None:
            self.record(question, None, missing=missing)
        self.advance(self.speech.text("skip"), worth_a_bubble=False)

    def back(self) -> None:
        state = self.state
        if not self.heard():
            return
        if state.parts:
            self.keep_unfinished()
        path = self.path.questions()
        here = next((index for index, question in enumerate(path) if question.id == state.at), len(path))
        before = [question for question in path[:here] if question.id in state.answers]
        state.phase = "asking"
        if not before:
            question = self.current()
            if question is not None:
                # The first bubble's exits may lie far above by now.
                self.move_to(question)
                shown = self.speech.question(question, self.speech.text("back.first"))
                self.out.append(replace(shown, exits=self.voice.exits) if here == 0 else shown)
            return
        question = before[-1]
        given = state.answers[question.id]
        self.move_to(question)
        if question.kind == "multi":
            state.chosen = tuple(code for code in _codes(given.value) if code != question.exclusive) or None
        intro = self.speech.text("back", {"score": self.speech.score(question, given.value)})
        self.out.append(self.speech.answered(question, intro, given.value))

    def leave(self, name: str) -> None:
        left = next((found for found in self.flow.exits if found.id == name), None)
        if left is None:
            return
        self.keep_unfinished()
        text = self.speech.fill(left.texts, {"date": self.dates.again})
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
        self.out.append(Say(self.speech.text("inv.later", {"date": self.dates.later})))
        self.out.append(Defer("later"))
        self.end("exited")

    def person(self, text: str) -> None:
        if not self.heard():
            return
        self.open_case("person", self.state.last or text, promised=True)
        self.aside(self.speech.text("retry.person"))

    def stop(self) -> None:
        self.keep_unfinished()
        answered = any(given.value is not None for given in self.state.answers.values())
        self.out.append(Say(self.speech.text("stop"), self.voice.erase if answered else ()))
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
            if self.path.following() is None:
                # Nothing is left to go on with: the promise, then the ending.
                self.finish(self.speech.text("retry.person"))
                return
            state.phase = "inquiry"
            self.out.append(Say(self.speech.text("text.inquiry"), self.voice.inquiry))
            return
        self.advance(
            self.speech.text("text.got" if before is None or before.value is None else "same"), worth_a_bubble=False
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
        following = self.path.following()
        if following is not None:
            self.ask(following, intro)
        else:
            self.finish(intro if worth_a_bubble else "")

    def settle_path(self) -> None:
        """Take back answers that are no longer on the path, and open or settle the case that the answers ask for."""
        state = self.state
        on_path = {question.id for question in self.path.questions()}
        for question_id in [found for found in state.answers if found not in on_path]:
            del state.answers[question_id]
            self.path.changed()
            state.kept.pop(question_id, None)
            self.out.append(Retract(question_id))
        unhappy = self.path.unhappy()
        if unhappy and not state.unhappy:
            state.unhappy = True
            self.open_case("unhappy", "")
        elif state.unhappy and not unhappy:
            state.unhappy = False
            if not state.promised:  # who was told that somebody will write is still written to
                self.out.append(CaseSettled("corrected"))
                state.case = False

    def finish(self, intro: str) -> None:
        facts = self.path.facts()
        for ending in self.flow.endings:
            if ending.when is None or ending.when.holds(facts):
                if intro:
                    self.out.append(Say(intro))
                if ending.apology:
                    self.apologise(ending)
                else:
                    self.out.append(Say(self.speech.fill(ending.texts)))
                break
        self.end("completed")

    def apologise(self, ending: Ending) -> None:
        """The apology, with the offer of contact – unless a reply is promised already: a 「連絡は不要」 tapped under
        another question would take that promise back."""
        if self.state.promised:
            own = f"{ending.say}.promised"
            self.out.append(Say(self.speech.text(own if self.flow.deck.has(own) else "end.apology.promised")))
            return
        self.state.contact = self.state.contact or "offered"
        self.out.append(Say(self.speech.fill(ending.texts), self.voice.contact))

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
                    self.out.append(Say(self.speech.text("stop").split("\n", 1)[0]))
            case Tap("@control", "erase") if state.outcome in ("break_off", "completed", "exited", *_LATE):
                state.answers, state.kept, state.last = {}, {}, ""
                self.path.changed()
                state.outcome = "erased"
                self.out.append(EraseAnswers())
                self.out.append(Say(self.speech.text("erase.done")))
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
                    self.out.append(Say(self.speech.text("closed.button")))
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
        self.out.append(Say(self.speech.text(f"contact.{value}")))

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
        reading = question.reader.read(text, self.speech.codes(question))
        if isinstance(reading, Understood):
            self.take_late(question, reading.value)

    def tap_after_the_end(self, question: Question, code: str) -> None:
        state = self.state
        before = state.answers.get(question.id)
        if before is not None and self.at_ms < before.at_ms:
            return
        if question not in self.path.questions(spared=True):
            if self.heard():
                self.out.append(Say(self.speech.text("closed.button")))
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
                    self.ask_again(question, "multi.added")
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
        was_unhappy = self.path.unhappy()
        self.record(question, value)
        self.settle_path()
        self.out.append(Say(self.changed(question, before, "fix.done")))
        apology = next((ending for ending in self.flow.endings if ending.apology), None)
        if self.path.unhappy() and not was_unhappy and not state.contact and apology is not None:
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
                self.ask_again(question, "multi.empty")
                return
            state.chosen = None
            self.correct_after_the_end(question, tuple(c for c in question.codes if isinstance(c, str) and c in chosen))

    def change_after_the_end(self) -> None:
        """「訂正する」: show the questions' buttons again, the first one first; any of them may be tapped."""
        question = next(
            (found for found in self.path.questions() if found.kind != "text" and found.id in self.state.answers), None
        )
        if question is not None and self.heard():
            given = self.state.answers[question.id]
            self.state.chosen = None
            self.move_to(question)
            intro = self.speech.text("back", {"score": self.speech.score(question, given.value)})
            self.out.append(self.speech.answered(question, intro, given.value))

    def take_late(self, question: Question, value: Value) -> None:
        before = self.state.answers.get(question.id)
        if before is not None and before.value == value:
            self.say_same(question, before)
            return
        self.record(question, value, late=self.at_ms >= self.state.ended_ms)
        self.settle_path()
        if self.heard():
            self.out.append(Say(self.speech.text("late")))

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
        self.path.changed()
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
            choices = self.speech.controls(question)
        self.out.append(Say(text, choices))

    def say_same(self, question: Question, before: Recorded) -> None:
        if self.at_ms - before.at_ms >= DOUBLE_TAP_MS and self.heard():
            self.aside(self.speech.text("same", {"score": self.speech.score(question, before.value)}))

    def changed(self, question: Question, before: Recorded | None, text_id: str) -> str:
        given = self.state.answers[question.id]
        score = self.speech.score(question, given.value)
        if before is None or before.value is None:
            return self.speech.text("same", {"score": score})
        return self.speech.text(text_id, {"old": self.speech.score(question, before.value), "score": score})

    def heard(self) -> bool:
        """Count a reply that is no answer; False once there were too many of them."""
        self.state.noise += 1
        return self.state.noise <= NOISE_LIMIT

    def move_to(self, question: Question) -> None:
        """This question waits from here on. What is ticked of it stays ticked."""
        state = self.state
        state.chosen = (state.chosen or None) if state.at == question.id else None
        if state.at != question.id or question.id not in state.shown:
            state.at = question.id
            state.shown[question.id] = max(self.at_ms, state.shown.get(question.id, 0))
            state.tries = 0
            state.last = ""

    def ask(self, question: Question, intro: str) -> None:
        self.move_to(question)
        self.out.append(self.speech.question(question, intro))

    def ask_first(self, question: Question, intro: str, small: str, *, invitation: bool) -> None:
        self.move_to(question)
        self.out.append(self.speech.first(question, intro, small, invitation=invitation))

    def ask_again(self, question: Question, text_id: str, more: Mapping[str, str] | None = None) -> None:
        """The multi-select again, with what is chosen so far."""
        self.move_to(question)
        self.out.append(self.speech.again(question, text_id, more))

    def current(self) -> Question | None:
        """The question that waits for an answer."""
        return self.flow.find(self.state.at)


_LATE = ("expired", "superseded")
"""Ends that a customer need not know of: a tap after one of them is an answer that comes late."""
_NO_DATES = Dates(reply_by="", later="", again="")
_WEEK_ZERO = date(1970, 1, 5).toordinal()


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


def _plain(value: object) -> object:
    """A fact that can be kept as JSON: a scalar, or a list of scalars; None for anything else."""
    if isinstance(value, bool | int | str) or (
        isinstance(value, float) and value == value and abs(value) != float("inf")
    ):
        return value
    if isinstance(value, list | tuple):
        return [item for item in value if isinstance(item, bool | int | float | str)]
    return None
