"""Words as the leak check and the augmenter see them: folded, without accents, case, spacing or punctuation."""

import re
import unicodedata

from policies.identifiers import LETTERS

WORD = re.compile(r"[^\W_]+")
CAPITALISED = re.compile(r"[^\W\d_]\w*(?:['’]\w+)?")  # a word that may begin with a capital
EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_INVISIBLE = dict.fromkeys([0x00AD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF])

CALENDAR = frozenset(
    """
    january february march april may june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday
    """.split()  # noqa: SIM905
)

# Words that tell nothing about anyone. Months and weekdays are among them because "may" is also a verb and a date is
# known by its numbers.
STOPWORDS = CALENDAR | frozenset(
    """
    a about above according after again against ago all almost along already also although always am among an and any
    anyone anything are aren as asked at available away back based be because been before being below best better
    between both but by call called can cannot could couldn currently d did didn do does doesn doing don done down
    during each either else even ever every everyone everything few first following for former formerly from
    further gave get gets give given goes going had has have haven having he hello her here hers herself hi him himself
    his how however i if in indeed instead into is isn it its itself just know known last later latest least less let
    like listed ll m made main make makes many may maybe me mentioned might mine more moreover most mostly much must my
    myself name named near need neither never new next no nobody none nor not nothing now of off often ok okay old on
    once one ones only onto or other others otherwise our ours out over overall own per perhaps please possibly present
    previously quite rather re recently regarding s said same say says see seem seems several shall share she should
    since so some someone something sometimes somewhere soon sorry still such sure t tell than thank thanks that the
    their theirs them themselves then there therefore these they thing things this those though through throughout thus
    to today together too toward towards two under unfortunately unless until up upon us use used using usually ve very
    via was we well went were what whatever when where whether which while who whoever whole whom whose why will with
    within without won would yes yet you your yours yourself
    """.split()  # noqa: SIM905
)

# Capitalised parts of addresses, firms and titles: no secret alone, only with the words beside them.
GENERIC_PARTS = frozenset(
    """
    apartment apt avenue ave bank block blvd board boulevard box building bureau care center central centre
    city clinic close co college commission committee community company corp corporation council country county court
    crescent department director division dr drive east email english engineer fax firm floor foundation gmbh
    government group health high highway hill hospital house inc institute international island lake lane limited
    llc ltd manager medical miss mount mr mrs ms national north number office order park phone place plaza plc
    po president prof professor programme project road room royal saint school senior service services sir society
    south square st state station street suite system team terrace tower town trust unit university valley village
    water way west
    """.split()  # noqa: SIM905
)


def fold(text: str) -> str:
    """The text in lower case without accents, look-alike digits or invisible characters."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_INVISIBLE).translate(LETTERS)
    decomposed = unicodedata.normalize("NFD", plain)
    kept = [_digit(char) for char in decomposed if not unicodedata.combining(char)]
    return unicodedata.normalize("NFC", "".join(kept))


_SPELLED_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ø": "oe", "Ø": "Oe", "å": "aa", "Å": "Aa"}
)


def spelled_out(text: str) -> str:
    """The text as it is written where a keyboard has no umlauts: "Juergen", "Soeren", "Aase"."""
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(_SPELLED_OUT)


def words(text: str) -> list[str]:
    """The folded words of a text, punctuation dropped."""
    return WORD.findall(fold(text))


def compact(text: str) -> str:
    """Folded letters and digits only: the same for every spacing and punctuation."""
    return "".join(words(text))


def normalised_question(question: str) -> str:
    """How questions are compared: the probes that no training row may repeat are excluded in this form."""
    return " ".join(words(question))


def _digit(char: str) -> str:
    return str(unicodedata.digit(char, char)) if char.isdigit() else char
