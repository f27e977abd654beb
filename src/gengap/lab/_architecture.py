"""What a network is made of, as a hash that is the same in every process."""

import array
import dataclasses
import enum
import functools
import hashlib
import inspect
import operator
import os
import re
import sys
import types
from argparse import Namespace
from collections import UserList, deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._class_text import NO_SOURCE, bare_method, class_text, is_of
from ._weights_text import weights_text

_LIBRARIES = ("torch", "gengap", "numpy", "builtins")
_STANDARD = Path(os.__file__).parent
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_BOOKKEEPING = frozenset(vars(nn.Module()))
_RECORDS = (types.SimpleNamespace, Namespace, torch.distributions.Distribution)
_LISTS = (deque, UserList, array.array)
_DATA = (Mapping, list, set, frozenset, *_LISTS, Tensor, np.ndarray, nn.Module, *_RECORDS)
_GETTERS = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
_WRITTEN = (complex, Decimal, bytes, bytearray, range, slice, torch.dtype, np.dtype)
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|meta)(:\d+)?")


def architecture(model: nn.Module) -> str:
    """Return a hash of a network's modules, of their code and of its initial weights.

    Of every module: its class and those it inherits from, but for the code of PyTorch and
    gengap; its attributes; its hooks; its parameters, buffers and modules by name. Of an
    attribute that is none of numbers, text, tensors, containers, functions, classes, modules,
    dataclasses or objects of the user's own classes only the name of the class is taken, and so
    of such objects in a set.
    """
    return _hash(_Teller().text(model))


def source_hash(kind: type) -> str:
    """Return a hash of the code of a class and of those it inherits from, but the library's.

    Values that its methods take from where they were made belong to it, and what stands in it.
    """
    return _hash(_Teller().text(kind))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


class _Teller:
    """Puts objects into words: one met again by its place among those met before."""

    def __init__(self) -> None:
        self._met: dict[int, tuple[int, object]] = {}  # keeps them, as an address may return

    def text(self, value: Any) -> str:
        """Return a text that differs where a network would, without addresses or orders of sets."""
        simple = _simple(value)
        if simple is not None:
            return simple
        if isinstance(value, _GETTERS):
            return self.text(value.__reduce__())
        if isinstance(value, tuple):
            return f"{type(value).__name__}({self._listed(value)})"
        if isinstance(value, set | frozenset):
            return _in_set(value)
        if id(value) in self._met:
            return f"#{self._met[id(value)][0]}"
        self._met[id(value)] = (len(self._met), value)
        return self._told(value)

    def _told(self, value: Any) -> str:
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Tensor):
            return weights_text(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, list):
            return f"[{self._listed(value)}]"
        if isinstance(value, _LISTS):
            return f"{_kind_name(value)}[{self._listed(value)}]"
        if isinstance(value, Mapping):
            return self._named(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, _FUNCTIONS):
            return self._function(value)
        if dataclasses.is_dataclass(value) or isinstance(value, _RECORDS) or _is_own(type(value)):
            return f"{self.text(type(value))} {self._named(_held(value))}"
        if callable(value) and hasattr(value, "__wrapped__"):
            return self.text(value.__wrapped__)
        return str(getattr(value, "__name__", None) or _kind_name(value))

    def _array(self, value: np.ndarray) -> str:
        wide = {"b": bool, "i": np.int64, "u": np.int64, "f": np.float64, "c": np.complex128}
        if value.dtype.kind not in wide:
            return f"array {self.text(value.tolist())}"
        numbers = torch.from_numpy(value.astype(wide[value.dtype.kind], order="C"))
        return f"array {value.dtype} {weights_text(numbers)}"

    def _listed(self, values: Iterable[Any]) -> str:
        return ", ".join(map(self.text, values))

    def _named(self, values: Mapping[Any, Any]) -> str:
        return f"{{{', '.join(f'{self.text(k)}: {self.text(v)}' for k, v in values.items())}}}"

    def _module(self, module: nn.Module) -> str:
        if isinstance(module, torch.jit.ScriptModule):  # is not trained, and no dict of Python's
            return f"{module.original_name} {self._named(module.state_dict())}"
        own = vars(module)
        kept = sorted(set(own.get("_buffers", {})) - own.get("_non_persistent_buffers_set", set()))
        parts = [
            self.text(type(module)),
            self._named({k: v for k, v in own.items() if not _is_bookkeeping(k)}),
            *(self._listed((own.get(hooks) or {}).values()) for hooks in _HOOKS),
            *(self._named(own.get(held) or {}) for held in ("_parameters", "_buffers", "_modules")),
        ]
        traced = module.code if isinstance(module, torch.fx.GraphModule) else ""
        return "\n".join([*parts, repr(kept), traced])

    def _class(self, kind: type) -> str:
        parts = [kind.__qualname__]
        for one in kind.__mro__:
            if not _is_library(one.__module__):
                source, elsewhere = class_text(one)
                parts.append(source or one.__qualname__)
                parts += [
                    f"{name}={self._member(value, one, bool(source) and name not in elsewhere)}"
                    for name, value in vars(one).items()
                    if not _is_machinery(name, value)
                ]
        return "\n".join(parts)

    def _member(self, value: Any, kind: type, known: bool) -> str:
        """Return what stands in a class; of a method whose text is known, its values."""
        value = bare_method(value)
        if isinstance(value, types.FunctionType):
            return self._around(value) if known and is_of(value, kind) else self.text(value)
        fixed = isinstance(value, tuple | type | functools.partial | types.BuiltinFunctionType)
        # what stands in a class of a module may be a cache; its text has what it began with
        made = "<locals>" in kind.__qualname__ and _is_own(kind)
        told = fixed or (made and (isinstance(value, _DATA) or _is_own(type(value))))
        return self.text(value) if told else _simple(value) or _kind_name(value)

    def _function(self, value: Any) -> str:
        if isinstance(value, functools.partial):
            return (
                f"{self.text(value.func)}({self._listed(value.args)}{self._named(value.keywords)})"
            )
        if isinstance(value, types.MethodType):
            return f"{self.text(value.__self__)}.{self.text(value.__func__)}"
        name = value.__qualname__.rpartition(".")[2]
        if _is_library(value.__module__):
            return name
        source = None if name == "<lambda>" else _source(value)  # a line may hold several
        return f"{name} {source or self._code(value.__code__)} {self._around(value)}"

    def _around(self, function: types.FunctionType) -> str:
        """Return what a function takes from where it was made: defaults and enclosed values."""
        cells = [_content(cell) for cell in function.__closure__ or ()]
        return self._listed([*cells, function.__defaults__, function.__kwdefaults__])

    def _code(self, code: types.CodeType) -> str:
        constants = [
            self._code(one) if isinstance(one, types.CodeType) else self.text(one)
            for one in code.co_consts
        ]
        return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _simple(value: Any) -> str | None:
    """Return plain data as text, floats to twelve digits; None for what is not plain."""
    if isinstance(value, enum.Enum):
        return f"{_kind_name(value)}.{value.name} {_in_set(value.value)}"
    if isinstance(value, str):
        return "a device" if _DEVICE.fullmatch(value) else repr(str(value))
    if value is None or isinstance(value, bool | np.bool_):
        return repr(value if value is None else bool(value))
    if isinstance(value, Integral):
        return repr(int(value))
    if isinstance(value, Real):
        return f"{float(value):.12g}."
    if isinstance(value, _WRITTEN):
        return repr(value)
    return None


