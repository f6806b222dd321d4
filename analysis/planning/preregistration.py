"""Write a preregistration from a study file alone: hypotheses, rules, sample and power."""

from __future__ import annotations

import json
import os.path
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.rules import read_claims
from analysis.loading.model_names import layers_in
from analysis.planning.design import design_power
from analysis.reporting.exports import laid_out
from analysis.reporting.web import as_page
from analysis.wording import count, listing, typeset
from study import Study, load_study
from study.home import HOME, find, tried
from study.read import InputError, read_bytes, read_toml, refusing
from study.registry import find_model
from study.text import Markdown
from study.write import write_text

#: The effects whose power is stated: shares of the depth in margins, and a difference of methods.
APART, METHOD_EFFECT = 2.0, 0.02
#: The tests whose power is stated.
TESTS = ("invariance", "scale", "method, paired over families")

FIXED = Markdown(
    "The study file fixes all numbers below before there are data, and the record of the run holds "
    "its hash. The unit of generalization is the model, nested in its family; layers, topics and "
    "concepts are repeated measures. A claim is *supported* or *contradicted* only if a test shows "
    "so after Holm's correction over all testable claims. A result that is not significant leaves "
    "it *undecided* and is never read as sameness. No model, layer or text is left out after its "
    "scores are known; what failed to run is listed in the record of the run."
)


def preregistration(study: str | Path, *, n_sim: int = 200, seed: int = 0) -> str:
    """Return the preregistration of a study as a Markdown page.

    Parameters
    ----------
    study : str or Path
        A study's name, or the path of its file. No data are read.
    n_sim : int
        Simulated studies behind the stated power; 0 leaves the power out.
    seed : int
        Of the simulation.

    Returns
    -------
    str
        Hypotheses with their decision rules, the fixed numbers, the sample, the analysis, and the
        power of the tests for the study's families, layers and topics.

    Raises
    ------
    InputError
        If the study file is faulty or names an unknown model.

    Examples
    --------
    >>> page = preregistration("jeong2026", n_sim=0)
    >>> page.splitlines()[0], "nine models of five families" in page
    ('# Preregistration: jeong2026', True)
    """
    plan = load_study(study)
    models = models_of(plan)
    parts = [
        Markdown("# Preregistration: {}").format(plan.name),
        *([Markdown("{}.").format(plan.description.rstrip("."))] if plan.description else []),
        Markdown("Study file: SHA-256 `{}`. No data were read for this page.").format(plan.sha256),
        Markdown("## Hypotheses and decision rules"),
        _claims(plan),
        Markdown("## What is fixed"),
        FIXED,
        _numbers(plan),
        Markdown("## Sample"),
        _sample(plan, models),
        typeset(models, {"family": "Family", "model": "Model", "kind": "Kind"}, group=1),
    ]
    if n_sim:
        parts += [Markdown("## Power"), *_power(plan, models, n_sim, seed)]
    return str(Markdown("\n\n").join(parts)) + "\n"


def write_preregistration(study: str | Path, path: Path, *, n_sim: int = 200) -> None:
    """Write the preregistration of a study as a page (.html), or as Markdown (any other ending).

    Parameters
    ----------
    study, n_sim
        As in `preregistration`.
    path : Path
        The file to write.

    Raises
    ------
    InputError
        As `preregistration`; also if pandoc, which makes the page, is missing.
    """
    text = preregistration(study, n_sim=n_sim)
    if path.suffix == ".html":
        text = as_page(text, text.splitlines()[0].removeprefix("# "))
    write_text(path, text)


def models_of(plan: Study) -> pd.DataFrame:
    """Return the models that a study names: family, model, kind and layers (NaN if unknown)."""
    rows = []
    for name in plan.models:
        spec = find_model(name, plan.model)
        config = spec.config or _config_in(spec.source)
        family = spec.family or config.get("model_type")
        if not family:
            raise InputError(
                f"study {plan.name!r}: nothing here says which family the model {name!r} is of; "
                "add a [[model]] table with its name, family and source"
            )
        kind = "instruction-tuned" if spec.instruct else "base"
        row = {"family": family, "model": spec.name, "kind": kind, "n_layers": layers_in(config)}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("family", kind="stable", ignore_index=True)


def _config_in(folder: str) -> Mapping[str, Any]:
    """Return the config of the language model in a folder; nothing if there is none."""
    path = Path(folder) / "config.json"
    if not os.path.isfile(path):
        return {}
    faults = (OSError, ValueError, RecursionError)
    with refusing(path, "not readable as JSON", "put the model's own config there", faults):
        config = json.loads(read_bytes(path))
    if isinstance(config, dict):
        config = config.get("text_config", config)
    return config if isinstance(config, dict) else {}


