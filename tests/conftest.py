"""`make prove` looks ten times as long for a counterexample as `make test`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("prove", max_examples=1_000, deadline=None)
