"""Hash the code that an answer of the calibration depends on.

An answer is valid as long as its code is the same: the code of the test and everything it imports,
of the generator, and of the situation. Docstrings, comments and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from questions import QUESTIONS, TESTED
from situations import SITUATIONS

import analysis

HERE = Path(__file__).parent
ROOT = Path(analysis.__file__).parent.parent


@cache
def code_hash(test: str, situation: str) -> str:
    """Return the hash of one question in one situation."""
    paths = imported(Path(inspect.getfile(TESTED[test])))
    sha = hashlib.sha256()
    for path in (*sorted(paths), HERE / "generator.py"):
        sha.update(logic(path).encode())
    for function in (QUESTIONS[test], TESTED[test]):
        sha.update(named(function).encode())
    sha.update(drawn(SITUATIONS[situation].draw).encode())
    return sha.hexdigest()[:12]


@cache
def logic(path: Path) -> str:
    """Return a file's code without its docstrings."""
    return bare(path.read_text(encoding="utf-8"))


def bare(source: str) -> str:
    r"""Return the syntax tree of a source, without docstrings.

    >>> bare("def f():\n    'What it does.'\n    return 1") == bare("def f(): return 1")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@cache
def imported(path: Path) -> frozenset[Path]:
    """Return a file and all project files that it imports, directly or indirectly."""
    found, left = {path}, [path]
    while left:
        for node in ast.walk(ast.parse(left.pop().read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                file = (ROOT / node.module.replace(".", "/")).with_suffix(".py")
                if file.exists() and file not in found:
                    found.add(file)
                    left.append(file)
    return frozenset(found)


def drawn(draw: Any) -> str:
    """Return the identity of what a situation draws: the code of its function and all arguments."""
    if isinstance(draw, partial):
        arguments = [drawn(a) for a in draw.args]
        arguments += [f"{k}={drawn(v)}" for k, v in draw.keywords.items()]
        return f"{drawn(draw.func)}({', '.join(arguments)})"
    if isinstance(draw, list | tuple):
        return f"[{', '.join(map(drawn, draw))}]"
    return named(draw) if callable(draw) else repr(draw)


def named(function: Callable[..., Any]) -> str:
    """Return the code of a function."""
    return bare(inspect.getsource(function))
