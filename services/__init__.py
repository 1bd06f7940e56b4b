"""What runs: the BentoML services, what they share, and the command line."""
