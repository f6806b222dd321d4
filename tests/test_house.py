"""The house rules: what each side may import, and how long files may get."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from importlinter.cli import lint_imports

from study import study_schema

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "pipeline", "reports", "representations", "study")
#: Packages that `pip install .` does not install: those of the torch side and of the report.
TORCH = ("torch", "transformers", "accelerate", "safetensors", "tokenizers", "gguf")
REPORT = (
    "plotnine",
    "mizani",
    "altair",
    "yaml",
    "pypandoc",
    "typst",
    "matplotlib",
    "seaborn",
    "pingouin",
    "sklearn",
)

WITHOUT = """
import importlib, pkgutil, sys
from dataclasses import replace

class Absent:
    names = set()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is blocked")

Absent.names = {*TORCH, *REPORT}
sys.meta_path.insert(0, Absent())

import analysis
import analysis.__main__
from analysis.planning.simulate import simulate_scores

rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
study = replace(simulate_scores(families=(2, 2)), run={"study": {"preregistered": rules}})
claims = analysis.claims_table(study, n_boot=20).set_index("key")
assert claims.loc["every", "verdict_these"] == "supported", claims["verdict"]

Absent.names = {*TORCH}
for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
    importlib.import_module(module.name)
assert not {"pipeline", "representations"} & set(sys.modules)
"""


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr


def test_analysis_tests_the_claims_where_torch_cannot_be_imported() -> None:
    """Nor does it import the report's packages: only the figures need those."""
    run("-c", f"{TORCH = }\n{REPORT = }\n{WITHOUT}")


def test_the_study_file_needs_no_library_of_either_side() -> None:
    heavy = ("numpy", "pandas", "pyarrow", "scipy", "torch", "transformers")
    run("-c", f"import study, sys; assert not set({heavy}) & set(sys.modules)")


def test_the_schema_of_the_study_file_is_the_codes() -> None:
    written = (ROOT / "data" / "studies" / "study.schema.json").read_text(encoding="utf-8")
    again = "write it again: python -m study > data/studies/study.schema.json"
    assert json.loads(written) == json.loads(json.dumps(study_schema())), again


def test_the_schema_takes_the_studies_that_ship_and_no_other_field() -> None:
    for path in sorted((ROOT / "data" / "studies").glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(content, study_schema())
        for wrong in ({"moduls": ["gpt2"]}, {"seed": -1}, {"pooling": {"skipp": 1}}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(content | wrong, study_schema())


def test_imports_run_in_one_direction() -> None:
    """The contracts are in pyproject.toml; `lint-imports` says more."""
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0


def test_only_steering_meets_both_sides() -> None:
    """It steers at the layer found by the analysis; extraction knows no statistics."""
    sides = {}
    for name in ("extraction", "steering"):
        tree = ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        sides[name] = {module.split(".")[0] for module in modules} & {
            "analysis",
            "pipeline",
            "representations",
        }
    assert sides == {
        "extraction": {"pipeline"},
        "steering": {"analysis", "pipeline", "representations"},
    }


def test_files_are_short_enough_to_read() -> None:
    files = [
        path
        for folder in (".", *PACKAGES, "benchmarks", "tests")
        for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")
    ]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
    }
    assert lengths
    assert {name: n for name, n in lengths.items() if n > 450} == {}


def shown_by_hand(path: Path) -> list[str]:
    """Return where a file makes Markdown, HTML or a terminal line from anything but literals."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name for alias in node.names}
            banned = {
                "rich.console": {"Console"},
                "rich.markup": names,
                "rich.text": {"Text"},
                "IPython.display": names,
                "rich": {"print"},
            }
            if names & banned.get(node.module, set()):
                found.append(f"{path}:{node.lineno}: import from {node.module}")
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            literal = all(isinstance(part, ast.Constant) for part in node.args)
            if name in ("Markdown", "HTML", "Markup") and not literal:
                found.append(f"{path}:{node.lineno}: {name} of other than a literal")
            escaped = any(
                k.arg == "escape" and getattr(k.value, "value", None) is True for k in node.keywords
            )
            if name == "from_markup" or (name == "to_html" and not escaped):
                found.append(f"{path}:{node.lineno}: {name}")
    return found


def test_strings_become_markdown_and_lines_of_a_terminal_in_one_place() -> None:
    """Elsewhere, Markdown is made of literals, and a terminal is a `Terminal`."""
    files = [p for folder in PACKAGES for p in (ROOT / folder).glob("**/*.py")]
    files += [ROOT / "extraction.py", ROOT / "steering.py", ROOT / "emotion_depth.py"]
    place = {ROOT / "study" / "text.py", ROOT / "study" / "terminal.py"}
    assert [line for path in files if path not in place for line in shown_by_hand(path)] == []


def test_strings_shown_by_hand_would_be_found(tmp_path: Path) -> None:
    code = 'from rich.markup import escape\nMarkdown(f"*{x}*")\nMarkdown("*{}*").format(x)\n'
    (tmp_path / "a.py").write_text(code + "from rich.console import Console\nHTML(x)\n")
    assert [line.split(":")[1] for line in shown_by_hand(tmp_path / "a.py")] == ["1", "4", "2", "5"]
