from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from policies.errors import LetheError
from policies.pack import builtin_packs, load_pack
from services.audit.entry import check_payload, timestamp


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"ticket": "t-0123456789abcdef0123", "attempt": 3, "share": 0.25, "ok": True, "none": None},
        {"digest": "sha256:" + "ab" * 32, "release": "u-0123456789abcdef", "from_status": "in_run"},
        {"article": "GDPR Art. 17(1)(b)", "articles": ["UK GDPR Art. 17(3)(e)", "Cal. Civ. Code § 1798.105(d)(1)"]},
        {"due_at": "2026-12-21T00:00:00+00:00", "counts": {"certain": 30, "probable": 2}},
        {"pack": "gdpr", "version": "2026.1", "id": "a7551968-d5d6-44b2-9831-815ac9017798"},
        {"metrics": [{"name": "kfr", "value": 0.98}], "empty": ""},
    ],
)
def test_ids_digests_codes_numbers_and_articles_pass(payload: dict[str, Any]) -> None:
    check_payload("ticket.approved", payload)


@pytest.mark.parametrize(
    "value",
    [
        "Anna Meyer",
        "Anna",
        "Meyer-Holt",
        "Meyer,Anna",
        "anna@example.org",
        "+49 30 1234567",
        "(030)1234567",
        "Zoë",
        "12 Long Street",
        "a" * 201,
        "line\nbreak",
        float("nan"),
        float("inf"),
        2**60,
        1e300,
        b"bytes",
        [[[[["deep"]]]]],
        ["x"] * 300,
        {"Key": 1},
        {"a b": 1},
        {1: 1},
        {"deep": {"name": "Anna Meyer"}},
    ],
)
def test_anything_else_is_refused_without_being_repeated(value: Any) -> None:
    with pytest.raises(LetheError) as caught:
        check_payload("ticket.approved", {"field": value})
    assert caught.value.code == "audit.personal_data"
    assert "Meyer" not in str(caught.value.body())
    assert caught.value.details


@pytest.mark.parametrize("text", ["GDPR Anna@example.org", "Anna Meyer, Art. 17", "GDPR " + "x" * 150, "ask Anna"])
def test_an_article_is_a_law_and_not_a_text(text: str) -> None:
    with pytest.raises(LetheError):
        check_payload("ticket.approved", {"article": text})


@pytest.mark.parametrize("kind", ["approved", "Ticket.approved", "ticket approved", "ticket.", ""])
def test_a_kind_is_a_dotted_code(kind: str) -> None:
    with pytest.raises(LetheError):
        check_payload(kind, {})


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        timestamp(datetime(2026, 1, 1))


def test_every_article_of_the_built_in_packs_can_be_recorded() -> None:
    """A ticket of a pack whose article the log refused could not be filed at all."""
    articles = {article for name in builtin_packs() for article in _articles(load_pack(name).data.model_dump())}
    assert "11 CCR § 7060" in articles
    for article in articles:
        check_payload("ticket.approved", {"article": article})


def _articles(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "article":
                yield str(item)
            else:
                yield from _articles(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _articles(item)
