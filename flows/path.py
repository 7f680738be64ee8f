"""Which questions a session comes to: what was settled before the first one, what was answered, who is unhappy."""

from __future__ import annotations

from typing import cast

from flows.flow import Course, Flow, Question
from flows.questions import Value
from flows.state import State


class Path:
    """The way of one session through its flow, as its state stands. It reads the state and never changes it.

    Who changes the answers says so (`changed`): what was worked out is good until then.
    """

    __slots__ = ("_flow", "_found", "_state")

    def __init__(self, flow: Flow, state: State) -> None:
        self._flow = flow
        self._state = state
        self._found: dict[tuple[bool, bool, bool], list[Question]] = {}

    def changed(self) -> None:
        """An answer was recorded, or taken back."""
        self._found.clear()

    def course(self) -> Course:
        """What was settled before the first question."""
        facts = self._state.facts
        return Course(self._state.parity, cast("int", facts.get("part", 1)), str(facts.get("block", "")))

    def facts(self) -> dict[str, object]:
        """What conditions can ask about: event data, answers, and what follows from them."""
        state = self._state
        facts: dict[str, object] = dict(state.facts)
        facts["lang"] = state.lang
        facts["open_case"] = state.case or facts.get("open_case") is True
        for question_id, given in state.answers.items():
            if given.value is not None:
                facts[question_id] = given.value
        facts["unhappy"] = self.unhappy()
        return facts

    def questions(self, *, spared: bool = False) -> list[Question]:
        """The questions of this session as things stand: what was answered decides what comes.

        `spared` includes the questions about feelings and the block, which an unhappy customer is spared: not asked,
        yet a tap on one that was shown before counts.
        """
        key = (spared, self._state.case, self._state.unhappy)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._walk(spared=spared)
        return found

    def following(self) -> Question | None:
        """The first question without an answer, None when nothing is left to ask."""
        return next((question for question in self.questions() if question.id not in self._state.answers), None)

    def unhappy(self) -> bool:
        """Whether an answer on the path makes the customer unhappy."""
        answers = self._state.answers
        return any(
            question.unhappy and question.id in answers and _crosses(question, answers[question.id].value, self._flow)
            for question in self.questions()
        )

    def position(self, question: Question) -> int:
        """Which of the promised number of questions it is, from 1; a follow-up has the number of its question."""
        path = [found.id for found in self.questions() if not found.follows]
        own = question.follows or question.id
        return min(path.index(own) + 1 if own in path else len(path), self._state.n)

    def _walk(self, *, spared: bool) -> list[Question]:
        state = self._state
        facts: dict[str, object] = dict(state.facts)
        facts["lang"] = state.lang
        troubled = state.case or state.unhappy or facts.get("open_case") is True
        path: list[Question] = []
        unhappy = False
        for question in self._flow.asked_in(self.course()):
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
                unhappy = unhappy or _crosses(question, given.value, self._flow)
        return path


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
