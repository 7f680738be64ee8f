"""The loop of a talk: a line in, what it does, what comes of it on the screen."""

from __future__ import annotations

import os
import select
import sys
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bot.clock import Clock, StoryClock
from bot.talk.rehearsal import Rehearsal
from bot.talk.scene import Scene
from bot.talk.screen import Screen
from flows.engine import summary

if TYPE_CHECKING:
    from rich.console import Console

_PACE_MS = 3_000
"""How far apart the lines of a pipe are: bubbles of one free text belong together, two taps are two taps."""
_HELP = """\
words            an answer, typed as a customer would; // for one that begins with /
/1 /a [満足]      tap a button of the last bubbles, by its key or its label
/sat 2           tap an older question's button: the answer is corrected
/go              end a free text now, instead of waiting some seconds
/later           jump to what time alone would bring: the reminder, the closing (also: /later expire), the next session
/photo /sticker [words] /voice    send something that is no text
/unsend          take the last words back
/quit            leave (Ctrl-D does the same)"""


def run(scene: Scene, console: Console, *, record: bool = False, clock: Clock, fd: int | None = None) -> str:
    """Hold the talk until the input ends; the transcript when `record` is set, else "".

    At a terminal time is real; lines from a pipe come some seconds apart, whatever the machine does.

    Args:
        scene: What to talk about.
        console: Where bubbles are shown.
        record: Write down what happens; a survey left open then ends by its closing time.
        clock: The time at a terminal.
        fd: Where lines come from; standard input when left out.
    """
    source = sys.stdin.fileno() if fd is None else fd
    lively = os.isatty(source)
    talk = Rehearsal(scene, constant=record)
    screen = Screen(console, lively=lively)
    time = clock if lively else StoryClock(scene.start_ms)
    flow = scene.flow
    screen.aside(
        f"{flow.id} · {flow.survey_kind} · {scene.lang} · nothing is stored or sent\n"
        f"Type as a customer would, or tap a button by its key: /1, /a (or by its label: [満足]). "
        "/go ends a free text, /later jumps in time, /help shows the rest, Ctrl-D leaves."
    )
    screen.show(talk.begin())
    shift_ms = scene.start_ms - time.now_ms()
    lines = _lines(
        source, lambda: None if not lively or talk.wake_ms is None else talk.wake_ms - time.now_ms() - shift_ms
    )
    if lively:
        _prompt(console)
    for line in lines:
        if not lively:
            assert isinstance(time, StoryClock)
            time.advance(_PACE_MS)
        now_ms = max(time.now_ms() + shift_ms, talk.at_ms)
        if line is None:
            if talk.wake_ms is not None:
                screen.show(talk.elapse("text", max(now_ms, talk.wake_ms)))
        else:
            text = unicodedata.normalize("NFC", line).strip()
            if not lively and text:
                screen.customer(text)
            if not _act(talk, screen, text, now_ms):
                break
            # what was jumped over stays behind
            shift_ms += max(0, talk.at_ms - (time.now_ms() + shift_ms))
        if lively:
            _prompt(console)
    if talk.wake_ms is not None and not talk.over:
        screen.show(talk.elapse("text", talk.wake_ms))
    if record and not talk.over and talk.expire_ms is not None:
        screen.show(talk.elapse("expire", talk.expire_ms))
    _good_bye(talk, screen)
    return talk.transcript() if record else ""


def _prompt(console: Console) -> None:
    console.print()
    console.print("> ", end="", style="cyan")


