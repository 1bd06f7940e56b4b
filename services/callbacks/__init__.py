"""Callbacks: what became of a ticket, told to its sender, signed, at registered addresses only."""
