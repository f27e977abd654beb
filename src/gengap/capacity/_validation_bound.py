"""What a validation set says of a model chosen among many."""

import math

from gengap._checks import check_count, check_positive

from ._bound import Bound


def validation_bound(
    num_models: float,
    num_examples: int,
    *,
    confidence: float = 0.9,
    largest: float = 1.0,
    deviation: float = 1.0,
) -> Bound:
    r"""Bound the gap between risk and validation risk, for all models at once.

    With probability $1 - \delta$, for every model f of a set F that was fixed without the
    validation examples,

    $$R(f) \le \hat R_{val}(f) + \frac{2 C \ln(|F| / \delta)}{3 m}
      + \sqrt{\frac{2 \gamma^2 \ln(|F| / \delta)}{m}},$$

    where $\kappa = R(f) - \ell(f, x, y)$ has $E[\kappa^2] \le \gamma^2$ and
    $|\kappa| \le C$. Whatever the networks and however they were trained. Misleads where models
    were chosen after a look at the validation examples that is not counted in |F|.

    Args:
        num_models: Size of F, such as the checkpoints of all hyper-parameters tried. At least 1.
        num_examples: Validation examples m.
        confidence: Probability 1 - delta with which it holds, in (0, 1).
        largest: Bound C on the deviation of an example's loss; 1 for the 0-1 loss.
        deviation: Bound gamma on its standard deviation; 1 is always right for the 0-1 loss, 1/2
            too.

    Source:
        Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468; Bernstein's inequality and a
        union bound. Their example: 10^9 models and 10,000 examples, all else as it stands, 6.94 %.
    """
    check_count("num_examples", num_examples)
    check_positive("largest", largest)
    check_positive("deviation", deviation)
    if not (math.isfinite(num_models) and num_models >= 1):
        raise ValueError(f"`num_models` must be at least 1 and finite; got {num_models!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1; got {confidence!r}.")
    log = math.log(num_models) - math.log1p(-confidence)
    value = 2 * largest * log / (3 * num_examples)
    value += math.sqrt(2 * deviation**2 * log / num_examples)
    return Bound(
        name="validation",
        value=value,
        complexity=log,
        units="nats",
        confidence=confidence,
        source="Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468",
        note="for models chosen without the validation examples",
    )
