"""How networks are trained: recipes, runs, lanes."""

from ._recipe import Recipe as Recipe
from ._schedules import (
    Constant as Constant,
    Cosine as Cosine,
    Exponential as Exponential,
    Schedule as Schedule,
    Step as Step,
)
