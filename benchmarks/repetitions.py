"""Simulate how honest errors from a user's own repetitions are: folds, splits, topics, seeds, SEs.

    python benchmarks/repetitions.py [--profiles 300] [--write]

Each profile is a real cross-validation: texts on topics, activations whose neighboring layers are
alike, and a nearest-mean probe at every layer. What is simulated is therefore how folds of one data
set depend on each other, and not a formula for it. With a flat and a leveling curve, the share of
humps that `u_shape_test` finds must not exceed its level of 5%; with a hump at 0.6, the interval of
the peak must hold it in 95%. Writes results/repetitions.csv, and with --write the table in
docs/tutorials/probe-folds.md.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import fit_curves, read_scores, u_shape_test

HOME = Path(__file__).resolve().parent.parent
RESULTS = HOME / "benchmarks" / "results" / "repetitions.csv"
PAGE = HOME / "docs" / "tutorials" / "probe-folds.md"
BEGIN = "<!-- repetitions: written by benchmarks/repetitions.py -->\n"
END = "<!-- end of repetitions -->\n"
N_LAYERS, N_TOPICS, PER_TOPIC, WIDTH, PEAK = 24, 20, 12, 8, 0.6
DEPTH = np.arange(N_LAYERS + 1) / N_LAYERS
#: How far apart the two classes are, by depth.
TRUTHS = {
    "flat": np.full_like(DEPTH, 1.2),
    "levels off": 1.6 * np.minimum(DEPTH / 0.4, 1),
    "hump": 2.0 - 4 * (DEPTH - PEAK) ** 2,
}
Array = NDArray[Any]
#: What a user has: column, scores of shape (repetitions, layers), and options of `read_scores`.
Repeated = Callable[["Texts"], tuple[str, Array, dict[str, Any]]]


class Texts:
    """Activations of labeled texts on topics, shape (layers, texts, width)."""

    def __init__(self, truth: str, rng: np.random.Generator) -> None:
        self.rng, n = rng, N_TOPICS * PER_TOPIC
        self.topic, self.label = np.repeat(np.arange(N_TOPICS), PER_TOPIC), np.arange(n) % 2
        shape = (len(DEPTH), n, WIDTH)
        noise = (
            rng.standard_normal(shape)
            + 0.5 * rng.standard_normal((len(DEPTH), N_TOPICS, WIDTH))[:, self.topic]
        )
        for layer in range(1, len(DEPTH)):
            noise[layer] = 0.9 * noise[layer - 1] + np.sqrt(1 - 0.9**2) * noise[layer]
        noise[:, :, 0] += TRUTHS[truth][:, None] * (self.label - 0.5)
        self.states = noise

    def scores(self, train: Array, test: Array) -> Array:
        """Return the accuracy of a nearest-mean probe at each layer."""
        seen, labels = self.states[:, train], self.label[train]
        means = [seen[:, labels == k].mean(axis=1) for k in (0, 1)]
        weights, middle = means[1] - means[0], (means[1] + means[0]) / 2
        tested = np.einsum("lnw,lw->ln", self.states[:, test] - middle[:, None], weights)
        accuracy: Array = ((tested > 0) == self.label[test]).mean(axis=1)
        return accuracy

    def over(self, parts: list[Array]) -> Array:
        """Return the scores when each part of the topics is left out for testing."""
        held = [np.isin(self.topic, part) for part in parts]
        return np.array([self.scores(~h, h) for h in held])

    def folds(self, k: int) -> Array:
        """Return the scores of k folds of whole topics."""
        return self.over(np.array_split(self.rng.permutation(N_TOPICS), k))

    def splits(self, k: int) -> Array:
        """Return the scores of k random splits, which test on a fifth of the topics."""
        n = N_TOPICS // 5
        return self.over([self.rng.permutation(N_TOPICS)[:n] for _ in range(k)])

    def seeds(self, k: int) -> Array:
        """Return the scores of k probes trained on samples of one training part."""
        train, test = np.flatnonzero(self.topic >= 4), np.flatnonzero(self.topic < 4)
        n = len(train) * 9 // 10
        return np.array([self.scores(self.rng.permutation(train)[:n], test) for _ in range(k)])


KINDS: dict[str, Repeated] = {
    "20 topics": lambda t: ("topic", t.folds(N_TOPICS), {}),
    "5 folds": lambda t: ("fold", t.folds(5), {}),
    "10 folds": lambda t: ("fold", t.folds(10), {}),
    "20 splits": lambda t: ("split", t.splits(20), {}),
    "10 seeds": lambda t: ("seed", t.seeds(10), {}),
    "SD and number of 10 folds": lambda t: ("sd", t.folds(10), {}),
    "the same, --correlation 0.9": lambda t: ("sd", t.folds(10), {"correlation": 0.9}),
    "means of 10 folds alone": lambda t: ("", t.folds(10), {}),
}


def table_of(kind: str, truth: str, n: int, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """Return n models' scores as a user has them, and the options to read them with."""
    parts, options = [], {}
    for model in range(n):
        column, scores, options = KINDS[kind](Texts(truth, rng))
        k = len(scores)
        long = pd.DataFrame(
            {
                "model": f"model {model + 1}",
                "repetition": np.repeat(np.arange(k), len(DEPTH)),
                "layer": np.tile(np.arange(len(DEPTH)), k),
                "n_layers": N_LAYERS,
                "accuracy": scores.ravel(),
            }
        )
        if column in ("sd", ""):
            by = long.groupby(["model", "layer", "n_layers"], as_index=False)["accuracy"]
            means = by.mean()
            long = means.assign(accuracy_std=by.std()["accuracy"], n=k) if column else means
        parts.append(long.rename(columns={"repetition": column}))
    return pd.concat(parts, ignore_index=True), options


def rates(kind: str, n: int, seed: int = 0) -> dict[str, Any]:
    """Return how often humps are found and the peak's interval holds it, over n profiles."""
    out: dict[str, Any] = {"repetitions": kind, "profiles": n}
    for number, truth in enumerate(TRUTHS):
        found, options = table_of(kind, truth, n, np.random.default_rng([seed, number]))
        scores = read_scores(found, family="one", **options)
        tests = u_shape_test(scores)
        hump = (tests.loc[tests["level"] == "profile", "verdict"] == "hump").mean()
        out[f"humps, {truth}"] = hump
        if truth == "hump":
            fits = fit_curves(scores)
            bounded = fits[fits["peak_low"].notna() & fits["peak_high"].notna()]
            inside = (bounded["peak_low"] <= PEAK) & (bounded["peak_high"] >= PEAK)
            out |= {"located": len(bounded), "coverage": inside.mean()}
    return out


def write(table: pd.DataFrame) -> None:
    """Put the table into the tutorial."""
    shown = table.drop(columns=["profiles", "located"])
    names = {
        "repetitions": "repetitions",
        "humps, flat": "humps found in flat curves",
        "humps, levels off": "in curves that level off",
        "humps, hump": "in humps",
        "coverage": "peaks inside their intervals",
    }
    rows = ["| " + " | ".join(names[c] for c in shown) + " |", "|---|" + "---:|" * 4]
    for row in shown.itertuples(index=False):
        rows.append("| " + " | ".join([row[0], *(f"{v:.2f}" for v in row[1:])]) + " |")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    text = f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Simulate, print and keep the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profiles", type=int, default=300)
    parser.add_argument("--write", action="store_true", help="put the table into the tutorial")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for kind in KINDS:
        rows.append(rates(kind, arguments.profiles))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(RESULTS, index=False, float_format="%.4g")
    if arguments.write:
        write(table)


if __name__ == "__main__":
    main()
