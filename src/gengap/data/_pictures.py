"""Pictures of Pillow as arrays: 8 bits as bytes, 16 bits and floats as one channel of floats."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeGuard

import numpy as np
from PIL import Image, ImageOps

from gengap._errors import DataError

Mode = Literal["L", "RGB", "I;16", "F"]

_GREY = frozenset({"1", "L"})
_SIXTEEN_AT_MOST = ("PNG", "PPM")  # which Pillow may open as mode "I", in 0..65535
_NUMBERS = {
    "L": "8-bit numbers",
    "RGB": "8-bit numbers",
    "I;16": "16-bit numbers",
    "F": "floats",
    "I": "32-bit whole numbers",
}


def is_picture(x: object) -> TypeGuard[Image.Image]:
    """Return whether something is a picture of Pillow."""
    return isinstance(x, Image.Image)


def mode_of(picture: Image.Image) -> str:
    """Return the mode in which a picture is read, from its header; "I" is read in none."""
    if picture.mode in _GREY:
        return "L"
    sixteen = picture.mode == "I" and picture.format in _SIXTEEN_AT_MOST
    if sixteen or picture.mode.startswith("I;16"):
        return "I;16"
    return picture.mode if picture.mode in ("I", "F") else "RGB"


def common_mode(modes: Sequence[str], name: Callable[[int], str]) -> Mode:
    """Return the mode in which pictures are read together: colour if one of 8 bits is colour.

    Args:
        modes: Of every picture, by `mode_of`.
        name: What to call the picture of a number in errors.

    Raises:
        DataError: They hold 32-bit whole numbers, or not the same kind of numbers.
    """
    for index, mode in enumerate(modes):
        if mode == "I":
            raise DataError(
                f"{name(index)} must hold 8-bit or 16-bit numbers or floats; got {_NUMBERS[mode]}, "
                "whose range is not known. Save it as floats."
            )
        if _NUMBERS[mode] != _NUMBERS[modes[0]]:
            raise DataError(
                f"{name(index)} must hold {_NUMBERS[modes[0]]} like the first image; got "
                f"{_NUMBERS[mode]}. Save all images as one kind."
            )
    return "RGB" if "RGB" in modes else modes[0] if modes else "L"  # type: ignore[return-value]


def pixels(
    picture: Image.Image, mode: Mode, *, size: tuple[int, int] | None = None
) -> np.ndarray[Any, Any]:
    """Return a picture as [channels, height, width], brought to a size if one is given.

    Bytes in the modes "L" and "RGB"; float32 in "I;16", divided by 65535, and in "F", as it is.

    Raises:
        ValueError: The picture does not hold the mode's kind of numbers.
    """
    found = mode_of(picture)
    if _NUMBERS[found] != _NUMBERS[mode]:
        raise ValueError(f"{_NUMBERS[found]} where the others hold {_NUMBERS[mode]}")
    picture.load()
    if mode in ("L", "RGB"):
        picture = picture.convert(mode)
    else:
        numbers = np.asarray(picture).astype(np.float32)
        picture = Image.fromarray(numbers / np.float32(65535) if mode == "I;16" else numbers)
    if size is not None:
        height, width = size
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def bands(picture: Image.Image, *, where: str) -> np.ndarray[Any, Any]:
    """Return a picture that came decoded as [channels, height, width], with the bands it has.

    Those of a palette, or of grey with transparency, become colour.
    """
    if len(picture.getbands()) > 2:
        return np.asarray(picture).transpose(2, 0, 1)
    return pixels(picture, common_mode([mode_of(picture)], lambda _: f"An image of {where}"))
