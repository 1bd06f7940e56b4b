"""Unlearning methods, one small file each; a new one is written, then listed here."""

from pipelines.unlearn.methods import grad_ascent, relearn, relearn_npo

__all__ = ["grad_ascent", "relearn", "relearn_npo"]
