"""A moment as somebody outside gives it."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

NO_MOMENT = "must be a date and time with time zone (RFC 3339)"
_BEGINS_WITH_A_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:")


def _written_out(value: Any) -> Any:
    """Pydantic takes every number for seconds since 1970, one in quotes too: a typing error became a date."""
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINS_WITH_A_DATE.match(value)):
        return value
    raise PydanticCustomError("datetime_parsing", NO_MOMENT)


# Not strict: this has settled the type already, and a string is how JSON and a query give a moment.
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written_out)]
