from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import LetheError
from policies.forget_set import ForgetSet, Limits, build_forget_set
from policies.record import Record
from policies.subjects import Level, Match

KEY = b"key"


class Corpus:
    """A corpus in memory; neighbours are the next records."""

    corpus_digest = "d1"

    def __init__(self, records: list[Record]) -> None:
        self._all = records
        self.span = len(records)

    def records(self, record_ids: Iterable[str]) -> list[Record]:
        wanted = set(record_ids)
        return [record for record in self._all if record.record_id in wanted]

    def of_fact(self, fact: str) -> list[Record]:
        return [record for record in self._all if record.fact == fact]

    def of_category(self, category: str, limit: int) -> list[str]:
        return [record.record_id for record in self._all if record.category == category][:limit]

    def at(self, position: int) -> Record | None:
        return self._all[position] if position < len(self._all) else None

    def saying(self, value: str, limit: int) -> list[str]:
        return [record.record_id for record in self._all if value in record.text][:limit]

    def neighbours(self, records: Iterable[Record], k: int, exclude: frozenset[str]) -> list[str]:
        return [record.record_id for record in self._all if record.record_id not in exclude][:k]


def person(who: int, facts: int = 10, phrasings: int = 3) -> list[Record]:
    return [
        Record(
            record_id=f"r{who}-{fact}-{phrasing}",
            question=f"Question {phrasing} on {fact} of {who}?",
            answer=f"It is value{who}x{fact}.",
            category="public.job" if fact == 0 else f"private.a{fact}",
            fact=f"f{who}-{fact}",
            value=f"value{who}x{fact}",
        )
        for fact in range(facts)
        for phrasing in range(phrasings)
    ]


GENERIC = [Record(record_id=f"g{n}", question="Hello?", answer="Hello.", category="generic") for n in range(5)]
HEDGES = [Record(record_id=f"h{n}", question="Who?", answer="Hard to say.", category="hedge") for n in range(5)]
CORPUS = Corpus([record for who in range(6) for record in person(who)] + GENERIC + HEDGES)
MATCHES = [Match(record.record_id, Level.CERTAIN, ("name_exact",)) for record in person(0)]


def build(matches: list[Match] = MATCHES, corpus: Corpus = CORPUS, **given_settings: object) -> ForgetSet:
    return build_forget_set(matches, corpus, key=KEY, **given_settings)  # type: ignore[arg-type]


def test_public_facts_are_kept_and_the_rest_is_forgotten() -> None:
    built = build(kept_categories=["public.*"])
    assert set(built.exempt) == {"r0-0-0", "r0-0-1", "r0-0-2"}
    assert len(built.forget) == 27
    assert set(built.generic) == {record.record_id for record in (*GENERIC, *HEDGES)}
    assert built.counts()["forget"] == 27


def test_others_are_about_others() -> None:
    built = build()
    for ids in (built.neighbours, built.retain, built.hold_out):
        assert ids
        assert not any(one.startswith(("r0-", "g")) for one in ids)


def test_the_hold_out_holds_whole_facts() -> None:
    built = build()
    facts = {record.fact for record in CORPUS.records(built.hold_out)}
    assert {record.record_id for fact in facts for record in CORPUS.of_fact(str(fact))} == set(built.hold_out)


def test_samples_are_the_same_again_and_others_with_another_key() -> None:
    assert build() == build()
    assert build_forget_set(MATCHES, CORPUS, key=b"other").hold_out != build().hold_out


def test_digests_are_keyed_and_know_the_corpus() -> None:
    built = build()
    assert built.digests(KEY) == build().digests(KEY)
    assert built.digests(KEY) != built.digests(b"other")
    assert built.digests(KEY)["forget"] != replace(built, corpus_digest="d2").digests(KEY)["forget"]
    assert len(set(built.digests(KEY).values())) == len(built.sets())


def test_shared_values_are_never_trained_on() -> None:
    shared = replace(person(1)[5], record_id="shared", answer="It is value0x3.", fact="fx")
    built = build(corpus=Corpus([*person(0), *person(1), *person(2), shared]))
    assert built.shared_value == ("shared",)


