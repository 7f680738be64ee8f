"""One masked comment read: which words it holds, whether it praises or complains, what it is about.

Japanese needs SudachiPy and a dictionary (extra `ja`); English gets by with a plain tokeniser, which knows neither
inflection nor nouns. Words come out of here as letters, digits and ー only, whatever stood in the comment.

Source: docs/metrics.md ("Words and topics").
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from reports.comments.masking import PLACEHOLDER
from reports.comments.vocabulary import FreeTextSettings, TextLanguage, Vocabulary, vocabulary

NEGATED, HARD, EASY = "_NEG", "_HARD", "_EASY"
LONGEST_READ = 1_000
"""Characters of a comment that are read; no survey takes longer ones."""
_REACH = 3
"""How many tokens away a negation is still heard."""

Kind = Literal["noun", "word", "aside", "other", "break", "negation", "hard", "easy"]
"""noun and word are kept; an aside (adverb, interjection) only when it has a polarity; the others never."""
T = TypeVar("T")


class ExtraMissing(Exception):
    """Japanese cannot be read: the extra `ja`, or the configured dictionary, is not installed."""


class Token(NamedTuple):
    """A word of a comment."""

    form: str
    """What counts as the same word has the same form (ｻﾎﾟｰﾄ and サポート)."""
    label: str
    """As it is written in a dictionary, for people."""
    kind: Kind


class Tokeniser(Protocol):
    """Cuts a text of one language into tokens."""

    negation_follows: bool
    """Whether a negation comes after what it denies (悪くない) or before it (not bad)."""

    def tokens(self, text: str) -> list[Token]:
        """The tokens in the order of the text."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one comment says."""

    words: Mapping[str, str]
    """Key → label of the kept words and of two nouns that stand side by side, each once. A key is the form, with _HARD
    or _EASY (分かりにくい, 分かりやすい) and _NEG (連絡がない) where they apply."""
    positive: int
    negative: int
    topics: frozenset[str]

    @property
    def polarity(self) -> float | None:
        """(positive - negative) / (positive + negative), -1…1; None without a word that has a polarity."""
        hits = self.positive + self.negative
        return (self.positive - self.negative) / hits if hits else None


def speaking_of(readings: Iterable[Reading]) -> Counter[str]:
    """Topic → readings that speak of it."""
    return Counter(topic for reading in readings for topic in reading.topics)


class _Phrases(Generic[T]):
    """Finds the longest known run of forms at a place."""

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], T]]) -> None:
        self._starting: dict[str, list[tuple[tuple[str, ...], T]]] = {}
        for forms, value in entries:
            if forms:
                self._starting.setdefault(forms[0], []).append((forms, value))
        for known in self._starting.values():
            known.sort(key=lambda entry: -len(entry[0]))

    def __contains__(self, form: str) -> bool:
        return any(len(forms) == 1 for forms, _ in self._starting.get(form, ()))

    def at(self, forms: Sequence[str], place: int) -> list[tuple[int, T]]:
        """(length, value) of each entry that begins here, longest first."""
        starting = self._starting.get(forms[place])
        if starting is None:
            return []
        return [(len(known), value) for known, value in starting if tuple(forms[place : place + len(known)]) == known]


