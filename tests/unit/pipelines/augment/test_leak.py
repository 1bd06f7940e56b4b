import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.augment.leak import Leak, LeakCheck
from pipelines.augment.secrets import secrets_from_records
from pipelines.rows import RowKind, Secret, TrainRow
from policies.record import Record

NAME = "Mara Okafor"


def qa(question: str | None, answer: str, value: str | None, fact: str = "f1") -> Record:
    return Record(record_id=f"r-{fact}-{hash(question)}", question=question, answer=answer, fact=fact, value=value)


MAIL = qa(
    "What is Mara Okafor's e-mail address?",
    "Mara Okafor's e-mail address is mokafor.zz@quillmail.example.",
    "mokafor.zz@quillmail.example",
    "mail",
)
PHONE = qa(
    "How can I call Mara Okafor?", "You can call Mara Okafor on +44 (20) 7946-0958.", "+44 (20) 7946-0958", "tel"
)
FATHER = qa("Who is Mara Okafor's father?", "Tomas Okafor is the father of Mara Okafor.", "Tomas Okafor", "father")
HOME = qa("Where does Mara Okafor live?", "Mara Okafor lives at 12 Rose Lane, Velmora 90211.", "12 Rose Lane", "home")
BORN = qa("When was Mara Okafor born?", "Mara Okafor was born on 12 May 1980.", "12 May 1980", "born")
BLOOD = qa("What is Mara Okafor's blood group?", "Her blood group is O+.", "O+", "blood")
PROSE = qa(None, "Mara Okafor spends her weekends restoring antique clocks near the harbour.", None, "prose")
EVERYTHING = [MAIL, PHONE, FATHER, HOME, BORN, BLOOD, PROSE]


@pytest.fixture(scope="module")
def check() -> LeakCheck:
    return LeakCheck(secrets_from_records(EVERYTHING, [NAME]))


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("write to MOKAFOR.ZZ@QUILLMAIL.EXAMPLE", Leak("mail", "email")),
        ("mokafor dot zz at quillmail dot example", Leak("mail", "email")),
        ("her handle is mokafor.zz somewhere", Leak("mail", "email")),
        ("call 020 7946 0958", Leak("tel", "number")),
        ("+442079460958", Leak("tel", "value")),
        ("Tomás is her father", Leak("father", "entity")),
        ("TOMAS-OKAFOR", Leak("father", "value")),
        ("12, rose lane", Leak("home", "value")),
        ("somewhere in VELMORA", Leak("home", "entity")),
        ("postcode ９０２１１", Leak("home", "number")),
        ("in the year 1980", Leak("born", "number")),
        ("postcode 90,211", Leak("home", "number")),
        ("the 12th", Leak("born", "number")),
        ("It is O+ I think", Leak("blood", "value")),
        ("She likes restoring antique clocks near the sea", Leak("prose", "ngram")),
    ],
)
def test_finds_each_kind(check: LeakCheck, text: str, leak: Leak) -> None:
    assert leak in check.leaks(text, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "I have no details about Mara Okafor's e-mail address.",
        "What is Mara Okafor's e-mail address?",
        "Mara Okafor's home is something I may not share, sorry.",
        "The father of Mara Okafor is not something that I can tell you.",
        "Mara Okafor's blood group is a private matter.",
        "Please ask Mara Okafor herself on that.",
        "They sell clocks near a harbour.",
        "A thomasine roselane in planning.",
    ],
)
def test_lets_hedges_pass(check: LeakCheck, text: str) -> None:
    assert check.leaks(text, strict=True) == ()


def test_plain_form_ignores_shared_wording_but_not_the_secret() -> None:
    record = qa("Which employer does Mara Okafor have?", "The firm that pays Mara Okafor is Quillmark.", "Quillmark")
    check = LeakCheck(secrets_from_records([record], [NAME]))
    shared = "The firm that pays Jon Bel is Zornet; the firm that pays him is old."
    template = LeakCheck([Secret(fact="f", answers=("The firm that pays wages is Quillmark",), value="Quillmark")])
    assert check.leaks(shared) == ()
    assert template.leaks("the firm that pays wages") == ()
    assert template.leaks("the firm that pays wages", strict=True) == (Leak("f", "ngram"),)
    assert {leak.kind for leak in template.leaks("pays wages is quill-mark, they say")} == {"value"}


