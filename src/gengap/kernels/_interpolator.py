"""Kernel interpolation as scikit-learn estimators."""

import math
import warnings
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gengap._checks import check_choice, check_count, check_non_negative, check_positive

from ._duplicates import check_duplicates
from ._kernel import Kernel, Pairwise, as_kernel
from ._panels import HEIGHT, spans
from ._solve import Settings, Solution, solve
from ._spectrum_ends import spectrum_ends


class _AbstractInterpolator(BaseEstimator):
    """What the regressor and the classifier have in common: everything but the targets."""

    def __init__(
        self,
        kernel: str | Pairwise = "gaussian",
        *,
        bandwidth: float = 0.02,
        degree: int = 1,
        offset: float = 1.0,
        ridge: float = 0.0,
        dtype: str = "float32",
        solver: str = "auto",
        refine: bool = True,
        tolerance: float = 1e-6,
        max_iterations: int = 100,
        rank: int = 1000,
        memory: int | None = None,
        keep_factor: bool = True,
        device: str = "cpu",
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.degree = degree
        self.offset = offset
        self.ridge = ridge
        self.dtype = dtype
        self.solver = solver
        self.refine = refine
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.rank = rank
        self.memory = memory
        self.keep_factor = keep_factor
        self.device = device
        self.seed = seed
        self.verbose = verbose

    def _solve(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Set every attribute that the solve gives; y is [n, c]."""
        settings, kernel = self._settings(), self._kernel()
        self._factor: Any = None  # that of an earlier fit, before another is made
        if settings.ridge == 0:
            check_duplicates(x, y)
        inputs = torch.tensor(x, dtype=torch.float64, device=self.device)
        centre = inputs.mean(0) if kernel.centred else torch.zeros_like(inputs[0])
        inputs -= centre
        targets = torch.tensor(y, dtype=torch.float64, device=self.device)
        found = solve(kernel, inputs, targets, settings)
        self._report(found)
        self._inputs, self._centre = inputs, centre
        self._coefficients, self._targets = found.coefficients, targets
        self._factor = found.factor if self.keep_factor else None
        self.dual_coef_ = found.coefficients.cpu().numpy()
        self.rkhs_norms_ = found.squared_norms.clamp(min=0).sqrt().cpu().numpy()
        self.rkhs_norm_ = float(np.linalg.norm(self.rkhs_norms_))

    def _report(self, found: Solution) -> None:
        self.solver_, self.nugget_ = found.solver, found.nugget
        self.residual_, self.residuals_ = found.residual, found.residuals
        self.converged_ = found.residual <= self.tolerance
        if not self.converged_ and (found.residuals or found.residual > 1e-3):
            warnings.warn(
                f"The kernel system is solved to a relative residual of {found.residual:.2g} only, "
                f"not {self.tolerance:g}: take a ridge, float64, or more iterations.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _settings(self) -> Settings:
        check_non_negative("ridge", self.ridge)
        check_choice("dtype", self.dtype, ("float32", "float64"))
        check_choice("solver", self.solver, ("auto", "cholesky", "iterative"))
        check_positive("tolerance", self.tolerance)
        check_count("max_iterations", self.max_iterations)
        check_count("rank", self.rank)
        return Settings(
            ridge=float(self.ridge),
            dtype=torch.float32 if self.dtype == "float32" else torch.float64,
            solver=self.solver,
            refine=self.refine,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            rank=self.rank,
            memory=self.memory,
            seed=self.seed,
            verbose=bool(self.verbose),
        )

    def _kernel(self) -> Kernel:
        return as_kernel(
            self.kernel, bandwidth=self.bandwidth, degree=self.degree, offset=self.offset
        )

    def _evaluate(self, x: ArrayLike) -> Tensor:
        """Return f(x), [m, c]: blocks of the kernel in float64, whatever the factor was in."""
        check_is_fitted(self)
        checked = validate_data(self, x, reset=False, dtype=np.float64)
        inputs = torch.tensor(checked, dtype=torch.float64, device=self.device) - self._centre
        kernel = self._kernel()
        found = torch.zeros(len(inputs), self._coefficients.shape[1], dtype=torch.float64)
        for first, last in spans(len(inputs), HEIGHT):
            for start, stop in spans(len(self._inputs), HEIGHT):
                block = kernel(inputs[first:last], self._inputs[start:stop])
                found[first:last] += (block @ self._coefficients[start:stop]).cpu()
        return found

    def _ends(self) -> tuple[float, float]:
        return spectrum_ends(self._kept_factor(), seed=self.seed)

    def _kept_factor(self) -> Any:
        check_is_fitted(self)
        if self._factor is None and self.keep_factor and self.solver_ == "cholesky":
            raise AttributeError(
                "The factor must be there for what needs it, but a copy or pickle of a fit leaves "
                "it out; got one without. Fit again."
            )
        if self._factor is None:
            raise AttributeError(
                "`keep_factor` and `solver` must be True and 'cholesky' for what needs the "
                f"factor; got {self.keep_factor!r} and {self.solver_!r}. Fit again with them."
            )
        return self._factor

    @property
    def condition_(self) -> float:
        """The largest eigenvalue of K + ridge I over the smallest, to about 1 %."""
        smallest, largest = self._ends()
        return largest / smallest

    @property
    def effective_condition_(self) -> float:
        """How much errors of these very targets can be magnified: at most `condition_`.

        ||y|| / (smallest eigenvalue ||a||), Frobenius (Chan and Foulser 1988).
        """
        smallest, _ = self._ends()
        size = float(self._coefficients.norm())
        return float(self._targets.norm()) / (smallest * size) if size else math.nan

    @property
    def loo_errors_(self) -> NDArray[np.float64]:
        """y_i minus the prediction for x_i of the fit to all others, [n, c], in closed form.

        a_i / (K + ridge I)^-1_ii: as many operations as the factorization, made once.
        """
        if getattr(self, "_loo", None) is None:
            diagonal = self._kept_factor().inverse_diagonal()
            self._loo = (self._coefficients.cpu() / diagonal[:, None]).numpy()
        return self._loo

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the factor: it is half a kernel matrix."""
        state: dict[str, Any] = super().__getstate__()
        if "_factor" in state:
            state["_factor"] = None
        return state


@final
class KernelInterpolator(RegressorMixin, MultiOutputMixin, _AbstractInterpolator):
    r"""The function of least RKHS norm through all examples, for real targets.

    $f(x) = \sum_i a_i k(x_i, x)$ with $(K + r I) a = y$; r = 0 interpolates. The kernel matrix is
    held once, the lower half only: n (n + 768) / 2 entries, filled in blocks and factored in
    place. In float32 the solution is then refined with products in float64, until the relative
    residual is within the tolerance.

    Args:
        kernel: "gaussian", "laplace", "polynomial", "arc_cosine" or "linear" (see the functions of
            these names), or a callable that maps blocks of examples, float tensors [a, d] and
            [b, d], to the tensor [a, b], symmetric and positive semidefinite.
        bandwidth: Of the Gaussian and Laplace kernel; the polynomial's scale of inner products.
        degree: Of the polynomial and the arc-cosine kernel.
        offset: Of the polynomial.
        ridge: r, added to the diagonal as it is, not times n.
        dtype: Of the matrix and its factor: "float32" or "float64". Predictions are float64.
        solver: "cholesky", "iterative", or "auto": the first where it fits in memory.
        refine: Whether a float32 solution is refined; it costs a pass or more over the kernel
            in float64 and brings the residual from about 1e-5 to far below 1e-6.
        tolerance: The relative residual ||y - (K + r I) a|| / ||y|| to reach.
        max_iterations: Products with the kernel matrix, at most.
        rank: Examples whose eigenvectors precondition the iterative solver.
        memory: Bytes that may be used; None: what the machine has free.
        keep_factor: Whether the factor stays for `loo_errors_` and `condition_`; not in a copy or
            pickle.
        device: "cpu", or a CUDA device.
        seed: Of the draws: rows of the estimated residual, examples of the preconditioner.
        verbose: Whether a fit of more than two seconds says on standard error how far it is.

    Attributes:
        dual_coef_: a, [n] or [n, c].
        rkhs_norm_: $\sqrt{\sum_c a_c^\top K a_c}$.
        rkhs_norms_: Each output's, [c].
        residual_: The relative residual in float64; an estimate from 128 random rows where nothing
            was refined, or where the first step of the refinement was enough.
        residuals_: The same after each product of the refinement or iteration.
        converged_: Whether it is within the tolerance.
        nugget_: What had to be added to the diagonal of the factor, which then only
            preconditions; 0 if nothing.
        solver_: "cholesky" or "iterative".
        condition_: Condition number of the kernel matrix, made from the factor when asked for.
        effective_condition_: How much errors of these targets can be magnified, likewise.
        loo_errors_: Leave-one-out errors, likewise.

    Source:
        Zhang et al. (2017), section 5.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit targets [n] or [n, c].

        Raises:
            MemoryError: "cholesky" was asked for and does not fit; nothing was allocated.
            ValueError: The kernel is not positive or not finite, or equal examples have different
                targets and there is no ridge.
        """
        x, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._loo = None
        self._flat = targets.ndim == 1
        self._solve(x, np.asarray(targets, dtype=np.float64).reshape(len(x), -1))
        self.dual_coef_ = self.dual_coef_[:, 0] if self._flat else self.dual_coef_
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return f(X), [m] or [m, c], float64."""
        found: NDArray[np.float64] = self._evaluate(X).numpy()
        return found[:, 0] if self._flat else found


@final
class KernelInterpolatorClassifier(ClassifierMixin, _AbstractInterpolator):
    """The same for classes: one output a class, fitted to 1 for it and 0 for the others.

    The prediction is the class of the largest output. Arguments and attributes are those of
    `KernelInterpolator`, and `classes_`.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit labels [n] of any kind; raises what `KernelInterpolator.fit` raises."""
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self._loo = None
        self.classes_, index = np.unique(labels, return_inverse=True)
        self._solve(x, np.eye(len(self.classes_))[index])
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the outputs, [m, c]; for two classes their difference, [m]."""
        found: NDArray[np.float64] = self._evaluate(X).numpy()
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class of the largest output, [m]."""
        best = self._evaluate(X).numpy().argmax(1)
        found: NDArray[Any] = self.classes_[best]
        return found

    @property
    def loo_error_(self) -> float:
        """The share of examples that the fit to all others gets wrong."""
        targets = self._targets.cpu().numpy()
        return float(((targets - self.loo_errors_).argmax(1) != targets.argmax(1)).mean())
