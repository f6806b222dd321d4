"""How often a test that knows the shapes finds a hump or a rise in a bare curve: the reach.

    python benchmarks/bare_bound.py 400      # writes results/bare_bound.csv, 25 minutes on a core

The power with true errors is no standard for a test that must estimate them: a hump or a rise in
white noise and a drift without one look alike. The statistics of this test are marginal
likelihoods of humps (Gaussian, of any place and widths), of flat curves and of monotone curves
(straight, saturating and logistic), each averaged over heights, noise levels and correlations.
"hump" is said for a ratio of humps over the others, "monotone" for one of monotone curves over the
others. Each limit is the least for which no other truth is called so in more than 6% of curves, at
correlations of 0 to 0.97. Averaged over shapes and noise, a Bayes factor is the best statistic
(Neyman and Pearson); at one shape and one correlation another may find more, so the rates say what
is within reach and are no strict bound.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from generator import decay, flat, hump, late_rise, linear, noise_rows, plateau, sigmoid
from scipy import special

from analysis.profiles.bare import RHO, G, whiten
from study.arrays import Float64Array

OUT = Path(__file__).parent / "results" / "bare_bound.csv"
LAYERS = (8, 12, 24, 48, 80)
CORRELATIONS = (0.0, 0.5, 0.9, 0.97)
SIZE = 0.06
HEIGHTS = (2, 5)
#: For each verdict, the curve that it should find, and those of which it would be false.
ASKED = {
    "hump": (hump, (linear, plateau, decay, sigmoid, late_rise)),
    "monotone": (linear, (hump,)),
}
WIDTHS = (0.1, 0.17, 0.3)


def shapes(depth: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the humps and the monotone curves, one per row."""
    places = np.linspace(0.1, 0.9, 9)
    humps = [hump(depth, p, a, b) for p in places for a in WIDTHS for b in WIDTHS]
    other = [depth, *(sigmoid(depth, p, s) for p in places for s in (0.03, 0.06, 0.12))]
    for scale in (0.06, 0.1, 0.17, 0.3, 0.6):
        other += [decay(depth, scale), np.exp((depth - 1) / scale)]
    return np.array(humps), np.array(other)


def log_bayes_factors(depth: Float64Array, curves: Float64Array) -> dict[str, Float64Array]:
    """Return the log Bayes factor of each verdict over the others, shape (n_curves,).

    The prior is that of `analysis.profiles.bare.scatter`, with a correlation that is uniform.
    """
    n = len(depth)
    phi = np.repeat(RHO[:, None], n - 1, axis=1)
    one, z = whiten(phi, np.ones((n, 1)))[..., 0], whiten(phi, curves.T)
    length = (one**2).sum(axis=1)
    total = (z**2).sum(axis=1) - np.einsum("rn,rnk->rk", one, z) ** 2 / length[:, None]
    prior = np.log(np.gradient(RHO)) - 0.5 * (np.log1p(-(phi**2)).sum(axis=1) + np.log(length))

    def fitted(forms: Float64Array) -> tuple[Float64Array, Float64Array]:
        x = whiten(phi, forms.T)
        x -= one[..., None] * (np.einsum("rn,rnd->rd", one, x) / length[:, None])[:, None]
        height = np.einsum("rnd,rnk->drk", x / np.sqrt((x**2).sum(axis=1, keepdims=True)), z)
        rest = np.maximum(total - height**2, 1e-12)
        g = n * G[:, None, None, None]
        fit = (n - 2) / 2 * np.log1p(g) - (n - 1) / 2 * np.log(total + g * rest)
        log = special.logsumexp(fit, axis=0) - np.log(len(G) * len(forms)) + prior[:, None]
        upward = special.stdtr(n - 2, height / np.sqrt(rest / (n - 2)))
        return np.asarray(log), np.asarray(upward)

    humps, other = shapes(depth)
    log, upward = fitted(humps)
    for_hump = special.logsumexp(log, b=2 * np.maximum(upward, 1e-300), axis=(0, 1))
    level = special.logsumexp(prior[:, None] - (n - 1) / 2 * np.log(total), axis=0)
    moved = special.logsumexp(fitted(other)[0], axis=(0, 1))
    flat_or = partial(np.logaddexp, np.log(0.2) + level)
    return {
        "hump": for_hump - flat_or(np.log(0.8) + moved),
        "monotone": moved - flat_or(np.log(0.8) + for_hump),
    }


def main() -> None:
    """Write a row per verdict, number of layers, height and correlation."""
    n_curves = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    rows = []
    for n_layers in LAYERS:
        depth, rng = np.linspace(0, 1, n_layers + 1), np.random.default_rng(n_layers)
        draw = partial(noise_rows, rng, (n_curves, n_layers + 1), 1.0)
        for verdict, (truth, others) in ASKED.items():
            nulls = [(flat, 0), *((other, height) for other in others for height in HEIGHTS)]
            limit = max(
                np.quantile(
                    log_bayes_factors(depth, height * other(depth) + draw(rho))[verdict], 1 - SIZE
                )
                for other, height in nulls
                for rho in CORRELATIONS
            )
            for height in HEIGHTS:
                for rho in CORRELATIONS:
                    curves = height * truth(depth) + draw(rho)
                    found = log_bayes_factors(depth, curves)[verdict] > limit
                    keys = {"n_layers": n_layers, "height": height, "correlation": rho}
                    rows.append({"verdict": verdict, **keys, "reach": found.mean()})
                    print(rows[-1], flush=True)
        pd.DataFrame(rows).assign(n_curves=n_curves).to_csv(OUT, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
