"""Flow-VAE emulator (Lanusse+21, Bretonniere+22): galaxies without noise and PSF, learnt from images with both.

It states no likelihood of an image, only a bound: this model is no ``Density``. It refuses a batch without inverse
variance or PSF, for without them it could not tell a galaxy from what the telescope made of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.bounds import soft_bounded
from galflow.layers.catalogue_values import KEPT_ROWS, drawn_rows, kept_rows
from galflow.layers.flows.latent_flow import LatentFlow
from galflow.layers.images.blocks import ImageEncoder, mean_over_observed, observed_pixels
from galflow.layers.images.light import LightDecoder
from galflow.layers.images.observe import add_noise, check_psf, framed, render, view
from galflow.models.base import Conditional, Encodes, Player, Reconstructs
from galflow.models.vae import LOG_VARIANCE_BOUND, kl_diagnostics, kl_to_standard_normal
from galflow.photometry import AsinhStretch

TOLERANCE = 3.0
"""Beyond this chi-square per pixel an object pulls on the weights like the logarithm of its chi-square."""

KL_WEIGHT = {"sketch": 0.1, "vae": 1.0, "polish": 1.0}
"""Of each player of the VAE: at first describing a galaxy costs little, lest faint ones' shapes never be described."""

FLOW_PLAYERS = ("flow", "flow_polish")


