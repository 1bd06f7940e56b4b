"""Rows for unlearning: vague answers to every way of asking for a forgotten fact, and none that gives it away."""
