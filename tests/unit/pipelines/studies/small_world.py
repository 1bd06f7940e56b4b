"""A corpus of few people and a base that has hardly looked at it: made in seconds."""

from pathlib import Path

import torch

from pipelines.augment.settings import AugmentSettings
from pipelines.base.settings import BaseSettings
from pipelines.corpus.generate import generate
from pipelines.studies.follow import ProbeAmounts
from pipelines.studies.stream import StreamSettings
from pipelines.studies.world import World, world_of
from pipelines.unlearn.settings import UnlearnSettings

RECIPE = BaseSettings(vocabulary=400, hidden=32, heads=1, intermediate=64, epochs=1, min_combination=0, min_frame=0)
TRAINING = UnlearnSettings(rank=2, min_steps=1, max_steps=2, batch_tokens=256)
AMOUNTS = AugmentSettings(
    original_questions=1, variants=0, neighbour_questions=1, answers_per_question=1, retain_rows=20, min_rows_per_fact=1
)
PROBES = ProbeAmounts(forget=4, own=2, rest=6)
STREAM = StreamSettings(
    erasures=2, rest_people=1, compact_every=2, probes=PROBES, training=TRAINING, amounts=AMOUNTS, points=(1,)
)


def make_corpus(directory: Path, people: int = 3) -> Path:
    """The corpus alone."""
    generate(directory, people=people, seed=3, phrasings=2, hedges=10)
    return directory


def make_world(home: Path, people: int = 3) -> World:
    """Corpus, index and base."""
    torch.set_num_threads(1)
    return world_of(make_corpus(home / "corpus", people), home, recipe=RECIPE)
