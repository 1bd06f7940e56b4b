from pathlib import Path

import pytest

from release.licences import NOT_READ, UNKNOWN, Licensed, licences, table
from release.variants import CPU, CUDA, ROOT, pins


def test_every_package_of_the_image_declares_a_licence_that_may_be_passed_on() -> None:
    found = licences(ROOT / CPU.requirements)
    assert len(found) == len(pins(ROOT / CPU.requirements))
    assert [one for one in found if one.refused or one.licence == NOT_READ] == []
    assert {one.name: one.licence for one in found}["psycopg"] == "LGPL-3.0-only"


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", False),
        ("LGPL-3.0-only", False),
        ("MPL-2.0 AND MIT", False),
        ("GPL-3.0-only", True),
        ("AGPL-3.0-or-later", True),
        ("MIT AND GPL-2.0-only", True),
        ("GPL-2.0-only OR MIT", False),
        ("Business Source: BUSL-1.1", True),
        (UNKNOWN, True),
    ],
)
def test_what_binds_or_forbids_is_refused(licence: str, refused: bool) -> None:
    assert Licensed("x", "1", licence, True).refused is refused


def test_what_is_not_installed_is_said_to_be_not_read(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("no-such-package-anywhere==1.0\npydantic==2.14.3\n")
    assert [one.licence for one in licences(lock)] == [NOT_READ, "MIT"]
    assert "| pydantic | 2.14.3 | MIT |" in table(licences(lock))


def test_the_lock_for_cuda_is_the_other_one_and_what_torch_brings() -> None:
    cpu, cuda = pins(ROOT / CPU.requirements), pins(ROOT / CUDA.requirements)
    assert {name: cuda[name] for name in cpu} == cpu
    brought = set(cuda) - set(cpu)
    assert "triton" in brought
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in brought), brought
