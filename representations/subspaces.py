"""The emotions' subspace at a layer, and a random one that removes the same variance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study.arrays import FloatArray

#: Powers of the covariance between which the control's directions are searched.
POWERS = -4.0, 4.0


def emotion_subspace(
    texts: FloatArray,
    noise: FloatArray,
    emotion: NDArray[np.int64],
    use: NDArray[np.bool_],
    n_emotions: int,
) -> FloatArray:
    """Return an orthonormal basis of the emotions' means, less the mean over emotions.

    Parameters
    ----------
    texts : ndarray, shape (texts, width)
    noise : ndarray, shape (directions, width)
        Orthonormal directions to leave out, as `first_components` returns them.
    emotion : ndarray of int, shape (texts,)
        Codes from 0.
    use : ndarray of bool, shape (texts,)
        Which texts enter the means.
    n_emotions : int

    Returns
    -------
    ndarray, shape (width, dimension)
        At most one dimension fewer than there are emotions.
    """
    means = np.array(
        [
            texts[use & (emotion == e)].mean(axis=0)
            for e in range(n_emotions)
            if (use & (emotion == e)).any()
        ]
    )
    means -= means.mean(axis=0)
    means -= means @ noise.T @ noise
    _, size, directions = np.linalg.svd(means, full_matrices=False)
    return np.asarray(directions[size > 1e-6 * max(float(size[0]), 1e-30)].T)


def matched(
    covariance: FloatArray, basis: FloatArray, noise: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, float, float]:
    r"""Draw a random subspace that removes as much variance as a given one, of the same dimension.

    Parameters
    ----------
    covariance : ndarray, shape (width, width)
    basis : ndarray, shape (width, dimension)
        Orthonormal.
    noise : ndarray, shape (directions, width)
        Orthonormal directions that both subspaces leave out; none for shape (0, width).
    rng : Generator

    Returns
    -------
    random : ndarray, shape (width, dimension)
        Orthonormal.
    factor : float
        1; else, if no random subspace removes as much, the share of its component to remove.
    share : float
        Share of all variance that the given subspace, and so the random one, removes.

    Notes
    -----
    A random subspace that held a little of a few massive dimensions would break the model, where
    the given one leaves them out. Both are therefore drawn apart from the same `noise`.

    The directions are normal with covariance :math:`C^p`. At p = 0 they are isotropic and
    remove little of a stream whose variance is in a few dimensions; the larger p, the more they
    turn toward the principal components. A bisection finds the p at which
    :math:`\operatorname{tr} U'CU` is that of the given basis.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> covariance = np.diag(np.geomspace(100, 1, 30))
    >>> given = np.linalg.qr(rng.normal(size=(30, 4)))[0]
    >>> random, factor, _ = matched(covariance, given, np.zeros((0, 30)), rng)
    >>> variances = [np.trace(b.T @ covariance @ b).round(6) for b in (given, random)]
    >>> bool(variances[0] == variances[1]), factor
    (True, 1.0)
    """
    rest = np.linalg.svd(noise)[2][len(noise) :].T if len(noise) else np.eye(len(covariance))
    spectrum, directions = np.linalg.eigh(rest.T @ covariance @ rest)
    spectrum, directions = np.maximum(spectrum, 0), rest @ directions
    total, wanted = float(np.trace(covariance)), float(np.sum(basis * (covariance @ basis)))
    relative = np.maximum(spectrum / max(float(spectrum[-1]), 1e-30), 1e-12)
    draw = rng.normal(size=(len(spectrum), basis.shape[1]))

    def at(power: float) -> tuple[FloatArray, float]:
        found = np.linalg.qr(relative[:, None] ** (power / 2) * draw)[0]
        return found, float(spectrum @ (found**2).sum(axis=1))

    low, high = POWERS
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[1] < wanted else (low, middle)
    found, removes = at(high)
    factor = wanted / removes if removes > 0 else 0.0
    exact = abs(factor - 1) < 1e-6
    share = wanted / total if total > 0 else 0.0
    return directions @ found, 1.0 if exact else float(np.sqrt(factor)), share
