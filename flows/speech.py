"""What one session's customer is shown: questions, buttons and sentences, in their language and with their values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from flows.exchange import Ask, Choice, Dates
from flows.flow import Flow, Question, Wave
from flows.path import Path
from flows.questions import Value
from flows.state import State
from flows.texts import Lang, Template, item_name, quote
from flows.voice import THE_SHOPS, voice_of


class Speech:
    """The flow's voice as this session hears it. It reads the state and never changes it.

    Args:
        dates: the promises that hold for what is said.
    """

    __slots__ = ("_dates", "_flow", "_path", "_state", "voice")

    def __init__(self, flow: Flow, state: State, path: Path, dates: Dates) -> None:
        self._flow = flow
        self._state = state
        self._path = path
        self._dates = dates
        self.voice = voice_of(flow, state.lang)

    # ------------------------------------------------------------------------------------------ sentences

    def text(self, text_id: str, more: Mapping[str, str] | None = None) -> str:
        """A sentence of the deck; `more` fills blanks besides the session's own."""
        template = self.voice.template(text_id)
        if not template.blanks:
            return template.raw
        values = self._values()
        if more:
            values.update(more)
        return template.fill(values)

    def fill(self, texts: Mapping[Lang, Template], more: Mapping[str, str] | None = None) -> str:
        """A sentence of the flow's own, as `text`."""
        values = self._values()
        if more:
            values.update(more)
        return self.voice.fill(texts, values)

    def invitation(self) -> str:
        """The flow's invitation, or that of its wave's later session."""
        return self.fill(self._opening().invite)

    def score(self, question: Question, value: Value | None) -> str:
        """An answer inside a sentence: 「8点」, a label in 「」, "" for free text and for nothing."""
        wording = question.wordings[self._state.lang]
        if isinstance(value, tuple):
            return quote(self._flow.deck, self._state.lang, [wording.labels[code] for code in value])
        if value is None or question.kind == "text":
            return ""
        return wording.quoted.get(value, "")

    # ------------------------------------------------------------------------------------------ questions

    def question(self, question: Question, intro: str) -> Ask:
        """A question with `intro` above it; asked in the same words of many customers, it is put together once."""
        if question.shuffle or question.kind == "multi" or not self._is_shared(question):
            return self._put_together(question, intro)
        voice, state = self.voice, self._state
        place = (self._path.position(question), state.n, self._path.course().part)
        common = (question.id, intro, place, tuple(state.vars.get(name) for name in THE_SHOPS))
        shown = voice.asks.get(common)
        if shown is None:
            shown = self._put_together(question, intro)
            voice.keep(common, shown)
        return shown

    def first(self, question: Question, intro: str, small: str, *, invitation: bool) -> Ask:
        """The question that a session begins with: it can be left by buttons of its own, and has small print."""
        wording = question.wordings[self._state.lang]
        if wording.small is not None:
            small = "\n".join((wording.small.fill(self._values()), small))
        shown = self._put_together(question, intro)
        return replace(
            shown,
            controls=shown.controls if question.kind in ("multi", "text") else (),
            exits=self.voice.exits,
            small=small,
            small_choices=self.voice.small_choices,
            alt=self.fill(self._opening().alt) or shown.alt,
            invitation=invitation,
            shared=False,
        )

    def again(self, question: Question, text_id: str, more: Mapping[str, str] | None = None) -> Ask:
        """The multi-select again, with what is chosen so far and the rest."""
        shown = self._put_together(question, "")
        chosen = shown.chosen if isinstance(shown.chosen, tuple) else ()
        text = self.text(text_id, {"chosen": self.score(question, chosen), **(more or {})})
        return replace(shown, text=text, small="")

    def between(self, question: Question, a: int, b: int) -> Ask:
        """Which of two was meant."""
        quoted = question.wordings[self._state.lang].quoted
        shown = self.question(question, "")
        return replace(
            shown,
            text=self.text("between", {"a": quoted[a], "b": quoted[b]}),
            low="",
            high="",
            small="",
            choices=tuple(choice for choice in shown.choices if choice.value in (str(a), str(b))),
        )

    def with_person(self, question: Question, intro: str) -> Ask:
        """A question with a button that asks for a person, and one that leaves it out."""
        shown = self.question(question, intro)
        if question.kind == "multi":
            return replace(shown, controls=(*shown.controls, self.voice.person))
        return replace(shown, controls=(self.voice.person, *(shown.controls or (self.voice.skip(question),))))

    def answered(self, question: Question, intro: str, value: Value | None) -> Ask:
        """A question with the answer that was given before."""
        shown = self._put_together(question, intro)
        return replace(shown, chosen=(value or None) if isinstance(value, tuple) else value)

    def codes(self, question: Question) -> tuple[str, ...]:
        """Its choices' codes in the order in which they are shown: 「1」 typed is the first of them."""
        return tuple(choice.value for choice in self._choices(question))

    def controls(self, question: Question) -> tuple[Choice, ...]:
        """The buttons beside the choices."""
        controls = self.voice.controls[question.id]
        if question.kind == "multi" and self._state.chosen:
            return (self.voice.remove, *controls)
        return controls

    def _put_together(self, question: Question, intro: str) -> Ask:
        state = self._state
        wording = question.wordings[state.lang]
        values = self._question_values(question)
        text = wording.text.fill(values)
        if wording.note is not None:
            text = f"{text}\n{wording.note.fill(values)}"
        chosen: tuple[str, ...] | None = None
        if question.kind == "multi" and state.chosen:
            picked = state.chosen
            chosen = tuple(code for code in question.codes if isinstance(code, str) and code in picked) or None
        return Ask(
            question=question.id,
            kind=question.kind,
            text=text,
            intro=intro,
            low=wording.low,
            high=wording.high,
            choices=self._choices(question),
            controls=self.controls(question),
            small="" if wording.small is None else wording.small.fill(values),
            chosen=chosen,
            alt=self.text("alt.question", {"i": str(self._path.position(question))}),
            shared=self._is_shared(question),
        )

    def _is_shared(self, question: Question) -> bool:
        """Whether the question's words are the same for every customer: no blank of theirs, no event's own `brand`."""
        blanks = self.voice.blanks[question.id]
        return blanks is not None and self.voice.common_alt and blanks.isdisjoint(self._state.facts)

    def _choices(self, question: Question) -> tuple[Choice, ...]:
        choices = self.voice.choices[question.id]
        if not question.shuffle:
            return choices
        # Each customer their own order, the same each time it is shown.
        seed = f"{self._state.seed!r}:{question.id}:"
        last = (question.exclusive, question.other)
        mixed = [choice for choice in choices if choice.value not in last]
        mixed.sort(key=lambda choice: hashlib.sha256((seed + choice.value).encode()).digest())
        return (*mixed, *(choice for choice in choices if choice.value in last))

    # --------------------------------------------------------------------------------------------- values

    def _opening(self) -> Flow | Wave:
        """Whose invitation and notification line begin this session."""
        wave = self._flow.wave
        return self._flow if wave is None or self._path.course().part == 1 else wave

    def _values(self) -> dict[str, str]:
        state = self._state
        values = {**state.vars, "n": str(state.n), "i": "1", "reply_by": self._dates.reply_by}
        if self._flow.wave is not None:
            values |= {"part": str(self._path.course().part), "parts": str(self._flow.parts)}
        return values

    def _question_values(self, question: Question) -> dict[str, str]:
        """What the blanks of a question's text stand for: the session's values, event data, earlier answers."""
        values = self._values()
        for name, found in self._state.facts.items():
            values[name] = str(found)
        for question_id, given in self._state.answers.items():
            asked = self._flow.find(question_id)
            if asked is not None:
                values[question_id] = self.score(asked, given.value) or (
                    given.value if isinstance(given.value, str) else ""
                )
        for name, words in question.vars.items():
            filled = words[self._state.lang].fill_whole(values)
            if filled is not None:
                values[name] = item_name(filled) if name == "item" else filled
        return values
