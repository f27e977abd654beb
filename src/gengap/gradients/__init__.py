"""Gradients of single examples: norms, sums, inner products, and what they say together."""

from ._statistics import (
    GradientStatistics as GradientStatistics,
    gradient_statistics as gradient_statistics,
    per_example_block_dots as per_example_block_dots,
    per_example_dots as per_example_dots,
    per_example_gradients as per_example_gradients,
    per_example_squared_norms as per_example_squared_norms,
)
