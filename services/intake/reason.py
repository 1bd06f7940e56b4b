"""The words that whoever acts gives for an act: sealed where they are kept, and never logged."""

from typing import Annotated

from pydantic import StringConstraints

# The pattern says in the document of the API what the lengths mean once the blanks around the words are gone.
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=2000, pattern=r"\S[\s\S]+\S")]
