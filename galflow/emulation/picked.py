"""Galaxies picked from many draws of a GAN or a VQ-VAE-2: for each row of a catalogue one as bright and as large.

Such draws are pictures: the PSF and the noise of the survey that the model learnt from are in them, and no telescope
can undo either. So the telescope has that survey's pixels and PSF, and adds only the noise that a picture lacks. How
far a pick is from what the catalogue asks for is said beside each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import KDTree

from galflow.emulation.source import DrawnGalaxies, Floats, GalaxySource, require_bands
from galflow.errors import ModelError, SpecError
from galflow.models.vqvae2 import VQVAE2
from galflow.models.wgan import WGAN
from galflow.photometry import AB_ZERO_NJY, NJY
from galflow.spec.emulation import EmulationSpec
from galflow.surveys.base import Image
from galflow.surveys.reading.detection import DetectionOptions, detect
from galflow.training.trained_model import TrainedModel

PICKED_MODELS = (WGAN, VQVAE2)
MAGNITUDE, RADIUS = "magnitude", "half_light_radius_arcsec"
"""Catalogue columns by which a draw is chosen: AB in the telescope's first band, and as seen, PSF included."""
_AT_A_TIME = 256
_ALIKE = 4
"""One of so many nearest draws is picked, by seed and id: else all rows that are alike would show one galaxy."""
_LEAST = 32
"""Fewer usable draws are no choice."""
_CENTRED = 0.15
"""A draw's galaxy lies within so much of the picture's side of its middle."""
_POOL_STREAM = 2
_ALL_64_BITS = (1 << 64) - 1


@dataclass(frozen=True, eq=False)
class _Pool:
    """Usable draws: one galaxy each, near the middle."""

    flux: npt.NDArray[np.float32]
    """(N, C, s, s) nJy."""
    number: npt.NDArray[np.int64]
    """(N,) of all draws, from 0."""
    centre: Floats
    """(N, 2) y and x of the galaxy, 0-based pixels."""
    kron_njy: Floats
    """(N, C) flux in 2.5 Kron radii."""
    radius_pix: Floats
    """(N,) half-light radius, as seen."""


