"""The copy deck: every sentence people read, by id and language, with its blanks filled.

A blank is `{x}` (always given), `{x?}` (its sentence goes when the value is missing, an emptied line too) or
`{x|words}` (the words stand in). Values are inserted as they are: braces in a customer's words are no blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

Lang = Literal["ja", "en"]
LANGS: tuple[Lang, ...] = ("ja", "en")

_BLANK = re.compile(r"\{([^{}|?\s]+)(\?|\|[^{}]*)?\}")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)*")
_SENTENCE = re.compile(r"[^。？]*[。？]|[^。？]+")
_SENTENCE_EN = re.compile(r".*?[.?!](?=\s|$)\s*|.+")


class TextError(LookupError):
    """A text or a value that must be there is not: a mistake in a definition or in the calling code."""


@dataclass(frozen=True, slots=True)
class _Blank:
    name: str
    fallback: str | None
    """None: required or optional (see `optional`)."""
    optional: bool


_Part = str | _Blank


class Template:
    """A text with blanks, read once and filled often."""

    __slots__ = ("_fixed", "_lines", "blanks", "raw", "required")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        lines = [_sentences(line) for line in raw.split("\n")]
        self._lines: tuple[tuple[tuple[_Part, ...], ...], ...] = tuple(lines)
        blanks = [part for line in lines for sentence in line for part in sentence if isinstance(part, _Blank)]
        self.blanks: frozenset[str] = frozenset(blank.name for blank in blanks)
        self.required: frozenset[str] = frozenset(
            blank.name for blank in blanks if blank.fallback is None and not blank.optional
        )
        self._fixed: str | None = None if blanks else raw

    def fill(self, values: Mapping[str, str]) -> str:
        """The text. A required value that is missing takes its sentence away too: nobody sees a gap."""
        if self._fixed is not None:
            return self._fixed
        lines: list[str] = []
        for line in self._lines:
            done: list[str] = []
            for sentence in line:
                words: list[str] = []
                for part in sentence:
                    if isinstance(part, str):
                        words.append(part)
                        continue
                    value = values.get(part.name) or part.fallback
                    if not value:
                        break
                    words.append(value)
                else:
                    done.append("".join(words))
            if done or not line:
                lines.append("".join(done).rstrip(" "))
        return "\n".join(lines)

    def fill_whole(self, values: Mapping[str, str]) -> str | None:
        """The text, or None when any blank has neither value nor fallback."""
        if any(
            isinstance(part, _Blank) and not (values.get(part.name) or part.fallback)
            for line in self._lines
            for sentence in line
            for part in sentence
        ):
            return None
        return self.fill(values)


def _sentences(line: str) -> tuple[tuple[_Part, ...], ...]:
    """The line's sentences, each as words and blanks. Full stops inside a fallback do not end a sentence."""
    parts: list[_Part] = []
    at = 0
    for match in _BLANK.finditer(line):
        if match.start() > at:
            parts.append(line[at : match.start()])
        rule = match.group(2) or ""
        parts.append(_Blank(match.group(1), rule[1:] if rule.startswith("|") else None, rule == "?"))
        at = match.end()
    if at < len(line):
        parts.append(line[at:])
    sentences: list[list[_Part]] = [[]]
    pattern = _SENTENCE if any("぀" <= char <= "ヿ" or "一" <= char <= "鿿" for char in line) else _SENTENCE_EN
    for part in parts:
        if isinstance(part, _Blank):
            sentences[-1].append(part)
            continue
        for piece in pattern.findall(part):
            sentences[-1].append(piece)
            if piece.rstrip().endswith(("。", "？", ".", "?", "!")):
                sentences.append([])
    return tuple(tuple(sentence) for sentence in sentences if sentence)


def template_problems(raw: str) -> list[str]:
    """What is wrong with a text's blanks; empty when all is well."""
    problems: list[str] = []
    rest = _BLANK.sub("", raw)
    if "{" in rest or "}" in rest:
        problems.append("a `{` or `}` that is not a blank such as {brand}, {name?} or {item|your order}")
    problems += [
        f"`{{{match.group(1)}}}` is not a name" for match in _BLANK.finditer(raw) if not _NAME.fullmatch(match.group(1))
    ]
    if not raw.strip():
        problems.append("the text is empty")
    return problems


class Deck:
    """All texts. Made by the loader from checked files."""

    def __init__(self, texts: Mapping[str, Mapping[Lang, str]]) -> None:
        self._texts: dict[str, dict[Lang, Template]] = {
            text_id: {lang: Template(raw) for lang, raw in by_lang.items()} for text_id, by_lang in texts.items()
        }

    def over(self, texts: Mapping[str, Mapping[Lang, str]]) -> Deck:
        """This deck with other words for some of its texts; itself when there are none."""
        if not texts:
            return self
        changed = Deck(texts)
        changed._texts = {**self._texts, **changed._texts}
        return changed

    def has(self, text_id: str) -> bool:
        """Whether there is such a text."""
        return text_id in self._texts

    def ids(self) -> Sequence[str]:
        """The ids of all texts, in the order they were read."""
        return tuple(self._texts)

    def template(self, text_id: str, lang: str) -> Template:
        """The text with its blanks.

        Raises:
            TextError: there is no such text.
        """
        try:
            return self._texts[text_id][cast("Lang", lang)]
        except KeyError:
            raise TextError(f"the copy deck has no text `{text_id}` in `{lang}`") from None

    def text(self, text_id: str, lang: str, values: Mapping[str, str] | None = None) -> str:
        """The text with its blanks filled.

        Raises:
            TextError: there is no such text, or a required value is missing or empty.
        """
        template = self.template(text_id, lang)
        given = values or {}
        missing = sorted(name for name in template.required if not given.get(name))
        if missing:
            raise TextError(f"text `{text_id}` needs a value for {', '.join('{' + name + '}' for name in missing)}")
        return template.fill(given)


def quote(deck: Deck, lang: str, labels: Iterable[str]) -> str:
    """Several labels as one: 「安心感、誇り」, "Relief, Pride". Empty for none (copy.md {chosen})."""
    joined = deck.text("label.joiner", lang).join(labels)
    return deck.text("label.quoted", lang, {"label": joined}) if joined else ""


_SHOP_TAG = re.compile(r"【[^】]*】|\[[^\]]*\]|［[^］]*］")


_AND_MORE = re.compile(r"ほか[0-9]+点$| and [0-9]+ more$")


def item_name(raw: str, *, limit: int = 20) -> str:
    """An item's name fit for a sentence: shop tags such as 【送料無料】 cut, at most `limit` characters; behind it
    stays how many others there are.

    >>> item_name("【送料無料】 贈り物セットほか2点")
    '贈り物セットほか2点'
    """
    more = _AND_MORE.search(raw)
    name = " ".join(_SHOP_TAG.sub(" ", raw[: more.start()] if more else raw).split()).replace("{", "").replace("}", "")
    cut = name if len(name) <= limit else name[: limit - 1].rstrip() + "…"
    return cut + more[0] if cut and more else cut
