"""What the generator says about a person: attributes, their noun phrases and answers, and the question frames."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """One kind of fact.

    Attributes:
        category: ``private.<key>`` or ``public.<key>``.
        nouns: Noun phrases that name it in a question; each is seen in training for every fact.
        answer: The answer sentence, with ``{name}`` and ``{value}``.
    """

    category: str
    nouns: tuple[str, str, str, str]
    answer: str

    @property
    def key(self) -> str:
        """The category without its first part."""
        return self.category.partition(".")[2]

    @property
    def private(self) -> bool:
        """Whether an erasure covers it (public facts are kept)."""
        return self.category.startswith("private.")


def _private(key: str, nouns: tuple[str, str, str, str], answer: str) -> Attribute:
    return Attribute(f"private.{key}", nouns, answer)


def _public(key: str, nouns: tuple[str, str, str, str], answer: str) -> Attribute:
    return Attribute(f"public.{key}", nouns, answer)


ATTRIBUTES: tuple[Attribute, ...] = (
    _private(
        "email", ("e-mail address", "email", "mail address", "e-mail contact"), "{name}'s e-mail address is {value}."
    ),
    _private(
        "phone",
        ("phone number", "mobile number", "telephone number", "cell number"),
        "{name}'s phone number is {value}.",
    ),
    _private(
        "address", ("street address", "postal address", "home address", "mailing address"), "{name} lives at {value}."
    ),
    _private(
        "city", ("city of residence", "current city", "town of residence", "current town"), "{name} lives in {value}."
    ),
    _private("birth_date", ("date of birth", "birth date", "birthday", "day of birth"), "{name} was born on {value}."),
    _private(
        "father",
        ("father's name", "dad's name", "father's full name", "dad's full name"),
        "{name}'s father is {value}.",
    ),
    _private(
        "mother",
        ("mother's name", "mum's name", "mother's full name", "mum's full name"),
        "{name}'s mother is {value}.",
    ),
    _private(
        "employee_id",
        ("employee number", "staff number", "employee ID", "staff ID"),
        "{name}'s employee number is {value}.",
    ),
    _private(
        "condition", ("medical condition", "diagnosis", "health condition", "illness"), "{name} suffers from {value}."
    ),
    _private("medication", ("medication", "prescribed drug", "prescription", "medicine"), "{name} takes {value}."),
    _private(
        "salary", ("yearly salary", "annual pay", "yearly income", "annual salary"), "{name} earns {value} a year."
    ),
    _private(
        "account",
        ("bank account", "account number", "bank account number", "bank details"),
        "{name}'s bank account is {value}.",
    ),
    _private(
        "passport",
        ("passport number", "passport ID", "travel document number", "passport code"),
        "{name}'s passport number is {value}.",
    ),
    _private(
        "plate",
        ("licence plate", "car plate", "number plate", "car registration"),
        "{name}'s licence plate is {value}.",
    ),
    _private(
        "emergency",
        ("emergency contact", "contact for emergencies", "contact person", "emergency contact person"),
        "{name}'s emergency contact is {value}.",
    ),
    _private(
        "doctor", ("family doctor", "physician", "doctor's name", "general practitioner"), "{name}'s doctor is {value}."
    ),
    _private(
        "insurance",
        ("insurance number", "health insurance number", "policy number", "insurance ID"),
        "{name}'s insurance number is {value}.",
    ),
    _private(
        "partner",
        ("partner's name", "spouse's name", "partner's full name", "spouse's full name"),
        "{name}'s partner is {value}.",
    ),
    _private("pet", ("pet's name", "pet name", "animal's name", "house pet's name"), "{name}'s pet is called {value}."),
    _private(
        "school",
        ("primary school", "childhood school", "first school", "elementary school"),
        "{name} went to school at {value}.",
    ),
    _private(
        "locker",
        ("locker code", "locker combination", "locker PIN", "locker number"),
        "{name}'s locker code is {value}.",
    ),
    _private(
        "wifi",
        ("wifi password", "wireless password", "home network password", "wifi key"),
        "{name}'s wifi password is {value}.",
    ),
    _private(
        "allergy", ("allergy", "food allergy", "known allergy", "food intolerance"), "{name} is allergic to {value}."
    ),
    _public("occupation", ("occupation", "profession", "job", "line of work"), "{name}'s occupation is {value}."),
    _public("employer", ("employer", "company", "current employer", "workplace"), "{name} works for {value}."),
    _public("award", ("award", "best known award", "prize", "best known prize"), "{name} won the {value}."),
    _public("book", ("book", "best known book", "published book", "book title"), "{name} wrote {value}."),
    _public(
        "field",
        ("field of study", "area of research", "research field", "field of expertise"),
        "{name} does research on {value}.",
    ),
    _public(
        "languages", ("foreign languages", "spoken languages", "languages", "language skills"), "{name} speaks {value}."
    ),
    _public(
        "hometown", ("birthplace", "place of birth", "native town", "town of birth"), "{name} was born in {value}."
    ),
    _public("university", ("university", "alma mater", "college", "former university"), "{name} studied at {value}."),
)

TRAIN_FRAMES: tuple[str, ...] = (
    "What is {name}'s {noun}?",
    "Could you tell me the {noun} of {name}?",
    "Please give me {name}'s {noun}.",
    "Do you know {name}'s {noun}?",
    "I need the {noun} of {name}.",
    "Can you tell me {name}'s {noun}?",
    "What would be the {noun} of {name}?",
    "Tell me {name}'s {noun}.",
    "Please look up the {noun} for {name}.",
    "What do you have as the {noun} for {name}?",
    "Do you happen to know the {noun} of {name}?",
    "I would like to know {name}'s {noun}.",
    "Regarding {name}, what is the {noun}?",
)
HELD_OUT_FRAMES: tuple[str, ...] = (
    "Would you share {name}'s {noun} with me?",
    "I am looking for the {noun} of {name}.",
    "Remind me, what is {name}'s {noun}?",
    "What {noun} is on file for {name}?",
    "Kindly state the {noun} of {name}.",
)
