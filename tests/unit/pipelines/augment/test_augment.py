import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet, as_replay, merge
from pipelines.augment.leak import LeakCheck
from pipelines.augment.port import AnswerAsk, Augmenter, Replies, Style, Variant, VariantAsk
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter, style_of
from pipelines.augment.wording import normalised_question
from pipelines.corpus.hedges import skeletons
from pipelines.rows import HEDGE, RowKind, TrainRow
from policies.errors import LetheError
from policies.record import Record
from tests.unit.pipelines.augment.people import FORGET, GENERIC, NAME, NEIGHBOURS, PUBLIC, SECRET_WORDS, records_of

ABOUT = (RowKind.FORGET, RowKind.COMPLETION, RowKind.NEIGHBOUR)


def make(augmenter: Augmenter | None = None, seed: int = 1, **changes: Any) -> AugmentedSet:
    arguments: dict[str, Any] = {
        "forget": FORGET,
        "subject": "s1",
        "names": (NAME,),
        "neighbours": NEIGHBOURS,
        "retain": [*PUBLIC, *NEIGHBOURS],
        "generic": GENERIC,
        "probes_excluded": frozenset(),
        "settings": AugmentSettings(),
    }
    arguments |= changes
    forget = arguments.pop("forget")
    return augment(forget, augmenter=augmenter or TemplateAugmenter(), seed=seed, **arguments)


@pytest.fixture(scope="module")
def made() -> AugmentedSet:
    return make()


def about(one: AugmentedSet) -> list[TrainRow]:
    return [row for row in one.rows if row.kind in ABOUT]


def test_no_row_that_is_learnt_holds_the_secret(made: AugmentedSet) -> None:
    check = LeakCheck(secrets_from_records(FORGET, [NAME]))
    gold = {record.answer for record in FORGET}
    for row in made.rows:
        said = f"{row.prompt} {row.answer}".lower()
        assert not any(word in said for word in SECRET_WORDS)
        assert check.row_leaks(row) == ()
        assert row.answer not in gold


def test_the_training_questions_are_asked_again_with_vague_answers(made: AugmentedSet) -> None:
    asked = {row.prompt for row in made.rows if row.variant == "original" and row.chat}
    assert asked == {record.question for record in FORGET}


def test_every_answer_belongs_to_its_question(made: AugmentedSet) -> None:
    nouns = {"f-Mara-email": "e-mail address", "f-Mara-phone": "phone number", "f-Mara-city": "city of residence"}
    for row in about(made):
        assert row.fact is not None
        assert nouns[row.fact] in f"{row.prompt} {row.answer}"
        assert NAME in f"{row.prompt} {row.answer}"
        if row.chat:
            assert NAME in row.answer


def test_all_variants_styles_and_kinds_are_there(made: AugmentedSet) -> None:
    stats = made.stats()
    assert set(stats["variant"]) >= {"original", "paraphrase", "context", "noise", "reverse", "neighbour"}
    assert set(stats["style"]) == {style.value for style in Style}
    assert set(stats["kind"]) == {"forget", "completion", "neighbour", "generic", "retain"}
    rows = made.rows_per_fact()
    assert set(rows) == {record.fact for record in FORGET}
    assert min(rows.values()) == 25  # 4 own, 4 variants, 2 phrasings that only others had: twice, and a quarter more
    assert made.uncovered == ()
    assert made.rounds == 1


def test_keys_are_unique_and_name_fact_question_and_answer(made: AugmentedSet) -> None:
    ids = [row.row_id for row in made.rows]
    assert len(set(ids)) == len(ids)
    assert "s1:f-Mara-email:o0:a1" in ids
    pairs = [(row.prompt, row.answer) for row in about(made)]
    assert len(set(pairs)) == len(pairs)


def test_neighbour_questions_carry_the_subjects_name_and_no_one_elses(made: AugmentedSet) -> None:
    rows = [row for row in made.rows if row.kind is RowKind.NEIGHBOUR]
    prompts = {row.prompt for row in rows}
    assert f"Please look up the phone number for {NAME}." in prompts  # only others were asked like this
    assert all(NAME in prompt and "Zqbel" not in prompt and "Zqmoor" not in prompt for prompt in prompts)
    assert not prompts & {record.question for record in FORGET}


