"""Linear models on streamed features at every ridge, as scikit-learn estimators."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gengap._checks import check_choice, check_non_negative

from ._ridge_spectrum import ROWS, Path, Problem, ridge_path

_COLUMNS = 4096


@runtime_checkable
class FeatureBlocks(Protocol):
    """Features that come some columns at a time, in the same order for all inputs."""

    def blocks(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield blocks of features, [n, some]."""
        ...


Features = FeatureBlocks | Callable[[Tensor], Tensor]


class _AbstractRidgePath(BaseEstimator):
    """What the regressor and the classifier have in common: everything but the targets."""

    def __init__(
        self,
        ridges: Sequence[float] = (0.0,),
        *,
        features: Features | None = None,
        fit_intercept: bool = True,
        leave_one_out: bool = True,
        dtype: str = "float64",
    ) -> None:
        self.ridges = ridges
        self.features = features
        self.fit_intercept = fit_intercept
        self.leave_one_out = leave_one_out
        self.dtype = dtype

    def _solve(self, x: NDArray[Any], y: NDArray[Any]) -> Path:
        """Set what every fit gives; y is [n, k]."""
        check_choice("dtype", self.dtype, ("float32", "float64"))
        ridges = [float(ridge) for ridge in self.ridges]
        if not ridges:
            raise ValueError("`ridges` must hold at least one; got none. Ridgeless is (0.0,).")
        for ridge in ridges:
            check_non_negative("ridges", ridge)
        inputs = self._tensor(x)
        found = ridge_path(
            Problem(
                inputs=inputs,
                targets=torch.tensor(y, dtype=inputs.dtype),
                blocks=self._blocks,
                num_features=sum(block.shape[1] for block in self._blocks(inputs[:1])),
                ridges=ridges,
                intercept=bool(self.fit_intercept),
                leave_one_out=bool(self.leave_one_out),
            )
        )
        self.ridges_ = np.array(ridges)
        self.norms_ = found.norms.square().sum(1).sqrt().double().numpy()
        self.residuals_ = found.residuals.double().numpy()
        self.condition_ = found.condition
        self._weights, self._constants = found.coefficients, found.intercepts
        return found

    def _choose(self, errors: NDArray[np.float64] | None) -> None:
        """Take the ridge with the least error, the largest of those; the first without errors."""
        place = 0
        if errors is not None and np.isfinite(errors).any():
            least = np.nanmin(errors)
            place = int(max(np.flatnonzero(errors == least), key=lambda i: self.ridges_[i]))
        self.ridge_ = float(self.ridges_[place])
        self._place = place

    def _tensor(self, x: NDArray[Any]) -> Tensor:
        return torch.tensor(x, dtype=torch.float32 if self.dtype == "float32" else torch.float64)

    def _blocks(self, inputs: Tensor) -> Iterator[Tensor]:
        if self.features is None:
            yield from inputs.flatten(1).split(_COLUMNS, dim=1)
        elif isinstance(self.features, FeatureBlocks):
            yield from self.features.blocks(inputs)
        else:
            yield self.features(inputs)

    def _rules(self) -> dict[str, Any]:
        """Return what inputs must be: rows of numbers, or anything that there are features of."""
        dtype = np.float32 if self.dtype == "float32" else np.float64
        return {"dtype": dtype, "allow_nd": self.features is not None}

    def _evaluate(self, x: ArrayLike, *, path: bool = False) -> Tensor:
        """Return what the chosen ridge, or every one, says of x, [l, m, k]."""
        check_is_fitted(self)
        inputs = self._tensor(validate_data(self, x, reset=False, **self._rules()))
        places = slice(None) if path else slice(self._place, self._place + 1)
        weights, constants = self._weights[places], self._constants[places]
        found = [
            constants[:, None].expand(-1, len(part), -1).clone() for part in inputs.split(ROWS)
        ]
        for part, values in zip(inputs.split(ROWS), found, strict=True):
            start = 0
            for block in self._blocks(part):
                stop = start + block.shape[1]
                values += block.to(weights) @ weights[:, start:stop]
                start = stop
        return torch.cat(found, dim=1)

    def _mean_squares(self, left_out: Tensor | None, y: NDArray[Any]) -> None:
        self.loo_errors_ = None
        if left_out is not None:
            missed = left_out - torch.tensor(y, dtype=left_out.dtype)
            self.loo_errors_ = missed.square().sum(2).mean(1).double().numpy()