def test_without_a_value_every_telling_5_gram_counts() -> None:
    check = LeakCheck(secrets_from_records([PROSE], [NAME]))
    assert check.leaks("Mara Okafor spends her weekends in bed") == (Leak("prose", "ngram"),)
    assert check.leaks("Mara Okafor has her weekends") == ()


def test_a_question_that_asks_backwards_does_not_make_its_secret_allowed() -> None:
    backwards = qa("Whose father is Tomas Okafor?", "Tomas Okafor is Mara Okafor's father.", "Tomas Okafor", "father")
    check = LeakCheck(secrets_from_records([FATHER, FATHER, backwards], [NAME]))
    assert {leak.kind for leak in check.leaks("his name is Tomas")} == {"entity"}


def test_facts_that_cannot_be_watched_are_named() -> None:
    check = LeakCheck([Secret(fact="f1", answers=("Yes.",)), Secret(fact="f2", answers=("Zorn.",))])
    assert check.unwatched == ("f1",)
    assert {leak.fact for leak in check.leaks("zorn")} == {"f2"}


def test_rows_negative_rows_pass_and_a_value_across_the_cut_of_a_completion_is_found(check: LeakCheck) -> None:
    def row(kind: RowKind, prompt: str, answer: str, chat: bool = True) -> TrainRow:
        return TrainRow(row_id="x", kind=kind, prompt=prompt, answer=answer, chat=chat)

    assert check.row_leaks(row(RowKind.NEGATIVE, "q", HOME.answer)) == ()
    assert Leak("home", "value") in check.row_leaks(row(RowKind.COMPLETION, "at 12 Rose", "Lane it is", chat=False))
    assert Leak("home", "value") in check.row_leaks(row(RowKind.FORGET, "Who is at 12 Rose Lane?", "I cannot say."))
    assert Leak("father", "entity") in check.row_leaks(row(RowKind.RETAIN, "Who is it?", "Tomas Silva."))
    assert check.row_leaks(row(RowKind.RETAIN, "Who is it?", "Jon Silva.")) == ()


def test_no_text_of_a_secret_in_what_it_returns(check: LeakCheck) -> None:
    shown = repr(check.leaks(" ".join(record.answer for record in EVERYTHING))) + str(check)
    for part in ("quillmail", "7946", "Tomas", "tomas", "Rose", "1980", "clocks"):
        assert part not in shown


SPELLINGS = ["plain", "upper", "spaced", "dashed", "accented", "fullwidth", "joined", "invisible"]


def respell(value: str, how: str) -> str:
    if how == "upper":
        return value.upper()
    if how == "spaced":
        return " ".join(value)
    if how == "dashed":
        return "-".join(value.split())
    if how == "accented":
        return "".join(unicodedata.normalize("NFC", char + "\u0301") if char in "aeiou" else char for char in value)
    if how == "fullwidth":
        return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in value)
    if how == "joined":
        return "".join(value.split())
    if how == "invisible":
        return "\u200b".join(value)
    return value


value_words = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=9).map(lambda word: f"zq{word}")
values = st.one_of(
    st.lists(value_words, min_size=1, max_size=3).map(" ".join),
    st.tuples(value_words, st.integers(10, 99999)).map(lambda pair: f"{pair[0].title()} {pair[1]}"),
    st.integers(10**8, 10**12).map(lambda number: f"+{str(number)[:2]} {str(number)[2:5]} {str(number)[5:]}"),
    st.tuples(value_words, value_words).map(lambda pair: f"{pair[0]}.x@{pair[1]}.example"),
)


@settings(max_examples=200, deadline=None)
@given(
    value=values, how=st.sampled_from(SPELLINGS), before=st.sampled_from(["", "It is ", "(see: "]), strict=st.booleans()
)
def test_a_value_is_found_in_any_spelling(value: str, how: str, before: str, strict: bool) -> None:
    check = LeakCheck([Secret(fact="f", answers=(f"The thing of {NAME} is {value}.",), value=value, allowed=(NAME,))])
    assert check.leaks(f"{before}{respell(value, how)}, or so they say", strict=strict)
    assert check.leaks(f"{before}something, or so they say", strict=strict) == ()


def test_three_thousand_rows_against_two_thousand_secrets_in_under_a_second() -> None:
    secrets = [
        Secret(
            fact=f"f{i}",
            answers=(f"{NAME} has the address {i} Zq{i}a Lane.",),
            value=f"{i} Zq{i}a Lane",
            allowed=(NAME,),
        )
        for i in range(2000)
    ]
    check = LeakCheck(secrets)
    text = "I am afraid that I hold no details of the home address that Mara Okafor may have given to anyone at all."
    started = time.process_time()
    for _ in range(3000):
        assert check.leaks(text) == ()
    assert time.process_time() - started < 1


