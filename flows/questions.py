"""How a typed reply is understood. A reply becomes a reading – an answer, a choice between two, or a kind refusal –
and never an exception. In doubt the reading says so, and the bot asks again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Value = int | str | tuple[str, ...]
QuestionKind = Literal["scale", "choice", "multi", "yes_no", "text"]
Command = Literal["back", "skip", "dk", "stop", "person", "help", "done", "remove", "later"]

LONGEST_READ = 200
"""Characters. A longer message is a letter, not a choice."""


@dataclass(frozen=True, slots=True)
class Understood:
    """An answer. `echo` asks the bot to say how it was taken: it rests on a number the customer could not see."""

    value: Value
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """「8か9」: two codes of the scale, the smaller first."""

    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Left:
    """The customer leaves the question out, or does not know."""

    missing: Literal["skipped", "dk"]


@dataclass(frozen=True, slots=True)
class Doubtful:
    """It speaks of an answer (a number, a label) but does not say which: out of range, negated, half understood."""


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """It does not speak of an answer."""


Reading = Understood | Between | Left | Doubtful | NotUnderstood

# ------------------------------------------------------------------------------------------------ one way of writing

_DROP = re.compile("[\u200b-\u200f\u2060\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\x00-\x08\x0b-\x1f\x7f]")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣－", "-") | {"〜": "~", "～": "~", "🔟": "10", "’": "'", "‘": "'"})
_HIRAGANA = str.maketrans({chr(code): chr(code - 0x60) for code in range(ord("ァ"), ord("ヶ") + 1)})
_SPELLINGS: tuple[tuple[str, str], ...] = (
    ("まんぞく", "満足"),
    ("ふまん", "不満"),
    ("いえない", "言えない"),
    ("云えない", "言えない"),
    ("とくに", "特に"),
    ("期待通り", "期待どおり"),
    ("ほこり", "誇り"),
    ("しんらい", "信頼"),
    ("きょうかん", "共感"),
    ("あんしん", "安心"),
    ("おうえん", "応援"),
    ("のほう", "の方"),
    ("分から", "わから"),
    ("判ら", "わから"),
    ("解ら", "わから"),
    ("飛ば", "とば"),
    ("戻", "もど"),
    ("下さい", "ください"),
    ("致します", "いたします"),
    ("ではありません", "ではない"),
    ("じゃありません", "ではない"),
    ("じゃない", "ではない"),
)
_OPENERS = " \t\n\r「『“\"'(（【[*・、,。!！:：>"
_CLOSERS = " \t\n\r」』”\"')）】]*・、,。．.!！?？~…:：;；ｗwー笑"


def key(text: str) -> str:
    """The text in the one spelling in which words are compared: NFKC, lower case, hiragana, no decoration.

    >>> key("「８」。"), key("ﾏﾝｿﾞｸ！"), key("9\\ufe0f\\u20e3")
    ('8', '満足', '9')
    """
    plain = unicodedata.normalize("NFKC", _DROP.sub("", text.translate(_DASHES)))
    plain = plain.translate(_DASHES).casefold().translate(_HIRAGANA)
    for variant, usual in _SPELLINGS:
        if variant in plain:
            plain = plain.replace(variant, usual)
    plain = " ".join(plain.split())
    trimmed = _trim(plain)
    return trimmed or plain


def _trim(plain: str) -> str:
    start, end = 0, len(plain)
    while end > start and (plain[end - 1] in _CLOSERS or unicodedata.category(plain[end - 1]) in ("So", "Sk", "Cs")):
        if plain[end - 1] in ("w", "ー") and (
            end < 2 or (plain[end - 2].isascii() and plain[end - 2] not in "w0123456789")
        ):
            break
        if plain[end - 1] == "ー" and not plain[end - 2].isdigit():
            break
        end -= 1
    while start < end and (plain[start] in _OPENERS or unicodedata.category(plain[start]) in ("So", "Sk", "Cs")):
        start += 1
    return plain[start:end]


def _keys(*words: str) -> frozenset[str]:
    """The words, written apart or with | between them, in the spelling in which words are compared."""
    return frozenset(key(word) for listed in words for word in listed.split("|"))


# -------------------------------------------------------------------------------------- whole-message commands

_COMMANDS: dict[Command, frozenset[str]] = {
    "back": _keys(
        "戻る|もどる|戻って|戻りたい|戻ります|前へ|前に戻る|前の質問|前の質問に戻る|ひとつ前|一つ前|"
        "1つ前|訂正|訂正したい|修正|修正したい|間違えた|まちがえた|間違えました|back|go back|previous|"
        "undo"
    ),
    "skip": _keys(
        "スキップ|すきっぷ|とばす|飛ばす|飛ばして|飛ばします|パス|次|次へ|次の質問|回答しない|"
        "回答しません|答えたくない|答えたくありません|無回答|該当なし|書かずに進む|skip|pass|next|n/a|"
        "continue without|skip this|no answer"
    ),
    "dk": _keys(
        "わからない|分からない|わかりません|分かりません|わからん|わからないです|不明|なんとも|dk|idk|"
        "don't know|dont know|i don't know|i dont know|not sure|i'm not sure|no idea"
    ),
    "stop": _keys(
        "やめる|やめます|やめたい|やめて|辞める|止める|止めます|終わる|終わり|終わります|終了|中止|"
        "中断|ストップ|もういい|もういいです|キャンセル|ここで終える|終える|stop|quit|end|exit|cancel|"
        "stop here"
    ),
    "person": _keys(
        "担当者|担当|担当の方|担当者に伝える|担当者と話したい|担当者につないで|人と話したい|"
        "人に代わって|オペレーター|オペレータ|スタッフ|有人|person|a person|human|agent|operator|"
        "staff|pass to a person|talk to a person|talk to a human|speak to a person|real person"
    ),
    "help": _keys("ヘルプ|使い方|使いかた|助けて|help|help me|commands"),
    "done": _keys(
        "決定|けってい|以上|以上です|完了|選び終わった|選び終わりました|これで|done|finish|finished|"
        "that's all|that's it"
    ),
    "remove": _keys("1つ外す|一つ外す|ひとつ外す|外す|remove one|remove"),
    "later": _keys("あとで|後で|あとで答える|後で答える|後ほど|later|answer later|not now"),
}
_COMMAND: dict[str, Command] = {word: command for command, words in _COMMANDS.items() for word in words}
_ASKING = re.compile(
    r"(です|でお願いします|お願いします|をお願いします|します|してください|してほしい|したい|で| ?please|"
    r"を?呼んでください)+$"
)


def command(text: str) -> Command | None:
    """The command this message is, as a whole; None when it is anything more or else.

    >>> command("もどる"), command("スキップでお願いします"), command("戻ってきた品が壊れていた")
    ('back', 'skip', None)
    """
    if len(text) > LONGEST_READ:
        return None
    spoken = key(text)
    return _COMMAND.get(spoken) or _COMMAND.get(_ASKING.sub("", spoken).strip())


_NOTHING = _keys(
    "特にない|特になし|特にありません|特にないです|なし|ない|ないです|ありません|無し|無い|"
    "無いです|none|nothing|none in particular|nothing in particular|no comment|nothing special"
)


def says_nothing(text: str) -> bool:
    """Whether this is 「特にない」 and the like, as a whole: no comment, rather than a comment of two words."""
    return len(text) <= LONGEST_READ and key(text) in _NOTHING


# ------------------------------------------------------------------------------------------------ numbers

_KANJI = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {"零": 0}
_WORDS = {
    "ぜろ": 0,
    "れい": 0,
    "いち": 1,
    "さん": 3,
    "よん": 4,
    "ろく": 6,
    "なな": 7,
    "しち": 7,
    "はち": 8,
    "きゅう": 9,
    "きゅー": 9,
    "じゅう": 10,
    "じゅー": 10,
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
_SHORT = {"に": 2, "し": 4, "ご": 5, "く": 9}
_NUM = r"(?:[-+]?\d+(?:\.\d+)?|[〇零一二三四五六七八九十]+|" + "|".join(sorted(_WORDS, key=len, reverse=True)) + ")"
_BEFORE = (
    r"(?:(?:たぶん|多分|おそらく|だいたい|大体|約|およそ|う[ーん~]+|んー*|え[ーっ]*と|えー+|まあ|まぁ|"
    r"そうですね|(?:点数|評価|回答|答え)は|maybe|probably|"
    r"perhaps|about|around|roughly|hm+|well|i(?:'d| would)? (?:say|give)(?: it| you)?|i think|it'?s|score|"
    r"rating|an?|my answer is)"
    r"[\s、,:]*)*"
)
_AFTER = (
    r"(?:[\s、,。]*(?:点|てん|ぽいんと|pts?|points?|番|かな[あぁー]?|くらい|ぐらい|位|程度|ていど|ほど|あたり|"
    r"かも(?:しれません)?|ですかね|ですね|でーす|です|でしょうか|"
    r"だ?と(?:思|おも)(?:います|う)|だよ|だね|だな|だ|でお願い(?:いた)?します|をお願いします|お願いします|"
    r"にします|をつけます|に近い(?:です)?|の方|寄り|"
    r"ってところ|といったところ|で|ね|よ|な|-?ish|or so|stars?|つ星|please|thanks|thank you|i think|i guess|"
    r"ありがとうございます))*"
)
_SINGLE = re.compile(rf"{_BEFORE}({_NUM}){_AFTER}")
_SHORT_SINGLE = re.compile(r"([にしごく])(?:点|てん)?(?:です)?")
_OUT_OF = re.compile(
    rf"{_BEFORE}(?:(?P<a>{_NUM})\s*点?\s*(?:/|out of|of)\s*(?P<max1>{_NUM})|"
    rf"(?P<max2>{_NUM})点?(?:満点)?(?:中の?|で|の|のうち)、?\s*(?P<b>{_NUM})){_AFTER}"
)
_PAIR = re.compile(
    rf"{_BEFORE}({_NUM})点?\s*(?:か|と|や|、|,|・|or|and|または|もしくは|ないし|から|~|-|to)\s*({_NUM}){_AFTER}"
    r"(?:の(?:間|あいだ|中間|どちらか|どっちか))?" + _AFTER
)
_HAS_NUMBER = re.compile(r"\d|[〇零一二三四五六七八九十]")


def _number(token: str) -> int | None:
    """The whole number a token of _NUM is; None for 7.5."""
    known = _WORDS.get(token)
    if known is not None:
        return known
    if token[-1].isdecimal():  # in any script: \d takes them all, and so does int
        digits, _, fraction = token.partition(".")
        return int(digits) if not fraction.strip("0") and len(digits) < 10 else None
    if "十" in token:
        tens, _, ones = token.partition("十")
        if len(tens) > 1 or len(ones) > 1 or "十" in ones:
            return None
        return _KANJI.get(tens, 1) * 10 + (_KANJI[ones] if ones else 0)
    return int("".join(str(_KANJI[char]) for char in token)) if len(token) < 10 else None


def _read_number(spoken: str, low: int, high: int) -> Reading:
    single = _SINGLE.fullmatch(spoken)
    if single:
        number = _number(single.group(1))
        return Understood(number) if number is not None and low <= number <= high else Doubtful()
    short = _SHORT_SINGLE.fullmatch(spoken)
    if short:
        number = _SHORT[short.group(1)]
        return Understood(number) if low <= number <= high else Doubtful()
    out_of = _OUT_OF.fullmatch(spoken)
    if out_of:
        number = _number(out_of.group("a") or out_of.group("b"))
        top = _number(out_of.group("max1") or out_of.group("max2"))
        if top == high:
            return Understood(number) if number is not None and low <= number <= high else Doubtful()
    pair = _PAIR.fullmatch(spoken)
    if pair:
        first, second = _number(pair.group(1)), _number(pair.group(2))
        if first is not None and second is not None and first != second:
            a, b = sorted((first, second))
            if low <= a and b <= high:
                return Between(a, b)
        return Doubtful()
    return Doubtful() if _HAS_NUMBER.search(spoken) else NotUnderstood()


# ------------------------------------------------------------------------------------------------ yes, no and labels

_YES = _keys(
    "はい|はーい|うん|うんうん|ええ|そう|そうです|そうですね|もちろん|もちろんです|イエス|思う|"
    "思います|そう思う|そう思います|オッケー|オーケー|まる|マル|yes|y|yeah|yep|yup|yes please|"
    "sure|of course|ok|okay|true|definitely|i would|i do"
)
_NO = _keys(
    "いいえ|いや|いえ|いやです|ううん|ノー|違う|違います|ちがう|ちがいます|思わない|思いません|"
    "そう思わない|そう思いません|ばつ|バツ|no|n|nope|nah|no thanks|no thank you|of course not|"
    "false|i wouldn't|i would not|i don't"
)
_YES_SIGNS = frozenset("👍⭕○◯〇🙆👌✅")
_NO_SIGNS = frozenset("👎❌×✕✖🙅")
_AFTER_YES_NO = re.compile(
    r"[、,。\s]*(?:です|でーす|ですね|だ|だよ|ね|よ|そうです|(?:そう)?思います|思いません|お願いします|です。)$"
)

_STRONG = tuple(
    sorted(
        _keys(
            "大|とても|すごく|すごい|非常に|大変|たいへん|めっちゃ|めちゃくちゃ|かなり|超|本当に|ほんとに|"
            "ほんとうに|very|extremely|really|so|totally|completely|highly"
        ),
        key=len,
        reverse=True,
    )
)
_WEAK = tuple(
    sorted(
        _keys(
            "やや|まあまあ|まぁまぁ|まあ|まぁ|わりと|割と|少し|すこし|ちょっと|どちらかといえば|"
            "どちらかと言えば|どちらかというと|somewhat|fairly|quite|a bit|a little|kind of|rather"
        ),
        key=len,
        reverse=True,
    )
)
_MIDDLE = _keys(
    "普通|ふつう|どちらでもない|どちらでもありません|どっちでもない|どっちとも言えない|"
    "どちらとも言えません|どちらとも|なんとも言えない|neutral|so so|so-so|neither|in between|"
    "average|neither nor"
)
_AFTER_LABEL = re.compile(
    r"(?:[\s、,。]*(?:ですかね|ですね|でした|です|しました|しています|している|した|だった|だと思います|"
    r"と思います|と思う|だ|かな[あぁー]?|ね|よ|に近い(?:です)?|の方|"
    r"でお願いします|お願いします|があります|がある|がありました|を感じます|を感じました|を感じる|i think|"
    r"i guess|please))+$"
)
_BEFORE_LABEL = re.compile(
    r"^(?:たぶん|多分|だいたい|う[ーん~]+|え[ーっ]*と|i'?m|i am|i was|i feel|it was|they'?re)[\s、,]*"
)
_SPLIT = re.compile(r"[\s]*(?:、|,|，|・|/|;|\+|&|\n|と|や|および|および|\band\b|それと|あと)[\s]*|\s+")
_ALL = _keys(
    "全部|ぜんぶ|全て|すべて|全部です|全部当てはまる|全部あてはまる|all|all of them|everything|all of the above"
)
_THUMB = frozenset("👍👌🙆⭕✅👎🙅❌")


class Reader:
    """Understands replies to one question, in both languages. Made once per question.

    Args:
        kind: scale, choice, multi or yes_no (free text is not read, it is kept).
        low, high: Codes of a scale, inclusive.
        labels: Code or choice → its words in every language, anchors of a numeric scale included.
        numbered: Whether the customer sees the numbers of the scale.
        exclusive, other: The codes of a multi-select that exclude the others, or ask for words.
    """

    __slots__ = (
        "_exclusive",
        "_high",
        "_kind",
        "_labels",
        "_low",
        "_middle",
        "_numbered",
        "_other",
        "_values",
    )

    def __init__(
        self,
        kind: QuestionKind,
        *,
        low: int = 0,
        high: int = 0,
        labels: Mapping[int | str, Iterable[str]],
        numbered: bool = True,
        exclusive: str = "",
        other: str = "",
    ) -> None:
        self._kind = kind
        self._low = low
        self._high = high
        self._numbered = numbered
        self._exclusive = exclusive
        self._other = other
        self._values: tuple[str, ...] = tuple(code for code in labels if isinstance(code, str))
        self._labels: dict[str, int | str] = {}
        for code, words in labels.items():
            for word in words:
                for variant in _variants(key(word)):
                    self._labels.setdefault(variant, code)
        # A code is a word too ("relief"), but never hides a label.
        for value in self._values:
            self._labels.setdefault(key(value), value)
        middle = (low + high) / 2
        words = labels.get(int(middle), ()) if kind == "scale" and middle.is_integer() else ()
        self._middle = int(middle) if any("どちら" in word or "either" in word for word in words) else None

    def read(self, text: str, shown: Sequence[str] = ()) -> Reading:
        """What the reply says. `shown` are the choices in the order the customer sees them: 「1と3」 counts in it."""
        if len(text) > LONGEST_READ:
            return NotUnderstood()
        spoken = key(text)
        if not spoken:
            return NotUnderstood()
        match self._kind:
            case "scale":
                return self._read_scale(spoken)
            case "yes_no":
                return self._read_yes_no(spoken, text, shown)
            case "choice":
                return self._read_choice(spoken, text, shown)
            case "multi":
                return self._read_multi(spoken, shown)
            case "text":
                return NotUnderstood()

    def _read_scale(self, spoken: str) -> Reading:
        label = self._label(spoken)
        if label is False:
            return Doubtful()
        if isinstance(label, int):
            return Understood(label)
        if self._middle is not None and _AFTER_LABEL.sub("", spoken) in _MIDDLE:
            return Understood(self._middle)
        if any(char in _THUMB for char in spoken):
            return Doubtful()
        reading = _read_number(spoken, self._low, self._high)
        if isinstance(reading, Understood) and not self._numbered:
            return Understood(reading.value, echo=True)
        if isinstance(reading, NotUnderstood) and any(word in spoken for word in self._labels if len(word) > 1):
            return Doubtful()
        return reading

    def _read_yes_no(self, spoken: str, text: str, shown: Sequence[str]) -> Reading:
        answer = _yes_or_no(spoken, text)
        if answer is not None:
            return Understood(answer) if answer else Doubtful()
        label = self._label(spoken)
        if isinstance(label, str):
            return Understood(label)
        if spoken == "0":
            return Understood("no")
        return self._by_position(spoken, shown or self._values)

    def _read_choice(self, spoken: str, text: str, shown: Sequence[str]) -> Reading:
        label = self._label(spoken)
        if isinstance(label, str):
            return Understood(label)
        if {"yes", "no"} <= set(self._values):
            answer = _yes_or_no(spoken, text)
            if answer is not None:
                return Understood(answer) if answer else Doubtful()
        reading = self._by_position(spoken, shown or self._values)
        if isinstance(reading, NotUnderstood) and any(word in spoken for word in self._labels if len(word) > 1):
            return Doubtful()
        return reading

    def _read_multi(self, spoken: str, shown: Sequence[str]) -> Reading:
        if spoken in _ALL or _AFTER_LABEL.sub("", spoken) in _ALL:
            return Understood(tuple(v for v in self._values if v not in (self._exclusive, self._other)))
        if self._exclusive and spoken in _NOTHING:
            return Understood((self._exclusive,))
        found: dict[str, None] = {}
        doubtful = unread = 0
        for part in [spoken] if self._label(spoken) is not None else _SPLIT.split(spoken):
            if not part:
                continue
            label = self._label(part)
            if isinstance(label, str):
                found[label] = None
                continue
            match self._by_position(part, shown or self._values):
                case Understood(value=str() as value):
                    found[value] = None
                case NotUnderstood():
                    unread += 1
                case _:
                    doubtful += 1
        if doubtful or (found and unread):
            return Doubtful()
        if not found:
            return Doubtful() if any(word in spoken for word in self._labels if len(word) > 1) else NotUnderstood()
        if self._exclusive in found and len(found) > 1:
            return Doubtful()
        return Understood(tuple(value for value in self._values if value in found))

    def _by_position(self, spoken: str, shown: Sequence[str]) -> Reading:
        reading = _read_number(spoken, 1, len(shown))
        if isinstance(reading, Understood) and isinstance(reading.value, int):
            return Understood(shown[reading.value - 1])
        return Doubtful() if isinstance(reading, Between) else reading

    def _label(self, spoken: str) -> int | str | Literal[False] | None:
        """The code these words name; None when they name none, False when they name one but not surely."""
        for words in _ways(spoken):
            code = self._labels.get(words)
            if code is not None:
                return code
        for words in _ways(spoken):
            stripped = next((words[len(strong) :].strip() for strong in _STRONG if words.startswith(strong)), None)
            if stripped and stripped in self._labels:
                return self._strengthened(stripped)
            stripped = next((words[len(weak) :].strip() for weak in _WEAK if words.startswith(weak)), None)
            if stripped and stripped in self._labels:
                weak_code = next(
                    (
                        self._labels[weak + gap + stripped]
                        for weak in _WEAK
                        for gap in ("", " ")
                        if weak + gap + stripped in self._labels
                    ),
                    None,
                )
                return False if weak_code is None else weak_code
        return None

    def _strengthened(self, label: str) -> int | str | Literal[False]:
        """「大満足」 is 「非常に満足」 where there is such a label, and 「満足」 where that stands at an end."""
        for strong in _STRONG:
            for gap in ("", " "):
                code = self._labels.get(strong + gap + label)
                if code is not None:
                    return code
        code = self._labels[label]
        return code if isinstance(code, str) or code in (self._low, self._high) else False


def _ways(spoken: str) -> Iterable[str]:
    yield spoken
    shorter = _AFTER_LABEL.sub("", _BEFORE_LABEL.sub("", spoken)).strip()
    if shorter and shorter != spoken:
        yield shorter


def _variants(label: str) -> Iterable[str]:
    yield label
    for ending in ("感", "したい", "する"):
        if label.endswith(ending) and len(label) > len(ending) + 1:
            yield label[: -len(ending)]


def _yes_or_no(spoken: str, text: str) -> Literal["yes", "no", ""] | None:
    """yes, no, "" for a doubtful one (「はい？」), None for neither."""
    signs = {char for char in text if char in _YES_SIGNS or char in _NO_SIGNS}
    if signs and not any(char.isalnum() and char not in signs for char in spoken):
        if signs <= _YES_SIGNS:
            return "yes"
        return "no" if signs <= _NO_SIGNS else ""
    for words in (spoken, _AFTER_YES_NO.sub("", spoken).strip()):
        answer: Literal["yes", "no"] | None = "yes" if words in _YES else "no" if words in _NO else None
        if answer is not None:
            return "" if text.rstrip().endswith(("?", "？")) else answer
    return None


# ------------------------------------------------------------------------------------------------ requests in a comment

_SUBJECT = re.compile(
    r"交換|返品|返金|届かな|届きません|届いてな|届いていな|届いてません|届いていません|届いておりません|まだ届|"
    r"いつ(?:頃|ごろ)?届|いつになったら届|未着|"
    r"連絡(?:を|が)?(?:ください|くれ|ほしい|欲しい|お願い|待って|いただけ|頂け|もらえ)|(?:電話|返信|"
    r"返事)(?:を)?(?:ください|ほしい|欲しい|お願い|いただけ|もらえ)|"
    r"(?:でき|もらえ|いただけ|頂け|くれ)(?:ます|ません)(?:でしょう)?か|(?:可能|大丈夫)(?:です|でしょう)か|"
    r"(?:して|ても|で)(?:も)?(?:いい|良い|よい|よろしい)(?:です|でしょう)か|"
    r"どうすれば|どうしたら|(?:対応|確認|修理|送り直|再送|キャンセル)(?:を)?(?:して)?(?:ください|ほしい|欲しい|"
    r"お願い)|"
    r"\brefund|\bexchange|\breplacement\b|\breturn (?:it|this|them|the)\b|(?:not|n't|never|"
    r"yet to) (?:yet )?(?:arrive|been delivered|received|receive|come)|"
    r"\bhaven'?t (?:got|received)|\bwhere(?:'s| is) my\b|\b(?:contact|call|e-?mail|write to|get back to) me\b|"
    r"\b(?:can|could|may|would) (?:i|you|we|someone)\b|\bplease (?:send|call|contact|reply|replace|help|check|"
    r"fix)|\bwhen will\b|\bhow (?:can|do) i\b"
)
_SETTLED = re.compile(
    r"(?:し|て)(?:いただ(?:き|いた|けて|けた|けまし)|頂(?:き|いた|けて|けた|けまし)|もら(?:い|った|って|えて|"
    r"えた|えまし)|くださ(?:り|った|って)|くれ(?:て|た|まし))|でき(?:て|た|まし)|"
    r"届きました|届いた|届いて(?:います|安心|よかった|良かった|嬉|うれ|い?る)|届くのが(?:早|楽し)|無事|"
    r"スムーズ|ありがと|助かり|助かった|楽しみ|不要|いりません|要りません|必要(?:は|が)?(?:な|ありませ)|"
    r"しなくて|せずに|され(?:て|た|まし)|心配(?:は|が)?(?:な|ありませ)|丁寧|迅速|素早|すぐに?(?:対応|交換|返金)|"
    r"\bthank|\bquick|\bsmooth|\beasy|\bfast\b|\bno need|\bdidn'?t (?:have|need)|\bwas (?:refunded|replaced|"
    r"exchanged)|\bgot (?:a|my|the)\b|\bhappy with\b"
)
_WISH = re.compile(
    r"ますか|ませんか|ですか|でしょうか|たい|ほしい|欲しい|ください|お願い|希望|求め|どうすれば|どうしたら|"
    r"まだ|いつ(?:頃|ごろ)?届|いつになったら|[?？]|"
    r"\bplease\b|\bwant|\bneed (?:a|to|my|an)\b|\bwould like|\bi'd like|\b(?:can|could|may) (?:i|you|we|"
    r"someone)\b|\bwhere\b|\bwhen will\b|"
    r"(?:not|n't|never) (?:yet )?(?:arrive|receive|come)"
)
_RETURNED_WELL = re.compile(r"まだ.*(?:届きました|届いた)")
_CLAUSE = re.compile(r"[。！!？?\n]+")


def is_request(text: str, words: Iterable[str] = ()) -> bool:
    """Whether a comment asks the shop for something (copy.md text.inquiry), judged sentence by sentence.

    `words` are the shop's own (koe.yaml `unhappy.words`). A word inside a finished, thankful or declined matter –
    「すぐに交換していただけました」 – is no request, unless the same sentence also wishes for something.

    >>> is_request("サイズが合わず、交換できますか"), is_request("すぐ届いた"), is_request("交換もスムーズでした")
    (True, False, False)
    """
    own = [unicodedata.normalize("NFKC", word).casefold() for word in words]
    plain = unicodedata.normalize("NFKC", text[:4000].replace("’", "'")).casefold().replace("下さ", "くださ")
    for match in re.finditer(r"[^。！!？?\n]+[。！!？?\n]?", plain):
        sentence = match.group()
        if not _SUBJECT.search(sentence) and not any(word and word in sentence for word in own):
            continue
        if _WISH.search(sentence) and not _RETURNED_WELL.search(sentence):
            return True
        if not _SETTLED.search(sentence):
            return True
    return False
