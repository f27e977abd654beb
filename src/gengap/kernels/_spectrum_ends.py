"""The ends of a matrix's spectrum from its Cholesky factor."""

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from gengap._streams import streams

from ._cholesky import Cholesky


def spectrum_ends(factor: Cholesky, *, seed: int) -> tuple[float, float]:
    """Return the smallest and largest eigenvalue of L L^T, to about 1 %.

    Lanczos with products for the one end, with solves for the other; each costs n^2
    multiplications, and some tens are made.
    """
    n = factor.n
    if n == 1:
        value = float(factor.panels[0][0, 0]) ** 2
        return value, value
    start = torch.randn(n, generator=streams(seed)("lanczos"), dtype=torch.float64).numpy()
    kept = []
    for act in (factor.multiply, factor.solve):

        def apply(v: np.ndarray, act: object = act) -> np.ndarray:
            moved = torch.as_tensor(v.reshape(-1, 1)).to(factor.panels[0])
            return act(moved).cpu().numpy()[:, 0].astype(np.float64)  # type: ignore[operator]

        operator = LinearOperator((n, n), matvec=apply, dtype=np.float64)
        values = eigsh(operator, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)
        kept.append(float(values[0]))
    return 1 / kept[1], kept[0]
