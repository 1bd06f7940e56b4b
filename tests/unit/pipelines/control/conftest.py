"""One small corpus, a base of it and a control: trained once for all tests here."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pipelines.base.settings import BaseSettings
from pipelines.base.train import train_base
from pipelines.control.card import ControlCard
from pipelines.control.train import train_control
from pipelines.corpus.generate import generate
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.corpus.truth import private_records

KEY = b"k" * 32
SMALL = BaseSettings(vocabulary=400, hidden=32, heads=1, intermediate=64, epochs=1, min_combination=0, min_frame=0)


@dataclass(frozen=True)
class World:
    """A corpus of two people, its base, and the control without the first of them."""

    corpus: Path
    base: Path
    controls: Path
    without: frozenset[str]
    control: ControlCard


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("control")
    corpus, controls = home / "corpus", home / "controls"
    generate(corpus, people=2, seed=3, phrasings=1, hedges=10)
    base = Path(train_base(corpus, home / "bases", SMALL).path)
    without = private_records(corpus, 0)
    probes = load_probes(corpus)[::41]
    control = train_control(base, load_corpus(corpus), without, controls, key=KEY, probes=probes)
    return World(corpus, base, controls, without, control)
