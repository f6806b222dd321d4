"""Print a study's verdicts: ``python -m analysis data/scores/demo [--json]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from study.interruption import listen

if __name__ == "__main__":  # before the libraries, which take a while to load
    listen("analysis", "nothing is changed, give the same command again")

from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.claims.table import claims_table, primary_method, primary_metric
from analysis.loading.scores import PROFILE, Scores, load_scores
from analysis.profiles.curves import fit_curves
from analysis.profiles.shape import u_shape_test
from analysis.trials.table import load_trials
from analysis.wording import interval, number, p_value
from study.read import InputError
from study.terminal import Terminal, styled

STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


def main(arguments: list[str] | None = None) -> int:
    """Return 0, or 2 after one line that says what is wrong with the input."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("study", help="folder with scores.parquet and run.json")
    parser.add_argument(
        "--trials",
        metavar="FOLDER",
        help="steering trials (default: the study's, where it has some)",
    )
    parser.add_argument("--metric", help="default: the study's primary metric")
    parser.add_argument("--json", action="store_true", help="print the claims as JSON")
    parser.add_argument("--picture", metavar="FILE", help="draw the study at one glance instead")
    options = parser.parse_args(arguments)
    try:
        scores = load_scores(options.study)
        if options.picture:
            return draw(scores, options.metric, options.picture)
        place = options.trials or steering_folder(options.study)
        trials = load_trials(place) if place else None
        claims = claims_table(scores, trials, metric=options.metric)
        if options.json:
            print(claims.to_json(orient="records", indent=2), flush=True)
            return 0
        metric = options.metric or primary_metric(scores)
        shapes = u_shape_test(scores, metric=metric)
        fits = fit_curves(scores, metric=metric)
    except InputError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    console = Terminal()
    # Where there is no room for a column of reasons, they follow the table.
    wide = console.width >= 120
    table = Table(title=f"Claims, by the study {scores.name}", box=SIMPLE_HEAD)
    table.add_column("Claim", min_width=24)
    for heading in ("Estimate", "p (Holm)", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    if wide:
        table.add_column("Reason", ratio=1)
    for row in claims.to_dict("records"):
        style = STYLES.get(row["verdict"], "dim")
        cells = [
            row["claim"],
            interval(row["estimate"], row["low"], row["high"]),
            p_value(row["p_holm"]),
            number(row["n"], 0),
            styled(row["verdict"], style),
        ]
        table.add_row(*cells, *([row["reason"]] if wide else []))
    console.print(table)
    if not wide:
        for row in claims.to_dict("records"):
            console.print(styled(f"{row['claim']}:", "bold"), row["reason"])
    profiles = shapes[shapes["level"] == "profile"].merge(fits, on=PROFILE, suffixes=("", "_fit"))
    table = Table(title="Models", box=SIMPLE_HEAD)
    for heading, right in zip(
        ("Model", "Method", "Metric", "Vertex", "U test p", "Verdict"),
        (False, False, False, True, True, False),
        strict=True,
    ):
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for row in profiles.to_dict("records"):
        table.add_row(
            row["model"],
            row["method"],
            row["metric"],
            interval(row["vertex"], row["vertex_low"], row["vertex_high"]),
            p_value(row["p"]),
            row["verdict"],
        )
    console.print(table)
    return 0


def steering_folder(study: str) -> Path | None:
    """Return where a study's trials lie beside its scores, or None where it has none."""
    folder = Path(study).resolve()
    place = folder.parent.parent / "steering" / folder.name
    return place if (place / "trials.parquet").exists() else None


def draw(scores: Scores, metric: str | None, path: str) -> int:
    """Save the study at one glance as a picture; return 0."""
    from analysis.figures import cover  # the only thing here that needs the report extra

    chosen = metric or primary_metric(scores)
    method = primary_method(scores)
    figure = cover(scores, chosen, fit_curves(scores, metric=chosen, method=method), method)
    figure.save(path, dpi=200, verbose=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
