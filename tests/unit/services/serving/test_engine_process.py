"""Where the engine's socket lies: the kernel takes no long path for one."""

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest

from policies.errors import LetheError
from services.serving.engine_process import EngineProcess
from services.serving.launch import Boot, Launch

# Stands in for an engine: binds its socket, as the real one does, says where it is, and answers nobody.
BINDS = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1]); open(sys.argv[2], 'w').write('bound')"


@pytest.mark.parametrize("deep_temporary", [False, True], ids=["short TMPDIR", "deep TMPDIR"])
def test_a_home_however_deep_has_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep_temporary: bool
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep) if deep_temporary else "/tmp")
    told: list[Path] = []

    def launch(socket: Path, boot: Boot | None) -> Launch:
        told.append(socket)
        return Launch(argv=(sys.executable, "-c", BINDS, str(socket), str(tmp_path / "said")), env={})

    engine = EngineProcess(launch, deep / "sockets", start_timeout_s=10)
    with pytest.raises(LetheError, match="healthy"):  # it ends at once; that it could bind is what counts
        asyncio.run(engine.start())
    assert (tmp_path / "said").read_text() == "bound"
    assert not told[0].parent.exists()  # nothing stays behind