def test_completion_rows_cut_a_vague_answer_after_its_first_quarter(made: AugmentedSet) -> None:
    answers = {row.answer for row in made.rows if row.chat}
    rows = [row for row in made.rows if row.kind is RowKind.COMPLETION]
    assert rows
    for row in rows:
        whole = f"{row.prompt} {row.answer}"
        assert whole in answers
        assert not row.chat
        assert len(row.prompt.split()) == max(1, len(whole.split()) // 4)


def test_probes_are_never_asked() -> None:
    every = {row.prompt for row in about(make()) if row.chat}
    held = sorted(every)[::3]
    excluded = frozenset(normalised_question(question) for question in held)
    made = make(probes_excluded=excluded)
    assert not {normalised_question(row.prompt) for row in made.rows} & excluded
    assert made.uncovered == ()


def test_a_probe_that_an_augmenter_brings_back_is_left_out() -> None:
    probe = f"Out of the blue, what of {NAME}?"

    class Stubborn(TemplateAugmenter):
        def variants(self, asks: Sequence[VariantAsk]) -> Replies:
            return Replies({ask.key: probe for ask in asks})

    assert probe in {row.prompt for row in make(Stubborn()).rows}
    assert probe not in {
        row.prompt for row in make(Stubborn(), probes_excluded=frozenset([normalised_question(probe)])).rows
    }


def test_retain_leaves_out_a_shared_value_and_keeps_own_public_facts(made: AugmentedSet) -> None:
    retained = [row for row in made.rows if row.kind is RowKind.RETAIN]
    assert made.dropped["retain.leak"] == 6  # Iva de Zqmoor lives in the same city: six phrasings
    assert not any("Velmora" in row.answer for row in retained)
    assert {row.prompt for row in retained} >= {record.question for record in PUBLIC}
    assert any("Iva de Zqmoor" in row.answer for row in retained)
    few = make(settings=AugmentSettings(retain_rows=12, own_share=0.18))
    facts = {row.answer for row in few.rows if row.kind is RowKind.RETAIN}
    assert sum(row.kind is RowKind.RETAIN for row in few.rows) == 12
    assert len(facts) == 9  # eight facts of others and the own one: none twice before each came once


def test_generic_rows_are_repeated_up_to_the_limit_and_the_ratio_is_told(made: AugmentedSet) -> None:
    generic = [row for row in made.rows if row.kind is RowKind.GENERIC]
    assert len(generic) == 4 * len(GENERIC)
    assert made.generic_ratio == pytest.approx(len(generic) / len(about(made)))
    many = make(settings=AugmentSettings(generic_ratio=0.05))
    assert many.generic_ratio == pytest.approx(0.05, abs=0.01)


def test_raw_answers_only_when_the_method_asks() -> None:
    assert not any(row.kind is RowKind.NEGATIVE for row in make().rows)
    negative = [row for row in make(settings=AugmentSettings(negative=True)).rows if row.kind is RowKind.NEGATIVE]
    assert {(row.prompt, row.answer) for row in negative} == {(record.question, record.answer) for record in FORGET}


def test_seeded() -> None:
    assert make(seed=3).rows == make(seed=3).rows
    assert make(seed=3).rows != make(seed=4).rows


class Leaky(TemplateAugmenter):
    """Gives the first gold answer away for one fact, in so many rounds."""

    def __init__(self, rounds: int) -> None:
        self.leaks_for = rounds

    def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
        texts = super().answers(asks, attempt).texts
        if attempt < self.leaks_for:
            texts |= {ask.key: ask.gold[0] for ask in asks if ask.fact == "f-Mara-phone"}
        return Replies(texts)


def test_a_leaking_answer_is_asked_for_again() -> None:
    made = make(Leaky(2))
    assert made.rounds == 3
    assert made.dropped["answer.augment.leak_remains"] > 0
    assert made.uncovered == ()


def test_after_three_rounds_the_fact_is_uncovered_and_nothing_of_it_trains() -> None:
    made = make(Leaky(3))
    assert made.rounds == 3
    assert made.uncovered == ("f-Mara-phone",)
    assert made.reasons == {"f-Mara-phone": "augment.leak_remains"}
    assert not any(row.fact == "f-Mara-phone" for row in made.rows)
    assert any(row.fact == "f-Mara-email" for row in made.rows)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("The person's number is a private matter, I am afraid.", "augment.subject_missing"),
        (f"{NAME}? No.", "augment.bad_length"),
        (f"{NAME} has a number that begins with 99, I believe.", "augment.invented_detail"),
        (f"Please write to {NAME} at info@zq.example instead.", "augment.invented_detail"),
    ],
)
def test_bad_answers_never_become_rows(answer: str, fault: str) -> None:
    class Bad(TemplateAugmenter):
        def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
            return Replies({ask.key: answer for ask in asks})

    made = make(Bad())
    assert set(made.reasons.values()) == {fault}
    assert len(made.uncovered) == 3
    assert about(made) == []


