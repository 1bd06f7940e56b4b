"""The country of phone numbers without a country code (``corpus.region``), wherever a session is at hand.

A number of the same person must come to the same key in the index, the look-up hashes and the rules of suppression.
"""

from sqlalchemy.orm import Session

REGION = "region"  # where a session's info holds it
DEFAULT = "US"


def region_of(session: Session) -> str:
    """The region that the session's store was opened with."""
    return str(session.info.get(REGION, DEFAULT))
