"""The corpus and the base of the acceptance tests."""

from tests.acceptance.conftest import base, corpus, people  # noqa: F401
