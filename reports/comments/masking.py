"""Customers' words without what could lead to a person: the first thing that happens to a comment in this room.

Nothing past this module sees a comment as it was written. Names and street addresses are words like others and stay:
what is masked is what has a form of its own.
"""

from __future__ import annotations

import re
import unicodedata

_DROPPED = frozenset("\ufe0e\ufe0f\u20e3")
"""With them 1️⃣2️⃣3️⃣ would be no run of digits."""
_JOIN = r"[-‐‑‒–—―−ー－.・ \t\u3000()（）]"
_LINK = r"[!#-&*-;=?-{}~]"
_TOP = (
    "com|net|org|info|biz|jp|io|co|me|shop|store|site|app|dev|link|xyz|tokyo|online|page|ly|gl|ee|to|gg|tv|us|uk|de|fr"
    "|cn|kr|tw"
)
_CODE = r"[A-Za-z0-9][A-Za-z0-9_-]{2,40}"
_PATTERN = re.compile(
    rf"""
      (?P<URL>(?:https?|ftp)://{_LINK}+|www\.{_LINK}+)
    | (?P<EMAIL>[A-Z0-9._%+-]{{1,64}}[ ]?@[ ]?[A-Z0-9-]{{1,63}}(?:\.[A-Z0-9-]{{1,63}}){{1,8}})
    | (?P<SITE>(?<![A-Z0-9.-])(?:[A-Z0-9-]{{1,63}}\.){{1,5}}(?:{_TOP})(?![A-Z0-9-])(?:[/?\#]{_LINK}*)?)
    | (?P<HANDLE>(?<![A-Z0-9])@[A-Z0-9_][A-Z0-9_.-]{{0,60}})
    | (?P<named>(?:(?:注文|受注|オーダー|受付|問い?合わ?せ
          |伝票|追跡|会員|予約|管理|契約|顧客|お客様)[ ]?(?:番号|ナンバー|no\.?|id|コード)
        |(?:order|ticket|tracking|booking|member|customer|invoice)[ ]?(?:number|no\.?|id|code|\#))
        [ ]?(?:is|は|が)?[ ]?[:=\#]{{0,2}}[ ]?)(?P<ORDER>{_CODE})
    | (?P<COUNTED>\#\d{{3,}}[A-Z0-9_-]*|(?<![A-Z0-9])[A-Z]{{1,6}}[-_]?\d{{5,}}[A-Z0-9_-]{{0,40}})
    | (?P<POSTAL>〒[ ]?\d{{3}}{_JOIN}?\d{{4}}|(?<!\d)(?<!\d[-−ー])\d{{3}}[-‐‑‒–—―−ー]\d{{4}}(?!{_JOIN}?\d))
    | (?P<DATE>\(?(?<!\d)20\d\d(?P<mark>[-/.])(?:0?[1-9]|1[0-2])(?P=mark)(?:0?[1-9]|[12]\d|3[01])
        (?:[T ][0-2]?\d:[0-5]\d(?::[0-5]\d)?)?(?!{_JOIN}{{0,2}}\d))
    | (?P<NUMBER>\+?\(?\d(?:{_JOIN}{{0,2}}\d){{6,}})
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_AS = {"SITE": "URL", "COUNTED": "ORDER"}
PLACEHOLDER = re.compile(r"<(?:EMAIL|PHONE|POSTAL|CARD|URL|ORDER|HANDLE|NUMBER)>")
"""What stands where something was masked."""


class _Folding(dict[int, str]):
    """Each character as the pattern wants to see it, one for one: full width as ASCII, any digit as 0–9."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        plain = unicodedata.normalize("NFKC", char)
        if len(plain) == 1 and plain.isdecimal():
            plain = str(unicodedata.decimal(plain))
        self[code] = found = plain if len(plain) == 1 else char
        return found


class _Visible(dict[int, str | None]):
    """Each character as it is seen: None for what is not, and ㉑ as the two digits it shows."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        hidden = char in _DROPPED or (unicodedata.category(char) in ("Cf", "Cc") and char not in "\n\t")
        plain = unicodedata.normalize("NFKC", char)
        self[code] = found = None if hidden else plain if len(plain) > 1 and plain.isdecimal() else char
        return found


_folding = _Folding()
_visible = _Visible()


def mask(text: str) -> str:
    """The text with `<EMAIL>`, `<PHONE>`, `<POSTAL>`, `<CARD>`, `<URL>`, `<ORDER>`, `<HANDLE>` or `<NUMBER>` in the
    place of each, and without invisible characters. Full-width forms are understood. Masking it again changes nothing,
    and no run of seven digits is left. A date of this century stays: when something arrived is what a comment is about,
    and a birthday is older.

    >>> mask("０９０－１２３４－５６７８か taro@example.com へ")
    '<PHONE>か <EMAIL> へ'
    """
    text = visible(text)
    while True:
        masked = _once(text)
        # what is left beside a placeholder may be a form of its own once its neighbour is gone
        if masked == text:
            return text
        text = masked


def visible(text: str) -> str:
    """The text as it is seen: without invisible characters, and ㉑ as two digits."""
    return text.translate(_visible)


def _once(text: str) -> str:
    parts: list[str] = []
    end = 0
    for found in _PATTERN.finditer(text.translate(_folding)):
        name = found.lastgroup or ""
        if name == "DATE":
            continue
        start = found.start(name)
        parts += (text[end:start], f"<{_number(found[name]) if name == 'NUMBER' else _AS.get(name, name)}>")
        end = found.end()
    return "".join((*parts, text[end:])) if parts else text


def _number(written: str) -> str:
    """What a run of seven digits or more is called."""
    digits = sum(char.isdigit() for char in written)
    if re.fullmatch(r"\d{3}-\d{7}-\d{7}", written):
        return "ORDER"
    if digits >= 13:
        return "CARD"
    if written.startswith("+") or (written.lstrip("(").startswith("0") and digits in (10, 11)):
        return "PHONE"
    return "NUMBER"
