"""Galaxies drawn from a trained Flow-VAE, one for each row of a catalogue, and their picture through a telescope.

A galaxy is a function of the seed and of its id: tiles that both see it show the same. This file knows no tile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from galflow.emulation.source import DrawnGalaxies, Floats, GalaxySource, require_bands
from galflow.errors import SpecError
from galflow.layers.images.light import MARGIN
from galflow.layers.images.observe import check_resolved
from galflow.models.flow_vae import FlowVAE
from galflow.spec.emulation import EmulatedBand, EmulationSpec
from galflow.training.gpu_arithmetic import full_float32
from galflow.training.trained_model import TrainedModel, load_uri

FINE = 3
"""Samples of a telescope's PSF to its pixel's side."""
_GAUSSIAN_REACH, _MOFFAT_REACH = 2.2, 4.0
"""Where a PSF is cut off, in FWHM: a Gaussian at 1.5e-6 of its peak."""
_ALL_64_BITS = (1 << 64) - 1


def sampled_psf(band: EmulatedBand, sample_arcsec: float, dy: Floats | float = 0.0, dx: Floats | float = 0.0) -> Tensor:
    """(n, h, h) a band's PSF, sum 1, in samples so wide, each centred (dy, dx) (n,) samples off the central one."""
    fwhm = band.psf_fwhm_arcsec / sample_arcsec
    dy, dx = np.atleast_1d(dy).astype(float), np.atleast_1d(dx).astype(float)
    off = float(np.abs([dy, dx]).max(initial=0.0))
    reach = math.ceil((_GAUSSIAN_REACH if band.moffat_beta is None else _MOFFAT_REACH) * fwhm + off)
    axis = np.arange(-reach, reach + 1.0)
    squared = (axis - dy[:, None])[:, :, None] ** 2 + (axis - dx[:, None])[:, None, :] ** 2
    if band.moffat_beta is None:
        profile = np.exp(-4 * math.log(2) * squared / fwhm**2)
    else:
        profile = (1 + 4 * (2 ** (1 / band.moffat_beta) - 1) * squared / fwhm**2) ** -band.moffat_beta
    return torch.from_numpy((profile / profile.sum((1, 2), keepdims=True)).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Emulator(GalaxySource):
    """A trained Flow-VAE and the telescope that looks at what it draws."""

    spec: EmulationSpec
    model: TrainedModel
    network: FlowVAE
    shares: Mapping[str, Tensor]
    """Band of the telescope -> (C,) share of each of the model's bands in it, in nJy for one sky sigma of the model."""

    @classmethod
    def load(cls, spec: EmulationSpec) -> Emulator:
        """The model at the specification's URI; SpecError if this telescope cannot look at what it draws."""
        return cls.of(spec, load_uri(spec.model, spec.store.endpoint_url))

    @classmethod
    def of(cls, spec: EmulationSpec, model: TrainedModel) -> Emulator:
        """The same of a model that is loaded."""
        card, network = model.card, model.module
        if not isinstance(network, FlowVAE):
            raise SpecError(
                f"model: {spec.model} is a {card.model}, whose galaxies carry its survey's PSF and noise; another "
                "telescope needs galaxies without both, as flow_vae.FlowVAE draws them; on its survey's own pixels the "
                "draws of wgan.WGAN and vqvae2.VQVAE2 are shown too"
            )
        require_bands(spec, model)
        sigma = torch.tensor(card.stretch.stretch().sky_sigma, dtype=torch.float32)
        shares = {}
        for name, band in spec.telescope.bands.items():
            chosen = torch.tensor([of in band.of for of in card.bands], dtype=torch.float32)
            shares[name] = sigma * chosen / chosen.sum()
        found = cls(spec, model, network.eval(), shares)
        for band in spec.telescope.bands.values():
            psf = sampled_psf(band, spec.telescope.pixel_scale_arcsec / FINE)
            check_resolved(psf[0], found._step * FINE)
        return found

    @property
    def conditions(self) -> tuple[str, ...]:
        """The catalogue columns that the model is given."""
        return self.network.conditions

    @property
    def _step(self) -> float:
        """Distance of two points of light in the telescope's pixels."""
        scales = self.spec.model_pixel_scale_arcsec / self.spec.telescope.pixel_scale_arcsec
        return scales / self.network.oversample

    @property
    def stamp_size(self) -> int:
        """Side in the telescope's pixels of a picture that holds all of a galaxy's light but the PSF's last wings."""
        widest = max(band.psf_fwhm_arcsec for band in self.spec.telescope.bands.values())
        canvas = self.network.size + 2 * (self.network.size // MARGIN)
        across = canvas * self.spec.model_pixel_scale_arcsec + 4 * widest
        return math.ceil(across / self.spec.telescope.pixel_scale_arcsec) | 1

    @property
    def left_out(self) -> set[str]:
        """It draws a galaxy for each row: none to pick from."""
        return {"draws"}

    def draw(self, object_id: npt.NDArray[np.integer], conditions: Floats, dy: Floats, dx: Floats) -> DrawnGalaxies:
        """See GalaxySource."""
        light = self.light(object_id, conditions)
        bands = self.spec.telescope.bands
        known = {f"flux_{name}_njy": self.flux_njy(light, name) for name in bands}
        known["half_light_radius_drawn_arcsec"] = self.half_light_radius_arcsec(light)
        return DrawnGalaxies({name: self.seen(light, name, dy, dx) for name in bands}, known)

    @torch.no_grad()
    def light(self, object_id: npt.NDArray[np.integer], conditions: Floats) -> Tensor:
        """(n, C, k, k) points of light in the model's sky sigmas, for ids (n,) and conditions (n, K), NaN: unknown."""
        latent, seed = self.network.latent, self.spec.seed
        normal = np.empty((len(object_id), latent), np.float32)
        for i, own in enumerate(object_id.tolist()):
            normal[i] = np.random.default_rng([seed, own & _ALL_64_BITS]).standard_normal(latent)
        with full_float32(deterministic=True):
            flow = self.network.latent_flow
            given = torch.from_numpy(conditions.astype(np.float32))
            return self.network.decode(flow.from_normal(torch.from_numpy(normal), flow.context(given)))

    @torch.no_grad()
    def seen(self, light: Tensor, band: str, dy: Floats, dx: Floats) -> npt.NDArray[np.float32]:
        """(n, s, s) noise-free flux in nJy through ``band``, each centred (dy, dx) pixels off the central pixel."""
        fine = self.spec.telescope.pixel_scale_arcsec / FINE
        psf = sampled_psf(self.spec.telescope.bands[band], fine, FINE * dy, FINE * dx)
        one = (light * self.shares[band][:, None, None]).sum(1)
        width = self.spec.telescope.pixel_scale_arcsec / self.spec.model_pixel_scale_arcsec
        with full_float32(deterministic=True):
            image = self.network.observe(one, psf, size=self.stamp_size, pixel_width=width, psf_oversample=FINE)
        return np.asarray(image.numpy())

    def flux_njy(self, light: Tensor, band: str) -> Floats:
        """(n,) all of each galaxy's light in a band, in nJy."""
        return np.asarray((light.sum((-2, -1)) * self.shares[band]).sum(1).double().numpy())

    def half_light_radius_arcsec(self, light: Tensor) -> Floats:
        """(n,) radius of the circle about the centre of light that holds half of it, without PSF, over all bands."""
        whole = light.sum(1).double()
        side = whole.shape[-1]
        axis = torch.arange(side, dtype=torch.float64)
        total = whole.sum((1, 2)).clamp_min(torch.finfo(torch.float64).tiny)
        y, x = (whole.sum(2) @ axis / total, whole.sum(1) @ axis / total)
        away = ((axis[:, None] - y[:, None, None]) ** 2 + (axis[None, :] - x[:, None, None]) ** 2).sqrt().flatten(1)
        order = away.argsort(dim=1)
        sorted_light = whole.flatten(1).gather(1, order) / total[:, None]
        grown = sorted_light.cumsum(1)
        inside = (grown < 0.5).sum(1, keepdim=True).clamp_max(side * side - 1)
        last = sorted_light.gather(1, inside).clamp_min(torch.finfo(torch.float64).tiny)
        points = inside + 1 + (0.5 - grown.gather(1, inside)) / last
        radius = (points.clamp_min(0) / math.pi).sqrt()[:, 0]  # of the circle with the area of so many points
        return np.asarray((radius * self.spec.model_pixel_scale_arcsec / self.network.oversample).numpy())
