"""The commands of `lethe`, one area a file, heavy imports inside the functions."""
