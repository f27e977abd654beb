"""Studies: the tables, figures and claims of one paper each.

`run("zhang2017")` runs one; `Entry`, `gather` and `StudyResult` are what a study is made of, here
or in your own code. Everything but the table of names is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

from ._names import names as names, run as run

if TYPE_CHECKING:
    from ._gather import Entry as Entry, Gathered as Gathered, gather as gather
    from ._plain_pixels import plain_pixels as plain_pixels
    from ._result import StudyResult as StudyResult

_HOME_OF = {
    "Entry": "._gather",
    "Gathered": "._gather",
    "gather": "._gather",
    "plain_pixels": "._plain_pixels",
    "StudyResult": "._result",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gengap.studies' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME_OF[name], __name__), name)
    globals()[name] = value
    return value
