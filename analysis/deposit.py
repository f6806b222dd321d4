"""Write what a deposit of a study needs: result, schema, log, citation and RO-Crate metadata."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.registry import Evidence
from analysis.claims.table import ENDING, of_these
from analysis.reporting.say import say
from analysis.scopes import LIKE_THESE, THESE
from analysis.scopes import WORDS as SCOPE_WORDS
from study.read import InputError, refusing
from study.text import visible
from study.write import write_text

#: Libraries whose versions may change a result.
LIBRARIES = ("emotion-depth", "numpy", "pandas", "scipy", "statsmodels")
#: Media types by ending.
MEDIA = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".cff": "application/yaml",
    ".toml": "application/toml",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".pdf": "application/pdf",
}
SPDX = "https://spdx.org/licenses"
WORDS = ["supported", "contradicted", "undecided", "not testable"]
NUMBERS = ("estimate", "low", "high", "confidence", "p", "p_holm", "n")


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of `result.json`."""
    number = {"type": ["number", "null"]}
    text = {"type": "string"}
    claim = {
        "type": "object",
        "required": [
            *("key", "claim", *NUMBERS),
            *(f"{name}{end}" for name in ("verdict", "reason", "sentence") for end in ("", ENDING)),
        ],
        "properties": {
            **dict.fromkeys(("key", "claim", "source", "rule", "reason", "sentence"), text),
            "quantity": {"type": ["string", "null"]},
            "verdict": {"enum": WORDS, "description": "in models like these"},
            **dict.fromkeys(NUMBERS, number),
            f"quantity{ENDING}": {"type": ["string", "null"]},
            f"verdict{ENDING}": {"enum": WORDS, "description": "in these models"},
            **dict.fromkeys((f"reason{ENDING}", f"sentence{ENDING}"), text),
            **{f"{name}{ENDING}": number for name in NUMBERS if name != "n"},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Result of an emotion-depth study",
        "type": "object",
        "required": [
            "study",
            "written",
            "metric",
            "method",
            "rules",
            "versions",
            "models",
            "claims",
        ],
        "additionalProperties": False,
        "properties": {
            "$schema": text,
            "study": text,
            "written": {**text, "description": "the day of the score tables, or of the analysis"},
            "metric": {**text, "description": "the primary metric, which decides the claims"},
            "method": text,
            "rules": {"type": "object", "description": "the preregistered numbers"},
            "study_sha256": {"type": ["string", "null"]},
            "git_commit": {"type": ["string", "null"], "description": "of the score tables"},
            "versions": {"type": "object", "additionalProperties": text},
            "models": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["model", "family"],
                    "properties": {
                        "model": text,
                        "family": text,
                        "n_layers": number,
                        "n_params": number,
                    },
                },
            },
            "claims": {"type": "array", "items": claim},
        },
    }