@dataclass(frozen=True, eq=False)
class PickedGalaxies(GalaxySource):
    """A trained WGAN or VQ-VAE-2, and the telescope that has its survey's pixels and PSF."""

    spec: EmulationSpec
    model: TrainedModel

    @classmethod
    def of(cls, spec: EmulationSpec, model: TrainedModel) -> PickedGalaxies:
        """SpecError if this telescope cannot show the model's draws."""
        require_bands(spec, model)
        if spec.telescope.pixel_scale_arcsec != spec.model_pixel_scale_arcsec:
            raise SpecError(
                f"telescope.pixel_scale_arcsec is {spec.telescope.pixel_scale_arcsec:g}, and the model's survey has "
                f"{spec.model_pixel_scale_arcsec:g}; draws of a {model.card.model} carry its pixels, PSF and noise, so "
                "give both alike, and its PSF; another telescope takes a flow_vae.FlowVAE"
            )
        sigma = dict(zip(model.card.bands, model.card.stretch.sky_sigma, strict=True))
        for name, band in spec.telescope.bands.items():
            if len(band.of) > 1:
                raise SpecError(f"telescope.bands.{name}.of names {len(band.of)} bands; draws of one band are shown")
            if band.sky_sigma_njy < sigma[band.of[0]]:
                raise SpecError(
                    f"telescope.bands.{name}.sky_sigma_njy is {band.sky_sigma_njy:g}, but the draws have noise of "
                    f"{sigma[band.of[0]]:g} nJy in it, which nothing takes away; give at least that"
                )
        return cls(spec, model)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Magnitude and size."""
        return MAGNITUDE, RADIUS

    @property
    def stamp_size(self) -> int:
        """That of the model's pictures, or one less: odd."""
        return (int(self.model.card.arguments["size"]) - 1) | 1

    def draw(self, object_id: npt.NDArray[np.integer], conditions: Floats, dy: Floats, dx: Floats) -> DrawnGalaxies:
        """See GalaxySource. A pick is scaled to the magnitude that is asked for, its noise with it."""
        pool, bands = self._pool, self.spec.telescope.bands
        wanted = 10 ** (-0.4 * conditions[:, 0]) * AB_ZERO_NJY
        picks = self._picks(object_id, wanted, conditions[:, 1] / self.spec.telescope.pixel_scale_arcsec)
        channel = {name: self.model.card.bands.index(band.of[0]) for name, band in bands.items()}
        first = pool.kron_njy[picks, channel[next(iter(bands))]]
        scale = np.where(np.isfinite(wanted), wanted / first, 1.0)
        middle = (pool.flux.shape[-1] - 1) // 2
        shifts = np.stack([dy, dx], axis=1) + middle - pool.centre[picks]
        side, stamps, known = self.stamp_size, {}, {}
        variance = {}
        for name, number in channel.items():
            moved = _moved(pool.flux[picks, number], shifts)[:, :side, :side]
            stamps[name] = (moved * scale[:, None, None]).astype(np.float32)
            known[f"flux_{name}_njy"] = pool.kron_njy[picks, number] * scale
            variance[name] = (float(self.model.card.stretch.sky_sigma[number]) * scale) ** 2
        radius = pool.radius_pix[picks] * self.spec.telescope.pixel_scale_arcsec
        off = -2.5 * np.log10(first / AB_ZERO_NJY) - conditions[:, 0]
        known |= {
            "half_light_radius_drawn_arcsec": radius,
            "draw": pool.number[picks],
            "draw_flux_scale": scale,
            "draw_magnitude_off": off,
            "draw_radius_off_arcsec": radius - conditions[:, 1],
        }
        return DrawnGalaxies(stamps, known, variance)

    def _picks(self, object_id: npt.NDArray[np.integer], flux: Floats, radius_pix: Floats) -> npt.NDArray[np.int64]:
        """(n,) which of the pool's galaxies each is; of what is not known any will do."""
        with np.errstate(invalid="ignore", divide="ignore"):  # no size at all is one that is not known
            places = np.log(np.stack([flux, radius_pix], axis=1))
        found = np.empty(len(object_id), np.int64)
        for known in {tuple(row) for row in np.isfinite(places).tolist()}:
            rows = np.flatnonzero((np.isfinite(places) == known).all(axis=1))
            axes = np.flatnonzero(known)
            nearest = np.broadcast_to(np.arange(len(self._pool.number)), (len(rows), len(self._pool.number)))
            if len(axes):
                _, nearest = KDTree(self._places[:, axes]).query(places[np.ix_(rows, axes)], k=_ALIKE)
            for row, near in zip(rows, nearest, strict=True):
                own = np.random.default_rng([self.spec.seed, int(object_id[row]) & _ALL_64_BITS])
                found[row] = near[own.integers(len(near))]
        return found

    @cached_property
    def _places(self) -> Floats:
        """(N, 2) ln of flux in the telescope's first band and of radius in pixels."""
        first = next(iter(self.spec.telescope.bands.values())).of[0]
        flux = self._pool.kron_njy[:, self.model.card.bands.index(first)]
        return np.stack([np.log(flux), np.log(self._pool.radius_pix)], axis=1)

    @cached_property
    def _pool(self) -> _Pool:
        """The draws of this seed; ModelError where too few show one galaxy."""
        generator = torch.Generator().manual_seed(
            int(np.random.default_rng([self.spec.seed, _POOL_STREAM]).integers(2**63))
        )
        module, kept, numbers, rows = self.model.module.eval(), [], [], []
        for start in range(0, self.spec.draws, _AT_A_TIME):
            with torch.no_grad():
                drawn = module.sample(min(_AT_A_TIME, self.spec.draws - start), generator)
            flux = self.model.stretch.inverse(drawn.double(), torch).numpy().astype(np.float32)
            for i, one in enumerate(flux):
                if (seen := self._measured(one)) is not None:
                    kept.append(one)
                    numbers.append(start + i)
                    rows.append(seen)
        if len(kept) < _LEAST:
            raise ModelError(
                f"only {len(kept)} of {self.spec.draws} draws of {self.model.card.name} show one galaxy in the middle; "
                f"at least {_LEAST} are needed. Train it longer, or give more draws"
            )
        table = np.array(rows, np.float64)
        return _Pool(np.stack(kept), np.array(numbers), table[:, :2], table[:, 3:], table[:, 2])

    def _measured(self, flux: npt.NDArray[np.float32]) -> list[float] | None:
        """y, x, half-light radius and the flux of each band; None where the picture does not show one galaxy alone."""
        card, scale = self.model.card, self.spec.telescope.pixel_scale_arcsec
        if not np.isfinite(flux).all():
            return None
        images: Mapping[str, Image] = {
            band: Image(one, NJY, scale, ivar=np.full_like(one, sigma**-2.0))
            for band, one, sigma in zip(card.bands, flux, card.stretch.sky_sigma, strict=True)
        }
        found = detect(images, DetectionOptions(), 0).to_pylist()
        if len(found) != 1:
            return None
        (one,) = found
        middle, side = (flux.shape[-1] - 1) / 2, flux.shape[-1]
        fluxes = [one[f"flux_{band}"] for band in card.bands]
        radius = one["half_light_radius_pix"]
        if radius is None or not radius > 0 or any(value is None or not value > 0 for value in fluxes):
            return None
        if max(abs(one["y"] - middle), abs(one["x"] - middle)) > _CENTRED * side:
            return None
        return [one["y"], one["x"], radius, *fluxes]


def _moved(pictures: npt.NDArray[np.float32], shifts: Floats) -> Floats:
    """(n, s, s) moved by (y, x) pixels each in Fourier space: flux and white noise stay what they are."""
    side = pictures.shape[-1]
    frequency = np.fft.fftfreq(side)
    turns = shifts[:, 0, None, None] * frequency[:, None] + shifts[:, 1, None, None] * frequency[None, :]
    return np.real(np.fft.ifft2(np.fft.fft2(pictures) * np.exp(-2j * np.pi * turns)))