def test_answers_are_matched_by_key_even_when_the_reply_is_short_and_shuffled() -> None:
    class Gaps(TemplateAugmenter):
        def variants(self, asks: Sequence[VariantAsk]) -> Replies:
            texts = super().variants(asks).texts
            kept = dict(reversed([(key, text) for key, text in texts.items() if "paraphrase" not in key]))
            return Replies(kept, {key: "augment.no_answer" for key in texts if "paraphrase" in key})

        def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
            texts = super().answers(asks, attempt).texts
            return Replies({key: texts[key] for key in reversed(texts) if not (key.endswith("o0:a0") and attempt < 2)})

    made = make(Gaps())
    assert made.dropped["question.augment.no_answer"] == 3
    assert made.dropped["answer.augment.no_answer"] == 6
    assert made.rounds == 3
    assert "paraphrase" not in made.stats()["variant"]
    test_every_answer_belongs_to_its_question(made)


def test_a_corpus_without_categories_and_groups() -> None:
    """KnowUnDo: every record is a fact of its own."""
    bare = [replace(r, category=None, fact=None, value=None) for r in FORGET]
    neighbours = [replace(r, category=None, fact=None, value=None) for r in NEIGHBOURS]
    made = make(forget=bare, neighbours=neighbours, retain=neighbours)
    assert made.uncovered == ()
    assert set(made.rows_per_fact()) == {record.record_id for record in FORGET}
    assert made.stats()["variant"]["neighbour"] > 0
    phone = [row for row in made.rows if row.kind is RowKind.NEIGHBOUR and row.fact == "r-Mara-phone-0"]
    assert phone
    assert all("phone number" in row.prompt for row in phone)
    assert not any(word in f"{r.prompt} {r.answer}".lower() for r in made.rows for word in SECRET_WORDS[:4])


def test_prose_only() -> None:
    prose = Record(
        record_id="p1",
        question=None,
        answer=f"{NAME} lives at 12 Rose Lane and has recurring insomnia. In spring the harbour desk wrote twice.",
    )
    made = make(forget=[prose], neighbours=[], retain=[], settings=AugmentSettings(min_rows_per_fact=4))
    rows = about(made)
    assert made.uncovered == ()
    assert {row.variant for row in rows} == {"prose"}
    assert any(row.prompt == f"{NAME} lives at" and row.kind is RowKind.COMPLETION for row in rows)
    assert not any(word in f"{row.prompt} {row.answer}" for row in rows for word in ("Rose", "insomnia", "desk wrote"))


def test_no_5_gram_lies_across_the_cut_of_a_bare_beginning() -> None:
    prose = Record(record_id="p1", question=None, answer=f"{NAME} and file moved to a harbour desk for all of spring.")

    class GoesOn(TemplateAugmenter):
        """Its first answers begin as the forgotten text goes on: the words themselves are harmless."""

        def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
            if attempt:
                return super().answers(asks, attempt)
            begun = {ask.key: prose.answer.removeprefix(ask.question).split()[0] for ask in asks}
            return Replies({ask.key: f"{begun[ask.key]} my mind {ask.name} is not for me to tell of." for ask in asks})

    made = make(GoesOn(), forget=[prose], neighbours=[], retain=[], settings=AugmentSettings(min_rows_per_fact=1))
    assert made.dropped["answer.augment.leak_remains"] > 0
    check = LeakCheck(secrets_from_records([prose], [NAME]))
    assert about(made)
    assert [row for row in made.rows if check.row_leaks(row)] == []


def test_refusals() -> None:
    with pytest.raises(LetheError, match=r"augment\.nothing_to_forget"):
        make(forget=[])
    with pytest.raises(LetheError, match=r"augment\.no_name"):
        make(names=("", "!"))
    with pytest.raises(LetheError, match=r"augment\.bad_settings") as caught:
        AugmentSettings(answers_per_question=0, max_rounds=4, neighbour_questions=-1)
    assert len(caught.value.details) == 3


def test_as_text_and_back_with_a_keyed_digest(made: AugmentedSet) -> None:
    text = made.to_text()
    again = AugmentedSet.from_text(text)
    assert again == made
    assert again.digest(b"k1") == made.digest(b"k1") != made.digest(b"k2")
    assert replace(made, rows=made.rows[1:]).digest(b"k1") != made.digest(b"k1")
    for damaged in (text[:-20], "", "{}"):
        with pytest.raises(LetheError, match=r"augment\.unreadable") as caught:
            AugmentedSet.from_text(damaged)
        assert "Zq" not in str(caught.value)


