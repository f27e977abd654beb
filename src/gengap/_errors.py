"""The errors a caller may want to handle.

All are `GengapError`s:

- `DataError`: a file or data set is missing, damaged, or not what it says it is.
- `StoreError`: a store cannot be read or written.
- `UsageError`: the command line or a `module:callable` is wrong.
- `WorkerError`: a process ended before its work was done.

Wrong arguments raise ValueError or TypeError, as everywhere in Python. A run that diverges or a
trial that fails is not an error but a row with a status.
"""


class GengapError(Exception):
    """Base of the library's own errors."""


class DataError(GengapError):
    """A file or data set is missing, damaged, or not what it says it is."""


class StoreError(GengapError):
    """A store of trials cannot be read or written."""


class UsageError(GengapError):
    """What was asked for on the command line does not exist or does not fit."""


class WorkerError(GengapError, RuntimeError):
    """A worker process ended before its work was done."""