def _claims(plan: Study) -> Markdown:
    rules = {name: getattr(plan.preregistered, name) for name in ("target", "delta", "alpha")}
    claims = read_claims(find(HOME / "data" / "claims.toml"))
    table = pd.DataFrame([claim.words(rules) for claim in claims])
    columns = {"claim": "Hypothesis", "source": "Source", "rule": "Decision rule"}
    return typeset(table, columns, widths=[35, 15, 50])


def _numbers(plan: Study) -> Markdown:
    fixed = plan.preregistered
    rows = {
        "Primary measure": fixed.metric,
        "Primary method": fixed.method,
        "Level of every test": f"{fixed.alpha:g}",
        "Target depth of the peak": f"{fixed.target:g}",
        "Margin of the depth": f"{fixed.delta:g}",
        "Margin of the curve, as a share of its rise": f"{fixed.curve_delta:g}",
        "Margin of the amplitude, as a share": f"{fixed.amplitude_delta:g}",
        "Where a curve peaks": fixed.peak,
        "Repetitive collapse below a distinct-2 of": f"{fixed.distinct_2:g}",
        "Explosive above a perplexity ratio of": f"{fixed.perplexity_ratio:g}",
    }
    return typeset(pd.DataFrame(list(rows.items()), columns=["Setting", "Value"]))


def _sample(plan: Study, models: pd.DataFrame) -> Markdown:
    sizes = Counter(models["family"])
    return Markdown(
        "The study has {} of {} ({}), under {} ({}), with {} and {} (crossed), {} and {} of the "
        "topic bootstrap. Weights: {}. Labels: {}. Seed: {}."
    ).format(
        count(len(models), "model"),
        count(len(sizes), "family", "families"),
        listing(f"{family}: {n}" for family, n in sizes.items()),
        count(len(plan.methods), "method"),
        listing(plan.methods),
        count(_n(plan, "emotions"), "concept"),
        count(_n(plan, "topics"), "topic"),
        count(len(plan.scoring.metrics), "measure"),
        count(plan.scoring.replicates, "replicate"),
        listing(plan.weights),
        listing(plan.labels),
        plan.seed,
    )


def _n(plan: Study, what: str) -> int:
    """Return the number of emotions or topics: the study's choice, or the whole corpus."""
    folder = find(plan.corpus)
    if not os.path.isdir(folder):
        raise InputError(f"{tried(plan.corpus)}: no such folder; set corpus")
    path = folder / f"{what}.toml"
    entries = read_toml(path, "no such file; a corpus needs it")[1].get(what[:-1])
    if not isinstance(entries, list):
        raise InputError(f"{path}: has no {what}; add [[{what[:-1]}]] tables")
    chosen: tuple[str, ...] | int = getattr(plan, what) or len(entries)
    if isinstance(chosen, int):
        if not 1 <= chosen <= len(entries):
            raise InputError(
                f"{what} = {chosen}: {path} has {len(entries)}; ask for 1 to {len(entries)}"
            )
        return chosen
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    for name in chosen:
        if name not in names:
            raise InputError(f"{what}: {path} has no {name!r}; it has {', '.join(map(str, names))}")
    return len(chosen)


def _power(plan: Study, models: pd.DataFrame, n_sim: int, seed: int) -> list[Markdown]:
    fixed, layers = plan.preregistered, models["n_layers"].dropna()
    design: dict[str, Any] = {
        "families": tuple(Counter(models["family"]).values()),
        "n_topics": _n(plan, "topics"),
        "delta": fixed.delta,
        "curve_delta": fixed.curve_delta,
        "amplitude_delta": fixed.amplitude_delta,
        "peak": fixed.peak,
        "alpha": fixed.alpha,
        "n_sim": n_sim,
        "seed": seed,
    }
    if len(layers):  # a curve that can be tested has five points: the embedding and four layers
        design["n_layers"] = (max(int(layers.min()), 4), max(int(layers.max()), 4))
    apart = APART * fixed.delta
    some: dict[str, Any] = {
        "departure": apart,
        "scale_change": apart,
        "method_effect": METHOD_EFFECT,
    }
    tables = [design_power(**design), design_power(**design, **some)]
    shown = pd.concat([table[table["test"].isin(TESTS)] for table in tables])
    assumed = Markdown(
        "Simulated studies have these families, layers and topics. Their other assumptions are "
        "the standard ones of `design_power`. The effects are a family's peak at {:g} of the depth "
        "from the mean, a change of the peak by {:g} over the range of sizes, and a difference of "
        "{:g} between methods."
    ).format(apart, apart, METHOD_EFFECT)
    layout = laid_out(shown)
    return [assumed, typeset(layout.table), Markdown("{}").format(" ".join(layout.notes))]
