"""From a picture of any shape to the square an engine takes, pixel for pixel as the variants were evaluated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from resnest_edge.errors import ImageError
from resnest_edge.images.base import Pixels
from resnest_edge.images.decode import MAX_PIXELS
from resnest_edge.spec import Interpolation, Preprocessing, ResizeMode

_FILTERS = {
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}


def transform(picture: Pixels | Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and crop one picture to the network's input, with Pillow's antialiased filters.

    The arithmetic is that of ``Resize`` and ``CenterCrop`` of torchvision (and timm) on Pillow images, and of
    ``ECenterCrop`` of the ResNeSt authors for ``ResizeMode.CENTER_THEN_RESIZE``.

    Args:
        picture: HWC uint8 RGB, values in [0, 255], or a Pillow image of mode RGB.
        preprocessing: the size, resize mode and filter; mean, std and color are the network's own business.

    Returns:
        (S, S, 3) uint8 RGB with S = ``preprocessing.image_size``.

    Raises:
        ImageError: not an RGB picture, or so elongated or small that it cannot be resized and cropped.
    """
    image = _as_image(picture)
    side = preprocessing.image_size
    if preprocessing.mode is ResizeMode.SHORTER_SIDE:
        image = _resize_shorter_side(image, preprocessing)
        left, top = _centre_offset(image.width, side), _centre_offset(image.height, side)
        return np.asarray(image.crop((left, top, left + side, top + side)))
    if preprocessing.mode is ResizeMode.CENTER_THEN_RESIZE:
        image = _central_square(image, side / preprocessing.resize)
    return np.asarray(image.resize((side, side), _FILTERS[preprocessing.interpolation]))


def normalise(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """What the network is fed: ``(pixel / 255 - mean) / std`` in float32, channels in the network's color order.

    Engines do this inside their graph; this is the reference that parity checks and tests compare them with.

    Args:
        images: (N, S, S, 3) uint8 RGB.
        preprocessing: mean, std and color.

    Returns:
        (N, 3, S, S) float32, contiguous.

    Raises:
        ImageError: the array is not (N, S, S, 3) uint8.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ImageError(f"normalisation takes (N, S, S, 3) uint8 images, not {images.shape} {images.dtype}")
    ordered = images if preprocessing.color == "rgb" else images[..., ::-1]
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    scaled = (ordered.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _as_image(picture: Pixels | Image.Image) -> Image.Image:
    if isinstance(picture, Image.Image):
        if picture.mode != "RGB":
            raise ImageError(f"the picture has mode {picture.mode}, not RGB", hint="Convert it to RGB first.")
        return picture
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0 or picture.dtype != np.uint8:
        raise ImageError(f"a picture is (H, W, 3) uint8 with H, W >= 1, not {picture.shape} {picture.dtype}")
    return Image.fromarray(picture)


def _resize_shorter_side(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    short, long = sorted(image.size)
    # Truncated, not rounded, and in this order of operations: as torchvision computes it.
    longer = int(preprocessing.resize * long / short)
    if longer * preprocessing.resize > MAX_PIXELS:
        raise ImageError(
            f"at {image.width}x{image.height} the picture is too elongated: resizing its shorter side to "
            f"{preprocessing.resize} gives more than {MAX_PIXELS} pixels",
            hint="Crop it first.",
        )
    size = (preprocessing.resize, longer) if image.width <= image.height else (longer, preprocessing.resize)
    return image.resize(size, _FILTERS[preprocessing.interpolation])


def _centre_offset(length: int, crop: float) -> int:
    # Python's round() takes halves to the even neighbour, as torchvision and the authors' code do.
    return round((length - crop) / 2.0)


def _central_square(image: Image.Image, fraction: float) -> Image.Image:
    crop = fraction * min(image.size)
    left, top = _centre_offset(image.width, crop), _centre_offset(image.height, crop)
    right, bottom = round(left + crop), round(top + crop)
    if right <= left or bottom <= top:
        raise ImageError(f"at {image.width}x{image.height} the picture is too small to crop")
    return image.crop((left, top, right, bottom))
