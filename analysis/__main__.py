"""Test scores by layer and print the verdicts.

SOURCE is a study's name or folder (demo, data/scores/demo), a table of your own
(CSV, Excel, JSON, ...), a folder of tables, a glob, a URL, a path with names in
it (results/{model}/run.json), or a mapping file (.toml).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.interruption import listen

if __name__ == "__main__":  # before importing the libraries, which takes a while
    listen("analysis", "nothing is changed, give the same command again")

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table

from analysis.claims.registry import Evidence
from analysis.claims.table import (
    decided,
    evidence_of,
    of_scope,
    scope_words,
    untestable_claims,
)
from analysis.deposit import write_deposit
from analysis.loading.options import CHOICES, SourceWarning
from analysis.loading.scores import PROFILE, Scores, read_scores
from analysis.named import FIGURES, RESULTS, Source, write_figure, write_result
from analysis.over_models.causal import without_ablation
from analysis.over_models.crossed_reading import without_crossreading
from analysis.over_models.precision import one_precision
from analysis.planning.preregistration import write_preregistration
from analysis.profiles.curves import fit_curves
from analysis.profiles.shape import u_shape_test
from analysis.trials.table import load_trials
from analysis.wording import interval, p_value
from study.home import find
from study.read import InputError
from study.terminal import Terminal, styled
from study.text import broken, csv_text, visible
from study.write import write_text

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 after a one-line error about the input."""
    options = parsed(arguments)
    try:
        refuse_urls(options)
        if options.preregister:
            write_preregistration(options.source, Path(options.preregister))
            return wrote([options.preregister])
        options.source = found(options.source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SourceWarning)  # said below, in the order of reading
            crossed = read_scores(options.source, **reading(options))
        if "trained" not in set(crossed.table["weights"]):
            raise InputError(
                f"{options.source}: every model is untrained, and the claims are about trained "
                'ones; extract a study with weights = ["trained", "untrained"]'
            )
        whole = without_ablation(without_crossreading(crossed))
        scores = one_precision(whole)
        place = options.trials or steering_folder(options.source)
        trials = load_trials(place) if place else None
        evidence = evidence_of(whole, trials, metric=options.metric)
        named = Source(crossed, scores, evidence, options.claims)
        if options.figure:
            return wrote(write_figure(named, Path(options.figure)))
        if options.table:
            return wrote(write_result(named, Path(options.table)))
        claims = decided(evidence, options.claims)
        if options.deposit:
            command = shlex.join(["python", "-m", "analysis", *(arguments or sys.argv[1:])])
            return deposited(options, evidence, claims, command)
        if options.json:
            print(claims.to_json(orient="records", indent=2), flush=True)
            return 0
        if options.csv:
            cells = claims.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell)
            print(cells.to_csv(index=False), end="", flush=True)
            return 0
        models = by_model(scores, evidence.metric, evidence.rules)
        if options.html:
            from analysis.figures.page import page

            by_scope = {w: of_scope(claims, s) for s, w in scope_words(scores).items()}
            write_text(Path(options.html), page(scores, by_scope, models))
            return wrote([options.html])
    except InputError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    console = Terminal()
    show_reading(console, scores)
    show_claims(console, scores, claims)
    show_models(console, models)
    show_next(console, scores, str(options.source))
    return 0


def refuse_urls(options: argparse.Namespace) -> None:
    """Refuse to write to a URL, which would become a folder here that is called s3: or so."""
    for name in ("preregister", "html", "figure", "table", "deposit"):
        given = getattr(options, name)
        if given and "://" in given:
            raise InputError(f"--{name} {given}: give a path on this machine, not a URL")


