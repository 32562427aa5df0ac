"""One galaxy four times: as the survey saw it, and as the Flow-VAE emulator makes it, here and for another telescope.

The panels of Bretonniere+22: real; fake with the survey's PSF and noise; fake without noise; fake under another
survey's PSF, pixel scale and noise. This file draws; what light a model gives and how it is observed is the model's.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.images.observe import add_noise, gaussian_psf
from galflow.models.flow_vae import FlowVAE
from galflow.report.pictures import Display, Pixels

FINE = 3
"""Samples of another telescope's PSF to its pixel's side; 1.6 pixels of FWHM are too few for its own pixels."""
SOFTENING_SIGMA = 3.0
_PANEL_INCH = 2.0
_LABEL_INCH = 0.42


@dataclass(frozen=True)
class Telescope:
    """Another survey's eye."""

    name: str
    pixel_scale_arcsec: float
    psf_fwhm_arcsec: float
    """Of its effective PSF, a round Gaussian."""
    noise: float = 1.0
    """Sky sigma in one area of sky (not in one pixel), in units of the training survey's."""
    broad: bool = False
    """Whether it has a single broad band, here the mean of the survey's bands, or the same bands."""

    def __post_init__(self) -> None:
        for name in ("pixel_scale_arcsec", "psf_fwhm_arcsec", "noise"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SpecError(f"{name} of telescope {self.name} is {value}; it must be positive")


EUCLID_VIS = Telescope("Euclid VIS", 0.1, 0.16, broad=True)
"""Pixel scale and PSF of the visible imager, as in Bretonniere+22."""


@dataclass(frozen=True, eq=False)
class FourPanels:
    """The pictures of one galaxy: fluxes (band, y, x) in units of the training survey's sky sigma."""

    label: str
    real: npt.NDArray[np.floating]
    """NaN where missing."""
    noisy: npt.NDArray[np.floating]
    clean: npt.NDArray[np.floating]
    elsewhere: npt.NDArray[np.floating]
    """On the other telescope's pixels and in its band or bands."""
    elsewhere_sigma: npt.NDArray[np.floating]
    """(band,) its noise in a pixel, in the same unit."""


@torch.no_grad()
def four_panels(
    model: FlowVAE,
    batch: Batch,
    labels: Sequence[str],
    *,
    pixel_scale_arcsec: float,
    telescope: Telescope = EUCLID_VIS,
    latents: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> list[FourPanels]:
    """The panels of each galaxy of ``batch``, whose pixels are ``pixel_scale_arcsec`` wide.

    The fakes show ``latents`` (B, D), by default the model's own description of each galaxy (its posterior mean); give
    draws of ``model.latent_flow`` for galaxies that never were. Noise comes from ``generator``.
    """
    if len(labels) != len(batch):
        raise SpecError(f"{len(batch)} galaxies need as many labels; got {len(labels)}")
    flux, ivar = model.in_flux(batch)
    light = model.decode(model.encode(batch) if latents is None else latents)
    clean = model.through(light, batch.psf)
    sky = model.sky_sigma[:, None, None]
    sigma = torch.where(ivar > 0, ivar.rsqrt(), sky)
    width = telescope.pixel_scale_arcsec / pixel_scale_arcsec
    fine_psf = gaussian_psf(FINE * telescope.psf_fwhm_arcsec / telescope.pixel_scale_arcsec, like=light)
    there = model.observe(light, fine_psf, size=round(model.size / width), pixel_width=width, psf_oversample=FINE)
    there_sigma = sky * telescope.noise * width
    if telescope.broad:
        there, there_sigma = there.mean(1, keepdim=True), there_sigma.mean(0, keepdim=True)
    noisy, elsewhere = add_noise(clean, sigma, generator), add_noise(there, there_sigma, generator)
    real = torch.where(batch.observed, flux, torch.nan)
    images = (tuple(t[i].cpu().numpy() for t in (real, noisy, clean, elsewhere)) for i in range(len(labels)))
    each = there_sigma.flatten().cpu().numpy()
    return [FourPanels(label, a, b, c, d, each) for label, (a, b, c, d) in zip(labels, images, strict=True)]


def draw_panels(
    rows: Sequence[FourPanels],
    *,
    bands: Sequence[str],
    pixel_scale_arcsec: float,
    psf_fwhm_arcsec: float,
    telescope: Telescope = EUCLID_VIS,
    title: str = "",
) -> Figure:
    """A figure with one row of four pictures a galaxy, all of the same patch of sky, with a bar of 1 arcsec.

    In a row, equal surface brightness is equally bright: a pixel of the other telescope is multiplied by the ratio of
    the pixels' areas.
    """
    if not rows:
        raise SpecError("there is no galaxy to draw; give at least one row of panels")
    ours = f'{pixel_scale_arcsec:.3g}"/px, FWHM {psf_fwhm_arcsec:.2g}"'
    theirs = f'{telescope.pixel_scale_arcsec:.3g}"/px, FWHM {telescope.psf_fwhm_arcsec:.2g}"'
    heads = (
        f"real\n{ours}",
        f"emulated, PSF and noise\n{ours}",
        "emulated, no noise\nthe survey's PSF",
        f"emulated for {telescope.name}\n{theirs}",
    )
    top = 0.62 if title else 0.45
    width, height = _LABEL_INCH + 4 * _PANEL_INCH, top + len(rows) * _PANEL_INCH
    figure = Figure(figsize=(width, height))
    gap = 0.04
    for i, row in enumerate(rows):
        pictures = _pictures(row, tuple(bands), (pixel_scale_arcsec / telescope.pixel_scale_arcsec) ** 2)
        for j, picture in enumerate(pictures):
            corner = (_LABEL_INCH + j * _PANEL_INCH + gap / 2, height - top - (i + 1) * _PANEL_INCH + gap / 2)
            side = _PANEL_INCH - gap
            axes = figure.add_axes((corner[0] / width, corner[1] / height, side / width, side / height))
            axes.imshow(picture, origin="lower", interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if i == 0:
                axes.set_title(heads[j], fontsize=8)
            if j == 0:
                axes.set_ylabel(row.label, fontsize=8)
                _bar(axes, 1.0 / pixel_scale_arcsec)
    if title:
        figure.text(0.5, 1 - 0.04 / height, title, ha="center", va="top", fontsize=9)
    return figure


def _pictures(row: FourPanels, bands: tuple[str, ...], brighter: float) -> list[Pixels]:
    peak = max(30.0, float(np.nanmax(row.clean.mean(axis=0), initial=0.0)))
    elsewhere = bands if len(row.elsewhere) == len(bands) else ("broad",) * len(row.elsewhere)
    ours, theirs = (
        Display(names, (1.0,) * len(names), "sky sigmas", SOFTENING_SIGMA, peak) for names in (bands, elsewhere)
    )
    here = [ours.picture(image) for image in (row.real, row.noisy, row.clean)]
    return [*here, theirs.picture(row.elsewhere * brighter)]


def _bar(axes: Axes, pixels: float) -> None:
    """A bar of 1 arcsec in the lower left corner."""
    axes.plot([1.0, 1.0 + pixels], [1.2, 1.2], color="white", linewidth=1.5, solid_capstyle="butt")
    axes.text(1.0, 1.8, '1"', color="white", fontsize=7, ha="left", va="bottom")


def png(figure: Figure, dots_per_inch: int = 120) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return sink.getvalue()
