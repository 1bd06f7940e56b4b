"""The gate before training: a Great Expectations suite over the augmented set. A failing set is quarantined."""
