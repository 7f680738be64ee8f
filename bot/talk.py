"""`koe talk`: a survey in the terminal, through the same engine as in the chats, for the person who writes it.

Nothing is stored and nothing is sent. Works without a platform, a database or a koe.yaml; what a shop would have set is
made up then.
"""

from __future__ import annotations

import os
import select
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import files
from bot.clock import Clock, StoryClock
from bot.config import Shop, Unhappy
from bot.loading import ANY_SHOP, ConfigErrors, read_settings, read_shop, rules_of
from bot.promises import Promises
from flows import rights
from flows.builtin import builtin_library
from flows.engine import new_state, step, summary
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
from flows.flow import Flow
from flows.source import DefinitionErrors, Problem, parse_yaml
from flows.survey import Library
from flows.transcript import render_transcript, told
from flows.visible import spelled

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CannotTalk", "Scene", "parse_given", "run", "scene"]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_REMIND_MS = 72 * _HOUR_MS
_EXPIRE_MS = 7 * _DAY_MS
"""When no trigger of koe.yaml starts the flow."""
_PACE_MS = 3_000
"""How far apart the lines of a pipe are: bubbles of one free text belong together, two taps are two taps."""
_SAMPLE = 0.25
"""What transcripts draw the order of shuffled choices from."""
_NEWS_DAYS = 3

_PERSON = {"ja": {"name": "田中", "item": "ドリップコーヒー"}, "en": {"name": "Emma", "item": "Drip coffee"}}
_ORDER: dict[str, object] = {
    "order": "1001",
    "amount": 5400,
    "product": "Drip coffee",
    "channel": "own",
    "store": "web",
}


class CannotTalk(ValueError):
    """There is no such survey, or it cannot be started like this; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a talk starts from: the survey, the shop around it, the customer who answers."""

    flow: Flow
    library: Library
    shop: Shop
    lang: str
    vars: Mapping[str, str]
    facts: Mapping[str, object]
    start_ms: int
    remind_ms: int
    expire_ms: int


def scene(
    name: str,
    *,
    lang: str = "",
    given: Mapping[str, object] | None = None,
    alone: bool = False,
    start_ms: int,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
) -> Scene:
    """The survey `name` (an id, or a flow file), ready to be answered.

    koe.yaml is used where there is one; what is missing for a server (tokens, keys) is not asked for.

    Args:
        name: A flow's id, built in or of KOE_FLOWS_DIR; or the path of a flow file.
        lang: "ja" or "en"; the shop's language when empty.
        given: Values that replace the made-up ones: of blanks in texts (name, item …) or of event data (order.amount).
        alone: Leave koe.yaml aside, so that what is said does not depend on this shop.
        start_ms: When the talk takes place.
        environ: The environment; that of the process when left out.
        env_file: The .env file; a missing one is an empty one.

    Raises:
        ConfigErrors: koe.yaml or a flow is broken: every problem, with file and line.
        CannotTalk: no such flow, no such language, or a value that the flow's texts cannot do without is missing.
    """
    shop, library = _read(os.environ if environ is None else environ, env_file, alone)
    flow = _find(name, library)
    spoken = lang or (shop.language if shop.language in flow.languages else flow.languages[0])
    if spoken not in flow.languages:
        raise CannotTalk(f"{flow.id} has no language {spoken!r}; there are {', '.join(flow.languages)}.")
    rule = next((rule for rule in shop.triggers if rule.flow == flow.id), None)
    expire_ms = _EXPIRE_MS if rule is None or rule.expires_ms is None else rule.expires_ms
    promises = Promises(shop)
    variables = {
        **_PERSON[spoken],
        "brand": shop.brand_in(spoken),
        "team": shop.team_in(spoken),
        "here": library.deck.text("here.line", spoken, {}),
        "date": promises.date_text(start_ms, spoken),
        "expires": promises.date_text(start_ms + expire_ms, spoken),
        "privacy_url": shop.privacy_url,
        "retention": promises.retention_text(spoken),
        "support_hours": promises.support_hours_text(spoken),
    }
    facts: dict[str, object] = {f"order.{field}": value for field, value in _ORDER.items()}
    facts["order.item"] = variables["item"]
    occasions = [value for when in flow.blocks.values() if when for value in when.literals("event.type")]
    facts["event.type"] = rule.on if rule is not None and rule.on else next(iter(occasions), "")
    for key, value in (given or {}).items():
        # a blank of a text has a plain name, a field of the event a dotted one; a flow may use a plain name as well
        facts[key] = value
        if "." not in key:
            variables[key] = "" if value is None else str(value)
    made = Scene(
        flow=flow,
        library=library,
        shop=shop,
        lang=spoken,
        vars=variables,
        facts={key: value for key, value in facts.items() if key in flow.fact_names},
        start_ms=start_ms,
        remind_ms=_REMIND_MS if rule is None or rule.remind_ms is None else rule.remind_ms,
        expire_ms=expire_ms,
    )
    try:
        new_state(flow, lang=spoken, vars=variables, facts=facts)
    except ValueError as error:
        raise CannotTalk(f"{error}; give it one with --with name=value.") from error
    return made


