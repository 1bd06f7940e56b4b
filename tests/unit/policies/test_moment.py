"""A moment is written out: no number becomes a date, in JSON or in a query."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from policies.moment import Moment

TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: Moment


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:00:00Z", "2026-11-22t10:00:00+00:00", "2026-11-22 11:00:00+01:00", "2026-11-22T10:00Z"]
)
def test_what_is_written_out_is_taken(text: str) -> None:
    assert TypeAdapter(Moment).validate_python(text) == TEN
    assert Strict.model_validate_json(json.dumps({"at": text})).at == TEN
    assert Strict(at=TEN).at == TEN


@pytest.mark.parametrize(
    "value",
    [
        "1763632800",
        "-4.7e-94",
        "12",
        "",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-13-22T10:00:00Z",
        1763632800,
        1.5,
        True,
    ],
)
def test_a_number_or_a_part_of_a_moment_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(value)
    with pytest.raises(ValidationError):
        Strict.model_validate_json(json.dumps({"at": value}))


def test_the_schema_says_date_time() -> None:
    assert TypeAdapter(Moment).json_schema() == {"type": "string", "format": "date-time"}
