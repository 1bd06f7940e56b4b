"""Asking every replica, after a swap and on schedule, whether it still does not tell.

Questions come from the sealed probes; nothing but figures is kept. Nothing here needs torch.
"""
