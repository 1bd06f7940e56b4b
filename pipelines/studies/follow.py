"""Everyone who was forgotten, asked again: does anybody come back, and is what stays still there?

Every person keeps the same probes through the whole study, so that what changes is the model. The base's answers are
generated and scored once.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import generation
from pipelines.augment.probes import probes_from_corpus
from pipelines.corpus.load import load_probes
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.studies.erasure import ratio, value_of
from pipelines.studies.world import Case, World
from pipelines.verify.backends import Backends
from pipelines.verify.measure import Measurement, MeasureSettings, cheap_pass, score_texts
from pipelines.verify.results import MetricResult
from pipelines.verify.values import ValueIndex
from policies.errors import LetheError

Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAmounts:
    """How many probes; facts in turn.

    Attributes:
        forget: Of every person's forgotten facts.
        own: Of every person's own public facts.
        rest: Of people who are never forgotten.
    """

    forget: int = 60
    own: int = 20
    rest: int = 200


class Follow:
    """Measures everyone after each erasure.

    Args:
        world: Corpus and base.
        erased: Numbers of the people who are forgotten in the study; all others are the rest.
        amounts: Of probes.
        seed: Of their choice, and of bounds.

    Raises:
        LetheError: ``study.nobody_left``: nobody is left whose facts could be asked.
    """

    def __init__(self, world: World, erased: Sequence[int], amounts: ProbeAmounts, seed: int) -> None:
        self._amounts = amounts
        self._seed = seed
        self._judges = Backends()
        private = {r.value for r in world.records.values() if r.value and (r.category or "").startswith("private.")}
        self._others = ValueIndex(sorted(private))
        self.rest = rest_probes(world, erased, amounts.rest, seed)
        if not self.rest:
            raise LetheError("study.nobody_left", "Everybody in the corpus is to be forgotten.")
        self._base_krr: dict[str, float | None] = {}
        self._base_rest: float | None = None

    def measure(self, adapted: LoadedModel, cases: Sequence[Case]) -> dict[str, Any]:
        """Figures of everyone in ``cases`` and of the rest, as JSON.

        Returns:
            ``subjects``: by id ``kfr`` with ``kfr_low`` (one-sided 95 %), ``hit`` (the value is in the answer),
            ``named``, ``other`` (somebody else's value is), ``own`` (own public facts kept, as a share of the base's),
            ``gold_nll`` (nats a token); ``rest``: ``krr``, ``base`` and their ``ratio``; ``seconds``; ``probes``.
        """
        probes = [*self.rest, *(probe for case in cases for probe in self.probes_of(case))]
        self._ask_base(adapted, cases)
        began = time.monotonic()
        texts = _answers(adapted, probes)
        generated = time.monotonic()
        found = self._score(probes, texts, "adapter")
        scored = time.monotonic()
        likely = cheap_pass(adapted, probes, settings=MeasureSettings(seed=self._seed))
        done = time.monotonic()
        krr = found.retain["krr"].value
        return {
            "subjects": {case.subject: self._figures(found, likely, case.subject) for case in cases},
            "rest": {"krr": krr, "base": self._base_rest, "ratio": ratio(krr, self._base_rest)},
            "seconds": {"generate": generated - began, "score": scored - generated, "likelihood": done - scored},
            "probes": len(probes),
        }

    def probes_of(self, case: Case) -> list[Probe]:
        """The person's probes: the same at every call."""
        limits = {ProbeGroup.FORGET: self._amounts.forget, ProbeGroup.OWN_PUBLIC: self._amounts.own}
        chosen: list[Probe] = []
        for group, limit in limits.items():
            of_group = [probe for probe in case.probes if probe.group is group]
            facts = dict.fromkeys(probe.fact for probe in of_group)
            by_fact = [[probe for probe in of_group if probe.fact == fact] for fact in facts]
            chosen += [probe for row in _layers(by_fact) for probe in row][:limit]
        return chosen

    def _ask_base(self, adapted: LoadedModel, cases: Sequence[Case]) -> None:
        with adapted.adapter_disabled():
            for case in cases:
                if case.subject in self._base_krr:
                    continue
                probes = [*self.probes_of(case), *(self.rest if self._base_rest is None else ())]
                found = self._score(probes, _answers(adapted, probes), "base")
                self._base_krr[case.subject] = value_of(found.subjects[case.subject].own_public, "krr")
                if self._base_rest is None:
                    self._base_rest = found.retain["krr"].value

    def _score(self, probes: Sequence[Probe], texts: Mapping[str, str], which: str) -> Measurement:
        return score_texts(
            probes,
            texts,
            backends=self._judges,
            which="base" if which == "base" else "adapter",
            other_values=self._others,
            settings=MeasureSettings(seed=self._seed),
        )

    def _figures(self, found: Measurement, likely: Mapping[str, MetricResult], subject: str) -> Figures:
        mine = found.subjects[subject]
        return {
            "kfr": value_of(mine.forget, "kfr"),
            "kfr_low": mine.forget["kfr"].lower,
            "hit": value_of(mine.forget, "value_in_output"),
            "named": value_of(mine.forget, "subject_named"),
            "other": value_of(mine.forget, "other_value"),
            "own": ratio(value_of(mine.own_public, "krr"), self._base_krr[subject]),
            "gold_nll": likely[subject].value if subject in likely else None,
        }


def rest_probes(world: World, erased: Sequence[int], limit: int, seed: int) -> tuple[Probe, ...]:
    """Probes about people who are not forgotten in the study, none of whose values is one of a forgotten fact."""
    gone = {fact for number in erased for fact in world.people[number]["facts"]}
    values = {record.value.casefold() for record in world.records.values() if record.value and record.fact_id in gone}
    left = {fact for number, person in enumerate(world.people) if number not in erased for fact in person["facts"]}
    asked = [
        probe
        for probe in load_probes(world.corpus)
        if probe.fact in left and (probe.value or "").casefold() not in values
    ]
    return probes_from_corpus(
        asked, subject="", names=(), forget_facts=(), own_public_facts=(), secrets=(), seed=seed, retain_limit=limit
    )


def _layers(groups: Sequence[Sequence[Probe]]) -> list[list[Probe]]:
    """One probe of each fact before a second of any."""
    depth = max((len(group) for group in groups), default=0)
    return [[group[level] for group in groups if level < len(group)] for level in range(depth)]


def _answers(loaded: LoadedModel, probes: Sequence[Probe]) -> dict[str, str]:
    questions = [probe.question for probe in probes]
    texts = generation.generate(loaded, questions, max_new_tokens=MeasureSettings().max_new_tokens)
    return {probe.probe_id: text for probe, text in zip(probes, texts, strict=True)}
