"""Which attention kernel training takes."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def training_attention(device: torch.device) -> AbstractContextManager[None]:
    """The plain kernel on a CPU: for short rows the flash kernel's backward pass is slower than the whole rest."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