class FlowVAE(Reconstructs, Encodes, Conditional):
    """PSF- and noise-aware VAE with a conditional flow on its latents (Lanusse+21, Bretonniere+22).

    The decoder gives positive points of light, ``oversample`` to a pixel's side, without PSF and noise. The likelihood
    is Gaussian in flux, of which the stretch is undone: log p(x|z) = -1/2 sum ivar (x - PSF * light)^2 + const over
    observed pixels alone, each object with its own PSF and inverse variance; fluxes are in sigmas of the sky. Players
    ``sketch``, ``vae`` and ``polish`` minimise -ELBO with KL to a standard normal (a tenth of it in ``sketch``), per
    observed pixel and without the constant; an object whose chi-square per pixel exceeds 3 counts by its logarithm
    beyond (of the same slope there), lest the few brightest galaxies or a defect rule the training. Then ``flow`` and
    ``flow_polish``, with the VAE frozen, minimise -log p(z | conditions) of posterior draws. Valid input: stretched
    pixels of about -0.2 to 1.3, with ivar and PSF; conditions are raw catalogue values, NaN where unknown.
    """

    source: ClassVar[str] = "Lanusse+21, Bretonniere+22"
    version: ClassVar[str] = "2"
    scores: ClassVar[Mapping[str, str]] = {
        "chi2": "chi-square per observed pixel of the noise-free reconstruction under the object's own PSF",
        "neg_elbo": "negative ELBO, a bound (two fixed draws): nats per observed pixel, flux in sky sigmas",
        "latent": "-log p(latent | conditions) of the conditional flow at the posterior mean, in nats",
    }
    needs_ivar: ClassVar[bool] = True
    needs_psf: ClassVar[bool] = True
    latent_log_density: ClassVar[str | None] = "latent"

    contexts: Tensor
    contexts_kept: Tensor
    mean_psf: Tensor
    sky_sigma: Tensor
    draw: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        latent: Annotated[int, "numbers that describe a galaxy"] = 16,
        width: Annotated[int, "feature maps of the finest level"] = 32,
        oversample: Annotated[int, "points of light to a pixel's side; 2 for output sharper than the survey"] = 1,
        conditions: Annotated[Sequence[str], "catalogue columns that the flow is given"] = (
            "magnitude",
            "half_light_radius_arcsec",
        ),
        flow_transforms: Annotated[int, "spline layers of the flow"] = 3,
        flow_width: Annotated[int, "width of the flow's networks"] = 64,
        softening_sigma: Annotated[float, "follows from the run's stretch"] = 3.0,
        white_sigma: Annotated[float, "follows from the run's stretch"] = 1000.0,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if isinstance(conditions, str):
            raise SpecError(
                f"conditions is the text {conditions!r}; give a list of catalogue columns, which may be empty"
            )
        self.conditions = tuple(conditions)
        self.oversample = oversample
        self.latent = latent
        self.stretch = AsinhStretch(softening_sigma, white_sigma, (1.0,) * channels)
        self.encoder = ImageEncoder(channels=2 * channels, size=size, features=2 * latent, width=width)
        self.decoder = LightDecoder(
            latent=latent, channels=channels, size=size, width=width, oversample=oversample, stretch=self.stretch
        )
        self.latent_flow = LatentFlow(
            latent=latent, conditions=len(self.conditions), transforms=flow_transforms, width=flow_width
        )
        side = size | 1
        centre = torch.zeros(channels, side, side)
        centre[:, side // 2, side // 2] = 1.0
        self.register_buffer("mean_psf", centre)
        self.register_buffer("sky_sigma", torch.ones(channels))
        self.register_buffer("contexts", torch.zeros(KEPT_ROWS, 2 * len(self.conditions)))
        self.register_buffer("contexts_kept", torch.ones((), dtype=torch.int64))
        self.register_buffer("draw", torch.randn(latent, generator=torch.Generator().manual_seed(1)))

    @property
    def players(self) -> tuple[Player, ...]:
        """The VAE in three strokes of falling step size, and after it the flow over its latents in two."""
        vae, flow = ("encoder", "decoder"), ("latent_flow",)
        return (
            Player("sketch", vae, phase=0, learning_rate=1.5e-3, effort=0.4),
            Player("vae", vae, phase=1, learning_rate=7e-4, effort=0.4),
            Player("polish", vae, phase=2, learning_rate=1.5e-4, effort=0.2),
            Player("flow", flow, phase=3, learning_rate=1.5e-3, effort=0.4),
            Player("flow_polish", flow, phase=4, learning_rate=2e-4, effort=0.2),
        )

    @classmethod
    def tiny(cls) -> Self:
        """Four latents for 8 x 8 pixels in two bands, two points of light to a pixel's side."""
        return cls(channels=2, size=8, latent=4, width=16, oversample=2, flow_transforms=1, flow_width=16)

    def check(self, batch: Batch) -> None:
        """Refuse a batch of another shape, or one without inverse variance or PSF."""
        super().check(batch)
        _given(batch.ivar, "ivar", "inverse variance")
        check_psf(_given(batch.psf, "psf", "PSF"))

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Mean and spread of the conditions."""
        self.check(batch)
        self.latent_flow.standardise(self._conditions_of(batch))

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Keep what samples need: the catalogue's rows (at most 4096, evenly), the mean PSF and the sky's noise."""
        contexts, psf, sky, objects = [], torch.zeros_like(self.mean_psf), torch.zeros_like(self.sky_sigma), 0
        for batch in batches:
            ivar = self.in_flux(batch)[1]
            contexts.append(self.latent_flow.context(self._conditions_of(batch)))
            psf += framed(_given(batch.psf, "psf", "PSF"), psf.shape[-1]).sum(0)
            variance = torch.where(ivar > 0, 1.0 / ivar, torch.nan).transpose(0, 1).flatten(1).nanmedian(1).values
            sky += torch.where(variance.isfinite(), variance.sqrt(), self.sky_sigma) * len(batch)
            objects += len(batch)
        if not objects:
            raise ModelError("FlowVAE was given no training object to end its training with; give at least one")
        kept = kept_rows(torch.cat(contexts))
        self.contexts[: len(kept)] = kept
        self.contexts_kept.fill_(len(kept))
        self.mean_psf.copy_(psf / psf.sum((-2, -1), keepdim=True))
        self.sky_sigma.copy_(sky / objects)

    def _conditions_of(self, batch: Batch) -> Tensor:
        return (
            _given(batch.conditions, "conditions", "values of " + ", ".join(self.conditions))
            if self.conditions
            else (self.draw.new_zeros(len(batch), 0))
        )

    def in_flux(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Flux in sky sigmas and its inverse variance, each (B, C, H, W), 0 where not observed."""
        self.check(batch)
        flux = self.stretch.inverse(observed_pixels(batch), torch)
        ivar = torch.where(batch.observed, _given(batch.ivar, "ivar", "inverse variance"), 0)
        return flux, ivar * self.stretch.derivative(flux, torch).square()

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | image, PSF), each (B, latent)."""
        self.check(batch)
        psf = framed(_given(batch.psf, "psf", "PSF"), self.size)
        # In asinh units noise and galaxies are of order 1, which is what a fresh network learns from best.
        seen = torch.cat([observed_pixels(batch) / self.stretch.gain, psf / psf.amax((-2, -1), keepdim=True)], dim=1)
        mean, raw = self.encoder(seen).chunk(2, dim=1)
        return mean, soft_bounded(raw, LOG_VARIANCE_BOUND)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, n, n) light of latents (B, latent) without PSF and noise: the flux in sky sigmas of n x n points.

        They lie 1 / ``oversample`` pixels apart and share the cutout's centre, beyond which they reach by an eighth of
        its size on each side.
        """
        return self.decoder(latents)

    def chi_square(self, batch: Batch, latents: Tensor) -> Tensor:
        """(B,) sum of ivar (x - PSF * light)^2 over observed pixels."""
        flux, ivar = self.in_flux(batch)
        return (ivar * (flux - self.through(self.decode(latents), batch.psf)).square()).sum((1, 2, 3))

    def through(self, light: Tensor, psf: Tensor | None) -> Tensor:
        """(B, C, H, W) noise-free flux in sky sigmas of ``light`` on this survey's own pixels under ``psf``."""
        return render(light, _given(psf, "psf", "PSF"), size=self.size, step=1 / self.oversample)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """VAE's players: -ELBO in nats per observed pixel, see the class; the flow's: mean -log p(z | conditions)."""
        if player in FLOW_PLAYERS:
            with torch.no_grad():
                mean, log_variance = self.posterior(batch)
                latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            return -self.latent_flow.log_prob(latents, self.latent_flow.context(self._conditions_of(batch))).mean()
        if player not in KL_WEIGHT:
            raise ModelError(
                f"FlowVAE has no player {player!r}; its players are {', '.join((*KL_WEIGHT, *FLOW_PLAYERS))}"
            )
        mean, log_variance = self.posterior(batch)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        counted = batch.observed.sum((1, 2, 3)).clamp_min(1)
        excess = self.chi_square(batch, latents) / (TOLERANCE * counted)
        tempered = TOLERANCE * torch.where(excess > 1, 1 + excess.clamp_min(1).log(), excess)
        kl = KL_WEIGHT[player] * kl_to_standard_normal(mean, log_variance)
        return (0.5 * counted * tempered + kl).sum() / counted.sum()

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``chi2``, ``neg_elbo`` and ``latent``, each (B,); ``chi2`` is 0 where nothing is observed.

        ``neg_elbo`` averages over one fixed draw of the posterior and its mirror image: an estimate of the bound that
        is the same every time.
        """
        mean, log_variance = self.posterior(batch)
        flux, ivar = self.in_flux(batch)
        spread = torch.exp(0.5 * log_variance) * self.draw
        misfit = 0.25 * (self.chi_square(batch, mean + spread) + self.chi_square(batch, mean - spread))
        constant = 0.5 * torch.where(ivar > 0, torch.log(2 * math.pi / ivar), 0).sum((1, 2, 3))
        counted = batch.observed.sum((1, 2, 3)).clamp_min(1)
        context = self.latent_flow.context(self._conditions_of(batch))
        residual = flux - self.through(self.decode(mean), batch.psf)
        return {
            "chi2": mean_over_observed(ivar * residual.square(), batch.observed),
            "neg_elbo": (misfit + constant + kl_to_standard_normal(mean, log_variance)) / counted,
            "latent": -self.latent_flow.log_prob(mean, context),
        }

    def encode(self, batch: Batch) -> Tensor:
        """(B, latent) posterior means."""
        return self.posterior(batch)[0]

    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) stretched pixels of the posterior mean under the object's own PSF, without noise."""
        return self.stretch.forward(self.through(self.decode(self.encode(batch)), batch.psf), torch)

    @torch.no_grad()
    def emulate(self, conditions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, n, n) light (see ``decode``) of galaxies drawn for raw catalogue values (B, K), NaN where unknown."""
        return self.decode(self.latent_flow.sample(self.latent_flow.context(conditions), generator))

    def observe(
        self, light: Tensor, psf: Tensor, *, size: int, pixel_width: float = 1.0, psf_oversample: int = 1
    ) -> Tensor:
        """(B, C, size, size) noise-free flux in this survey's sky sigmas of ``light`` as any telescope sees it.

        ``pixel_width`` is that of the other's pixels in this survey's. ``psf`` (..., h, h), sum 1, is sampled
        ``psf_oversample`` times as finely as those pixels, an odd number. Add noise with galflow.layers.images.observe.
        Raises ModelError for a PSF so sharp that it would show the points of light one by one.
        """
        step = 1 / (self.oversample * pixel_width)
        return view(light, psf, size=size, step=step, psf_oversample=psf_oversample)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels like the data's: conditions, mean PSF and sky noise of the training set."""
        contexts = drawn_rows(self.contexts, self.contexts_kept, n, generator)
        light = self.decode(self.latent_flow.sample(contexts, generator))
        clean = self.through(light, self.mean_psf)
        return self.stretch.forward(add_noise(clean, self.sky_sigma[:, None, None], generator), torch)

    @torch.no_grad()
    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Chi-square per observed pixel, mean KL in nats, latents in use (more than 0.01 nats each on average)."""
        mean, log_variance = self.posterior(batch)
        chi_square = self.chi_square(batch, mean).sum() / batch.observed.sum().clamp_min(1)
        return {"chi2": float(chi_square)} | kl_diagnostics(mean, log_variance)


def _given(value: Tensor | None, name: str, what: str) -> Tensor:
    if value is None:
        raise ModelError(
            f"FlowVAE needs each object's {what}, but the batch has no {name}; give it a survey that knows it, or "
            "leave this model out"
        )
    return value