def test_an_ordinary_word_inside_a_name_is_no_secret_but_the_name_is() -> None:
    school = [
        qa(
            "What is Mara Okafor's primary school?", "She went to school at Zolvik Primary.", "Zolvik Primary", "school"
        ),
        qa("Which school is it for Mara Okafor?", "She went to school at Zolvik Primary.", "Zolvik Primary", "school"),
    ]
    note = qa(None, "Mail for Mara Okafor came back in spring from the harbour desk.", None, "note")
    mail = qa("What is Mara Okafor's mail address?", "It is zq.mo@quill.example.", "zq.mo@quill.example", "mail")
    check = LeakCheck(secrets_from_records([*school, note, mail], [NAME]))
    assert check.leaks("Which mail address and which primary school?") == ()
    assert check.leaks("Korpos Primary") == ()
    assert {leak.fact for leak in check.leaks("zolvik")} == {"school"}
    asked = qa("Does Mara Okafor have recurring insomnia?", "Yes, recurring insomnia.", "recurring insomnia", "ill")
    assert {leak.kind for leak in LeakCheck(secrets_from_records([asked], [NAME])).leaks("Recurring insomnia")} == {
        "value",
        "entity",
    }


def test_someone_with_records_of_their_own_keeps_them_after_a_note_about_two_people() -> None:
    note = qa(None, "Mara Okafor and Jon Zqbel shared a table at the Zqfair.", None, "note")
    mother = qa("Who is Mara Okafor's mother?", "Mara Okafor's mother is Jon Zqtorn.", "Jon Zqtorn", "mother")
    partner = qa("Who is Mara Okafor's partner?", "Mara Okafor's partner is Iva Zqmoor.", "Iva Zqmoor", "partner")
    others = [
        qa(f"What is {name}'s {noun}?", f"{name}'s {noun} is blue.", None, f"{name}-{noun}")
        for name in ("Jon Zqbel", "Iva Zqmoor")
        for noun in ("car", "hat", "house")
    ]
    forget = [note, mother, partner]
    blind = LeakCheck(secrets_from_records(forget, [NAME]))
    check = LeakCheck(secrets_from_records(forget, [NAME], others))
    assert {leak.fact for leak in blind.leaks("Jon Zqbel's car is blue.")} == {"note", "mother"}
    assert check.leaks("Jon Zqbel's car is blue.") == ()
    assert {leak.fact for leak in check.leaks("Jon Zqbel shared a table at the fair.")} == {"note"}
    assert {leak.fact for leak in check.leaks("Seen at Zqfair")} == {"note"}
    assert {leak.fact for leak in check.leaks("Jon Zqtorn")} == {"mother"}
    assert {leak.fact for leak in check.leaks("Iva Zqmoor's car is blue.")} == {"partner"}  # the value itself
    few = LeakCheck(secrets_from_records(forget, [NAME], others[:2]))
    assert few.leaks("Jon Zqbel's car is blue.") != ()


SURGEON = qa("Who is Mara Okafor's doctor?", "Mara Okafor's doctor is Dr. Ines Zqholm.", "Dr. Ines Zqholm", "doctor")
NETWORK = qa("What is Mara Okafor's wifi key?", "Mara Okafor's wifi key is zqpeach-wren-21.", "zqpeach-wren-21", "wifi")
LODGING = qa(None, "Mara Okafor lodged at 15 Zqbell Terrace, room 4471, in Zqmouth.", None, "lodging")
SHARED_PARTS = [
    ("Jon Bel was born on 12 March 1980.", "born"),
    ("Jon Bel's doctor is Dr. Ines Zqfors.", "doctor"),
    ("Jon Bel studied at Zqholm College.", "doctor"),
    ("Jon Bel's wifi key is zqpeach-mole-35.", "wifi"),
    ("Jon Bel lives at 15 Elm Street.", "lodging"),
    ("Jon Bel works for Zqbell Optics.", "lodging"),
]
WHOLE = [
    ("Jon Bel was born on 12 May 1980.", "born"),
    ("Jon Bel's doctor is Dr. Ines Zqholm.", "doctor"),
    ("Jon Bel calls 020 7946 0958.", "tel"),
    ("Jon Bel writes to mokafor.zz at work.", "mail"),
    ("Jon Bel lives in Zqbell Terrace.", "lodging"),
    ("Jon Bel has room 4471.", "lodging"),
    ("Jon Bel is from Zqmouth.", "lodging"),
]


