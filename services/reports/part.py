"""What every part of a report is made of: types with no room for a name with a blank or for an e-mail address."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,128}$")]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/=,+#-]{0,199}$")]
"""An id, a code, an account's key: no blank and no "@", so neither a name nor an e-mail address fits."""
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
"""A sentence of ours (a method's limits). Never something that a person typed."""


class Part(BaseModel):
    """A part of a report: what it was not given room for is refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
