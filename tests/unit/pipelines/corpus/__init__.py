"""The corpus: generator, reading, index, search."""