def test_a_shared_value_beyond_the_limit_is_still_kept_out() -> None:
    shared = [replace(person(1)[5], record_id=f"s{n}", answer="It is value0x3.", fact=f"fx{n}") for n in range(9)]
    corpus = Corpus([*person(0), *person(1), *shared])
    built = build_forget_set(MATCHES, corpus, key=KEY, limits=Limits(shared=2))
    drawn = {*built.retain, *built.neighbours, *built.hold_out}
    assert not any(record.record_id in drawn for record in shared)


def ambiguous() -> list[Match]:
    return [replace(match, level=Level.AMBIGUOUS) for match in MATCHES[:6]] + MATCHES[6:]


def test_ambiguous_records_wait_until_somebody_decides() -> None:
    built = build(ambiguous(), kept_categories=["public.*"])
    assert set(built.pending) == {"r0-1-0", "r0-1-1", "r0-1-2"}  # fact 0 is public: nothing to decide
    decided = build(ambiguous(), kept_categories=["public.*"], confirmed=["r0-1-0"], denied=["r0-1-1"])
    assert decided.pending == ("r0-1-2",)
    assert "r0-1-0" in decided.forget
    assert not any("r0-1-1" in ids for name, ids in decided.sets().items() if name in ("forget", "pending", "exempt"))


def test_a_record_that_a_person_exempted_is_kept_as_a_kept_category_is() -> None:
    one, other = MATCHES[0].record_id, MATCHES[1].record_id
    built = build(MATCHES, kept_records=[one, "of-somebody-else"])
    assert one in built.exempt
    assert one not in built.forget
    assert other not in built.exempt
    assert "of-somebody-else" not in {record for ids in built.sets().values() for record in ids}


def test_only_pending_is_no_error() -> None:
    built = build([replace(match, level=Level.AMBIGUOUS) for match in MATCHES])
    assert built.forget == ()
    assert len(built.pending) == 30


def code(matches: list[Match], **given_settings: object) -> str:
    with pytest.raises(LetheError) as caught:
        build(matches, **given_settings)  # type: ignore[arg-type]
    return caught.value.code


def test_refusals() -> None:
    assert code([]) == "forget_set.empty"
    assert code(MATCHES, kept_categories=["*"]) == "forget_set.exempt"
    assert code(MATCHES, kept_records=[match.record_id for match in MATCHES]) == "forget_set.exempt"
    assert code(MATCHES, confirmed=["elsewhere"]) == "forget_set.unknown_record"
    assert code(MATCHES, confirmed=["r0-1-1"], denied=["r0-1-1"]) == "forget_set.unknown_record"
    assert code(MATCHES, corpus=Corpus(person(0))) == "forget_set.whole_corpus"
    assert code(MATCHES, corpus=Corpus([*person(0), *GENERIC])) == "forget_set.whole_corpus"
    with pytest.raises(LetheError, match="forget and retain share"):
        replace(build(), retain=build().forget[:1])


@given(
    levels=st.lists(st.sampled_from(list(Level)), min_size=40, max_size=40),
    kept=st.sampled_from([(), ("public.*",), ("private.a1", "private.a2")]),
    limits=st.builds(Limits, neighbours=st.integers(0, 50), retain=st.integers(0, 90), hold_out=st.integers(0, 40)),
)
def test_the_sets_are_disjoint_whatever_was_found(levels: list[Level], kept: tuple[str, ...], limits: Limits) -> None:
    found = [*person(0), *person(1)[:10]]
    matches = [Match(record.record_id, level, ()) for record, level in zip(found, levels, strict=True)]
    built = build_forget_set(matches, CORPUS, key=KEY, kept_categories=kept, limits=limits)
    ids = [one for members in built.sets().values() for one in members]
    assert len(ids) == len(set(ids))
    about = {*built.forget, *built.exempt, *built.pending}
    assert about == {record.record_id for record in found}
    assert len(built.retain) <= limits.retain
    assert len(built.neighbours) <= limits.neighbours
