"""Unlearning: rows in, adapter out."""
