"""The shrunken noise covariance that `crossnobis` whitens with, never formed explicitly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from study.arrays import FloatArray

#: Values per block (1 MB in float64); many texts are processed in such blocks.
BLOCK = 2**17


def blocks(values: FloatArray) -> list[slice]:
    """Split the rows of values (texts, width) into blocks, to copy few at once.

    A block has at least twice as many rows as columns: decomposing such blocks in turn costs little
    more than decomposing the whole.

    Examples
    --------
    >>> len(blocks(np.zeros((480, 2048)))), len(blocks(np.zeros((10_000, 128))))
    (1, 10)
    """
    n, width = values.shape
    step = max(2 * width, BLOCK // width)
    return [slice(start, start + step) for start in range(0, n, step)]


@dataclass(frozen=True)
class ShrunkCovariance:
    """A noise covariance, shrunk toward its diagonal, that is never formed explicitly.

    In units of each dimension's SD it is ``shrinkage * I + (1 - shrinkage) / freedom * R'R`` with
    the standardized residuals R, so Woodbury's identity inverts it through the Gram matrix RR'. The
    cost is linear in the larger of texts and width, and quadratic in the smaller.

    Attributes
    ----------
    spread : ndarray, shape (width,)
    root : ndarray, shape (min(texts, width), width)
        Residuals divided by `spread`, or a root of their sums of squares and products.
    shrinkage : float in (0, 1]
    freedom : int

    Notes
    -----
    The shrinkage is that of Schaefer and Strimmer (2005, Stat. Appl. Genet. Mol. Biol. 4, 32):
    sum over i != j of the sampling variance of the correlation r_ij, over the sum of r_ij**2.
    """

    spread: FloatArray
    root: FloatArray
    shrinkage: float
    freedom: int

    @classmethod
    def of_cells(
        cls, texts: FloatArray, emotion: NDArray[np.int64], topic: NDArray[np.int64]
    ) -> ShrunkCovariance:
        """Estimate the covariance from the residuals of emotion and topic.

        Parameters
        ----------
        texts : ndarray, shape (texts, width), float64
            Overwritten, to avoid a second copy of a large layer.
        emotion, topic : ndarray of int, shape (texts,)
        """
        n, width = texts.shape
        freedom = n - len(np.unique(emotion)) - len(np.unique(topic)) + 1
        # Two folds leave no text and three topics leave one: do not scale the dimensions.
        if freedom < 1 or n == 0:
            return cls(np.ones(width), texts[:0], 1.0, 1)
        for group in (topic, emotion):
            for value in np.unique(group):
                texts[group == value] -= texts[group == value].mean(axis=0)
        spread = np.sqrt(np.einsum("nd,nd->d", texts, texts) / freedom)
        spread = np.where(spread > 1e-6, spread, 1.0)
        texts /= spread
        # Sums over all pairs of dimensions, computed from sums over pairs of texts.
        of_texts, of_dimensions = np.zeros(n), np.zeros(width)
        fourth, root = 0.0, texts
        for some in blocks(texts):
            squares = texts[some] ** 2
            of_texts[some] = squares.sum(axis=1)
            of_dimensions += squares.sum(axis=0)
            fourth += float(np.vdot(squares, squares))
            if n > width:  # a root of R'R is equivalent to R and has fewer rows
                over = [] if some.start == 0 else [root]
                root = np.asarray(np.linalg.qr(np.vstack([*over, texts[some]]), "r"))
        power = ((root @ root.T) ** 2).sum() - (of_dimensions**2).sum()
        noise = n / freedom**2 * (((of_texts**2).sum() - fourth) / (n - 1) - power / (n - 1) ** 2)
        power = power / (n - 1) ** 2
        # Never 0: with more dimensions than texts the sample covariance is singular.
        shrinkage = float(np.clip(noise / power, 1e-3, 1)) if power > 0 else 1.0
        return cls(spread, root, shrinkage, freedom)

    def product(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Return ``a @ inverse @ b.T`` for a of shape (m, width) and b of shape (n, width)."""
        a, b = a / self.spread, b / self.spread
        plain = a @ b.T
        if self.shrinkage == 1:
            return np.asarray(plain)
        ridge = self.shrinkage * self.freedom / (1 - self.shrinkage)
        gram = self.root @ self.root.T
        gram[np.diag_indices_from(gram)] += ridge
        explained = (a @ self.root.T) @ cho_solve(cho_factor(gram), self.root @ b.T)
        return np.asarray((plain - explained) / self.shrinkage)
