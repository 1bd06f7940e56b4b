"""The intake: tickets come in, are decided, and people act on them."""
