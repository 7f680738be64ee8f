"""How a talk looks in the terminal, and which key taps which button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.exchange import (
    Ask,
    CaseSettled,
    Choice,
    Defer,
    End,
    EraseAnswers,
    NotOurs,
    OpenCase,
    Output,
    Record,
    Retract,
    Say,
    Wake,
)
from flows.visible import spelled

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """Shows what comes out, and remembers which buttons can be tapped by which key."""

    def __init__(self, console: Console, *, lively: bool) -> None:
        self._console = console
        self._lively = lively
        self.keys: dict[str, Choice] = {}
        self.older: dict[str, dict[str, Choice]] = {}
        """The choices of every question shown, by question."""

    def show(self, outputs: list[Output]) -> None:
        fresh: dict[str, Choice] = {}
        for output in outputs:
            match output:
                case Say():
                    self._bubble(
                        [(line, "") for line in output.text.split("\n")], [self._letters(output.choices, fresh)]
                    )
                case Ask():
                    self._ask(output, fresh)
                case _:
                    note = _noted(output).replace("\n", " / ")
                    if note:
                        self.aside(note)
        if fresh:
            self.keys = fresh

    def aside(self, text: str) -> None:
        """Not part of the chat: what is stored, what an author should know."""
        for line in text.split("\n"):
            self._line(f"    {line}", "dim")

    def customer(self, text: str) -> None:
        """What the customer did, where the terminal does not show it by itself."""
        self._console.print()
        self._line(f"> {text}", "cyan")

    def _ask(self, ask: Ask, fresh: dict[str, Choice]) -> None:
        lines = [(line, "") for line in ask.intro.split("\n") if ask.intro]
        lines += [(line, "bold") for line in ask.text.split("\n")]
        if ask.low:
            lines.append((f"{ask.low} ↔ {ask.high}", "dim"))
        keyed = _keyed(ask.choices)
        self.older.setdefault(ask.question, {}).update(keyed)
        fresh.update(keyed)
        chosen = ask.chosen if isinstance(ask.chosen, tuple) else (str(ask.chosen),)
        shown = []
        for key, choice in keyed.items():
            mark = "✓" if ask.chosen is not None and choice.value in chosen else ""
            shown.append(f"/{key}{mark}" if key == choice.label else f"/{key} {choice.label}{mark}")
        rows = [("  ".join(shown), "green")] if shown else []
        rows += [self._letters(choices, fresh) for choices in (ask.controls, ask.exits)]
        rows += [(line, "dim") for line in ask.small.split("\n") if line]
        rows.append(self._letters(ask.small_choices, fresh))
        self._bubble(lines, rows)
        if ask.invitation and ask.alt:
            self.aside(f"notification: {ask.alt}")

    def _letters(self, choices: tuple[Choice, ...], fresh: dict[str, Choice]) -> tuple[str, str]:
        shown = []
        for choice in choices:
            key = next(letter for letter in _LETTERS if letter not in fresh)
            fresh[key] = choice
            shown.append(f"/{key} {choice.label}")
        return "  ".join(shown), "green"

    def _bubble(self, lines: list[tuple[str, str]], rows: list[tuple[str, str]]) -> None:
        self._console.print()
        for text, style in (*lines, *((text, style) for text, style in rows if text)):
            self._line(text, style, bar=True)

    def _line(self, text: str, style: str, *, bar: bool = False) -> None:
        from rich.text import Text

        words = Text(spelled(text), style=style)
        width = self._console.width - 4
        pieces = words.wrap(self._console, width) if self._lively and words.cell_len > width else [words]
        for piece in pieces:
            self._console.print(Text("│ ", style="blue") + piece if bar else piece, soft_wrap=True)


_LETTERS = [*"abcdefghijklmnopqrstuvwxyz", *(f"z{n}" for n in range(1, 100))]


def _keyed(choices: tuple[Choice, ...]) -> dict[str, Choice]:
    """Choices by what is typed after the slash: the number that stands on the button, else its place."""
    if choices and all(choice.label.isascii() and choice.label.isdigit() for choice in choices):
        return {choice.label: choice for choice in choices}
    return {str(number): choice for number, choice in enumerate(choices, 1)}


def _noted(output: Output) -> str:
    """What the world would do besides talking, in a line; "" for what is seen anyway."""
    match output:
        case Record(value=None):
            return f"stored: {output.question} left out ({output.missing})"
        case Record():
            value = ";".join(output.value) if isinstance(output.value, tuple) else str(output.value)
            label = f" 「{output.label}」" if output.label not in ("", value) else ""
            return f"stored: {output.question} = {value}{label}{' (late)' if output.late else ''}"
        case Retract():
            return f"no longer counts: {output.question}"
        case Wake(timer="text"):
            return "(more words may follow; some seconds of silence, or /go, end this answer)"
        case OpenCase():
            words = f" 「{output.words}」" if output.words else ""
            return f"a case is opened: {output.reason}{words}"
        case CaseSettled():
            return f"the case is settled: {output.reason}"
        case Defer(kind="never"):
            return "this customer is not asked again about this"
        case Defer():
            return f"this customer is asked once more on another day ({output.kind})"
        case EraseAnswers():
            return "the answers are erased"
        case NotOurs():
            return "not about the survey: left to the shop's people and tools"
        case End():
            return f"the survey has ended: {output.outcome}"
        case _:
            return ""
