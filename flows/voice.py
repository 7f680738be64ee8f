"""What a flow says in one language – buttons, templates, what can be typed – put together once."""

from __future__ import annotations

from collections.abc import Mapping

from flows.exchange import Ask, Choice
from flows.flow import Flow, Question
from flows.questions import key
from flows.texts import Lang, Template

_COMPUTED = frozenset({"n", "i", "part", "parts", "reply_by", "date"})
THE_SHOPS = ("brand", "team", "here", "privacy_url", "retention", "support_hours")
_SHOPS_OWN = frozenset({*THE_SHOPS, "n", "i"})
"""Blanks that say the same to every customer."""


_KEPT_ASKS = 1000


class Voice:
    """What a flow says in one language, put together once."""

    def __init__(self, flow: Flow, lang: Lang) -> None:
        self._flow = flow
        self._lang = lang
        self._templates: dict[str, Template] = {}
        self._ranges: dict[str, str] = {}
        self.asks: dict[tuple[object, ...], Ask] = {}
        self.common_alt = _SHOPS_OWN.issuperset(self.template("alt.question").blanks)
        self.choices: dict[str, tuple[Choice, ...]] = {}
        self.controls: dict[str, tuple[Choice, ...]] = {}
        self.blanks: dict[str, frozenset[str] | None] = {}
        done = self._button("button.done", "@control", "done")
        self.remove = self._button("button.remove_one", "@control", "remove")
        self.person = self._button("button.person", "@control", "person")
        for question in flow.questions:
            buttons = question.wordings[lang].buttons if question.kind != "text" else ()
            self.choices[question.id] = tuple(
                Choice(label, question.id, str(code), tap_text if tap_text != label else "")
                for code, label, tap_text in buttons
            )
            wording = question.wordings[lang]
            templates = (wording.text, wording.note, wording.small)
            blanks = {name for template in templates if template is not None for name in template.blanks}
            shops_own = blanks <= _SHOPS_OWN and blanks.isdisjoint(question.vars)
            self.blanks[question.id] = frozenset(blanks) if shops_own else None
            skip = (self.skip(question),) if question.optional else ()
            if question.kind == "multi":
                # 「特にない」 leaves it out already; without such a choice there must be another way.
                skip = () if question.exclusive else skip
                self.controls[question.id] = (done, *skip)
            else:
                self.controls[question.id] = skip
        self.exits = tuple(Choice(found.labels[lang], "@exit", found.id) for found in flow.exits)
        self.exit_keys = {found.id: key(found.labels[lang]) for found in flow.exits}
        self.small_choices = (
            self._button("button.later", "@later", "later"),
            self._button("button.unsubscribe", "@rights", "unsubscribe"),
        )
        self.unsubscribe = tuple(
            self._button(f"{value}.label", "@rights", value) for value in ("unsub.yes", "unsub.no", "unsub.news")
        )
        self.never = (self._button("button.never", "@later", "never"),)
        self.erase = (self._button("button.erase_session", "@control", "erase"),)
        self.contact = (
            self._button("contact.yes.label", "@contact", "yes"),
            self._button("contact.no.label", "@contact", "no"),
        )
        self.inquiry = (
            self._button("button.go_on", "@inquiry", "go"),
            self._button("button.stop_here", "@inquiry", "end"),
        )
        labels = {
            value: [self._flow.deck.text(f"contact.{value}.label", spoken) for spoken in flow.languages]
            for value in _YES_NO
        }
        words = {"yes": ["はい", "お願いします", "yes", "yes please"], "no": ["いいえ", "不要です", "no", "no thanks"]}
        self.contact_keys = {key(word): value for value in _YES_NO for word in (*labels[value], *words[value])}
        self.go_on = {
            key(word) for word in (self.inquiry[0].label, "はい", "続ける", "続けます", "yes", "go on", "continue")
        }
        self.stop_here = {key(word) for word in (self.inquiry[1].label, "いいえ", "no", "stop here")}
        own = [
            flow.invite[lang],
            flow.alt[lang],
            *([flow.wave.invite[lang], flow.wave.alt[lang]] if flow.wave else []),
            *(found.texts[lang] for found in flow.exits),
            *(e.texts[lang] for e in flow.endings),
        ]
        required = {name for template in own for name in template.required}
        for question in flow.questions:
            wanted = question.wordings[lang].text.required
            required |= {
                name for name in wanted if name not in question.vars and "." not in name and not flow.find(name)
            }
        self.required = frozenset(required - _COMPUTED)

    def _button(self, text_id: str, node: str, value: str) -> Choice:
        return Choice(self._flow.deck.text(text_id, self._lang), node, value)

    def skip(self, question: Question) -> Choice:
        """The button that leaves this question out; it names it, so that a late tap leaves out no other."""
        text_id = "button.continue_without" if question.kind == "text" else "button.skip"
        return self._button(text_id, "@control", f"skip:{question.id}")

    def keep(self, common: tuple[object, ...], ask: Ask) -> None:
        """Show it to the next customer as well, to whom it would say the same."""
        if len(self.asks) >= _KEPT_ASKS:
            self.asks.clear()
        self.asks[common] = ask

    def template(self, text_id: str) -> Template:
        template = self._templates.get(text_id)
        if template is None:
            template = self._templates[text_id] = self._flow.deck.template(text_id, self._lang)
        return template

    def fill(self, texts: Mapping[Lang, Template], values: Mapping[str, str]) -> str:
        return texts[self._lang].fill(values)

    def range(self, question: Question) -> str:
        """{range} of retry.1: what can be typed."""
        found = self._ranges.get(question.id)
        if found is None:
            numbered = (
                question.kind == "scale"
                and question.wordings[self._lang].quoted is question.wordings[self._lang].labels
            )
            kind = "scale" if numbered else "yes_no" if question.kind == "yes_no" else "choice"
            ends = {"low": str(question.low), "high": str(question.high)}
            found = self._ranges[question.id] = self._flow.deck.text(f"range.{kind}", self._lang, ends)
        return found


_YES_NO = ("yes", "no")


def voice_of(flow: Flow, lang: Lang) -> Voice:
    voice = flow.cache.get(lang)
    if not isinstance(voice, Voice):
        voice = flow.cache[lang] = Voice(flow, lang)
    return voice
