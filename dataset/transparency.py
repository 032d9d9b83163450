"""Colours under full transparency: nobody sees them, so they must not shine into what is seen of the enlarged picture.

Most programs store black there, or white. A network, as any interpolation, mixes a pixel with those around it, and
the outline of a sprite would get a rim of that colour. So near to what is seen, what is hidden takes its colour, before
the network. Farther away it stays as it is: in a game's textures, alpha may be no transparency but gloss or height,
and the colours under it data.
"""

from pathlib import Path

import numpy as np

from . import images
from .errors import InputError
from .picture import Picture, in_rows, to_uint8

REACH = 5  # pixels; beyond them LESRCNN changes what is seen by 2 of 255 at most


def read_seen(path: Path) -> Picture:
    """A file's picture as training wants it: uint8, without alpha, what is hidden coloured as what is seen beside it.

    Raises:
        InputError: as :func:`dataset.images.read`, and if nothing of the picture is seen.
    """
    picture = images.read(path)
    if picture.alpha is not None and not picture.alpha.any():
        raise InputError(f"{path}: is transparent all over; leave it out")
    return Picture(to_uint8(covered(picture, sum(picture.rgb.shape[:2]))), grey=picture.grey)


def covered(picture: Picture, reach: int = REACH) -> np.ndarray:
    """A picture's colours, (H, W, 3); those of pixels of alpha 0 that lie up to ``reach`` pixels from others are the
    nearest other's."""
    hidden = None if picture.alpha is None else picture.alpha == 0
    if hidden is None or not hidden.any() or hidden.all():
        return picture.rgb
    import cv2

    kind = {"distanceType": cv2.DIST_L2, "maskSize": cv2.DIST_MASK_5, "labelType": cv2.DIST_LABEL_PIXEL}
    rgb = picture.rgb.copy()
    for rows in in_rows(*hidden.shape) if reach == REACH else [slice(0, len(hidden))]:
        around = slice(max(0, rows.start - reach), rows.stop + reach)
        under, colours = hidden[around], picture.rgb[around]
        if under.all() or not under.any():
            continue
        distance, nearest = cv2.distanceTransformWithLabels(under.astype(np.uint8), **kind)
        seen = np.empty((nearest.max() + 1, 3), rgb.dtype)  # by the numbers that they have in `nearest`
        seen[nearest[~under]] = colours[~under]
        own = slice(rows.start - around.start, rows.stop - around.start)
        near = (under & (distance <= reach))[own]
        rgb[rows][near] = seen[nearest[own][near]]
    return rgb
