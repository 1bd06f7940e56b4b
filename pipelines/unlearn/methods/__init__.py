"""Unlearning methods, one small file each; a new one is written, then listed here."""

from pipelines.unlearn.methods import (
    dpo,
    grad_ascent,
    grad_diff,
    idk_nll,
    npo,
    relearn,
    relearn_dpo,
    relearn_npo,
    relearn_robust,
    rmu,
    satimp,
    simnpo,
    undial,
    wga,
)

__all__ = [
    "dpo",
    "grad_ascent",
    "grad_diff",
    "idk_nll",
    "npo",
    "relearn",
    "relearn_dpo",
    "relearn_npo",
    "relearn_robust",
    "rmu",
    "satimp",
    "simnpo",
    "undial",
    "wga",
]
