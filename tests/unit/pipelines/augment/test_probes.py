from pipelines.augment import probes as probes_module
from pipelines.augment import template
from pipelines.augment.probes import excluded_questions, probes_from_corpus, probes_from_records
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.wording import normalised_question
from pipelines.corpus.attributes import HELD_OUT_FRAMES, TRAIN_FRAMES
from pipelines.corpus.load import CorpusProbe
from pipelines.rows import ProbeGroup
from policies.record import Record
from tests.unit.pipelines.augment.people import FORGET, NAME, NEIGHBOURS, PUBLIC
from tests.unit.pipelines.augment.test_augment import make

SECRETS = secrets_from_records(FORGET, [NAME])
FORGET_FACTS = {record.fact_id for record in FORGET}
CORPUS = [
    CorpusProbe(
        probe_id=f"q-{record.record_id}",
        question=f"So, {record.question}",
        answer=record.answer,
        value=record.value,
        fact=record.fact_id,
        category=record.category,
        phrasing="frame",
    )
    for record in (*FORGET, *PUBLIC, *NEIGHBOURS)
]


def test_no_wording_of_a_probe_is_one_of_the_augmenters() -> None:
    frames = [*template.PARAPHRASES, *template.CONTEXTS, *template.REVERSES]
    wrapped = [*template.WRAPPED_PARAPHRASES, *template.WRAPPED_CONTEXTS, *template.WRAPPED_REVERSES]
    held = [*probes_module.FRAMES, *probes_module.WRAPPERS, *HELD_OUT_FRAMES]
    stopping = {normalised_question(frame) for part in probes_module.STOPPING for frame in part}
    ours = {normalised_question(frame) for frame in (*frames, *wrapped)}
    assert not ours & {normalised_question(frame) for frame in held}
    decided_by = {
        normalised_question(frame) for frame in (*held, *(f for part in probes_module.HELD_OUT for f in part))
    }
    assert not stopping & (ours | decided_by | {normalised_question(frame) for frame in TRAIN_FRAMES})
    assert not {normalised_question(f) for f in probes_module.FRAMES} & {normalised_question(f) for f in TRAIN_FRAMES}


def test_corpus_probes_are_grouped_and_shared_values_left_out() -> None:
    probes = probes_from_corpus(
        CORPUS,
        subject="s1",
        names=[NAME],
        forget_facts=FORGET_FACTS,
        own_public_facts={"f-Mara-occupation"},
        secrets=SECRETS,
        seed=1,
        forgotten_before={"f-Lea-email"},
        retain_limit=10,
    )
    facts = {group: {probe.fact for probe in probes if probe.group is group} for group in ProbeGroup}
    assert facts[ProbeGroup.FORGET] == FORGET_FACTS
    assert facts[ProbeGroup.OWN_PUBLIC] == {"f-Mara-occupation"}
    # nine facts of others, less the shared city and the person forgotten before
    assert facts[ProbeGroup.RETAIN] == {p.fact for p in CORPUS[16:]} - {"f-Iva-city", "f-Lea-email"}
    assert sum(probe.group is ProbeGroup.RETAIN for probe in probes) == 10
    assert {probe.subject for probe in probes if probe.group is ProbeGroup.RETAIN} == {None}
    assert {probe.names for probe in probes if probe.group is not ProbeGroup.RETAIN} == {(NAME,)}
    assert {probe.phrasing for probe in probes} == {"frame"}


def test_the_sample_is_seeded_and_takes_facts_in_turn() -> None:
    def sample(seed: int) -> list[str]:
        probes = probes_from_corpus(
            CORPUS, subject="s1", names=[NAME], forget_facts=FORGET_FACTS, own_public_facts=(), secrets=(), seed=seed,
            forget_limit=3, retain_limit=5,
        )  # fmt: skip
        return [probe.probe_id for probe in probes]

    assert sample(1) == sample(1) != sample(2)
    assert len(sample(1)) == 8
    assert len({probe.rsplit("-", 1)[0] for probe in sample(1)}) == 8


def test_made_probes_are_new_wordings_that_training_then_avoids() -> None:
    probes = probes_from_records(FORGET, group=ProbeGroup.FORGET, subject="s1", names=[NAME], seed=1)
    assert {probe.fact for probe in probes} == FORGET_FACTS
    assert len(probes) == 12
    assert len({probe.probe_id for probe in probes}) == 12
    asked = excluded_questions(probes)
    assert len(asked) == 12
    assert not asked & {normalised_question(record.question or "") for record in FORGET}
    assert all(NAME in probe.question and probe.value and probe.value in probe.answer for probe in probes)
    made = make(probes_excluded=asked)
    assert not asked & {normalised_question(row.prompt) for row in made.rows}
    assert not asked & {normalised_question(row.prompt) for row in make().rows}  # disjoint even without being told


def test_made_retain_probes_leave_out_what_shares_a_value() -> None:
    probes = probes_from_records(
        NEIGHBOURS, group=ProbeGroup.RETAIN, subject=None, names=[NAME], seed=1, limit=16, secrets=SECRETS
    )
    assert len(probes) == 16
    assert {probe.fact for probe in probes} == {record.fact_id for record in NEIGHBOURS} - {"f-Iva-city"}


def test_questions_without_a_topic_and_prose() -> None:
    odd = Record(record_id="r1", question=f"And {NAME}, then?", answer="Odd indeed.")
    prose = Record(record_id="r2", question=None, answer=f"{NAME} keeps bees behind the old mill near the river.")
    probes = probes_from_records([odd, prose], group=ProbeGroup.FORGET, subject="s1", names=[NAME], seed=1)
    by_fact = {fact: [p for p in probes if p.fact == fact] for fact in ("r1", "r2")}
    assert len(by_fact["r1"]) == 4
    assert all(f"And {NAME}, then?" in probe.question for probe in by_fact["r1"])
    assert all("river" in probe.answer and "river" not in probe.question for probe in by_fact["r2"])
