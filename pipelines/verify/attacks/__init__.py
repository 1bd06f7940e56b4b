"""Attacks on an adapter that is said to have forgotten, one file each, every one with its price and its budget."""
