"""Cutouts of the embedded Hubble field with all that an emulator needs, as galflow's own ingest makes them.

The picture brings no PSF; its FWHM is estimated from its most compact bright sources and taken for a Gaussian's. Its
pixels are display-stretched counts: what is learnt from them is the shape of galaxies in that picture, not photometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.scratch import scratch
from galflow.batch import Batch
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL, has_flag
from galflow.layers.images.observe import gaussian_psf
from galflow.photometry import AsinhStretch
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store
from galflow.surveys.hubble import Hubble, HubbleOptions
from galflow.surveys.reading.psf import estimate_fwhm_pix

WHITE_SIGMA = 300.0
"""As in the demo."""
CONDITIONS = ("snr", "half_light_radius_pix")


@dataclass(frozen=True, eq=False)
class HubbleGalaxies:
    """The field's normal objects."""

    batch: Batch
    held_out: torch.Tensor
    """(n,) bool: every fifth object."""
    snr: np.ndarray
    """(n,) of the detection."""
    stretch: AsinhStretch
    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    fwhm_arcsec: float
    conditions: tuple[str, ...] = CONDITIONS

    def examples(self, count: int) -> np.ndarray:
        """Rows of held-out objects, from bright to middling."""
        rows = np.flatnonzero(self.held_out.numpy())
        rows = rows[np.argsort(-self.snr[rows])]
        return rows[np.linspace(3, len(rows) // 2, count).astype(int)]


def hubble_galaxies(size: int) -> HubbleGalaxies:
    """Cut, stretch and describe the field's objects, in cutouts of ``size`` pixels."""
    survey = Hubble("hubble", "1", HubbleOptions())
    (tile,) = survey.tiles()
    with scratch() as work:
        receipt = cut_tile(store := Store.open(work), survey, tile, CutoutSpec(size=size), "emulator")
        cutouts = CutoutSet(store, receipt.product)
        flux, ivar, sigma = cutouts.read("flux"), cutouts.read("ivar"), cutouts.attributes["sky_sigma"]
        columns = {name: cutouts.read(name) for name in (*CONDITIONS, "flags", "x_pixel", "y_pixel")}
    normal = ~has_flag(columns["flags"], NOT_NORMAL)
    reference = survey.read(tile, survey.bands[0])
    fwhm = estimate_fwhm_pix(reference, columns["x_pixel"], columns["y_pixel"])
    psf = gaussian_psf(fwhm)
    stretch = AsinhStretch(3.0, WHITE_SIGMA, tuple(float(s) for s in sigma))
    flux, ivar = flux[normal], ivar[normal]
    known = np.where(ivar > 0, flux, np.float32(0))
    conditions = np.stack([columns[name][normal].astype(np.float32) for name in CONDITIONS], axis=1)
    batch = Batch(
        pixels=torch.from_numpy(stretch.forward(known)),
        observed=torch.from_numpy(ivar > 0),
        ivar=torch.from_numpy(ivar / stretch.derivative(known) ** 2),
        psf=psf.expand(len(flux), len(sigma), *psf.shape),
        conditions=torch.from_numpy(conditions),
    )
    return HubbleGalaxies(
        batch=batch,
        held_out=torch.arange(len(flux)) % 5 == 0,
        snr=columns["snr"][normal],
        stretch=stretch,
        bands=survey.bands,
        pixel_scale_arcsec=survey.pixel_scale_arcsec,
        fwhm_arcsec=fwhm * survey.pixel_scale_arcsec,
    )
