"""The address of a report page: signed, good for thirty days, and what is said when it is not.

A link is for whoever holds it, like the digest that it stands in; so the page behind it has no comment and no customer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import quote

PATH: Final = "/reports/{digest}/{period}"
LIFE_S: Final = 30 * 86_400
"""A month's digests stay readable; a forgotten link does not for ever."""

Refusal = Literal["no_secret", "malformed", "expired", "mismatch"]
"""Why a link is not believed: for the log, never for the reader, who learns nothing from it."""

_TOKEN: Final = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_PURPOSE: Final = b"koe report link, version 1"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Frame-Options": "DENY",
    # the address holds the token: it must not travel to another site
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer under /reports/."""


class ReportLinks:
    """Makes and checks the addresses of report pages.

    Args:
        public_url: Where people's browsers reach Koe; None makes no links.
        secret: KOE_SECRET_KEY; "" makes and believes no links. Another key ends all links.
        now_s: The real clock; signatures never go by Koe's own, movable one.
    """

    def __init__(self, public_url: str | None, secret: str, *, now_s: Callable[[], float] = time.time) -> None:
        self._base = public_url
        # a key of its own: what is signed here can be mistaken for nothing else that the secret is used for
        self._key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) if secret else b""
        self._now_s = now_s

    def link(self, digest_id: str, period: str) -> str | None:
        """The address of a page; None when nobody could open it."""
        if self._base is None or not self._key:
            return None
        expires_s = int(self._now_s()) + LIFE_S
        token = f"{expires_s}.{self._signature(digest_id, period, expires_s)}"
        return f"{self._base.rstrip('/')}/reports/{quote(digest_id, safe='')}/{quote(period, safe='')}?token={token}"

    def why_refused(self, digest_id: str, period: str, token: str) -> Refusal | None:
        """The reason not to show this page; None when the token is ours and still good. Total: any text is a token."""
        if not self._key:
            return "no_secret"
        found = _TOKEN.fullmatch(token)
        if found is None:
            return "malformed"
        # compared before the time is looked at: an altered time tells nobody whether the rest was right
        expected = self._signature(digest_id, period, int(found[1]))
        if not hmac.compare_digest(expected, found[2]):
            return "mismatch"
        return "expired" if self._now_s() >= int(found[1]) else None

    def _signature(self, digest_id: str, period: str, expires_s: int) -> str:
        # lengths in front: no two pages can be written the same way
        parts = (digest_id.encode("utf-8", "replace"), period.encode("utf-8", "replace"), str(expires_s).encode())
        signed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        digest = hmac.digest(self._key, signed, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


REFUSED: Final = (
    "このリンクは無効か、有効期限（30日）が過ぎています。新しいレポートのボタンからお開きください。",
    "This link is not valid, or its 30 days are over. Please open the page from a newer digest.",
)
NO_PAGE: Final = (
    "このレポートのページは保管していません。",
    "There is no stored page for this report.",
)


def notice(sentences: tuple[str, str]) -> str:
    """A small page with one sentence in both languages: whoever cannot open a report has not said theirs."""
    ja, en = sentences
    return (
        '<!doctype html><html lang="ja"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>Koe</title></head><body><p>{ja}</p>'
        f'<p lang="en">{en}</p></body></html>'
    )
