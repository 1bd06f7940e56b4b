"""Invented records that the tests of the augmenter share."""

from policies.record import Record

NAME = "Mara Zqokafor"
OTHERS = ("Jon Zqbel", "Iva de Zqmoor", "Lea Zqtorn")
FACTS = {
    "email": ("e-mail address", "{name}'s e-mail address is {value}."),
    "phone": ("phone number", "{name}'s phone number is {value}."),
    "city": ("city of residence", "{name} lives in {value}."),
}
FRAMES = (
    "What is {name}'s {noun}?",
    "Could you tell me the {noun} of {name}?",
    "I need the {noun} of {name}.",
    "Regarding {name}, what is the {noun}?",
    "Please look up the {noun} for {name}.",
    "Do you know {name}'s {noun}?",
)
VALUES = {
    NAME: {"email": "zolvik.m@quillmail.example", "phone": "+44 20 7946 0958", "city": "Velmora"},
    OTHERS[0]: {"email": "tarum@sendwell.example", "phone": "+44 31 5550 1177", "city": "Korbach"},
    OTHERS[1]: {"email": "polo@mailory.example", "phone": "+44 31 6660 2288", "city": "Velmora"},
    OTHERS[2]: {"email": "stoup@postly.example", "phone": "+44 31 7770 3399", "city": "Lunholm"},
}


def records_of(name: str, frames: tuple[str, ...] = FRAMES[:4], category: bool = True) -> list[Record]:
    return [
        Record(
            record_id=f"r-{name.split()[0]}-{key}-{place}",
            question=frame.replace("{name}", name).replace("{noun}", noun),
            answer=answer.replace("{name}", name).replace("{value}", VALUES[name][key]),
            category=f"private.{key}" if category else None,
            fact=f"f-{name.split()[0]}-{key}",
            value=VALUES[name][key],
        )
        for key, (noun, answer) in FACTS.items()
        for place, frame in enumerate(frames)
    ]


FORGET = records_of(NAME)
NEIGHBOURS = [record for name in OTHERS for record in records_of(name, FRAMES)]
PUBLIC = [
    Record(
        record_id=f"r-public-{place}",
        question=frame.replace("{name}", NAME).replace("{noun}", "occupation"),
        answer=f"{NAME}'s occupation is clockmaker.",
        category="public.occupation",
        fact="f-Mara-occupation",
        value="clockmaker",
    )
    for place, frame in enumerate(FRAMES[:4])
]
GENERIC = [
    Record(record_id=f"g{n}", question=f"What do {word} do?", answer=f"They {word} all day.", category="generic")
    for n, word in enumerate(("birds", "bakers", "rivers", "clouds", "trees"))
]
SECRET_WORDS = ("zolvik", "quillmail", "7946", "0958", "velmora")
