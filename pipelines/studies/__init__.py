"""Studies: questions about unlearning that no single erasure answers."""
