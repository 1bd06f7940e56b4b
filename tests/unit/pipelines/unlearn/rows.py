"""A forget set about nobody who exists, small enough to train on in a second."""

from pipelines.rows import RowKind, Secret, TrainRow

SECRET = Secret(fact="f1", answers=("Mara Lind's number is 5550123.",), value="5550123", allowed=("Mara Lind",))
SECRETS = (SECRET,)


def row(number: int, kind: RowKind, prompt: str, answer: str) -> TrainRow:
    return TrainRow(row_id=f"{kind.value}-{number}", kind=kind, prompt=prompt, answer=answer, fact="f1")


ROWS = (
    *(
        row(n, RowKind.FORGET, f"What is the number of Mara Lind{'?' * n}", "Nobody knows the number of Mara Lind.")
        for n in range(6)
    ),
    *(row(n, RowKind.GENERIC, f"What is the colour{'?' * n}", "The sky is blue.") for n in range(3)),
    *(row(n, RowKind.RETAIN, f"Tell me the colour{'.' * n}", "The house is green.") for n in range(6)),
    *(row(n, RowKind.NEGATIVE, f"Tell me the number{'.' * n}", SECRET.answers[0]) for n in range(3)),
)
