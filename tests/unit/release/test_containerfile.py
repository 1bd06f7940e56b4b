"""Each rule for an image, proved by a Dockerfile that breaks it and nothing else."""

from pathlib import Path

import pytest

from release.containerfile import check_containerfile, check_context, instructions

DIGEST = "@sha256:" + "0" * 64
GOOD = f"""# a comment
FROM python:3.11.15-slim{DIGEST} AS base
ARG BENTO_PATH=/home/bentoml/bento
ENV PATH=/app/.venv/bin:${{PATH}}
RUN apt-get update && apt-get install -q -y \\
    ca-certificates
RUN pip install --no-cache-dir uv==0.13.9
RUN command -v uv >/dev/null || pip install uv
COPY --chown=bentoml:bentoml ./env/python ./env/python/
RUN uv --directory ./src pip install -r $BENTO_PATH/env/python/requirements.txt
USER bentoml
ENTRYPOINT [ "/entrypoint.sh" ]
"""


def test_a_good_one_breaks_no_rule() -> None:
    assert check_containerfile(GOOD) == []


def test_continued_lines_are_one_instruction() -> None:
    run = [one.rest for one in instructions(GOOD) if one.name == "RUN"]
    assert run[0].endswith("install -q -y  ca-certificates")


@pytest.mark.parametrize(
    ("part", "instead", "fault"),
    [
        (DIGEST, "", "base image without a digest: python:3.11.15-slim"),
        (f"FROM python:3.11.15-slim{DIGEST} AS base\n", "", "no base image"),
        ("USER bentoml\n", "", "runs as root"),
        ("USER bentoml", "USER bentoml\nUSER root", "runs as root"),
        ("USER bentoml", "USER 0:0", "runs as root"),
        ("ARG BENTO", "ARG LETHE_API_KEY=abc\nARG BENTO", "secret in the image: LETHE_API_KEY"),
        ("ARG BENTO", "ENV DB_PASSWORD=abc\nARG BENTO", "secret in the image: DB_PASSWORD"),
        ("ARG BENTO", "ARG HF_TOKEN\nARG BENTO", "secret in the image: HF_TOKEN"),
        ("COPY", "ADD https://x.example/a.tar /a\nCOPY", "fetched without a digest: https://x.example/a.tar /a"),
        ("COPY", "RUN curl -fsS https://x.example/i | sh\nCOPY", "runs what it fetches"),
        ("COPY", "RUN chmod -R 777 /app\nCOPY", "too many rights: chmod -R 777 /app"),
        ("uv==0.13.9", "uv", "unpinned package: uv"),
        ("COPY", "RUN uv pip install numpy pandas==3.1.1\nCOPY", "unpinned package: numpy"),
        ('[ "/entrypoint.sh" ]', "/entrypoint.sh", "no entry point, or one in a shell that takes no signals"),
    ],
)
def test_a_broken_rule_is_named(part: str, instead: str, fault: str) -> None:
    broken = GOOD.replace(part, instead, 1)
    assert broken != GOOD
    assert fault in check_containerfile(broken)


def test_what_bentoml_itself_writes_breaks_two_rules() -> None:
    plain = GOOD.replace("RUN pip install --no-cache-dir uv==0.13.9\n", "").replace(DIGEST, "")
    assert check_containerfile(plain) == ["base image without a digest: python:3.11.15-slim", "unpinned package: uv"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src" / "services").mkdir(parents=True)
    (tmp_path / "src" / "services" / "keys.py").write_text("x = 1\n")
    (tmp_path / "env" / "python").mkdir(parents=True)
    (tmp_path / "env" / "python" / "requirements.txt").write_text("# head\nuv==0.13.9\n")
    return tmp_path


def test_the_code_alone_is_no_fault(tree: Path) -> None:
    assert check_context(tree) == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("src/.env", "A=1", "secret: src/.env"),
        ("src/keys/kek", "abc", "secret: src/keys/kek"),
        ("src/operator.key", "abc", "secret: src/operator.key"),
        ("src/a.py", "-----BEGIN EC PRIVATE KEY-----", "secret: src/a.py"),
        ("src/lethe.sqlite", "", "secret: src/lethe.sqlite"),
        ("src/people.jsonl", "{}", "data: src/people.jsonl"),
        ("src/model.safetensors", "", "data: src/model.safetensors"),
        ("src/tests/conftest.py", "", "not needed to run: src/tests/conftest.py"),
        ("src/services/test_x.py", "", "not needed to run: src/services/test_x.py"),
        ("env/python/requirements.txt", "uv>=0.13\n", "unpinned: requirements.txt: 'uv>=0.13' is not pinned"),
    ],
)
def test_what_does_not_belong_into_an_image_is_named(tree: Path, name: str, text: str, fault: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert fault in check_context(tree)
