"""How fast Koe is, against the smallest handler that is as durable (`make bench`; docs/benchmarks.md)."""