def found(source: str) -> str:
    """Return the folder of a study that is named, and any other source as it is."""
    folder = find(Path("data", "scores", source))
    is_name = Path(source).name == source and not Path(source).exists()
    return str(folder) if is_name and folder.is_dir() else source


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description=summary,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="where the scores are")
    parser.add_argument(
        "--trials",
        metavar="FOLDER",
        help="steering trials (default: the study's, if it has any)",
    )
    parser.add_argument("--metric", help="default: the study's primary metric")
    parser.add_argument("--claims", metavar="FILE", help="default: data/claims.toml")
    out = parser.add_argument_group("what to print").add_mutually_exclusive_group()
    out.add_argument("--json", action="store_true", help="print the claims as JSON")
    out.add_argument("--csv", action="store_true", help="print the claims as CSV")
    out.add_argument("--html", metavar="FILE", help="write claims, models and figure as a page")
    out.add_argument(
        "--figure",
        "--picture",
        metavar="FILE",
        dest="figure",
        help="draw a figure as SVG, PDF or PNG; its name (depth-profiles.svg) chooses it, with its "
        f"data (.csv) and description (.txt) beside it: {', '.join(FIGURES)}; any other name draws "
        "the overview alone",
    )
    out.add_argument(
        "--table",
        metavar="FILE",
        help="write a result for Word (.docx), LaTeX (.tex), as Markdown (.md), CSV (.csv) or "
        f"sentences (.txt); its name (peaks.docx) chooses it: {', '.join(RESULTS)}",
    )
    out.add_argument(
        "--deposit",
        metavar="FOLDER",
        help="write the result as JSON with its schema, a log, CITATION.cff and RO-Crate metadata",
    )
    parser.add_argument(
        "--author",
        metavar="NAME",
        action="append",
        default=[],
        help="author of a deposit, as 'Family, Given' or the name of a group; may be repeated",
    )
    parser.add_argument(
        "--license", metavar="ID", help="license of a deposit: CC-BY-4.0, or an address"
    )
    out.add_argument(
        "--preregister",
        metavar="FILE",
        help="write the preregistration of a study file (SOURCE), before there are data, as "
        "Markdown or as a page (.html)",
    )
    read = parser.add_argument_group(
        "how to read a table of your own (default: worked out from it)"
    )
    pair = {"nargs": "+", "metavar": "NAME=VALUE"}
    read.add_argument("--mapping", metavar="FILE", help="a TOML file with all of these settings")
    read.add_argument("--columns", help="roles: score=probe_acc layer=Layer", **pair)  # type: ignore[arg-type]
    read.add_argument("--where", help="rows to keep: pooling=mean", **pair)  # type: ignore[arg-type]
    read.add_argument("--sheet", help="sheet of an Excel file")
    read.add_argument("--header", type=int, metavar="ROW", help="row of the header, from 1")
    read.add_argument("--records", metavar="PATH", help="path in a JSON file: layer_data[*]")
    for name, says in (
        ("wide", "what each column of scores in a wide table stands for"),
        ("decimal", "the decimal mark"),
        ("depth", "unit of the depths"),
        ("missing", "what to do with empty cells"),
    ):
        *most, last = CHOICES[name]
        read.add_argument(
            f"--{name}",
            choices=CHOICES[name],
            metavar=name.upper(),
            help=f"{says}: {', '.join(most)} or {last}",
        )
    for name, example in (
        ("higher-is-better", "false, or loss=false"),
        ("n-layers", "32, or my-model=32"),
        ("layer-zero", "embedding or block, or my-model=block"),
        ("family", "one for all, or my-model=Llama"),
    ):
        read.add_argument(f"--{name}", nargs="+", metavar="VALUE", help=example)
    read.add_argument(
        "--correlation",
        type=float,
        help="correlation of neighboring layers' standard errors (default: the worst)",
    )
    read.add_argument("--test-share", type=float, help="share of test texts in random splits")
    read.add_argument(
        "--resampled", type=int, help="number of topics or texts that a bootstrap sample draws"
    )
    read.add_argument(
        "--strict",
        action="store_true",
        help="refuse concepts and metrics that some layers or models lack",
    )
    return parser.parse_args(arguments)


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `read_scores`."""
    given: dict[str, Any] = {}
    for name in ("mapping", "sheet", "header", "records", "wide", "decimal", "depth"):
        given[name] = getattr(options, name)
    for name in ("missing", "correlation", "test_share", "resampled"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    for name in ("columns", "where"):
        if getattr(options, name):
            given[name] = pairs(name, getattr(options, name))
    kinds: dict[str, Any] = {
        "higher_is_better": truth,
        "n_layers": whole,
        "layer_zero": str,
        "family": str,
    }
    for name, kind in kinds.items():
        values = getattr(options, name)
        if values and len(values) == 1 and "=" not in values[0]:
            given[name] = kind(values[0])
        elif values:
            given[name] = {k: kind(v) for k, v in pairs(name, values, last=True).items()}
    return {**given, "strict": options.strict}


def pairs(name: str, values: Sequence[str], last: bool = False) -> dict[str, str]:
    """Return NAME=VALUE pairs, split at the first = or, where names may have some, at the last."""
    for value in values:
        if "=" not in value.strip("="):
            raise InputError(f"--{name.replace('_', '-')}: {value!r} is not of the form NAME=VALUE")
    parts = [value.rpartition("=") if last else value.partition("=") for value in values]
    return {key: said for key, _, said in parts}


def truth(text: str) -> bool:
    """Parse true or false."""
    if text.lower() not in ("true", "false", "yes", "no"):
        raise InputError(f"--higher-is-better: {text!r} is neither true nor false")
    return text.lower() in ("true", "yes")


def whole(text: str) -> int:
    """Parse a whole number."""
    if not text.isdigit():
        raise InputError(f"--n-layers: {text!r} is not a whole number")
    return int(text)


def by_model(scores: Scores, metric: str, rules: Mapping[str, Any]) -> pd.DataFrame:
    """Return the shape and the peak of every trained profile, by the study's rules."""
    chosen = {name: rules[name] for name in ("peak", "delta", "alpha")}
    shapes = u_shape_test(scores, metric=metric, alpha=rules["alpha"])
    fits = fit_curves(scores, metric=metric, **chosen)
    profiles = shapes[shapes["level"] == "profile"]
    return profiles.merge(fits, on=PROFILE, suffixes=("", "_fit"))


