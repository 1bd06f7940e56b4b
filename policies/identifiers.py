"""Identifiers of a person, brought to the one form in which they are compared."""

import unicodedata

# Formal first name -> short forms. Both ways when matching; any of them is only ever probable.
DIMINUTIVES: dict[str, tuple[str, ...]] = {
    "William": ("Bill", "Will", "Billy"),
    "Robert": ("Bob", "Rob", "Bobby"),
    "Richard": ("Dick", "Rick", "Richie"),
    "Elizabeth": ("Liz", "Beth", "Betty"),
    "Margaret": ("Maggie", "Peggy", "Meg"),
    "Alexander": ("Alex", "Sasha", "Sandy"),
    "Katherine": ("Kate", "Kathy", "Katie"),
    "Giuseppe": ("Beppe", "Pino"),
    "Francesco": ("Franco", "Ciccio"),
    "Francisco": ("Paco", "Pancho"),
    "Johannes": ("Hans", "Hannes"),
    "Thomas": ("Tom", "Tommy"),
    "Michael": ("Mike", "Mick", "Micky"),
    "Edward": ("Ed", "Ted", "Eddie"),
    "James": ("Jim", "Jimmy"),
    "Benjamin": ("Ben", "Benny"),
    "Nicholas": ("Nick", "Nicky"),
    "Samuel": ("Sam", "Sammy"),
    "Victoria": ("Vicky", "Tori"),
    "Theodore": ("Theo", "Teddy"),
    "Charles": ("Charlie", "Chuck"),
    "Dorothea": ("Dora", "Thea"),
    "Magdalena": ("Lena", "Magda"),
}

# Letters that NFKD does not take apart.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"})


def fold(text: str) -> str:
    """Lower case without accents: ``José Łukasz`` and ``jose lukasz`` are the same."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()
