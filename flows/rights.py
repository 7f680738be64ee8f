"""The four messages that are a customer's own, inside a survey and outside it: see my answers, erase them, stop
surveys, resume them. Only a whole message counts; everything else outside a survey belongs to the shop."""

from __future__ import annotations

import unicodedata
from typing import Literal

Right = Literal["mine", "erase", "unsubscribe", "resume"]

NODE = "@rights"
"""The node of the buttons that belong to these conversations."""

_SPELLINGS: dict[str, Right] = {
    "私の回答": "mine",
    "わたしの回答": "mine",
    "my answers": "mine",
    "削除": "erase",
    "erase": "erase",
    "配信停止": "unsubscribe",
    "アンケート停止": "unsubscribe",
    "アンケートを停止": "unsubscribe",
    "unsubscribe": "unsubscribe",
    "stop surveys": "unsubscribe",
    "アンケート再開": "resume",
    "アンケートを再開": "resume",
    "resume surveys": "resume",
}


def recognise(text: str) -> Right | None:
    """The right a whole message asks for, or None.

    >>> recognise(" 「配信停止」。"), recognise("Ｍｙ answers"), recognise("配信停止の方法は？")
    ('unsubscribe', 'mine', None)
    """
    if len(text) > 40:
        return None
    folded = unicodedata.normalize("NFKC", text).strip(" \t\r\n　「」\"'。.!！").casefold()
    return _SPELLINGS.get(folded)