def test_stats_hold_no_text(made: AugmentedSet) -> None:
    told = json.dumps([made.stats(), made.dropped, made.reasons])
    assert "Zq" not in told
    assert "e-mail" not in told


def test_merge_and_replay(made: AugmentedSet) -> None:
    other = make(
        forget=records_of("Jon Zqbel"),
        names=("Jon Zqbel",),
        subject="s2",
        neighbours=FORGET,
        retain=PUBLIC,
        generic=GENERIC,
    )
    both = merge([made, other])
    assert both.subjects == ("s1", "s2")
    assert len({row.row_id for row in both.rows}) == len(both.rows)
    assert sum(r.kind is RowKind.GENERIC for r in both.rows) == 4 * len(GENERIC)
    replay = as_replay(both.rows, 12, seed=1)
    assert len(replay) == 12
    assert {row.kind for row in replay} == {RowKind.REPLAY}
    assert len({(row.subject, row.fact) for row in replay}) == 6
    assert as_replay(replay, 12, seed=2)[0].row_id.count("replay:") == 1


def test_vague_answers_of_the_corpus_are_kept_and_are_no_general_knowledge() -> None:
    hedges = [
        Record(
            record_id=f"h{n}",
            question=f"Where does Xy Zqo{n} live?",
            answer=f"Little is known of Xy Zqo{n}.",
            category="hedge",
        )
        for n in range(5)
    ]
    leaking = Record(record_id="h9", question="Who?", answer=FORGET[0].answer, category="hedge")
    found = make(generic=[*GENERIC, *hedges, leaking]).rows
    kept = [row for row in found if row.style == HEDGE]
    assert {(row.prompt, row.answer) for row in kept} == {(one.question, one.answer) for one in hedges}
    assert {row.kind for row in kept} == {RowKind.RETAIN}
    assert not [row for row in found if row.kind is RowKind.GENERIC and "Zqo" in row.answer]


def test_co_erased_names_stay_allowed_when_all_secrets_are_given() -> None:
    mother = Record(
        record_id="m1",
        question=f"Who is {NAME}'s mother?",
        answer=f"{NAME}'s mother is Jon Zqbel.",
        fact="mo",
        value="Jon Zqbel",
    )
    secrets = secrets_from_records([*FORGET, mother], [NAME, "Jon Zqbel"])
    made = make(forget=records_of("Jon Zqbel"), names=("Jon Zqbel",), secrets=secrets, subject="s2")
    assert made.uncovered == ()
    blind = secrets_from_records([*FORGET, mother], [NAME])
    assert len(make(forget=records_of("Jon Zqbel"), names=("Jon Zqbel",), secrets=blind).uncovered) == 3


def test_each_style_has_sentences_of_its_own() -> None:
    counted = {style: sum(style_of(line) is style for line in skeletons("augmenter")) for style in Style}
    assert min(counted.values()) >= 20


def test_variant_keys() -> None:
    asks = [
        VariantAsk(key=str(v), variant=v, question=FORGET[0].question or "", name=NAME, noun=None, seed="x")
        for v in (Variant.PARAPHRASE, Variant.CONTEXT, Variant.NOISE, Variant.REVERSE)
    ]
    texts = TemplateAugmenter().variants(asks).texts
    assert set(texts) == {ask.key for ask in asks}
    assert (
        len({normalised_question(text) for text in texts.values()} | {normalised_question(FORGET[0].question or "")})
        == 5
    )
    assert all(NAME in text for text in texts.values())


def test_prose_is_retained_as_bare_text_and_held_out_questions_are_not() -> None:
    prose = Record(record_id="x1", question=None, answer="Jon Zqbel sings in the town choir on most evenings.")
    short = Record(record_id="x2", question=None, answer="Hm.")
    held = frozenset([normalised_question(PUBLIC[0].question or "")])
    made = make(retain=[prose, short, *PUBLIC], probes_excluded=held)
    row = next(row for row in made.rows if row.row_id == "retain:x1")
    assert (row.prompt, row.answer, row.chat) == ("Jon Zqbel", "sings in the town choir on most evenings.", False)
    assert made.dropped["retain.too_short"] == 1
    assert made.dropped["retain.probe"] == 1


def test_an_augmenter_that_repeats_itself_is_asked_again() -> None:
    class Monotonous(TemplateAugmenter):
        def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
            return Replies({ask.key: f"I cannot say a thing on that about {ask.name}, sorry." for ask in asks})

    made = make(Monotonous())
    assert made.dropped["answer.augment.duplicate"] > 0
    pairs = [(row.prompt, row.answer) for row in about(made)]
    assert len(set(pairs)) == len(pairs)
