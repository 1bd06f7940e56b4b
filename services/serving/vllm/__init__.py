"""vLLM as the engine: its command line, the guard in front of its routes, and the versions that were tested."""
