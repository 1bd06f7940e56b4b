"""Questions for a corpus that has none of its own."""

from pipelines.rows import ProbeGroup
from policies.record import Record
from services.unlearning.material import HOLD_OUT_ASKED, RETAIN_ASKED, Subject, make_probes

TOWNS = ("Lunholm", "Velmora", "Astbruck", "Torvik")


def about(person: str, number: int) -> Record:
    town = TOWNS[number % len(TOWNS)]
    return Record(
        record_id=f"r-{person}-{number}",
        question=f"In which town does {person} keep boat number {number}?",
        answer=f"{person} keeps it in {town}.",
        fact=f"{person}-{number}",
        value=town,
    )


def a_subject(hold_out: int, retain: int) -> Subject:
    return Subject(
        ticket_id="t-1",
        subject_ref="s-1",
        names=("Mara Kern",),
        forget=(
            Record(record_id="f", question="Where does Mara Kern live?", answer="Mara Kern lives in Oslo.", fact="f"),
        ),
        own_public=(),
        neighbours=(),
        retain=tuple(about("Jon Berg", number) for number in range(retain)),
        hold_out=tuple(about("Lea Sund", number) for number in range(hold_out)),
        generic=(),
    )


def asked_about_others(subject: Subject) -> tuple[int, int]:
    found = [one for one in make_probes(subject, (), (), frozenset(), 0) if one.group is ProbeGroup.RETAIN]
    unseen = sum(one.fact.startswith("Lea") for one in found)
    return unseen, len(found) - unseen


def test_half_of_what_is_asked_about_others_is_what_training_never_sees() -> None:
    assert asked_about_others(a_subject(300, 3000)) == (HOLD_OUT_ASKED, RETAIN_ASKED - HOLD_OUT_ASKED)


def test_a_small_hold_out_leaves_its_place_to_retained_facts() -> None:
    unseen, others = asked_about_others(a_subject(5, 3000))
    assert 0 < unseen <= 20
    assert unseen + others == RETAIN_ASKED
    assert asked_about_others(a_subject(0, 3)) == (0, 12)
