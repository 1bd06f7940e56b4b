"""The verdict's evidence: metrics with sample size, bounds and source, over one pass of generated answers."""
