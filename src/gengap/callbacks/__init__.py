"""Callbacks for other people's trainers: coherence, and when each training example is learned.

Each needs the library it is named after, which is imported when the callback is first asked for:
the extras `gengap[lightning]` and `gengap[transformers]`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._lightning import LightningCoherence as LightningCoherence
    from ._lightning_learning import LightningLearningTime as LightningLearningTime
    from ._transformers import TransformersCoherence as TransformersCoherence
    from ._transformers_learning import TransformersLearningTime as TransformersLearningTime

_HOME_OF = {
    "LightningCoherence": ("_lightning", "lightning"),
    "LightningLearningTime": ("_lightning_learning", "lightning"),
    "TransformersCoherence": ("_transformers", "transformers"),
    "TransformersLearningTime": ("_transformers_learning", "transformers"),
}


def __getattr__(name: str) -> object:
    """Import a callback when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gengap.callbacks' has no attribute {name!r}")
    home, extra = _HOME_OF[name]
    try:
        module = importlib.import_module(f"gengap.callbacks.{home}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`{name}` needs the package {error.name!r}; install it with: pip install "
            f"'gengap[{extra}]'."
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    """List the callbacks, imported or not."""
    return sorted(_HOME_OF)
