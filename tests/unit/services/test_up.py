"""What `lethe up` starts and with what; that it really starts is shown by the acceptance tests."""

import sys
from collections.abc import Callable

import pytest

from policies.errors import LetheError
from services import jobs, up
from services.installation import hold_role
from services.store.releases import list_desired
from tests.unit.services.place import Place


def test_three_services_where_the_settings_say(
    make_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, object] = {}

    class Supervisor:
        """A fake: it notes what it would supervise."""

        def __init__(self, programs: object, logs: object, environment: object, *_: object, **more: object) -> None:
            made.update(programs=programs, environment=environment, more=more)

    monkeypatch.setattr(up, "Supervisor", Supervisor)
    monkeypatch.setattr(up, "hold_role", lambda *_: None)  # as on PostgreSQL, where many hosts may share a role
    place = make_place(intake={"port": 9101}, unlearning={"port": 9102}, serving={"port": 9103, "host": "0.0.0.0"})
    up.supervisor(place.installation)
    made["more"]["on_stop"]()  # type: ignore[index]
    programs = {program.name: program for program in made["programs"]}  # type: ignore[attr-defined]
    assert list(programs) == ["intake", "unlearning", "serving"]
    for name, host, port in (("intake", "127.0.0.1", 9101), ("serving", "0.0.0.0", 9103)):
        argv = programs[name].argv
        assert argv[0] == sys.executable
        assert argv[argv.index("--host") + 1] == host
        assert argv[argv.index("--port") + 1] == str(port)
        assert programs[name].ready_url == f"http://127.0.0.1:{port}/readyz"
    environment = made["environment"]
    assert environment["LETHE_HOME"] == str(place.installation.home)  # type: ignore[index]
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"  # type: ignore[index]


def test_a_second_supervisor_of_an_installation_is_refused(place: Place) -> None:
    held = hold_role(place.installation.settings, "supervisor")
    assert held is not None
    with pytest.raises(LetheError) as caught:
        up.supervisor(place.installation)
    assert caught.value.code == "store.locked"
    held.release()


def test_everything_is_there_before_a_service_starts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(jobs, "migrate", lambda _: said.append("jobs"))
    monkeypatch.setattr(up, "begin_lineage", lambda *_: said.append("lineage"))
    up.prepare(place.installation.settings, said.append)
    assert said == ["installation", "jobs", "subject index", "release 0", "lineage"]
    with place.store.read() as session:
        assert len(list_desired(session)) == 1