def show_reading(console: Terminal, scores: Scores) -> None:
    """Print how a table from elsewhere was read, and what was assumed."""
    if scores.is_foreign:
        n_models, notes = scores.table["model"].nunique(), scores.run["notes"]
        said = f"{n_models} model{'' if n_models == 1 else 's'}, {len(scores.table):,} scores"
        said += f": {'; '.join(notes)}" if notes else ""
        console.print(styled("Read", "bold"), f"{said}.")
    for said in scores.run.get("assumed", []):
        console.print(styled("Note:", "yellow"), f"{said}.")


def show_claims(console: Terminal, scores: Scores, claims: pd.DataFrame) -> None:
    """Print the claims that can be tested, by scope, and the number of the others."""
    # On a narrow terminal, the reasons follow the table instead of filling a column.
    wide = console.width >= 120
    console.print(styled(f"Claims, by the study {scores.name}", "bold"))
    for scope, words in scope_words(scores).items():
        testable = of_scope(claims, scope)
        if testable.empty:
            continue
        table = Table(title=f"What holds {words}", box=SIMPLE_HEAD)
        table.add_column("Claim", min_width=24)
        for heading in ("Estimate", "p (Holm)"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("Verdict", no_wrap=True)
        if wide:
            table.add_column("Reason", ratio=1)
        for row in testable.to_dict("records"):
            style = STYLES.get(row["verdict"], "dim")
            cells = [
                row["claim"],
                interval(row["estimate"], row["low"], row["high"]),
                p_value(row["p_holm"]),
                styled(row["verdict"], style),
            ]
            table.add_row(*cells, *([row["reason"]] if wide else []))
        console.print(table)
        if not wide:
            for row in testable.to_dict("records"):
                console.print(styled(f"{row['claim']}:", "bold"), row["reason"])
    rest = untestable_claims(claims)
    if len(rest):
        console.print(
            styled(f"Not testable here: {len(rest)} of {len(claims)} claims (--json)", "dim")
        )


def show_models(console: Terminal, models: pd.DataFrame) -> None:
    """Print the verdict on each model; what does not fit is the metric and, next, the names.

    The metric goes to the title with several methods, too. Names are broken, and numbers are not.
    """
    several = len(models["method"].unique()) > 1
    names = [visible(str(model)) for model in models["model"]]
    by = "method" if several else "metric"
    table = models_table(models, names, by, several)
    if not several and too_wide(console, table) > 0:
        by = ""
        table = models_table(models, names, by, several)
    if (excess := too_wide(console, table)) > 0:
        room = max(max(map(cell_len, names)) - excess, 1)
        names = ["\n".join(broken(name, lambda line: cell_len(line) <= room)) for name in names]
        table = models_table(models, names, by, several)
    console.print(table)


def too_wide(console: Terminal, table: Table) -> int:
    """Return by how many columns a table is wider than the terminal."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum - (
        console.width
    )


def models_table(models: pd.DataFrame, names: Sequence[str], by: str, several: bool) -> Table:
    """Return the verdicts on models that have these names, with the column `by` if it is named."""
    title = "Models" if by == "metric" else f"Models, by {models['metric'].iloc[0]}"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=several, pad_edge=not several)
    for heading in ("Model", *([by.capitalize()] if by else []), "Vertex", "Turn p", "Verdict"):
        right = heading in ("Vertex", "Turn p")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for name, row in zip(names, models.to_dict("records"), strict=True):
        ends = (row.get(f"vertex{end}", float("nan")) for end in ("", "_low", "_high"))
        cells = [name, *([row[by]] if by else []), interval(*ends), p_value(row["p"])]
        table.add_row(*cells, row["verdict"])
    return table


def show_next(console: Terminal, scores: Scores, source: str) -> None:
    """Print what to do next."""
    if not scores.is_foreign:
        return
    kept = "" if scores.run["preregistered"] else " (target, delta and alpha are the standard ones)"
    said = (
        f"Next: a page with --html FILE, a figure with --figure FILE, paper and explorer with "
        f"make report STUDY={source}; docs/tutorials/csv-file.md says how to preregister the "
        f"tests' numbers{kept}."
    )
    console.print(styled(said, "dim"))


def steering_folder(study: str) -> Path | None:
    """Return the folder of a study's trials beside its scores, or None if it has none."""
    if "://" in study:
        return None
    folder = Path(study).resolve()
    place = folder.parent.parent / "steering" / folder.name
    return place if (place / "trials.parquet").exists() else None


def deposited(
    options: argparse.Namespace, evidence: Evidence, claims: pd.DataFrame, command: str
) -> int:
    """Write a deposit, and say what it lacks; return 0."""
    given = {"authors": options.author, "license": options.license}
    wrote(write_deposit(Path(options.deposit), evidence, claims, command, **given))
    lacking = [f"no {name}" for name, value in given.items() if not value]
    if lacking:
        print(
            f"CITATION.cff and ro-crate-metadata.json name {' and '.join(lacking)}: "
            "give --author 'FAMILY, GIVEN' and --license SPDX-ID",
            file=sys.stderr,
        )
    return 0


def wrote(paths: Sequence[str | Path]) -> int:
    """Print the files that were written; return 0."""
    for path in paths:
        print(visible(str(path)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
