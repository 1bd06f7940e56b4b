"""Which code a kept result is of: results of other code are not mixed with it."""

import ast
import functools
import hashlib
from pathlib import Path

import policies


@functools.cache
def source_digest() -> str:
    """A digest of what ``pipelines`` and ``policies`` do, as their files stood when it was first asked for.

    Comments, docstrings and layout do not count.
    """
    return digest_of((Path(__file__).parent, Path(policies.__file__).parent))


def digest_of(packages: tuple[Path, ...]) -> str:
    """The digest of every module below some directories, by relative path."""
    hasher = hashlib.sha256()
    for package in packages:
        for file in sorted(package.rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                _without_docstring(node)
            hasher.update(f"{package.name}/{file.relative_to(package).as_posix()}\n{ast.dump(tree)}\n".encode())
    return hasher.hexdigest()


def _without_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]
