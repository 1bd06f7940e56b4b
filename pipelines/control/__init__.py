"""Controls: the same base trained without the subject, the retrained model that the law's reader has in mind."""

from pipelines.control.add import add_control
from pipelines.control.card import ControlCard, data_key, find_control, list_controls, read_control
from pipelines.control.train import train_control

__all__ = [
    "ControlCard",
    "add_control",
    "data_key",
    "find_control",
    "list_controls",
    "read_control",
    "train_control",
]
