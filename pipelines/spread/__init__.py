"""Where work is done that falls into parts: in this process, or on a cluster."""