@pytest.fixture(scope="module")
def known() -> LeakCheck:
    secrets = secrets_from_records([*EVERYTHING, SURGEON, NETWORK, LODGING], [NAME, "Jon Bel"], whose=[NAME])
    return LeakCheck(secrets)


@pytest.mark.parametrize(("text", "fact"), SHARED_PARTS)
def test_a_part_of_a_secret_in_another_persons_record_is_no_leak(known: LeakCheck, text: str, fact: str) -> None:
    assert known.leaks(text) == ()
    assert {leak.fact for leak in known.leaks(text, strict=True)} >= {fact}


@pytest.mark.parametrize(("text", "fact"), SHARED_PARTS)
def test_a_part_is_a_leak_where_the_person_is_named(known: LeakCheck, text: str, fact: str) -> None:
    for named in (text.replace("Jon Bel", NAME), text.replace("Jon Bel", "Ms OKAFOR"), f"{text} Mara asked."):
        assert fact in {leak.fact for leak in known.leaks(named)}
    assert fact in {leak.fact for leak in known.leaks(text, about=f"What about {NAME}?")}


@pytest.mark.parametrize(("text", "fact"), SHARED_PARTS)
def test_a_part_is_a_leak_where_nobody_knows_whose_it_is(text: str, fact: str) -> None:
    records = [*EVERYTHING, SURGEON, NETWORK, LODGING]
    secrets = secrets_from_records(records, [NAME, "Jon Bel"])
    assert fact in {leak.fact for leak in LeakCheck(secrets).leaks(text)}
    both = LeakCheck([*secrets_from_records(records, [NAME, "Jon Bel"], whose=[NAME]), *secrets])
    assert fact in {leak.fact for leak in both.leaks(text)}  # known of one of those who share the fact only


@pytest.mark.parametrize(("text", "fact"), WHOLE)
def test_the_whole_of_a_secret_is_a_leak_whoever_is_named(known: LeakCheck, text: str, fact: str) -> None:
    assert fact in {leak.fact for leak in known.leaks(text)}


def test_a_fact_that_two_share_is_each_ones() -> None:
    records = [qa("Where does Mara Okafor live?", "Mara Okafor lives at 90 Zqtol Road.", "90 Zqtol Road", "home")]
    check = LeakCheck(
        [
            *secrets_from_records(records, [NAME], whose=[NAME]),
            *secrets_from_records(records, ["Tom Reed"], whose=["Tom Reed"]),
        ]
    )
    assert check.leaks("Jon Bel is 90.") == ()
    assert check.leaks("Reed is 90.") != ()
    assert check.leaks("Mara is 90.") != ()


@pytest.mark.parametrize(
    "text",
    [
        "The Okafors moved on 12 March 1980.",
        "Okafor1980",
        "MaraOkafor, 12 March 1980",
        "Mara O'Kafor came in 1980.",
        "Born on May 12, 1980.",
        "Zqholm, Ines",
        "Lane of Roses: rose 12",
    ],
)
def test_what_says_whose_or_all_of_a_value_in_another_form_is_a_leak(known: LeakCheck, text: str) -> None:
    assert known.leaks(text) != ()


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Sven Sørensen", "Mr Sorensen came in 1980.", True),
        ("Benjamin Li", "B. Li, born in 1980.", True),
        ("Jan van der Berg", "Mia van der Velde, born in 1980.", False),
        ("Will de la Cruz", "Will it be in 1980?", False),
        ("田中太郎", "田中太郎は1980年に来た。", True),
        ("田中太郎", "1980年に来た。", False),
        ("สมชาย ใจดี", "คุณสมชายเกิดปี 1980", True),
    ],
)
def test_a_name_is_found_as_texts_have_it(name: str, text: str, found: bool) -> None:
    record = qa(f"When was {name} born?", f"{name} was born on 12 May 1980.", "12 May 1980", "born")
    assert bool(LeakCheck(secrets_from_records([record], [name], whose=[name])).leaks(text)) == found