class Reader:
    """Reads comments of one language with one vocabulary."""

    def __init__(self, tokeniser: Tokeniser, words: Vocabulary) -> None:
        self._tokeniser = tokeniser
        self.topics = words.topics
        self._polarity = _Phrases((self._forms(word), sign) for word, sign in words.polarity.items())
        self._topics = _Phrases(
            (self._forms(word), topic.id) for topic in words.topics.values() for word in topic.words
        )
        # the lists name keys, a shop may name any form of a word
        stop = {forms[0] for word in words.stop_words if len(forms := self._forms(word)) == 1}
        self._stop = stop.union(words.stop_words)

    def _forms(self, word: str) -> tuple[str, ...]:
        return tuple(token.form for token in self._tokeniser.tokens(word))

    def read(self, masked: str) -> Reading:
        """What a masked comment says; of a longer one than `LONGEST_READ`, its beginning."""
        # a placeholder is no word, and what stands around it does not belong together
        tokens = self._tokeniser.tokens(PLACEHOLDER.sub("。", masked[:LONGEST_READ]))
        kept = [self._kept(token) for token in tokens]
        negated = self._negated(tokens, kept)
        forms = [token.form for token in tokens]
        positive, negative = self._hits(tokens, forms, negated)
        topics = {topic for place in range(len(forms)) for _, topic in self._topics.at(forms, place)}
        return Reading(self._words(tokens, kept, negated), positive, negative, frozenset(topics))

    def _kept(self, token: Token) -> bool:
        if token.form in self._stop:
            return False
        return token.kind in ("noun", "word") or (token.kind == "aside" and token.form in self._polarity)

    def _negated(self, tokens: Sequence[Token], kept: Sequence[bool]) -> list[bool]:
        """For each token whether a negation within reach speaks of it; a break or a kept word ends the reach."""
        step = 1 if self._tokeniser.negation_follows else -1
        out = []
        for place in range(len(tokens)):
            found = False
            for other in range(place + step, place + step * (_REACH + 1), step):
                if not 0 <= other < len(tokens) or kept[other] or tokens[other].kind == "break":
                    break
                if tokens[other].kind == "negation":
                    found = True
                    break
            out.append(found)
        return out

    def _hits(self, tokens: Sequence[Token], forms: Sequence[str], negated: Sequence[bool]) -> tuple[int, int]:
        counted = {1: 0, -1: 0}
        place = 0
        while place < len(tokens):
            length, sign = self._sign(tokens, forms, place)
            if sign:
                edge = place + length - 1 if self._tokeniser.negation_follows else place
                counted[-sign if negated[edge] else sign] += 1
            place += length
        return counted[1], counted[-1]

    def _sign(self, tokens: Sequence[Token], forms: Sequence[str], place: int) -> tuple[int, int]:
        """(tokens spoken for, sign or 0): known words that follow one another first (壊れにくい is praise), then a verb
        with にくい or やすい, then the word alone."""
        known = self._polarity.at(forms, place)
        if known and known[0][0] > 1:
            return known[0]
        suffix = tokens[place + 1].kind if place + 1 < len(tokens) else "other"
        if suffix in ("hard", "easy"):
            return 2, -1 if suffix == "hard" else 1
        return known[0] if known else (1, 0)

    def _words(self, tokens: Sequence[Token], kept: Sequence[bool], negated: Sequence[bool]) -> dict[str, str]:
        found: dict[str, str] = {}
        japanese = self._tokeniser.negation_follows
        for place, token in enumerate(tokens):
            if not kept[place]:
                continue
            key, label = token.form, token.label
            suffix = tokens[place + 1].kind if place + 1 < len(tokens) else "other"
            if suffix in ("hard", "easy"):
                key += HARD if suffix == "hard" else EASY
                label += "（しにくい）" if suffix == "hard" else "（しやすい）"
            if negated[place]:
                key += NEGATED
                label = f"{label}（否定）" if japanese else f"not {label}"
            found[sys.intern(key)] = sys.intern(label)
            if token.kind == "noun" and place and kept[place - 1] and tokens[place - 1].kind == "noun":
                before = tokens[place - 1]
                found[sys.intern(f"{before.form} {token.form}")] = sys.intern(before.label + token.label)
        return found


class Readers:
    """The readers of a shop, each made when the first comment of its language comes."""

    def __init__(self, own: FreeTextSettings | None = None) -> None:
        self._own = own
        self._made: dict[TextLanguage, Reader] = {}

    def of(self, language: TextLanguage) -> Reader:
        """The reader of a language.

        Raises:
            ExtraMissing: Japanese cannot be read on this machine.
        """
        if language not in self._made:
            dictionary = self._own.dictionary if self._own else "small"
            tokeniser = _Japanese(dictionary) if language == "ja" else _English()
            self._made[language] = Reader(tokeniser, vocabulary(language, self._own))
        return self._made[language]


# ------------------------------------------------------------------------------------------------------- Japanese

_NEGATIONS = frozenset({"ない", "無い", "ず", "ぬ"})
_LACKS = frozenset({"なし", "無し"})
"""Nouns to Sudachi, and the same denial: 問題なし."""
_HARD_FORMS, _EASY_FORMS = frozenset({"にくい", "難い", "づらい", "辛い"}), frozenset({"やすい", "易い"})
_LABEL = re.compile(r"[\w・ー'’-]{1,40}")


