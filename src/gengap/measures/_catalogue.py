"""All measures, by name."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._capacity import CAPACITY
from ._fit import FIT
from ._measure import Measure
from ._norms import NORMS
from ._sharpness import SHARPNESS
from ._spectrum import SPECTRUM

if TYPE_CHECKING:
    import pandas as pd

MEASURES: dict[str, Measure] = {
    measure.name: measure for measure in (*FIT, *NORMS, *CAPACITY, *SPECTRUM, *SHARPNESS)
}
"""The measures of the library, by name; `catalogue` describes them."""


def catalogue(measures: Iterable[Measure] | None = None) -> "pd.DataFrame":
    """Return what there is to know about measures, a row each; by default about the library's.

    Columns: name, formula, units, range, cost (in forward-and-backward passes), invariant
    (whether it stays when a rescaling of the weights keeps the function), caveat, source.
    """
    import pandas as pd

    columns = ("name", "formula", "units", "range", "cost", "invariant", "caveat", "source")
    return pd.DataFrame([
        {column: getattr(measure, column) for column in columns}
        for measure in (MEASURES.values() if measures is None else measures)
    ])
