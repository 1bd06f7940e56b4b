"""The benchmark: every method on KnowUnDo or TOFU, with its own bases, controls and attacks (docs/benchmark.md)."""