def parse_given(words: Sequence[str]) -> dict[str, object]:
    """`name=value` words as values: numbers and true/false as in YAML, everything else as text.

    >>> parse_given(["order.amount=2000", "item=Blue mug"])
    {'order.amount': 2000, 'item': 'Blue mug'}

    Raises:
        CannotTalk: a word without a name and a `=`.
    """
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise CannotTalk(f"--with {word!r}: write name=value, such as order.amount=2000.")
        try:
            plain = parse_yaml(f"value: {value}".encode(), "--with").data["value"]
        except DefinitionErrors:
            plain = value
        found[name.strip()] = plain if isinstance(plain, bool | int | float | str) else value
    return found


def _read(environ: Mapping[str, str], env_file: Path | None, alone: bool) -> tuple[Shop, Library]:
    settings_problems: list[Problem] = []
    settings = read_settings(environ, env_file, settings_problems)
    # half a platform or a bad port is the server's concern; where the files are is ours
    problems = [found for found in settings_problems if found.message.startswith(("KOE_CONFIG", "KOE_FLOWS_DIR"))]
    named = "config" in settings.model_fields_set
    if not alone and (named or settings.config.exists()):
        shop, library = read_shop(settings.config, settings.flows_dir, problems)
    else:
        shop, library = Shop.model_validate(ANY_SHOP), None
        own = files.OwnDefinitions()
        if settings.flows_dir is not None:
            own = files.read_definitions(settings.flows_dir, problems)
        try:
            library = builtin_library(
                rules_of(Unhappy()), flows=own.flows, deck=own.deck, instruments=own.instruments, blocks=own.blocks
            )
        except DefinitionErrors as errors:
            problems.extend(errors.problems)
    if problems or shop is None or library is None:
        raise ConfigErrors(problems)
    return shop, library


def _find(name: str, library: Library) -> Flow:
    if name in library.flows:
        return library.flows[name]
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        problems: list[Problem] = []
        source = files.read_yaml(Path(name), problems)
        if source is None:
            raise ConfigErrors(problems)
        try:
            return library.read_flow(source)
        except DefinitionErrors as errors:
            raise ConfigErrors(errors.problems) from errors
    known = ", ".join(sorted(library.flows))
    raise CannotTalk(
        f"there is no flow {name!r}; there are {known}. Your own are found in KOE_FLOWS_DIR, or by their file: "
        "koe talk surveys/mine.yaml"
    )


# ------------------------------------------------------------------------------------------------------- the talk


class _Talk:
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


# ------------------------------------------------------------------------------------------------------ the screen

_HELP = """\
words            an answer, typed as a customer would; // for one that begins with /
/1 /a [満足]      tap a button of the last bubbles, by its key or its label
/sat 2           tap an older question's button: the answer is corrected
/go              end a free text now, instead of waiting some seconds
/later           jump to what time alone would bring: the reminder, the closing (also: /later expire), the next session
/photo /sticker [words] /voice    send something that is no text
/unsend          take the last words back
/quit            leave (Ctrl-D does the same)"""


class _Screen:
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


# -------------------------------------------------------------------------------------------------------- the loop


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
    talk = _Talk(scene, constant=record)
    screen = _Screen(console, lively=lively)
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


def _act(talk: _Talk, screen: _Screen, text: str, now_ms: int) -> bool:
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


def _say(talk: _Talk, screen: _Screen, text: str, now_ms: int) -> None:
    outputs = talk.typed(text, now_ms)
    screen.show(outputs)
    if talk.over and not outputs and talk.next_ms is not None:
        screen.aside(f"This session has ended. /later jumps to session {talk.part + 1} of {talk.scene.flow.parts}.")
    elif talk.over and not outputs:
        screen.aside("The survey has ended: what is written now belongs to the shop's own people. Buttons still work.")


def _offered(screen: _Screen) -> str:
    keys = " ".join(f"/{key}" for key in screen.keys)
    return f"there are {keys}. /help shows what else works." if keys else "none is shown. /help shows what works."


def _later(talk: _Talk, screen: _Screen, wanted: str, now_ms: int) -> None:
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


def _good_bye(talk: _Talk, screen: _Screen) -> None:
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
