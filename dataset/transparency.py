"""Colours under full transparency: nobody sees them, so they must not shine into what is seen of the enlarged picture.

Most programs store black there, or white. A network, as any interpolation, mixes a pixel with those around it, and
the outline of a sprite would get a rim of that colour. So near to what is seen, what is hidden takes its colour, before
the network. Farther away it stays as it is: in a game's textures, alpha may be no transparency but gloss or height,
and the colours under it data.
"""

import numpy as np

from .picture import Picture, in_rows

REACH = 5  # pixels; beyond them LESRCNN changes what is seen by 2 of 255 at most


def covered(picture: Picture) -> np.ndarray:
    """A picture's colours, (H, W, 3); those of pixels of alpha 0 that lie up to :data:`REACH` pixels from others are
    the nearest other's."""
    hidden = None if picture.alpha is None else picture.alpha == 0
    if hidden is None or not hidden.any() or hidden.all():
        return picture.rgb
    import cv2

    height, width = hidden.shape
    rgb = picture.rgb.copy()
    for rows in in_rows(height, width):
        around = slice(max(0, rows.start - REACH), min(height, rows.stop + REACH))
        under, colours = hidden[around], picture.rgb[around]
        if under.all() or not under.any():
            continue
        kind = cv2.DIST_L2, cv2.DIST_MASK_5, cv2.DIST_LABEL_PIXEL
        distance, nearest = cv2.distanceTransformWithLabels(under.astype(np.uint8), *kind[:2], labelType=kind[2])
        seen = np.empty((nearest.max() + 1, 3), rgb.dtype)
        seen[nearest[~under]] = colours[~under]
        near = under & (distance <= REACH)
        own = slice(rows.start - around.start, rows.stop - around.start)
        rgb[rows][near[own]] = seen[nearest[own][near[own]]]
    return rgb
