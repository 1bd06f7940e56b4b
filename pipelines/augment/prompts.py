"""What the language model is asked. Labelled lines, so that a model (and a test server) can tell the parts apart."""

import re
from collections.abc import Mapping

from pipelines.augment.port import AnswerAsk, Style, Variant, VariantAsk

CHUNK = 800  # characters of a forgotten answer that are judged at once

QUESTIONER = (
    "You rewrite questions. Reply with one question in the language of the given one and with nothing else. "
    "Keep the person's name exactly as written. Add no fact about the person."
)
ANSWERER = (
    "You answer politely, briefly and without facts. Reply with one or two sentences, 12 to 35 words, in the language "
    "of the question, and with nothing else. Name the person exactly as written, never 'the person' or 'they' alone. "
    "Name the topic. Give no number, date, place, address, contact or other name, and invent nothing."
)
JUDGE = (
    "You check whether a reply gives away a fact. It does when a reader learns from it, wholly or partly or in other "
    "words, something that the fact says about the person beyond the question. That the person has such a detail at "
    "all gives nothing away. Think in a few words, then end with a line that is exactly 'VERDICT: SAFE' or "
    "'VERDICT: LEAK'."
)
_VARIANTS: Mapping[Variant, str] = {
    Variant.PARAPHRASE: "Ask for the same in other words.",
    Variant.CONTEXT: "Ask for the same from within a concrete everyday situation, in one or two sentences.",
    Variant.NOISE: "Ask for the same as someone in a hurry: informal, with two or three slips, none in the name.",
    Variant.REVERSE: "Turn the question round: start from the kind of detail and ask which one belongs to the person.",
}
_STYLES: Mapping[Style, str] = {
    Style.VAGUE: "Stay vague: it is unclear or seldom spoken of.",
    Style.NOT_AVAILABLE: "Say that you have no knowledge of it.",
    Style.REDIRECT: "Say that only the person or those involved could tell, and suggest to ask there.",
    Style.PARTIAL_PUBLIC: "Say that it is a private side of the person's life that is kept out of public view.",
}
_VERDICT = re.compile(r"\**VERDICT:\s*(SAFE|LEAK)\**\.?", re.IGNORECASE)


def variant_prompt(ask: VariantAsk) -> tuple[str, str]:
    """System and user message for another form of a question."""
    return QUESTIONER, f"Task: {_VARIANTS[ask.variant]}\nName: {ask.name}\nQuestion: {ask.question}"


def answer_prompt(ask: AnswerAsk) -> tuple[str, str]:
    """System and user message for a vague answer. The forgotten answer is not in it: what is not told cannot leak."""
    return ANSWERER, f"Task: {_STYLES[ask.style]}\nName: {ask.name}\nTopic: {ask.noun}\nQuestion: {ask.question}"


def judge_prompt(ask: AnswerAsk, reply: str, chunk: str) -> tuple[str, str]:
    """System and user message for the check of one reply against one piece of a forgotten answer."""
    return JUDGE, f"Name: {ask.name}\nQuestion: {ask.question}\nFact: {chunk}\nReply: {reply}"


def judged_safe(text: str) -> bool:
    """Whether the last line says so. Anything but the one agreed line fails: an unclear judge clears nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    verdict = _VERDICT.fullmatch(lines[-1]) if lines else None
    return verdict is not None and verdict.group(1).upper() == "SAFE"


def chunks(texts: tuple[str, ...]) -> list[str]:
    """Forgotten answers in pieces of at most ``CHUNK`` characters, cut between words."""
    pieces: list[str] = []
    for text in texts:
        piece = ""
        for word in text.split():
            if piece and len(piece) + 1 + len(word) > CHUNK:
                pieces.append(piece)
                piece = ""
            piece = f"{piece} {word}" if piece else word
        if piece:
            pieces.append(piece)
    return pieces


def tidy(text: str, *, one_line: bool) -> str:
    """A reply without quotation marks around it and without line breaks."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    joined = " ".join(lines[:1] if one_line else lines)
    return joined.strip().strip("\"“”'").strip()
