"""The report of a ticket: JSON as the truth, and one self-contained HTML page made from it."""
