"""Galleries: rows of example images inside the page."""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, final

import numpy as np

from ._escaping import inline
from ._files import check_file_name

STRIP = np.array([[247, 251, 255], [107, 174, 214], [8, 48, 107]], dtype=float)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Rows of example images, one row a group.

    Attributes:
        name: Name of the gallery.
        rows: (label, examples, captions) or (label, examples). Examples are arrays or tensors
            [k, channels, height, width], or [k, features], drawn as a strip of heat. uint8 is
            shown as it is; other numbers are scaled so that the row runs from its lowest to its
            highest value. One channel is grey, three are red, green and blue; of any other number
            the mean is shown.
        title: Heading above the rows.
        caption: Text beneath.

    Captions of images may have several lines.
    """

    name: str
    rows: Sequence[tuple[Any, ...]]
    title: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        check_file_name(self.name)
        for label, examples, *captions in self.rows:
            shape = np.shape(examples)
            if len(shape) not in {2, 4}:
                raise ValueError(
                    f"`rows` must hold examples of shape [k, c, h, w] or [k, d]; got "
                    f"{list(shape)} for {label!r}."
                )
            if captions and captions[0] is not None and len(captions[0]) != shape[0]:
                raise ValueError(
                    f"`rows` must hold one caption an example; got {len(captions[0])} for "
                    f"{shape[0]} of {label!r}."
                )

    def html(self) -> str:
        """Return the gallery as a figure of a page, the images inside it."""
        heading = f"<h3>{inline(self.title)}</h3>" if self.title else ""
        below = f"<figcaption>{inline(self.caption)}</figcaption>" if self.caption else ""
        rows = "".join(map(self._row, self.rows))
        return f'<figure class="gallery">{heading}{rows}{below}</figure>'

    def _row(self, row: tuple[Any, ...]) -> str:
        label, examples, *rest = row
        captions = rest[0] if rest and rest[0] is not None else [""] * len(examples)
        kind = "strip" if np.ndim(examples) == 2 else "image"
        cells = "".join(
            f'<li class="{kind}"><img alt="{escape(_alternative(label, place, caption))}" '
            f'src="data:image/png;base64,{b64encode(png).decode()}"><span>{escape(caption)}</span></li>'
            for place, (png, caption) in enumerate(zip(images(examples), captions, strict=True))
        )
        return (
            f'<div class="examples" data-group="{escape(str(label))}">'
            f"<h4>{escape(str(label))}</h4><ul>{cells}</ul></div>"
        )


def images(examples: Any) -> list[bytes]:
    """Return each example as a PNG, one pixel a pixel."""
    from PIL import Image

    pngs = []
    for picture in pixels(examples):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="PNG", optimize=True)
        pngs.append(file.getvalue())
    return pngs


def pixels(examples: Any) -> np.ndarray:
    """Return examples [k, c, h, w] or [k, d] as uint8 [k, h, w] or [k, h, w, 3]."""
    values = np.asarray(examples)
    if values.ndim == 2:
        scaled = _scaled(values)
        strip = np.stack([np.interp(scaled, [0, 0.5, 1], STRIP[:, band]) for band in range(3)], -1)
        return strip.round().astype(np.uint8)[:, None]
    if values.shape[1] not in {1, 3}:
        values = values.mean(1, keepdims=True).astype(values.dtype)
    if values.dtype != np.uint8:
        values = (_scaled(values) * 255).round().astype(np.uint8)
    return values[:, 0] if values.shape[1] == 1 else values.transpose(0, 2, 3, 1)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Scale finite values to [0, 1] over the whole set; a constant set is grey."""
    values = values.astype(float)
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.full(values.shape, 0.5)
    scaled = (values - finite.min()) / (finite.max() - finite.min())
    return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


def _alternative(label: object, place: int, caption: str) -> str:
    return f"{label}, example {place + 1}" + (f": {caption}" if caption else "")
