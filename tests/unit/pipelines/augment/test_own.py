"""What is kept of the person: other people's questions, with the person's own true answer."""

from collections import Counter
from dataclasses import replace

from pipelines.augment.leak import LeakCheck
from pipelines.augment.own import own_rows
from pipelines.augment.plan import Planner
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from policies.record import Record
from tests.unit.pipelines.augment.people import FRAMES, NAME

PLANNER = Planner(
    names=(NAME,),
    check=LeakCheck(()),
    excluded=frozenset(),
    augmenter=TemplateAugmenter(),
    settings=AugmentSettings(),
    seed="0:own",
    dropped=Counter(),
)
PUBLIC = {"occupation": ("clockmaker", "glazier"), "hometown": ("Velmora", "Korbach"), "age": ("47", "31")}


def kept(which: int, category: str = "public.{noun}") -> list[Record]:
    """Of the person, who was asked two questions about each, or of another, who was asked all."""
    name, frames = ("Jon Zqbel", FRAMES) if which else (NAME, FRAMES[:2])
    return [
        Record(
            record_id=f"r-{name}-{noun}-{place}",
            question=frame.replace("{name}", name).replace("{noun}", noun),
            answer=f"{name}'s {noun} is {values[which]}.",
            category=category.replace("{noun}", noun),
            fact=f"f-{name}-{noun}",
        )
        for noun, values in PUBLIC.items()
        for place, frame in enumerate(frames)
    ]


def test_every_answer_is_that_of_its_question_however_coarse_the_categories() -> None:
    fine = own_rows([*kept(0), *kept(1)], PLANNER)
    coarse = own_rows([*kept(0, "public"), *kept(1, "public")], PLANNER)
    none = own_rows([replace(r, category=None) for r in (*kept(0), *kept(1))], PLANNER)
    assert coarse == none, "a category of everything says nothing"
    for rows in (fine, coarse):
        assert {row.variant for row in rows} >= {"neighbour"}
        for row in rows:
            asked = {noun for noun in PUBLIC if noun in row.prompt}
            assert asked <= {noun for noun in PUBLIC if noun in row.answer}, row
