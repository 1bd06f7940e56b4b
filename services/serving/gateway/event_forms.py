"""How an engine writes the events of a stream, so that events of ours cannot be told from its own.

vLLM ends a choice with keys that no other event has (``stop_reason``, ``system_fingerprint``). Where we end before the
engine, or go on at its last event (a starved vLLM puts several tokens into one), its event has the wrong keys.
"""

from typing import Any

Event = dict[str, Any]


class EventForms:
    """The forms of one kind of stream, learned from the engine's own events. No text is kept."""

    def __init__(self) -> None:
        self._known: dict[bool, tuple[Event, Event]] = {}

    @property
    def goes_on(self) -> bool:
        """Whether an event has been seen after which a choice goes on."""
        return False in self._known

    def learn(self, body: Event, choice: Event) -> None:
        """Take over the form of an event of the engine with this choice in it."""
        self._known[_ends(choice)] = body | {"choices": None}, dict.fromkeys(choice)

    def write(self, body: Event, choice: Event) -> Event:
        """An event with this choice in the form that its reason to end asks for; as it is where none is known."""
        if _ends(choice) in self._known:
            body_form, choice_form = self._known[_ends(choice)]
            body, choice = _like(body_form, body), _like(choice_form, choice)
        return body | {"choices": [choice]}


def _ends(choice: Event) -> bool:
    return choice["finish_reason"] is not None


def _like(form: Event, values: Event) -> Event:
    return {key: values.get(key, default) for key, default in form.items()}
