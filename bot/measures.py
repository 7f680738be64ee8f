"""What Koe counts about itself, for GET /metrics (Prometheus). No names, no words, no ids in labels."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

registry = CollectorRegistry()

received = Counter("koe_events_received_total", "Events taken in, by surface.", ["surface"], registry=registry)
refused = Counter(
    "koe_requests_refused_total",
    "Requests refused, by surface and reason.",
    ["surface", "reason"],
    registry=registry,
)
repeated = Counter("koe_events_repeated_total", "Events seen before, by surface.", ["surface"], registry=registry)
ignored = Counter(
    "koe_events_ignored_total",
    "Platform events that ask nothing of Koe.",
    ["channel", "kind"],
    registry=registry,
)
deliveries = Counter(
    "koe_deliveries_total", "Calls to platforms, by outcome.", ["channel", "outcome"], registry=registry
)
delivered = cache(deliveries.labels)
"""The counter of one channel and outcome, looked up once: it is counted for every message."""
dead_jobs = Counter("koe_jobs_dead_total", "Jobs given up, by kind.", ["kind"], registry=registry)
alerts = Counter("koe_alerts_total", "Conditions that need an operator.", ["channel", "kind"], registry=registry)
answer_seconds = Histogram(
    "koe_take_in_seconds",
    "From a verified webhook to its durable transaction.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
    registry=registry,
)
jobs = Gauge("koe_jobs", "Jobs by kind and state.", ["kind", "state"], registry=registry)
oldest_due_seconds = Gauge("koe_oldest_due_seconds", "Age of the oldest job that is due.", registry=registry)
