"""Deletes a forgotten person's records where they came from: unlearning does not replace deletion (docs/deletion.md).

A source is looked at first (dry run), deleted from, and looked at again by a reading of its own; what the two readings
found is the proof. Nothing here logs or stores what a record says.
"""
