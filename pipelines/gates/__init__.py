"""The gates of a verdict, one file for each thing that they guard."""
