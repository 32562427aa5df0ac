"""Cutouts as pictures: colour after Lupton+04, grey after Lupton+99 for one band; as PNG and as data URIs.

One ``Display`` serves all pictures of a report, real and reconstructed, so that equal flux looks equal everywhere.
This file refuses to hide missing pixels: they have a colour of their own, which no galaxy has.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from galflow.errors import SpecError

FloatArray = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

MISSING_RGB = (0, 150, 136)
"""Colour of a missing pixel: a teal that no picture of a galaxy and no residual map contains."""
LARGEST_SIDE = 128
"""Larger cutouts are averaged over whole blocks of pixels until they are no larger than this on a side."""

SOFTENING_SIGMA = 3.0
LARGEST_WHITE_SIGMA = 1000.0
LEAST_WHITE_SIGMA = 30.0
"""A picture of nothing but sky is not stretched until its noise looks like light."""

# Pivot wavelengths in nm, rounded; only their order matters.
_WAVELENGTH_NM = {
    "U": 360, "B": 440, "BLUE": 450, "G": 480, "V": 550, "GREEN": 551, "R": 630, "RED": 650, "VIS": 715, "I": 770,
    "Z": 900, "Y": 1020, "J": 1250, "H": 1640, "KS": 2150, "K": 2200,
}  # fmt: skip


def blue_to_red(bands: Sequence[str]) -> tuple[tuple[int, ...], bool]:
    """Band numbers from the shortest to the longest wavelength, and whether every band's wavelength is known.

    Known are u to K and colour words, also behind a survey's prefix ("HSC-G"). If any band is not, the given order is
    taken to run from blue to red.
    """
    ends = [re.sub(r"\d+$", "", re.split(r"[-_.: ]", band)[-1]).upper() for band in bands]
    known = all(end in _WAVELENGTH_NM for end in ends)
    order = sorted(range(len(bands)), key=lambda i: _WAVELENGTH_NM[ends[i]]) if known else range(len(bands))
    return tuple(order), known


def lupton_rgb(red: FloatArray, green: FloatArray, blue: FloatArray, softening: float, white: float) -> FloatArray:
    """(..., 3) colours in [0, 1] of three intensities, each (...), in one unit (Lupton+04, PASP 116, 133).

    With I their mean and f(I) = asinh(I / softening) / asinh(white / softening), each channel is c f(I) / I: brightness
    is compressed, colour is not; with an infinite softening neither is. Where a channel exceeds 1 all three are divided
    by the largest, which keeps the hue.
    """
    colours = np.stack([red, green, blue], axis=-1)
    intensity = colours.mean(axis=-1)
    positive = intensity > 0
    brightness = _brightness(np.where(positive, intensity, 0.0), softening, white)
    colours = np.clip(
        colours * np.where(positive, brightness / np.where(positive, intensity, 1.0), 0.0)[..., None], 0, None
    )
    return colours / np.maximum(1.0, colours.max(axis=-1, keepdims=True))


def _brightness(intensity: FloatArray, softening: float, white: float) -> FloatArray:
    """0 where there is no light, 1 at white."""
    if math.isinf(softening):
        return intensity / white
    return np.arcsinh(intensity / softening) / np.arcsinh(white / softening)


def block_mean(pixels: npt.NDArray[np.floating], factor: int) -> FloatArray:
    """(..., y, x) averaged over blocks of ``factor`` x ``factor``; NaN if any pixel is; an incomplete border is cut."""
    height, width = (side // factor for side in pixels.shape[-2:])
    cut = np.asarray(pixels[..., : height * factor, : width * factor], dtype=np.float64)
    return cut.reshape(*cut.shape[:-2], height, factor, width, factor).mean(axis=(-3, -1))


@dataclass(frozen=True)
class Display:
    """How fluxes become colours, the same for all pictures of a report."""

    bands: tuple[str, ...]
    sigma: tuple[float, ...]
    """Sky sigma per band, in ``unit``: what each band is divided by before bands are mixed."""
    unit: str
    softening_sigma: float
    """Where linear turns into logarithmic, in sky sigmas; infinite: it is linear up to white."""
    white_sigma: float
    """What is drawn at full brightness, in sky sigmas."""

    def __post_init__(self) -> None:
        if not self.bands or len(self.bands) != len(self.sigma):
            raise SpecError(f"a display of bands {self.bands} needs one sky sigma each; got {self.sigma}")

    @property
    def channels(self) -> tuple[int, ...]:
        """Numbers of the bands shown: (red, green, blue), (red, blue), or the only one."""
        order, _ = blue_to_red(self.bands)
        return order[::-1] if len(order) < 3 else (order[-1], order[len(order) // 2], order[0])

    @classmethod
    def as_given(cls, bands: Sequence[str], white: Sequence[float], unit: str) -> Display:
        """Of pictures that were stretched for display already: linear from 0 to ``white``, a number a band."""
        return cls(tuple(bands), tuple(white), unit, math.inf, 1.0)

    def describe(self) -> str:
        """Which band is which colour, what a brightness means, in words with units."""
        names = [self.bands[i] for i in self.channels]
        _, known = blue_to_red(self.bands)
        if len(names) == 1:
            colour = f"Band {names[0]} in grey"
        elif len(names) == 2:
            colour = f"Red is {names[0]}, blue is {names[1]}, green their mean"
        elif names == ["red", "green", "blue"]:
            colour = "Bands red, green and blue in their own colours"
        else:
            colour = f"Red is {names[0]}, green {names[1]}, blue {names[2]}"
        if len(self.bands) > 3:
            colour += f" (three of the bands {', '.join(self.bands)})"
        if not known and len(names) > 1:
            colour += ", taking the bands as given from blue to red"
        if math.isinf(self.softening_sigma):
            return f"{colour}; {self._as_given}."
        scale = ", ".join(f"{self.bands[i]} {self.sigma[i]:.3g}" for i in self.channels)
        brightness = "their mean" if len(names) > 1 else "it"
        return (
            f"{colour}; flux in {self.unit} divided by the sky sigma of its band ({scale} {self.unit} per pixel). "
            f"Brightness is the asinh of {brightness}: linear up to {self.softening_sigma:g} sky sigma, "
            f"white at {self.white_sigma:.3g} sigma" + (" (Lupton+04)." if len(names) > 1 else " (Lupton+99).")
        )

    def short(self) -> str:
        """Bands, colours and unit in a few words."""
        names = ", ".join(self.bands[i] for i in self.channels)
        if math.isinf(self.softening_sigma):
            return f"{names}, {self._as_given}"
        if names == "red, green, blue":
            return f"{names}, flux in {self.unit}, white at {self.white_sigma:.3g} sky sigmas"
        colours = {1: "in grey", 2: "as red, blue"}.get(len(self.channels), "as red, green, blue")
        return f"{names} {colours}, flux in {self.unit}, white at {self.white_sigma:.3g} sky sigmas"

    @property
    def _as_given(self) -> str:
        white = ", ".join(dict.fromkeys(f"{self.sigma[i] * self.white_sigma:g}" for i in self.channels))
        return f"linear from black at 0 to white at {white}, as the pictures were stretched for display"

    def picture(self, flux: npt.NDArray[np.floating], observed: npt.NDArray[np.bool_] | None = None) -> Pixels:
        """(y, x, 3) of one object's ``flux`` (band, y, x); pixels not finite or not ``observed`` are missing.

        A band that is missing altogether is drawn as no light, so that the others can still be seen.
        """
        known = np.isfinite(flux) if observed is None else np.isfinite(flux) & observed
        factor = -(-flux.shape[-1] // LARGEST_SIDE)
        in_sigma = np.where(known, flux, np.nan) / np.asarray(self.sigma)[:, None, None]
        shown = block_mean(in_sigma, factor)[list(self.channels)]
        some_light = known[list(self.channels)].any(axis=(1, 2))
        missing = ~np.isfinite(shown[some_light]).all(axis=0) if some_light.any() else np.ones(shown.shape[1:], bool)
        light = np.where(np.isfinite(shown), shown, 0.0)
        if len(light) == 1:
            grey = _brightness(light[0], self.softening_sigma, self.white_sigma)
            colours = np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=-1)
        else:
            red, blue = light[0], light[-1]
            green = light[1] if len(light) == 3 else (red + blue) / 2
            colours = lupton_rgb(red, green, blue, self.softening_sigma, self.white_sigma)
        picture = np.round(255 * colours).astype(np.uint8)
        picture[missing] = MISSING_RGB
        return picture


def brightness_sigma(flux: npt.NDArray[np.floating], display: Display) -> FloatArray:
    """(N,) brightest pixel of each cutout (N, band, y, x): mean of the shown bands in sky sigmas; NaN if none."""
    shown = np.asarray(flux)[:, list(display.channels)] / np.asarray(display.sigma)[list(display.channels), None, None]
    mean = shown.mean(axis=1).reshape(len(shown), -1)
    peak = np.where(np.isfinite(mean), mean, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(peak), peak, np.nan)


def colour_picture(
    flux: npt.NDArray[np.floating], sky_sigma: Sequence[float], bands: Sequence[str] | None = None
) -> Pixels:
    """(y, x, 3) of one object's ``flux`` (band, y, x) on its own: white at its brightest pixel, at least 30 sigma.

    ``sky_sigma`` has one number a band in the unit of ``flux``. Without ``bands`` they are taken from blue to red.
    """
    names = tuple(bands) if bands is not None else tuple(f"band {chr(ord('a') + i)}" for i in range(len(sky_sigma)))
    display = Display(names, tuple(sky_sigma), "flux", SOFTENING_SIGMA, LEAST_WHITE_SIGMA)
    peak = float(np.nan_to_num(brightness_sigma(flux[None], display)[0]))
    return replace(display, white_sigma=max(LEAST_WHITE_SIGMA, peak)).picture(flux)


def grid_picture(pictures: Sequence[Pixels], gap: int = 2) -> Image.Image:
    """Pictures (y, x, 3) of one size side by side, in a grid about as wide as high, on white."""
    if not pictures:
        raise SpecError("no pictures to put into a grid; give at least one")
    columns = math.ceil(math.sqrt(len(pictures)))
    height, width = (side + gap for side in pictures[0].shape[:2])
    sheet = np.full((math.ceil(len(pictures) / columns) * height - gap, columns * width - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height - gap, left : left + width - gap] = picture[::-1]
    return Image.fromarray(sheet)


def picture_png(picture: Pixels) -> bytes:
    """PNG of (y, x, 3); y runs upwards, as on the sky."""
    return drawn_png(picture[::-1])


def drawn_png(picture: Pixels) -> bytes:
    """PNG of (y, x, 3) whose first row is on top."""
    return png(Image.fromarray(np.ascontiguousarray(picture)))


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()


SVG = "image/svg+xml"


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """The bytes as a URI that an <img> shows without fetching anything."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