def _act(talk: Rehearsal, screen: Screen, text: str, now_ms: int) -> bool:
    """Do what a line says; False to leave."""
    folded = unicodedata.normalize("NFKC", text)
    if not text:
        return True
    if folded.startswith("//"):
        _say(talk, screen, text[1:], now_ms)
        return True
    if folded.startswith("["):
        label = folded.strip("[] ")
        found = next((c for c in screen.keys.values() if unicodedata.normalize("NFKC", c.label) == label), None)
        if found is None:
            screen.aside(f"There is no button [{label}] here; {_offered(screen)}")
        else:
            screen.show(talk.tap(found, now_ms))
        return True
    if not folded.startswith("/"):
        _say(talk, screen, text, now_ms)
        return True
    verb, _, rest = folded[1:].strip().partition(" ")
    rest = rest.strip()
    match verb:
        case "quit":
            return False
        case "help":
            screen.aside(_HELP)
        case "go":
            if talk.wake_ms is None:
                screen.aside("Nothing is being written: /go ends a free text.")
            else:
                screen.show(talk.elapse("text", max(now_ms, talk.wake_ms)))
        case "later":
            _later(talk, screen, rest, now_ms)
        case "photo" | "sticker" | "voice":
            screen.show(talk.media(verb, rest, now_ms))
        case "unsend":
            outputs = talk.unsend(now_ms)
            if outputs is None:
                screen.aside("No words to take back.")
            else:
                screen.show(outputs)
        case _:
            choices = screen.older.get(verb, {}) if rest else screen.keys
            choice = choices.get(rest.lstrip("/") or verb)
            if choice is None:
                screen.aside(f"There is no button /{folded[1:]} here; {_offered(screen)}")
            else:
                screen.show(talk.tap(choice, now_ms))
    return True


def _say(talk: Rehearsal, screen: Screen, text: str, now_ms: int) -> None:
    outputs = talk.typed(text, now_ms)
    screen.show(outputs)
    if talk.over and not outputs and talk.next_ms is not None:
        screen.aside(f"This session has ended. /later jumps to session {talk.part + 1} of {talk.scene.flow.parts}.")
    elif talk.over and not outputs:
        screen.aside("The survey has ended: what is written now belongs to the shop's own people. Buttons still work.")


def _offered(screen: Screen) -> str:
    keys = " ".join(f"/{key}" for key in screen.keys)
    return f"there are {keys}. /help shows what else works." if keys else "none is shown. /help shows what works."


def _later(talk: Rehearsal, screen: Screen, wanted: str, now_ms: int) -> None:
    if wanted not in ("", "remind", "expire"):
        screen.aside("Write /later, /later remind or /later expire.")
        return
    waiting = talk.waiting()
    if wanted and all(timer != wanted for _, timer in waiting):
        screen.aside(f"Nothing waits for {wanted}.")
        return
    if not waiting:
        screen.aside("Nothing is waited for: the survey has ended.")
        return
    for at_ms, timer in waiting:
        day = talk.promises.date_text(at_ms, "en")
        told_of = {"remind": "reminder", "expire": "closing", "next": f"session {talk.part + 1}"}
        screen.aside("some seconds later" if timer == "text" else f"{day}: {told_of[timer]}")
        outputs = talk.elapse(timer, max(now_ms, at_ms))
        screen.show(outputs)
        if not wanted or timer == wanted or talk.over:
            break


def _good_bye(talk: Rehearsal, screen: Screen) -> None:
    given = summary(talk.scene.flow, talk.state)
    screen.aside("")
    if not talk.over and talk.expire_ms is not None:
        closing = talk.promises.date_text(talk.expire_ms, "en")
        screen.aside(f"You leave before the end: Koe would wait until {closing} and keep what was answered.")
    if talk.next_ms is not None:
        day = talk.promises.date_text(talk.next_ms, "en")
        screen.aside(f"Session {talk.part + 1} of {talk.scene.flow.parts} would follow on {day}.")
    if given:
        answered = (f"{one.question} = {one.label or 'left out'}".replace("\n", " / ") for one in given)
        screen.aside(f"Answers: {', '.join(answered)}")
    screen.aside("Good-bye.")


def _lines(fd: int, patience_ms: Any) -> Iterator[str | None]:
    """The lines of a file descriptor; None each time `patience_ms()` ran out before one came."""
    pending = b""
    while True:
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            yield line.decode("utf-8", "replace")
        wait_ms = patience_ms()
        if wait_ms is not None and not select.select([fd], [], [], max(0, wait_ms) / 1000)[0]:
            yield None
            continue
        piece = os.read(fd, 65536)
        if not piece:
            if pending:
                yield pending.decode("utf-8", "replace")
            return
        pending += piece
