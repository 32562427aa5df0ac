"""Cutouts of the synthetic survey's galaxies, one alone in each, with the truth beside the noisy pixels.

The same population, profiles, PSF, pixel scale and noise as galflow.surveys.synthetic with its default options, but no
neighbours and no anomalies, so that a model can be held against the noise-free image of what it saw. GalSim draws the
truth; nothing here goes through the code of a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import galsim
import numpy as np
import torch

from galflow.batch import Batch
from galflow.photometry import AsinhStretch
from galflow.spec.stretch import StretchSpec
from galflow.surveys.base import Psf
from galflow.surveys.drawing import galaxies
from galflow.surveys.drawing.synthetic_galaxies import Cells, Population
from galflow.surveys.synthetic_options import SyntheticOptions

SURVEY = SyntheticOptions()
CATALOGUE = ("magnitude", "half_light_radius_arcsec", "bulge_fraction", "axis_ratio", "angle_deg")


@dataclass(frozen=True, eq=False)
class Galaxies:
    """n cutouts of one galaxy each; fluxes in nJy a pixel, arrays (n, band, y, x) float32."""

    noisy: np.ndarray
    clean: np.ndarray
    """The same through the PSF without noise."""
    psf: np.ndarray
    """(n, band, h, w): sum 1, odd sides, centred."""
    sky_sigma: np.ndarray
    """(band,) nJy."""
    catalogue: dict[str, np.ndarray]
    """Column -> (n,): the truth, as in the survey's own catalogue."""
    snr: np.ndarray
    """(n,) total signal-to-noise: of a matched filter over all bands, the root of the sum of (clean / sigma)^2."""
    offset: np.ndarray
    """(n, 2): how far (y, x) the centre lies from the pixel (size // 2, size // 2), in pixels, within half a pixel."""
    population: Population

    def __len__(self) -> int:
        return len(self.noisy)

    def take(self, rows: np.ndarray | slice) -> Galaxies:
        """These galaxies."""
        where = np.arange(len(self))[rows]
        return Galaxies(
            self.noisy[where],
            self.clean[where],
            self.psf[where],
            self.sky_sigma,
            {name: values[where] for name, values in self.catalogue.items()},
            self.snr[where],
            self.offset[where],
            self.population.take(where),
        )

    @property
    def stretch(self) -> AsinhStretch:
        """The default stretch of a run over this survey."""
        spec = StretchSpec()
        return AsinhStretch(spec.softening_sigma, spec.white_sigma, tuple(float(s) for s in self.sky_sigma))

    def batch(self, columns: Sequence[str] = ("magnitude", "half_light_radius_arcsec")) -> Batch:
        """Everything a model may ask for: stretched noisy pixels, their inverse variance, PSFs and these columns."""
        slope = self.stretch.derivative(self.noisy)
        ivar = ((self.sky_sigma**-2.0)[:, None, None] / slope**2).astype(np.float32)
        pixels = torch.from_numpy(self.stretch.forward(self.noisy))
        rows = [self.catalogue[name].astype(np.float32) for name in columns]
        conditions = torch.from_numpy(np.stack(rows, axis=1)) if rows else None
        observed = torch.ones_like(pixels, dtype=torch.bool)
        return Batch(pixels, observed, torch.from_numpy(ivar), torch.from_numpy(self.psf), conditions)

    def stretched_truth(self) -> torch.Tensor:
        """(n, band, y, x) stretched noise-free pixels."""
        return torch.from_numpy(self.stretch.forward(self.clean))