def result_of(evidence: Evidence, claims: pd.DataFrame) -> dict[str, Any]:
    """Return the result of a study as JSON values: its claims, and what decided them.

    Parameters
    ----------
    evidence : Evidence
    claims : DataFrame
        From `claims_table`.
    """
    run, table = evidence.scores.run, evidence.scores.table
    facts = table.drop_duplicates("model")[["model", "family", "n_layers", "n_params"]]
    rows = claims.assign(
        sentence=say(claims), **{f"sentence{ENDING}": say(of_these(claims))}
    ).to_dict("records")
    return {
        "study": evidence.scores.name,
        "written": str(run.get("written") or date.today().isoformat())[:10],
        "metric": evidence.metric,
        "method": evidence.method,
        "rules": _plain(evidence.rules),
        "study_sha256": run.get("study_sha256"),
        "git_commit": run.get("git_commit"),
        "versions": versions(),
        "models": [_plain(row) for row in facts.to_dict("records")],
        "claims": [_plain(row) for row in rows],
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that may change a result."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that is not installed
            found[name] = "unknown"
    return found


def _plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return values that JSON has: numbers without NaN and infinity, which become null."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str | bool) or value is None:
            out[str(name)] = value
        elif isinstance(value, Mapping):
            out[str(name)] = _plain(value)
        elif pd.api.types.is_number(value):
            number = float(str(value))
            whole = number.is_integer()
            out[str(name)] = (int(number) if whole else number) if math.isfinite(number) else None
        else:
            out[str(name)] = str(value)
    return out


def analysis_log(result: Mapping[str, Any], command: str) -> str:
    """Return the log of an analysis: what was run, with what, and what came of it."""
    lines = ["# Analysis log", "", f"- Study: {result['study']}", f"- Command: {visible(command)}"]
    lines += [f"- Study file (SHA-256): {result['study_sha256']}"]
    lines += [f"- Commit of the score tables: {result['git_commit']}"]
    lines += [f"- {name} {number}" for name, number in result["versions"].items()]
    rules = ", ".join(f"{name} = {value}" for name, value in result["rules"].items())
    lines += [f"- Preregistered: {visible(rules)}"]
    for scope, key in ((LIKE_THESE, "sentence"), (THESE, f"sentence{ENDING}")):
        lines += ["", f"## Claims {SCOPE_WORDS[scope]}", ""]
        lines += [f"{number}. {row[key]}" for number, row in enumerate(result["claims"], 1)]
    return "\n".join([*lines, ""])


def citation(
    result: Mapping[str, Any], authors: Sequence[str] = (), license: str | None = None
) -> str:
    """Return CITATION.cff of a study's folder, which also names the software.

    Parameters
    ----------
    result : mapping
        From `result_of`.
    authors : sequence of str
        "Family, Given" for a person, any other text for a group.
    license : str, optional
        An identifier of SPDX (CC-BY-4.0), or an address.

    Raises
    ------
    InputError
        For an author without a name, or a license that is neither.

    Examples
    --------
    >>> result = {"study": "demo", "versions": {"emotion-depth": "1.0"}}
    >>> print(citation(result, ["Curie, Marie"], "CC-BY-4.0").split("references:")[0], end="")
    cff-version: 1.2.0
    message: If you use these results, please cite them and the software that made them.
    type: dataset
    title: "Results of the study demo"
    authors:
      - family-names: "Curie"
        given-names: "Marie"
    license: "CC-BY-4.0"
    """
    if license is not None and not re.fullmatch(r"[\w.+-]+|\w+://\S+", license):
        raise InputError(
            f"license {license!r}: give an identifier of SPDX, such as CC-BY-4.0, or an address"
        )
    for author in authors:
        if not all(part.strip() for part in author.split(",", 1)):
            raise InputError(f"author {author!r}: give 'FAMILY, GIVEN' or the name of a group")
    lines = [
        "cff-version: 1.2.0",
        "message: If you use these results, please cite them and the software that made them.",
        "type: dataset",
        f"title: {_quoted(_title(result))}",
        *(["authors:"] if authors else []),
    ]
    for author in authors:
        family, comma, given = (part.strip() for part in author.partition(","))
        if comma:
            lines += [f"  - family-names: {_quoted(family)}", f"    given-names: {_quoted(given)}"]
        else:
            lines += [f"  - name: {_quoted(author)}"]
    if license:
        lines += [f"license{'-url' if '://' in license else ''}: {_quoted(license)}"]
    lines += [
        "references:",
        "  - type: software",
        "    title: emotion-depth",
        f"    version: {_quoted(result['versions']['emotion-depth'])}",
        "    authors:",
        "      - name: The emotion-depth project",
    ]
    return "\n".join([*lines, ""])


def _title(result: Mapping[str, Any]) -> str:
    return f"Results of the study {result['study']}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def crate(
    folder: Path,
    result: Mapping[str, Any],
    authors: Sequence[str] = (),
    license: str | None = None,
) -> dict[str, Any]:
    """Return RO-Crate 1.1 metadata of a folder: what each of its files is.

    Parameters
    ----------
    folder : Path
    result, authors, license
        As in `citation`.

    References
    ----------
    Sefton, P. et al. (2021). RO-Crate Metadata Specification 1.1. https://w3id.org/ro/crate/1.1
    """
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    names = [name for name in names if name != "ro-crate-metadata.json"]
    files = []
    for name in names:
        with refusing(folder / name, "cannot be read", "make it readable, or choose another place"):
            content = (folder / name).read_bytes()
        entry: dict[str, Any] = {"@id": name, "@type": "File", "name": name}
        entry |= {"contentSize": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}
        kind = MEDIA.get(Path(name).suffix)
        files.append(entry | ({"encodingFormat": kind} if kind else {}))
    described = {"@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"}}
    described["conformsTo"] = {"@id": "https://w3id.org/ro/crate/1.1"}
    said = "; ".join(
        f"{SCOPE_WORDS[scope]}, {_counted(row[key] for row in result['claims'])}"
        for scope, key in ((LIKE_THESE, "verdict"), (THESE, f"verdict{ENDING}"))
    )
    software = {"@id": "#emotion-depth", "@type": "SoftwareApplication", "name": "emotion-depth"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": _title(result),
        "description": f"Score tables and calibrated tests of published claims: {said}.",
        "datePublished": result["written"],
        "hasPart": [{"@id": name} for name in names],
        "mentions": [{"@id": "#emotion-depth"}],
    }
    software["softwareVersion"] = result["versions"]["emotion-depth"]
    people = [
        {"@id": f"#author-{n}", "@type": "Person" if "," in name else "Organization", "name": name}
        for n, name in enumerate(authors, 1)
    ]
    if people:
        root["author"] = [{"@id": person["@id"]} for person in people]
    if license:
        root["license"] = {"@id": license if "://" in license else f"{SPDX}/{license}"}
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [described, root, software, *people, *files],
    }


def _counted(verdicts: Iterable[str]) -> str:
    """Return "2 supported, 3 undecided" and so on."""
    found = list(verdicts)
    return ", ".join(f"{found.count(word)} {word}" for word in WORDS if word in found)


def write_deposit(
    folder: Path,
    evidence: Evidence,
    claims: pd.DataFrame,
    command: str,
    *,
    authors: Sequence[str] = (),
    license: str | None = None,
) -> list[Path]:
    """Write the records of a study into a folder, and metadata of all files that are in it.

    Parameters
    ----------
    folder : Path
        For instance the folder of the study's score tables, which are then part of the deposit.
    evidence : Evidence
    claims : DataFrame
        From `claims_table`.
    command : str
        The command line that made them, for the log.
    authors, license
        As in `citation`; what is not given is left out.

    Returns
    -------
    list of Path
        result.json, result.schema.json, analysis-log.md, CITATION.cff, ro-crate-metadata.json.

    Raises
    ------
    InputError
        If the folder cannot be written, one of its files cannot be read, or an author or the
        license is refused by `citation`.
    """
    result = result_of(evidence, claims)
    texts = {
        "result.json": _json({"$schema": "result.schema.json"} | result),
        "result.schema.json": _json(result_schema()),
        "analysis-log.md": analysis_log(result, command),
        "CITATION.cff": citation(result, authors, license),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    metadata = crate(folder, result, authors, license)
    write_text(folder / "ro-crate-metadata.json", _json(metadata))
    return [folder / name for name in (*texts, "ro-crate-metadata.json")]


def _json(value: Any) -> str:
    return f"{json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)}\n"
