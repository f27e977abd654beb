"""From frozen dataclasses to plain data and back, for identity and storage."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from gengap import corruptions, data, optim, training
from gengap.corruptions import Corruption

from ._architecture import source_hash

# The only table of names: what a stored specification may mention.
KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        corruptions.AddedNoise,
        corruptions.Compose,
        corruptions.GaussianPixels,
        corruptions.LabelsFromFile,
        corruptions.PairFlip,
        corruptions.RandomLabels,
        corruptions.RandomPixels,
        corruptions.ShuffledPixels,
        corruptions.SymmetricNoise,
        corruptions.TransitionMatrix,
        data.Augmentation,
        optim.DARC1,
        optim.RepresentationCoherence,
        training.Constant,
        training.Cosine,
        training.Exponential,
        training.Probes,
        training.Recipe,
        training.Step,
    )
}


def plain(value: object, *, own: bool = False) -> Any:
    """Return `value` as JSON types; a dataclass becomes a "kind" and its fields.

    Fields at their defaults are left out, so that a later version may add one without giving
    every trial another id. A class that is not the library's has a dot in its kind, a hash of
    its source beside it, and all fields, for its defaults may stand elsewhere.

    Args:
        value: What to put plainly.
        own: Whether it stands in a class that is not the library's: numbers that are not finite
            and keys that are no text are told apart there.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {_key(key, own): plain(item, own=own) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item, own=own) for item in value]
    if isinstance(value, Real) and not isinstance(value, int | float):  # NumPy's
        value = int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)} if own else None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(
        f"A specification must be plain data; got {type(value).__name__} in it. Use numbers, "
        "text, lists and the library's own frozen classes."
    )


def _plain_fields(value: Any) -> dict[str, Any]:
    kind = type(value)
    if kind.__module__.partition(".")[0] == "gengap":
        said = {name: plain(item) for name, item in _said(value).items()}
        return {"kind": kind.__name__, **said}
    fields = {f.name: plain(getattr(value, f.name), own=True) for f in dataclasses.fields(value)}
    name = f"{kind.__module__}.{kind.__qualname__}"
    return {"kind": name, "source": source_hash(kind), **fields}


def _key(key: object, own: bool) -> str:
    return f"({key!r})" if own and not isinstance(key, str) else str(key)


def is_own(value: Any) -> bool:
    """Whether plain data is that of a class which is not the library's, or holds one."""
    if isinstance(value, list):
        return any(map(is_own, value))
    return isinstance(value, dict) and (
        ("source" in value and "." in value.get("kind", "")) or any(map(is_own, value.values()))
    )


def own_text(value: Any) -> str:
    """Return how a table names what classes that are not the library's were made of."""
    if isinstance(value, list):
        return f"({', '.join(map(own_text, value))})"
    if not isinstance(value, dict) or "kind" not in value:
        return repr(value)
    said = [f"{k}={own_text(item)}" for k, item in value.items() if k not in ("kind", "source")]
    return f"{value['kind'].rpartition('.')[2]}({', '.join(said)})"


def revived(value: Any) -> Any:
    """Return what `plain` was given, for kinds in the table; lists become tuples."""
    if isinstance(value, dict) and "kind" in value:
        kind = KINDS.get(value["kind"])
        if kind is None:
            raise ValueError(
                f"A specification must name one of {', '.join(sorted(KINDS))}; got "
                f"{value['kind']!r}. Of a class of your own, give the trial itself."
            )
        return kind(**{k: revived(v) for k, v in value.items() if k != "kind"})
    if isinstance(value, dict):
        return {key: revived(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(revived(item) for item in value)
    return value


def canonical(value: object) -> str:
    """Return the one JSON text of plain data: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """Return 20 hexadecimal digits that identify plain data."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=10).hexdigest()


def corruption_text(corruption: Corruption | None) -> str:
    """Return how a table names a corruption: its kind and the fields that are not defaults."""
    if corruption is None:
        return "none"
    if isinstance(corruption, corruptions.Compose):
        return " + ".join(map(corruption_text, corruption.corruptions))
    said = [f"{name}={value!r}" for name, value in _said(corruption).items()]
    return f"{type(corruption).__name__}({', '.join(said)})"


def _said(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not at their defaults."""
    said = {}
    own = value.own_defaults() if hasattr(value, "own_defaults") else {}
    for f in dataclasses.fields(value):
        factory = f.default_factory
        default = f.default if factory is dataclasses.MISSING else factory()
        default = own.get(f.name, default)
        if getattr(value, f.name) != default:
            said[f.name] = getattr(value, f.name)
    return said
