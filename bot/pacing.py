"""How fast Koe may call a platform. Slack allows about one message a second and channel, short bursts tolerated, with
a ceiling for the workspace; LINE 2,000 requests a second and endpoint, which one sender stays far below."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

_SLACK_BURST = 4
_SLACK_PER_S = 1.0
_SLACK_WORKSPACE_BURST = 50
_SLACK_WORKSPACE_PER_S = 20.0
_KEPT = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_ms: int


@dataclass(slots=True)
class Pacer:
    """Token buckets in memory: a restart begins with full ones, which the platforms' burst tolerance covers."""

    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def wait_ms(self, channel: str, payload: dict[str, Any], lane: str, now_ms: int) -> int:
        """0 and a token is taken, or how long to wait before asking again."""
        if channel != "slack":
            return 0
        key = str(payload.get("args", {}).get("channel") or lane)
        own = self._wait(f"slack:{key}", _SLACK_BURST, _SLACK_PER_S, now_ms, take=False)
        whole = self._wait("slack", _SLACK_WORKSPACE_BURST, _SLACK_WORKSPACE_PER_S, now_ms, take=False)
        if own or whole:
            return max(own, whole)
        self._wait(f"slack:{key}", _SLACK_BURST, _SLACK_PER_S, now_ms, take=True)
        self._wait("slack", _SLACK_WORKSPACE_BURST, _SLACK_WORKSPACE_PER_S, now_ms, take=True)
        return 0

    def _wait(self, key: str, burst: int, per_s: float, now_ms: int, *, take: bool) -> int:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(burst), now_ms)
            if len(self._buckets) > _KEPT:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        passed_s = max(0, now_ms - bucket.at_ms) / 1000
        bucket.tokens = min(float(burst), bucket.tokens + passed_s * per_s)
        bucket.at_ms = now_ms
        if bucket.tokens < 1.0:
            return max(1, int((1.0 - bucket.tokens) / per_s * 1000) + 1)
        if take:
            bucket.tokens -= 1.0
        return 0