class _Japanese:
    negation_follows = True

    def __init__(self, dictionary: str) -> None:
        try:
            from sudachipy import Dictionary, SplitMode

            # the longest units: カスタマーサポート センター rather than its pieces
            self._sudachi = Dictionary(dict=dictionary).tokenizer(mode=SplitMode.C)
        except ImportError as error:
            raise ExtraMissing("SudachiPy is not installed") from error
        except Exception as error:  # the library's own error class depends on its version
            if isinstance(error, MemoryError):
                raise
            raise ExtraMissing(f"the dictionary SudachiDict-{dictionary} is not installed") from error
        self._kinds: dict[int, Kind] = {}

    def tokens(self, text: str) -> list[Token]:
        out: list[Token] = []
        verb = False
        for morpheme in self._sudachi.tokenize(text):
            number = morpheme.part_of_speech_id()
            kind = self._kinds.get(number)
            if kind is None:
                kind = self._kinds[number] = _kind_of(morpheme.part_of_speech())
            label = morpheme.dictionary_form()
            if kind == "noun" and label in _LACKS:
                kind = "negation"
            elif kind == "hard":
                # of the suffixes that make an adjective only にくい and やすい after a verb
                kind = "hard" if verb and label in _HARD_FORMS else "easy" if verb and label in _EASY_FORMS else "other"
            elif kind in ("word", "negation"):
                verb = kind == "word" and morpheme.part_of_speech()[0] == "動詞"
                kind = "negation" if label in _NEGATIONS else "other" if kind == "negation" else "word"
            elif kind == "other" and "\n" in morpheme.surface():
                kind = "break"
            if kind != "word":
                verb = False
            # a hundred thousand comments share their words
            out.append(Token(sys.intern(morpheme.normalized_form()), sys.intern(label), _sayable(kind, label)))
        return out


def _kind_of(part: Sequence[str]) -> Kind:
    """From Sudachi's part of speech; "hard" and "negation" mean that the word itself decides."""
    match part[0], part[1]:
        case "名詞", "普通名詞":
            return "noun"
        case "名詞", "固有名詞":
            # a name of a person among the words would be a result per employee, or a customer
            return "other" if part[2] == "人名" else "noun"
        case (("動詞" | "形容詞" | "形状詞"), _):
            return "word"
        case (("副詞" | "感動詞"), _):
            return "aside"
        case "助動詞", _:
            return "negation"
        case "接尾辞", "形容詞的":
            return "hard"
        case "補助記号", ("句点" | "読点"):
            return "break"
        case _:
            return "other"


@lru_cache(20_000)
def _sayable(kind: Kind, label: str) -> Kind:
    """A word with signs in it, of digits alone, a single Latin letter, or beyond 40 characters is none."""
    if kind not in ("noun", "word", "aside"):
        return kind
    plain = unicodedata.normalize("NFKC", label)
    wordlike = _LABEL.fullmatch(plain) and not plain.isdecimal() and not (len(plain) == 1 and plain.isascii())
    return kind if wordlike else "other"


# -------------------------------------------------------------------------------------------------------- English

_ENGLISH = re.compile(
    r"(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*(?:-[^\W\d_]+)*)|(?P<break>[.,;:!?。、！？\n…])|(?P<other>\d+)"
)
_DENIALS = frozenset({"not", "no", "never", "without", "cannot", "hardly", "neither", "nor"})


class _English:
    negation_follows = False

    def tokens(self, text: str) -> list[Token]:
        return [self._token(found) for found in _ENGLISH.finditer(unicodedata.normalize("NFKC", text))]

    def _token(self, found: re.Match[str]) -> Token:
        form = found[0].casefold().replace("’", "'")
        if found["break"] or form == "but":
            return Token(form, form, "break")
        if found["other"]:
            return Token(form, form, "other")
        if form in _DENIALS or form.endswith("n't"):
            return Token(form, form, "negation")
        return Token(form, form, "word" if len(form) <= 40 and len(form) > 1 else "other")