def make_galaxies(
    n: int,
    seed: int,
    size: int = 32,
    *,
    bands: Sequence[str] = SURVEY.bands,
    fwhm_arcsec: Sequence[float] = (SURVEY.psf_fwhm_arcsec,),
) -> Galaxies:
    """n galaxies of the synthetic survey's population in cutouts of ``size`` pixels of 0.2 arcsec.

    Each galaxy lies at a random place within the central pixel. ``bands`` are among the survey's g, r, i. The PSFs are
    Moffat profiles; with several ``fwhm_arcsec`` galaxy k has number k modulo their count. The same arguments give the
    same pixels. About 2 ms a galaxy.
    """
    chosen = [SURVEY.bands.index(band) for band in bands]
    population = draw_population(n, seed)
    rng = np.random.default_rng([seed, 7])
    offset = rng.uniform(-0.5, 0.5, size=(n, 2))
    stamps = [survey_psf(fwhm) for fwhm in fwhm_arcsec]
    clean = np.empty((n, len(chosen), size, size))
    for first, stamp in enumerate(stamps):
        rows = np.arange(first, n, len(stamps))
        profile = galaxies.psf_profile(Psf(stamp), SURVEY.pixel_scale_arcsec)
        part = population.take(rows)
        clean[rows] = observe(part, profile, SURVEY.pixel_scale_arcsec, size, offset[rows])[:, chosen]
    sigma = np.asarray(SURVEY.sky_sigma_njy, dtype=float)[chosen]
    noisy = clean + rng.standard_normal(clean.shape) * sigma[:, None, None]
    side = max(len(stamp) for stamp in stamps)
    padded = np.stack([np.pad(stamp, (side - len(stamp)) // 2) for stamp in stamps]).astype(np.float32)
    each = np.repeat(padded[np.arange(n) % len(stamps), None], len(chosen), axis=1)
    return Galaxies(
        noisy=noisy.astype(np.float32),
        clean=clean.astype(np.float32),
        psf=each,
        sky_sigma=sigma,
        catalogue={name: getattr(population, name) for name in CATALOGUE},
        snr=np.sqrt((clean**2 / sigma[:, None, None] ** 2).sum((1, 2, 3))),
        offset=offset,
        population=population,
    )


def draw_population(n: int, seed: int) -> Population:
    """n galaxies of the survey's population, none of them anomalous, in all its bands."""
    cells = Cells(
        seed=seed,
        count=n,
        shape=(SURVEY.tile_size, SURVEY.tile_size),
        bands=len(SURVEY.bands),
        magnitude_range=SURVEY.magnitude_range,
        anomaly_fraction=0.0,
        anomaly_kinds=SURVEY.anomaly_kinds,  # none occurs, but drawing among them moves what is drawn next
    )
    return cells.populate(0)


def survey_psf(fwhm_arcsec: float) -> np.ndarray:
    """(side, side) float64: the survey's PSF at its pixel scale, as it measures it."""
    scale = SURVEY.pixel_scale_arcsec
    side = 2 * math.ceil(4.0 * fwhm_arcsec / scale) + 1
    return galaxies.psf_image(galaxies.psf_profile(Psf(None, fwhm_arcsec), scale), scale, side)


def observe(
    population: Population, psf: galsim.GSObject, pixel_scale_arcsec: float, size: int, offset: np.ndarray
) -> np.ndarray:
    """(n, 3, size, size) noise-free nJy a pixel of galaxies through any PSF at any pixel scale.

    ``offset`` (n, 2) is where the centre lies from pixel ``size // 2``, in (y, x) pixels of this scale.
    """
    out = np.empty((len(population.x), population.disc_flux.shape[1], size, size))
    for i, (dy, dx) in enumerate(offset.tolist()):
        radius, ratio = float(population.half_light_radius_arcsec[i]), float(population.axis_ratio[i])
        angle = float(population.angle_deg[i])
        disc = galaxies.sersic(1.0, radius, ratio, angle)
        bulge = galaxies.sersic(4.0, 0.35 * radius, 0.5 + 0.5 * ratio, angle)
        place = {"size": size, "pixel_scale_arcsec": pixel_scale_arcsec, "dy": dy, "dx": dx}
        out[i] = population.disc_flux[i, :, None, None] * galaxies.draw(disc, psf, **place)
        out[i] += population.bulge_flux[i, :, None, None] * galaxies.draw(bulge, psf, **place)
    return out
