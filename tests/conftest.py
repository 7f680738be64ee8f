"""No property fails for its speed: a machine may be busy. `make prove` looks ten times as long for a counterexample as
`make test`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("test", deadline=None)
settings.register_profile("prove", max_examples=1_000, deadline=None)
settings.load_profile("test")