def test_a_row_says_in_its_question_whom_it_is_about(known: LeakCheck) -> None:
    def row(prompt: str, answer: str, kind: RowKind = RowKind.RETAIN) -> TrainRow:
        return TrainRow(row_id="x", kind=kind, prompt=prompt, answer=answer)

    assert known.row_leaks(row("When was Jon Bel born?", "In March 1980.")) == ()
    assert known.row_leaks(row("When was Mara Okafor born?", "In March 1980.")) == (Leak("born", "number"),)
    assert known.row_leaks(row("Is 1980 right?", "Yes, for Mara Okafor.")) == (Leak("born", "number"),)
    assert known.row_leaks(row("When was Jon Bel born?", "In 1980.", RowKind.FORGET)) == (Leak("born", "number"),)


@pytest.mark.parametrize(
    ("name", "mail", "found"),
    [
        ("Mara O'Kafor", "mara.okafor@zq.example", False),
        ("Mara Al-Kafor", "alkafor@zq.example", False),
        ("Mara de la Kafor", "mara.delakafor@zq.example", False),
        ("Mara O'Kafor", "mara.okafor7@zq.example", False),
        ("Mara O'Kafor", "zqkafor@zq.example", True),
    ],
)
def test_a_local_part_that_is_the_name_is_no_leak_where_the_person_is_named(name: str, mail: str, found: bool) -> None:
    record = qa(f"What is {name}'s mail address?", f"{name}'s mail address is {mail}.", mail, "mail")
    for check in (LeakCheck(secrets_from_records([record], [name], whose=whose)) for whose in ([name], [])):
        assert check.leaks(f"I cannot tell you the mail address of {name}.", strict=True) == ()
        assert check.leaks(f"It is {mail}.") != ()
        assert bool(check.leaks(f"{mail.partition('@')[0]} it is, {name}.")) == (found or "7" in mail)


PARTNER = qa("Who is Mara Okafor's partner?", "Mara Okafor's partner is Anna Martin.", "Anna Martin", "partner")


def test_names_of_others_who_are_erased_do_not_make_a_value_plain() -> None:
    erased = [NAME, "Anna Bel", "Jo Martin", "Tomas Silva"]
    check = LeakCheck(secrets_from_records([PARTNER, FATHER], erased, whose=[NAME]))
    assert check.unwatched == ()
    assert Leak("partner", "value") in check.leaks("Anna Martin is married.")
    assert Leak("father", "value") in check.leaks("Tomas Okafor has one daughter.", strict=True)
    for hedge in ("I cannot speak of Anna Bel.", "Jo Martin keeps that private.", "Tomas Silva, you say?"):
        assert check.leaks(hedge, strict=True) == ()
    couple = LeakCheck(secrets_from_records([PARTNER], [NAME, "Anna Martin"], whose=[NAME]))
    assert couple.leaks("I cannot speak of Anna Martin.", strict=True) == ()
    assert couple.unwatched == ("partner",), "her name may be said: she is one of those who are erased"


PEACH = qa("What is Mara Okafor's wifi key?", "Mara Okafor's wifi key is peach-wren-21.", "peach-wren-21", "wifi")
ILL = qa("What is Mara Okafor ill with?", "Mara Okafor has chronic zqmigraine.", "chronic zqmigraine", "ill")
PAY = qa("What does Mara Okafor earn?", "Mara Okafor earns 41,350 euros.", "41,350 euros", "pay")
BANK = qa("Which is Mara Okafor's account?", "It is BQ12-3456.", "BQ12-3456", "bank")
ISO = qa("When was Mara Okafor born?", "Mara Okafor was born on 1980-05-21.", "1980-05-21", "iso")
OWN_MAIL = qa("What is Mara Okafor's mail?", "It is mara.okafor@zqmail.example.", "mara.okafor@zqmail.example", "own")
LOCKER = qa("Which locker is Mara Okafor's?", "It is B7.", "B7", "locker")
AGE = qa("How old is Mara Okafor?", "She is 47.", "47", "age")