@final
class RidgePath(RegressorMixin, MultiOutputMixin, _AbstractRidgePath):
    r"""Linear regression on features at every ridge, from one factorization.

    $\min_{W, c} \|Y - \Phi W - 1 c^\top\|^2 + \lambda \|W\|^2$; $\lambda = 0$ is the solution of
    least norm among the best. The smaller of $\Phi \Phi^\top$ and $\Phi^\top \Phi$ is summed up
    over streamed features and decomposed once: $O(\min(n, p)^3)$, a ridge more costs
    $O(\min(n, p)^2)$. Memory: three matrices of that size, one block of features, and the
    coefficients of all ridges.

    Args:
        ridges: Lambdas, at least 0. Among several, the one of least leave-one-out error predicts.
        features: What the model is linear in; None takes the inputs as they are. Something with
            `blocks(inputs)`, such as RandomFourier or a bank of RandomConvolutions, which is
            streamed, or a callable that returns all features, such as GaborFeatures. With them
            inputs may be images, [n, c, h, w].
        fit_intercept: Whether a constant is fitted, without a penalty.
        leave_one_out: Whether the errors of leaving each example out are computed, in closed
            form; streams the features once more where they are fewer than the examples.
        dtype: Of everything: "float32" or "float64". Ridgeless solutions square the condition
            of the features: in float32 singular values below about 1/100 of the largest at
            n = 1000 count as zero.

    Attributes:
        coef_: At the chosen ridge, [p], or [k, p] for several targets.
        intercept_: The constant, or [k].
        coef_path_: Of every ridge, [l, k, p].
        ridges_: As given, [l].
        ridge_: The one that predicts.
        norms_: Norm of the coefficients of every ridge, Frobenius, [l].
        residuals_: Mean squared training residual of every ridge, summed over targets, [l].
        loo_errors_: Mean squared leave-one-out error of every ridge, [l], or None.
        condition_: Largest over least eigenvalue of the Gram matrix, of those that do not count
            as zero.

    Source:
        Hastie, Tibshirani and Friedman (2009), The elements of statistical learning, equations
        3.47 and 7.64. The limit of the leave-one-out errors of interpolants is ours.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit all ridges.

        Args:
            X: Examples, [n, d], or images with `features`.
            y: Real targets, [n] or [n, k].

        Raises:
            ValueError: The data are not finite numbers of fitting shapes.
        """
        x, given = validate_data(self, X, y, multi_output=True, y_numeric=True, **self._rules())
        targets = given.reshape(len(given), -1)
        found = self._solve(x, targets)
        self._flat = given.ndim == 1
        self._mean_squares(found.left_out, targets)
        self._choose(self.loo_errors_)
        path = found.coefficients.mT.double().numpy()
        self.coef_path_, self.coef_ = (
            path,
            path[self._place, 0] if self._flat else path[self._place],
        )
        constant = found.intercepts[self._place].double().numpy()
        self.intercept_ = float(constant[0]) if self._flat else constant
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the targets of examples at the chosen ridge, [m] or [m, k]."""
        return self._shaped(self._evaluate(X))[0]

    def predict_path(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the targets of examples at every ridge, [l, m] or [l, m, k]."""
        return self._shaped(self._evaluate(X, path=True))

    def _shaped(self, values: Tensor) -> NDArray[np.float64]:
        found: NDArray[np.float64] = values.double().numpy()
        return found[:, :, 0] if self._flat else found


@final
class RidgePathClassifier(ClassifierMixin, _AbstractRidgePath):
    """Classes by linear regression of their indicators, at every ridge: see RidgePath.

    The class of the largest value is predicted. Among several ridges the one with the least
    leave-one-out share of wrong classes is taken.

    Args:
        ridges: Lambdas, at least 0.
        features: What the model is linear in; None takes the inputs as they are.
        fit_intercept: Whether constants are fitted.
        leave_one_out: Whether leave-one-out errors are computed.
        dtype: Of everything: "float32" or "float64".

    Attributes:
        classes_: In the order of the columns of `decision_function`.
        loo_mistakes_: Leave-one-out share of wrong classes of every ridge, [l], or None.

    The other attributes are those of RidgePath, with one target a class.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit all ridges to the classes' indicators.

        Raises:
            ValueError: The data are not finite numbers, or there are fewer than two classes.
        """
        x, y = validate_data(self, X, y, **self._rules())
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"`y` must hold at least 2 classes; got {len(self.classes_)} class.")
        targets = np.eye(len(self.classes_))[labels]
        found = self._solve(x, targets)
        self._mean_squares(found.left_out, targets)
        self.loo_mistakes_ = None
        if found.left_out is not None:
            wrong = found.left_out.argmax(2).numpy() != labels
            self.loo_mistakes_ = wrong.mean(axis=1)
        self._choose(self.loo_mistakes_)
        self.coef_path_ = found.coefficients.mT.double().numpy()
        self.coef_ = self.coef_path_[self._place]
        self.intercept_ = found.intercepts[self._place].double().numpy()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the values of the classes, [m, c]; of two classes, second minus first, [m]."""
        values: NDArray[np.float64] = self._evaluate(X)[0].double().numpy()
        return values[:, 1] - values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the classes of examples at the chosen ridge, [m]."""
        best = self._evaluate(X)[0].argmax(1).numpy()
        found: NDArray[Any] = self.classes_[best]
        return found

    def predict_path(self, X: ArrayLike) -> NDArray[Any]:
        """Return the classes of examples at every ridge, [l, m]."""
        best = self._evaluate(X, path=True).argmax(2).numpy()
        found: NDArray[Any] = self.classes_[best]
        return found
