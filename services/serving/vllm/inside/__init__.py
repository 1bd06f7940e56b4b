"""What runs inside vLLM's own environment: the standard library only, never imported by Lethe's processes."""
