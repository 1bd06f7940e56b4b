"""What must be forgotten, by when, how well, and who says so. Pure Python: no torch, no database, no web."""