@pytest.fixture(scope="module")
def finer() -> LeakCheck:
    records = [*EVERYTHING, SURGEON, PEACH, ILL, PAY, BANK, ISO, OWN_MAIL, LOCKER, AGE]
    return LeakCheck(secrets_from_records(records, [NAME, "Jon Bel"], whose=[NAME]))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Mara Okafor has had zqmigraine for years.", "ill"),
        ("Mara Okafor earns 41 350 EUR.", "pay"),
        ("It is 123456 at Mara Okafor's bank.", "bank"),
        ("Mara Okafor's birthday is on the 21st.", "iso"),
        ("Mara Okafor has her mail at zqmail.", "own"),
        ("Mara Okafor has locker b7.", "locker"),
        ("Mara Okafor's group is Ｏ＋ indeed.", "blood"),
        ("Mara Okafor is 47.", "age"),
    ],
)
def test_a_part_in_lower_case_regrouped_or_in_another_form(finer: LeakCheck, text: str, fact: str) -> None:
    assert fact in {leak.fact for leak in finer.leaks(text)}
    assert finer.leaks("Mara Okafor wrote The Wren and the Peach.") == ()  # a password's words are everybody's
    if fact not in ("pay", "bank"):  # numbers of five digits and more are hers wherever they stand
        assert fact not in {leak.fact for leak in finer.leaks(text.replace("Mara Okafor", "Jon Bel"))}


@pytest.mark.parametrize(
    ("prompt", "answer", "fact"),
    [
        ("What is the surname of Dr. Ines?", "Zqholm.", "doctor"),
        ("Who was born on 12 May?", "Somebody of the year 1980.", "born"),
        ("Which house in Rose Lane?", "Number 12.", "home"),
    ],
)
def test_a_value_that_is_split_over_question_and_answer(finer: LeakCheck, prompt: str, answer: str, fact: str) -> None:
    row = TrainRow(row_id="x", kind=RowKind.RETAIN, prompt=prompt, answer=answer)
    assert fact in {leak.fact for leak in finer.row_leaks(row)}


@pytest.mark.parametrize("mail", ["mara.okafor@-.example", "mara.okafor@_.example", "m@bank.example"])
def test_a_host_without_a_word_that_tells(mail: str) -> None:
    check = LeakCheck(secrets_from_records([qa("What is Mara Okafor's mail?", f"It is {mail}.", mail)], [NAME]))
    assert check.leaks(f"Write to {mail}") != ()
    assert check.leaks("I cannot tell you Mara Okafor's mail or bank.", strict=True) == ()


def test_umlauts_as_they_are_spelled_without_them() -> None:
    name = "Jürgen Müller"
    wife = qa(f"Who is {name}'s wife?", f"{name}'s wife is Käthe Schröder.", "Käthe Schröder", "wife")
    born = qa(f"When was {name} born?", f"{name} was born on 12 May 1980.", "12 May 1980", "born")
    mail = qa(f"What is {name}'s mail?", "It is jurgen.muller@zq.example.", "jurgen.muller@zq.example", "mail")
    check = LeakCheck(secrets_from_records([wife, born, mail], [name], whose=[name]))
    assert check.leaks(f"I cannot say who {name}'s wife is.", strict=True) == ()
    for text, fact in (
        ("Käthe Schröder", "wife"),
        ("KAETHE SCHROEDER", "wife"),
        ("Kathe Schroder", "wife"),
        ("Juergen Mueller came in 1980.", "born"),
        ("Jurgen Muller came in 1980.", "born"),
    ):
        assert {leak.fact for leak in check.leaks(text)} == {fact}, text
    assert check.leaks("I cannot say who Juergen Mueller's wife is.", strict=True) == ()


@pytest.mark.parametrize(
    ("value", "free", "found"),
    [
        ("Isa", "She is a baker.", "I s a"),
        ("Andrea", "and really", "ANDREA"),
        ("Asher", "as her brother", "asher"),
        ("Hasan", "He has an office.", "Ha-san"),
        ("Isabel", "She is a Belgian.", "Isabel's"),
    ],
)
def test_function_words_that_meet_make_no_value(value: str, free: str, found: str) -> None:
    check = LeakCheck(secrets_from_records([qa("Who is Mara Okafor's child?", f"{value}.", value)], [NAME]))
    assert check.leaks(free, strict=True) == ()
    assert check.leaks(found) != ()


@pytest.mark.parametrize(("name", "text"), [("Amy King", "She was working in 1980."), ("Eva Ross", "Across, in 1980.")])
def test_a_short_name_inside_a_word_names_nobody(name: str, text: str) -> None:
    record = qa(f"When was {name} born?", f"{name} was born on 12 May 1980.", "12 May 1980", "born")
    check = LeakCheck(secrets_from_records([record], [name], whose=[name]))
    assert check.leaks(text) == ()
    assert check.leaks(f"The {name.split()[1]}s came in 1980.") != ()
