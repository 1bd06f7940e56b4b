"""Events of ours have the form of the engine's: vLLM's have other keys where a choice ends."""

from typing import Any

from services.serving.gateway.event_forms import EventForms

Given = tuple[dict[str, Any], dict[str, Any]]


def on(**more: Any) -> Given:
    body = {"id": "c-1", "created": 1, "choices": [], "usage": None}
    return body | more, {"index": 0, "delta": {"content": "a"}, "finish_reason": None, "token_ids": None}


def end(**more: Any) -> Given:
    body = {"id": "c-1", "created": 1, "choices": [], "fingerprint": "v"}
    return body | more, {"index": 0, "delta": {"content": "b"}, "finish_reason": "length", "stop_reason": None}


def learned() -> EventForms:
    forms = EventForms()
    forms.learn(*on())
    forms.learn(*end())
    return forms


def test_an_end_before_the_engines_has_the_form_of_an_end() -> None:
    body, choice = on(id="c-2", created=9)
    written = learned().write(body, choice | {"finish_reason": "stop", "delta": {"content": ""}})
    assert list(written.items()) == [
        ("id", "c-2"),
        ("created", 9),
        ("choices", [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "stop_reason": None}]),
        ("fingerprint", "v"),
    ]


def test_what_goes_on_at_the_engines_end_has_the_form_of_what_goes_on() -> None:
    body, choice = end(id="c-2")
    written = learned().write(body, choice | {"finish_reason": None})
    assert written == {
        "id": "c-2",
        "created": 1,
        "choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None, "token_ids": None}],
        "usage": None,
    }


def test_no_text_is_kept_and_nothing_unknown_is_changed() -> None:
    assert "'a'" not in str(vars(learned()))
    body, choice = end()
    assert EventForms().write(body, choice) == body | {"choices": [choice]}
