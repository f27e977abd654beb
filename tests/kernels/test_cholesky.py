"""Twin: the blocked factor against LAPACK on the whole matrix, at sizes around its panels."""

import pytest
import torch

from gengap.kernels._cholesky import NotPositiveError, cholesky
from gengap.kernels._kernel import Kernel
from gengap.kernels._panels import WIDTH, kernel_panels, panel_bytes, spans


def positive(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n + 10, generator=g, dtype=torch.float64)
    return root @ root.T / n + 0.1 * torch.eye(n, dtype=torch.float64)


def panels_of(matrix):
    """The panels of any matrix, by a kernel that looks up the entries of indices."""
    index = torch.arange(len(matrix), dtype=matrix.dtype)[:, None]
    look_up = Kernel(pairwise=lambda a, b: matrix[a[:, 0].long()][:, b[:, 0].long()], centred=False)
    return kernel_panels(look_up, index, ridge=0.0)


SIZES = [1, 2, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH + 3]


@pytest.mark.parametrize("n", SIZES)
def test_panels_hold_the_lower_half_once(n):
    matrix = positive(n)
    panels = panels_of(matrix)
    for (start, stop), panel in zip(spans(n), panels, strict=True):
        torch.testing.assert_close(panel, matrix[start:, start:stop])
    assert sum(p.numel() for p in panels) * 8 == panel_bytes(n, 8)
    assert panel_bytes(60_000, 4) < 0.51 * 60_000**2 * 4


@pytest.mark.parametrize("n", SIZES)
def test_the_factor_is_lapacks_and_in_the_same_memory(n):
    matrix = positive(n)
    panels = panels_of(matrix)
    places = [p.data_ptr() for p in panels]
    factor = cholesky(panels)
    assert [p.data_ptr() for p in factor.panels] == places
    expected = torch.linalg.cholesky(matrix)
    for (start, stop), panel in zip(spans(n), factor.panels, strict=True):
        width = stop - start
        torch.testing.assert_close(panel[:width].tril(), expected[start:stop, start:stop])
        torch.testing.assert_close(panel[width:], expected[stop:, start:stop])


@pytest.mark.parametrize("n", SIZES)
def test_solves_products_and_inverse_diagonal(n):
    matrix = positive(n)
    factor = cholesky(panels_of(matrix))
    y = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept = y.clone()
    torch.testing.assert_close(factor.solve(y), torch.linalg.solve(matrix, y))
    torch.testing.assert_close(factor.multiply(y), matrix @ y)
    torch.testing.assert_close(factor.inverse_diagonal(), torch.linalg.inv(matrix).diagonal())
    assert torch.equal(y, kept)


def test_a_negative_direction_is_found_where_it_is():
    matrix = positive(2 * WIDTH)
    matrix[WIDTH + 5, WIDTH + 5] = -1.0
    with pytest.raises(NotPositiveError, match=f"row {WIDTH + 5} of {2 * WIDTH}"):
        cholesky(panels_of(matrix))
