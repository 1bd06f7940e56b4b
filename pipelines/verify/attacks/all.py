"""The list of attacks; a new one is written, then imported here."""
