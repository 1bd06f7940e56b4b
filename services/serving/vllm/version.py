"""Which vLLM may serve: one whose behaviour our tests have seen."""

from policies.errors import LetheError

# What we rely on is nowhere promised: the adapter's name in the prefix cache's key, tokens like PEFT's.
# `make test` runs the contract against the CPU build of exactly these.
TESTED = ("0.32.0",)


def check_version(found: str, *, allowed: str = "") -> None:
    """Refuse a vLLM that was not tested.

    Args:
        found: As vLLM says it; a build mark (``+cpu``, ``+cu130``) does not count.
        allowed: A version that the operator has allowed by name.

    Raises:
        LetheError: ``serving.engine_version``.
    """
    version = found.partition("+")[0]
    if version not in TESTED and not (allowed and allowed in {version, found}):
        raise LetheError(
            "serving.engine_version",
            f"vLLM {found[:40]} was not tested with Lethe.",
            (f"tested: {', '.join(TESTED)}",),
        )
