"""What features of images take for images."""

from torch import Tensor


def check_images(images: Tensor) -> Tensor:
    """Return images as [n, c, h, w]; [n, h, w] has one channel.

    Raises:
        ValueError: They have another shape, or are not of floating point.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            "`images` must have shape [n, c, h, w] or [n, h, w]; got "
            f"{tuple(images.shape)}. Give flat pixels their shape first."
        )
    if not images.is_floating_point():
        raise ValueError(
            f"`images` must be of floating point; got {images.dtype}. Take a split's `batch`."
        )
    return images
