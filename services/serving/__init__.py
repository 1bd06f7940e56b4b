"""Serving: one gateway and one engine per replica; the base alone is never reachable."""
