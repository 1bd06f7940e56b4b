"""Training and measuring the example base."""
