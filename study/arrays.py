"""Type aliases for NumPy arrays, one name per precision.

Only modules that compute import this one, so reading a study file still needs no NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Statistics are computed in double precision.
Float64Array = NDArray[np.float64]
#: Activations and vectors are stored in single precision.
Float32Array = NDArray[np.float32]
#: Metrics take either: products of activations are summed in double precision.
FloatArray = NDArray[np.floating]
