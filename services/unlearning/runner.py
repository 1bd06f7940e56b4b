"""`lethe runner`: the child of the unlearning service, the only process that imports torch for training."""

import os
import sys

from services.settings import load_settings
from services.unlearning.protocol import serve


def main() -> None:
    """Answer the unlearning service on stdin and stdout until the input ends.

    Whatever a library prints goes to stderr: stdout belongs to the protocol.
    """
    protocol_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    from services.unlearning.operations import operations

    serve(operations(load_settings()), sys.stdin, protocol_out)


if __name__ == "__main__":
    main()
