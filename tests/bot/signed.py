"""Requests as the platforms sign them."""

from __future__ import annotations

import hashlib
import hmac


def sign_slack(body: bytes, secret: str, at_s: int) -> dict[str, str]:
    """The headers with which Slack delivers `body` at `at_s` seconds since 1970.

    Source: https://docs.slack.dev/authentication/verifying-requests-from-slack."""
    digest = hmac.new(secret.encode(), b"v0:%d:%b" % (at_s, body), hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(at_s), "x-slack-signature": f"v0={digest}"}
