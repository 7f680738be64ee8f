"""What comments are read with: words with a polarity, words that say nothing, topics. Data of this folder, merged with
the shop's own (`free_text` in koe.yaml).

Nothing heavy is imported here: the server checks the shop's lists with it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.source import parse_yaml
from flows.triggers import Name

TextLanguage = Literal["ja", "en"]
"""In which language a comment is read; of the words themselves, not of the conversation around them."""

_Word = Annotated[str, Field(min_length=1, max_length=40)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TopicName(_Section):
    """A topic as people read it."""

    ja: _Word
    en: _Word


class OwnTopic(_Section):
    """A topic of the shop; one with the id of a bundled topic takes its place."""

    name: TopicName
    words: Annotated[tuple[_Word, ...], Field(min_length=1, max_length=500)]
    """Of both languages; each stands for its forms."""
    experience: str | None = None
    """The id of the touchpoint question it belongs to, such as exp_delivery."""


class FreeTextSettings(_Section):
    """koe.yaml, `free_text`: the shop's own words for reading comments, beside those that come with Koe."""

    dictionary: Literal["small", "core", "full"] = "small"
    """Of SudachiPy; core and full must be installed."""
    polarity: dict[_Word, Literal[-1, 0, 1]] = Field(default_factory=dict)
    """Word → 1 (praise), -1 (complaint), 0 (neither: takes a bundled word out)."""
    stop_words: tuple[_Word, ...] = ()
    topics: dict[Name, OwnTopic] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topic:
    """What a comment may be about."""

    id: str
    names: Mapping[str, str]
    """Language → name."""
    experience: str | None
    """The id of the touchpoint question, such as exp_delivery."""
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Everything that reading one language needs."""

    polarity: Mapping[str, int]
    """Word or words that follow one another → 1 or -1."""
    stop_words: tuple[str, ...]
    topics: Mapping[str, Topic]


def language_of(text: str) -> TextLanguage:
    """ja when there is a kana or a kanji in it, else en.

    >>> language_of("DMが便利"), language_of("Great support")
    ('ja', 'en')
    """
    return "ja" if any("\u3041" <= char <= "\u9fff" or "\uff66" <= char <= "\uff9f" for char in text) else "en"


def vocabulary(language: TextLanguage, own: FreeTextSettings | None = None) -> Vocabulary:
    """The bundled lists of a language with the shop's over them."""
    bundled = _bundled(language)
    if own is None:
        return bundled
    polarity = {**bundled.polarity, **{word: sign for word, sign in own.polarity.items() if _reads(language, word)}}
    topics = {
        **bundled.topics,
        **{
            name: Topic(name, topic.name.model_dump(), topic.experience, _of(language, topic.words))
            for name, topic in own.topics.items()
        },
    }
    stop_words = (*bundled.stop_words, *_of(language, own.stop_words))
    return Vocabulary({word: sign for word, sign in polarity.items() if sign}, stop_words, topics)


def _reads(language: TextLanguage, word: str) -> bool:
    # a Japanese comment may hold a Latin word (SNS), an English one no kana
    return language == "ja" or language_of(word) == "en"


def _of(language: TextLanguage, words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in words if _reads(language, word))


@cache
def _bundled(language: TextLanguage) -> Vocabulary:
    folder = files("reports") / "data"
    rows = csv.reader(io.StringIO((folder / f"polarity_{language}.csv").read_text(encoding="utf-8")))
    next(rows)
    topics: Mapping[str, Any] = parse_yaml((folder / "topics.yaml").read_bytes(), "topics.yaml").data
    return Vocabulary(
        {word: int(sign) for word, sign in rows},
        tuple((folder / f"stop_{language}.txt").read_text(encoding="utf-8").split()),
        {
            name: Topic(name, topic["name"], topic["experience"], tuple(topic[language]))
            for name, topic in topics.items()
        },
    )
