"""The embedded engine: transformers + PEFT in a process of its own, speaking vLLM's HTTP forms on a Unix socket.

An adapter is named in every request; the base alone cannot be asked. The gateway stands in front of it and is the only
one that can reach the socket.
"""
