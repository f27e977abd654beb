"""The example of six weights: what is in common is learned first, and generalizes."""

import torch
from torch import nn

from gengap._checks import check_count
from gengap.data import Split
from gengap.risk import Risk

SIGNS = (1.0, -1.0, -1.0, 1.0, -1.0)


def six_weights(n: int = 4, *, common: bool = True) -> tuple[Risk, Risk]:
    r"""Return the train and the test risk of a linear model whose coherence is known exactly.

    The loss is $\frac12 (y - w \cdot x)^2$, at $w = 0$. Example i is $x_i = y_i (e_i + e_c)$,
    with a feature of its own and one that all share; without `common`, $x_i = y_i e_i$. The
    first n examples train and one more tests: n + 2 weights, the common one last.

    With a common feature $\alpha = \frac{n + 1}{2 n}$ at the start, gradient descent ends at
    $w_c = \frac{n}{n + 1}$ and $w_i = \frac{1}{n + 1}$, and at the test loss
    $\frac{1}{2 (n + 1)^2}$. Without, $\alpha = \frac1n$, $w_i = 1$, and the test loss stays
    $\frac12$.

    Args:
        n: Examples to train on.
        common: Whether the examples share a feature.

    Returns:
        The risks in float64, of one model: both see a change of its weights.

    Examples:
        >>> train, test = six_weights()
        >>> train(), test()
        (0.5, 0.5)

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036, section 3: n = 4, $\alpha$ = 0.625 and
        0.25, test losses 0.02 and 0.5. The closed form in n is ours.
    """
    check_count("n", n)
    y = torch.tensor([SIGNS[i % len(SIGNS)] for i in range(n + 1)], dtype=torch.float64)[:, None]
    features = torch.eye(n + 1, n + 2, dtype=torch.float64)
    features[:, -1] = float(common)
    model = nn.utils.skip_init(nn.Linear, n + 2, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    split = Split(inputs=y * features, targets=y, name="six weights")
    train = Risk(model, split[:n], loss="squared_error")
    return train, train.on(split[n:])
