"""Requests that are believed and requests that are not, for every surface that takes webhooks."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linebot.v3.webhook import SignatureValidator
from signed import sign_slack
from slack_sdk.signature import Clock, SignatureVerifier
from starlette.datastructures import Headers

from bot.signatures import (
    LINE,
    SLACK,
    STANDARD_WEBHOOKS,
    Scheme,
    sign_line,
    sign_standard_webhooks,
    usable_webhook_secret,
    verify_line,
    verify_slack,
    verify_standard_webhooks,
    why_refused,
)

NOW_S = 1_763_000_000
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
OLD = "old-secret-of-the-same-channel"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WHSEC_OLD = "whsec_" + base64.b64encode(bytes(range(32))).decode()
BODY = '{"text": "とても良かったです"}'.encode()


def signed(scheme: Scheme, body: bytes = BODY, at_s: int = NOW_S, *, old: bool = False) -> dict[str, str]:
    match scheme.name:
        case "line":
            return sign_line(body, OLD if old else SECRET)
        case "slack":
            return sign_slack(body, OLD if old else SECRET, at_s)
        case "standard_webhooks":
            return sign_standard_webhooks(body, WHSEC_OLD if old else WHSEC, "msg_1", at_s)


def secrets(scheme: Scheme) -> list[str]:
    return [WHSEC] if scheme is STANDARD_WEBHOOKS else [SECRET]


every_scheme = pytest.mark.parametrize("scheme", [LINE, SLACK, STANDARD_WEBHOOKS], ids=lambda each: each.name)
with_time = pytest.mark.parametrize("scheme", [SLACK, STANDARD_WEBHOOKS], ids=lambda each: each.name)


def test_the_vector_in_slacks_documentation_is_genuine() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        "X-Slack-Request-Timestamp": "1531420618",
    }
    assert verify_slack(headers, body, [SECRET], 1531420618)


def test_the_vector_of_standard_webhooks_is_genuine() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    ours = sign_standard_webhooks(b'{"test": 2432232314}', WHSEC, headers["webhook-id"], 1614265330)
    assert ours == headers
    assert verify_standard_webhooks(headers, b'{"test": 2432232314}', [WHSEC], 1614265330)


def test_the_vendors_own_verifiers_accept_what_we_sign() -> None:
    assert SignatureValidator(SECRET).validate(BODY.decode(), sign_line(BODY, SECRET)["x-line-signature"])

    class Now(Clock):
        def now(self) -> float:
            return NOW_S

    assert SignatureVerifier(SECRET, clock=Now()).is_valid_request(BODY, sign_slack(BODY, SECRET, NOW_S))


@every_scheme
def test_a_signed_request_is_genuine_whatever_the_case_and_type_of_its_header_names(scheme: Scheme) -> None:
    headers = signed(scheme)
    raw = [(name.title().encode(), value.encode()) for name, value in headers.items()]
    for form in (headers, Headers(headers), Headers(headers).raw, raw, list(headers.items())):
        assert why_refused(scheme, form, BODY, secrets(scheme), now_s=NOW_S) is None


@every_scheme
def test_both_secrets_are_good_during_a_rotation_and_the_old_one_is_not_after_it(scheme: Scheme) -> None:
    both = [*secrets(scheme), WHSEC_OLD if scheme is STANDARD_WEBHOOKS else OLD]
    for old in (False, True):
        assert why_refused(scheme, signed(scheme, old=old), BODY, both, now_s=NOW_S) is None
    assert why_refused(scheme, signed(scheme, old=True), BODY, secrets(scheme), now_s=NOW_S) == "mismatch"


def test_one_good_signature_among_several_is_enough() -> None:
    new = signed(STANDARD_WEBHOOKS)
    old = signed(STANDARD_WEBHOOKS, old=True)["webhook-signature"]
    new["webhook-signature"] = f"v1a,ed25519== {old} {new['webhook-signature']}"
    assert verify_standard_webhooks(new, BODY, [WHSEC], NOW_S)
    new["webhook-signature"] = " ".join(["v1,x"] * 17)
    assert why_refused(STANDARD_WEBHOOKS, new, BODY, [WHSEC], now_s=NOW_S) == "malformed"


@every_scheme
def test_an_altered_byte_anywhere_is_refused(scheme: Scheme) -> None:
    headers = signed(scheme)
    assert why_refused(scheme, headers, BODY + b" ", secrets(scheme), now_s=NOW_S) == "mismatch"
    value = headers[scheme.signature]
    altered = headers | {scheme.signature: value[:-3] + ("A" if value[-3] != "A" else "B") + value[-2:]}
    assert why_refused(scheme, altered, BODY, secrets(scheme), now_s=NOW_S) == "mismatch"


@with_time
@pytest.mark.parametrize(("off_s", "genuine"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_request_is_good_for_five_minutes_in_either_direction(scheme: Scheme, off_s: int, genuine: bool) -> None:
    refusal = why_refused(scheme, signed(scheme, at_s=NOW_S + off_s), BODY, secrets(scheme), now_s=NOW_S)
    assert refusal == (None if genuine else "stale")


@with_time
@pytest.mark.parametrize(
    "stamp", ["abc", "", "-1", "1e9", "１７６３０００００００", f" {NOW_S}", "9" * 400, "nan", "1.5"]
)
def test_a_timestamp_that_is_no_number_is_refused_without_an_exception(scheme: Scheme, stamp: str) -> None:
    headers = signed(scheme) | {scheme.timestamp: stamp}
    assert why_refused(scheme, headers, BODY, secrets(scheme), now_s=NOW_S) == "malformed"


@every_scheme
def test_every_header_must_be_there_exactly_once(scheme: Scheme) -> None:
    headers = signed(scheme)
    for name, value in headers.items():
        without = {other: kept for other, kept in headers.items() if other != name}
        assert why_refused(scheme, without, BODY, secrets(scheme), now_s=NOW_S) == "missing"
        twice = [*headers.items(), (name.upper(), value)]
        assert why_refused(scheme, twice, BODY, secrets(scheme), now_s=NOW_S) == "duplicate"
    assert why_refused(scheme, {}, BODY, secrets(scheme), now_s=NOW_S) == "missing"


@every_scheme
@pytest.mark.parametrize("value", ["", "é", "署名", "v0=", "v1,", "\ud800", "A" * 5000, "v0=" + "é" * 64, "=" * 44])
def test_a_signature_of_odd_characters_is_refused_without_an_exception(scheme: Scheme, value: str) -> None:
    headers = signed(scheme) | {scheme.signature: value}
    assert why_refused(scheme, headers, BODY, secrets(scheme), now_s=NOW_S) in ("mismatch", "malformed")


@every_scheme
def test_without_a_usable_secret_nothing_is_genuine(scheme: Scheme) -> None:
    for none in ([], [""], ["  "], ["whsec_"] if scheme is STANDARD_WEBHOOKS else [""]):
        assert why_refused(scheme, signed(scheme), BODY, none, now_s=NOW_S) == "no_secret"
    broken = ["whsec_not base64!", "whsec_秘密", WHSEC] if scheme is STANDARD_WEBHOOKS else ["", SECRET]
    assert why_refused(scheme, signed(scheme), BODY, broken, now_s=NOW_S) is None


def test_a_message_id_cannot_move_text_between_the_signed_parts() -> None:
    for odd in ("msg.1", "", "é", "a b", "x" * 257):
        headers = signed(STANDARD_WEBHOOKS) | {"webhook-id": odd}
        assert not verify_standard_webhooks(headers, BODY, [WHSEC], NOW_S)


def test_bodies_are_bytes_and_need_not_be_text() -> None:
    body = b"\xff\xfe\x00not utf-8"
    assert verify_line(sign_line(body, SECRET), body, [SECRET])
    assert verify_slack(sign_slack(body, SECRET, NOW_S), body, [SECRET], NOW_S)


@pytest.mark.parametrize(
    ("secret", "usable"),
    [
        (WHSEC, True),
        (WHSEC_OLD, True),
        ("whsec_", False),
        ("whsec_c2hvcnQ=", False),
        ("whsec_%%%", False),
        (WHSEC.removeprefix("whsec_"), False),
    ],
)
def test_a_webhook_secret_is_usable_when_it_holds_24_to_64_bytes(secret: str, usable: bool) -> None:
    assert usable_webhook_secret(secret) is usable


names = st.sampled_from(
    [
        "x-line-signature",
        "x-slack-signature",
        "x-slack-request-timestamp",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "Content-Type",
        "",
    ]
)


@given(st.lists(st.tuples(names, st.text(max_size=80) | st.just(str(NOW_S)))), st.binary(max_size=50))
def test_no_headers_and_no_body_ever_raise_or_pass(headers: list[tuple[str, str]], body: bytes) -> None:
    for scheme in (LINE, SLACK, STANDARD_WEBHOOKS):
        assert why_refused(scheme, headers, body, secrets(scheme), now_s=NOW_S) is not None
