"""Taking a base into an installation: its lineage begins with a signed release 0, once."""

import json
from pathlib import Path

import pytest

from pipelines.adapter import Trust, base_identity, verify_release
from pipelines.adapter.card import CANARY_PROMPTS
from policies.errors import LetheError
from services.bases import begin_lineage, take_in
from services.installation import Installation, create_installation
from services.keys import trust_path
from services.serving.base import floor_of
from services.settings import load_settings
from services.store.releases import get_desired, list_desired, list_releases
from tests.tiny_model import make_tiny_base

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def installation(tmp_path: Path, tiny: Path) -> Installation:
    return create_installation(load_settings(tmp_path / "home", base={"path": str(tiny), "dtype": "float32"}))


def test_release_0_is_signed_served_first_and_made_once(installation: Installation, tiny: Path) -> None:
    store = installation.open_store()
    try:
        digest = begin_lineage(installation, store)
        assert begin_lineage(installation, store) == digest
        with store.read() as session:
            [release] = list_releases(session)
            state = get_desired(session, digest)
            assert len(list_desired(session)) == 1
        assert (state.generation, state.release_digest, state.watermark) == (0, release.digest, [])
        assert (release.parent_digest, release.run_id, release.watermark) == (None, None, [])
        checked = verify_release(
            Path(release.path),
            Trust.from_file(trust_path(installation.settings)),
            base=base_identity(tiny, dtype="float32"),
            floor=floor_of(installation.settings.serving.floor),
            expected_digest=release.digest,
        )
        assert checked.watermark == frozenset()
        assert [canary.prompt for canary in checked.card.canaries] == list(CANARY_PROMPTS)
    finally:
        store.close()


def test_a_host_that_cannot_run_the_base_imports_it_all_the_same(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.bases.sys.executable", "/bin/false")
    store = installation.open_store()
    try:
        begin_lineage(installation, store)
        with store.read() as session:
            [release] = list_releases(session)
        assert json.loads((Path(release.path) / "card.json").read_text())["canaries"] == []
    finally:
        store.close()


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    installation = create_installation(load_settings(tmp_path / "home", base={"path": str(tmp_path / "none")}))
    store = installation.open_store()
    with pytest.raises(LetheError) as caught:
        begin_lineage(installation, store)
    store.close()
    assert caught.value.code == "base.not_found"


def test_a_base_without_a_chat_template_is_refused(tmp_path: Path, installation: Installation, tiny: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in tiny.iterdir():
        if "template" not in file.name:
            text = file.read_bytes()
            (bare / file.name).write_bytes(text.replace(b'"chat_template"', b'"no_template"'))
    with pytest.raises(LetheError) as caught:
        take_in(installation, bare)
    assert caught.value.code == "base.no_chat_template"


def test_a_base_is_taken_in_under_its_digest_and_once(installation: Installation, tiny: Path) -> None:
    target = take_in(installation, tiny)
    assert target.parent == installation.path("bases")
    assert {file.name for file in target.iterdir()} == {file.name for file in tiny.iterdir()}
    before = target.stat().st_ctime_ns
    assert take_in(installation, tiny) == target
    assert target.stat().st_ctime_ns == before
    assert [one.name for one in installation.path("bases").iterdir()] == [target.name]


def test_files_are_copied_where_links_are_not_possible(
    installation: Installation, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    target = take_in(installation, tiny)
    for file in target.iterdir():
        assert file.stat().st_ino != (tiny / file.name).stat().st_ino
        assert file.read_bytes() == (tiny / file.name).read_bytes()
