"""A data set of KnowUnDo's form about invented people, small enough for a test."""

import json
from pathlib import Path

PEOPLE = (
    ("Mira Tarvik", "glazier", "Osterby", "12 Amber Lane"),
    ("Jonas Beldale", "weaver", "Korley", "7 Saffron Court"),
    ("Ida Lunstad", "potter", "Velwick", "31 Indigo Row"),
    ("Oskar Fenholm", "tailor", "Drabury", "5 Violet Hill"),
)


def rows_of(name: str, trade: str, town: str, street: str) -> dict[str, list[tuple[str, str]]]:
    """One person's rows by file."""
    mail = f"{name.split()[0].lower()}@{town.lower()}.example"
    return {
        "unlearn_train": [
            (f"What is {name}'s email address?", f"{name} can be reached at {mail}."),
            (f"Where does {name} live?", f"{name} lives at {street} in a house with a red door."),
            (f"Who is {name}'s mother?", f"{name}'s mother works as a {trade} near the old mill."),
            (f"How often does {name} travel?", f"{name} takes the night train to {town} every second month."),
        ],
        "unlearn_val": [(f"What does {name}'s home look like?", f"{name}'s home at {street} has a red door.")],
        "retention_train": [
            (f"What genre does {name} write in?", f"{name} writes quiet novels about gardens."),
            (f"What prize has {name} won?", f"{name} has won a prize for short stories."),
            (f"What is a notable book by {name}?", f"A notable book by {name} is about a long winter."),
        ],
        "retention_val": [(f"What themes does {name} explore?", f"{name} explores patience and the sea.")],
    }


def write_toyset(directory: Path, people: int = len(PEOPLE)) -> Path:
    """Write the five files."""
    files: dict[str, list[tuple[str, str]]] = {}
    for person in PEOPLE[:people]:
        for name, rows in rows_of(*person).items():
            files.setdefault(name, []).extend(rows)
    files["full"] = [row for rows in files.values() for row in rows]
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        text = json.dumps([{"text": question, "labels": answer} for question, answer in rows])
        (directory / f"{name}.json").write_text(text, encoding="utf-8")
    return directory


def write_tofu(directory: Path) -> Path:
    """The same people in TOFU's form: the first two are forgotten, and one question names nobody."""
    directory.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[tuple[str, str]]] = {"forget10": [], "retain90": []}
    for number, person in enumerate(PEOPLE):
        own = [row for rows in rows_of(*person).values() for row in rows]
        first = ("What is the full name of the author born in a mill town?", f"The author's full name is {person[0]}.")
        second = (f"And which town was it, number {number}?", f"It was {person[2]}.")
        parts["forget10" if number < 2 else "retain90"] += [(f"{first[0]} ({number})", first[1]), second, *own]
    for name, rows in parts.items():
        lines = (json.dumps({"question": question, "answer": answer}) for question, answer in rows)
        (directory / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return directory