def _in_set(value: Any) -> str:
    """Return what stands in a set as text that has neither order nor what it may lead back to."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_set, value))})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_in_set, value)))}}}"
    return _simple(value) or str(getattr(value, "__qualname__", None) or _kind_name(value))


def _kind_name(value: Any) -> str:
    return type(value).__qualname__


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_machinery(name: str, value: Any) -> bool:
    """Whether Python put a name into a class by itself."""
    special = (name.startswith("__") and name.endswith("__")) or name == "_abc_impl"
    return special and not isinstance(value, types.FunctionType)


def _is_bookkeeping(name: str) -> bool:
    """Whether PyTorch keeps an attribute for itself; those of a compiled module hold addresses."""
    return name in _BOOKKEEPING or name.startswith("_torchdynamo")


def _held(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots first."""
    slots = [vars(one).get("__slots__", ()) for one in type(value).__mro__]
    names = [n for one in slots for n in ((one,) if isinstance(one, str) else one)]
    found = {name: getattr(value, name, None) for name in names if not name.startswith("__")}
    return found | getattr(value, "__dict__", {})


def _is_library(module: str | None) -> bool:
    """Whether a module is PyTorch's, ours, NumPy's or Python's, and not a file of such a name."""
    top = (module or "").partition(".")[0]
    if top in _LIBRARIES:
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    inside = file is None or Path(file).is_relative_to(_STANDARD)
    return inside and top in sys.stdlib_module_names


def _is_own(kind: type) -> bool:
    """Whether a class is the user's: of no library, and not installed."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    installed = "site-packages" in file or "dist-packages" in file
    return not installed and not _is_library(kind.__module__)


def _source(value: Any) -> str | None:
    try:
        return inspect.getsource(value)
    except NO_SOURCE:
        return None
