"""The mocks of one tile: views of simulated galaxies on the survey's pixels, through its PSF, on its sky.

A view that cannot be used keeps its row, with the reason; so does a mock that the survey would not have found, which
does not count (``is_primary`` is false).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from galflow.errors import DataError
from galflow.photometry import NJY
from galflow.surveys.base import Image, Plane
from galflow.surveys.drawing.mock_observation import (
    FinePsf,
    half_light_radius_pix,
    photon_noise,
    rebin,
    through_psf,
)
from galflow.surveys.drawing.redshifting import dimming_factor, kpc_per_arcsec, power_law_factors
from galflow.surveys.mock_selection import SELECTED, Selected, selected
from galflow.surveys.mock_setting import Setting
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.simulated_view import SimulatedView
from galflow.surveys.reading.stamp_names import hash64
from galflow.surveys.simulation_options import SimulationOptions

_NOISE, _PLACES = 1, 2
"""Parts of a seed: what is drawn with it."""
_NOWHERE = (-1, -1)


@dataclass(frozen=True, eq=False)
class PlacedView:
    """A view of a galaxy, and where it is put."""

    key: str
    """Snapshot, galaxy and camera."""
    galaxy: str
    """Key of the galaxy."""
    group: str
    """What no split parts."""
    view: SimulatedView
    seen_at: float
    """Redshift at which the file's light is seen: 0 where it is as emitted."""
    redshift: float | None
    """Where it is observed; None: it is not known, and ``view`` has an error."""


@dataclass(frozen=True, eq=False)
class ObservationStep:
    """A picture of one step of the observation."""

    name: str
    light: np.ndarray
    """(band, y, x) nJy per square arcsecond."""
    pixel_scale_arcsec: float


@dataclass(frozen=True, eq=False)
class MockTile:
    """The mocks of one tile, in the order of their keys."""

    images: dict[str, Image]
    views: tuple[PlacedView, ...]
    flux_njy: np.ndarray
    """(n, band) all of a view's light at its redshift, NaN where unreadable."""
    share: np.ndarray
    """(n,) of the first band's light that falls into the stamp."""
    places: np.ndarray | None
    """(n, 2) centre pixels (y, x) of the patches of the imitated tile, -1 of views without one; None: no real sky."""
    found: Selected | None
    """What the survey would have found; None: all counts."""

    @property
    def counts(self) -> dict[str, int]:
        """Why mocks do or do not count -> how many."""
        readable = [placed.view.error is None for placed in self.views]
        told = [SELECTED] * len(self.views) if self.found is None else self.found.reasons
        return dict(Counter(t if ok else "unreadable" for t, ok in zip(told, readable, strict=True)))


class Observation:
    """How views become mocks: one for each tile."""

    def __init__(self, options: SimulationOptions, bands: Sequence[str], setting: Setting) -> None:
        self._options, self._bands, self._setting = options, tuple(bands), setting
        self._fine: dict[str, FinePsf] = {}

    def native(self, placed: PlacedView, *, dimmed: bool = True) -> tuple[np.ndarray, float]:
        """(band, y, x) nJy per square arcsecond on the file's own pixels, and their side in arcsec at the redshift."""
        view, options = placed.view, self._options
        if view.light is None or placed.redshift is None:
            raise DataError(view.error or f"{placed.key} has no redshift")
        scale = view.kpc_per_pixel / kpc_per_arcsec(placed.redshift, options.cosmology)
        light = np.asarray(view.light, np.float64)
        if dimmed and "dimming" in options.steps:
            light = light * dimming_factor(placed.redshift, options.dimming, seen_at=placed.seen_at)
            if options.band_wavelengths_um is not None:
                wavelengths = np.array([options.band_wavelengths_um[band] for band in self._bands])
                stretch = (1.0 + placed.redshift) / (1.0 + placed.seen_at)
                light = light * power_law_factors(light.sum(axis=(1, 2)), wavelengths, stretch)[:, None, None]
        return light, scale

    def observed(self, placed: PlacedView, *, psf: bool = True) -> tuple[np.ndarray, np.ndarray, float]:
        """(band, size, size) nJy without noise, (band,) nJy of the whole view, and the pixels' side in arcsec."""
        light, scale = self.native(placed)
        flux, size = light * scale**2, self._options.stamp_size
        pixel = self._setting.pixel_scale_arcsec if "rebinning" in self._options.steps else scale
        if not (psf and self._setting.psfs):
            return rebin(flux, pixel / scale, size), flux.sum(axis=(1, 2)), pixel
        seen = [
            through_psf(plane, scale, self._psf(band, pixel), size)
            for band, plane in zip(self._bands, flux, strict=True)
        ]
        return np.stack(seen), flux.sum(axis=(1, 2)), pixel

    def _psf(self, band: str, pixel_scale_arcsec: float) -> FinePsf:
        """A band's PSF on fine pixels, kept for the next view."""
        known = self._fine.get(band)
        if known is None or known.pixel_scale_arcsec != pixel_scale_arcsec:
            known = self._fine[band] = FinePsf.of(self._setting.psfs[band], pixel_scale_arcsec)
        return known

    def steps(self, placed: PlacedView) -> list[ObservationStep]:
        """Pictures of what each step that is carried out does to a view, the finished mock last."""
        options, size = self._options, self._options.stamp_size
        light, scale = self.native(placed, dimmed=False)
        found = [ObservationStep("as simulated", light, scale)]
        if "dimming" in options.steps:
            found.append(ObservationStep(f"dimmed to z = {placed.redshift:.3f}", *self.native(placed)))
        if "rebinning" in options.steps:
            flux, _, pixel = self.observed(placed, psf=False)
            found.append(ObservationStep("on the survey's pixels", flux / pixel**2, pixel))
        if self._setting.psfs:
            flux, _, pixel = self.observed(placed)
            found.append(ObservationStep("through its PSF", flux / pixel**2, pixel))
        if "sky" in options.steps:
            pixel = found[-1].pixel_scale_arcsec
            made = self.tile([placed])
            middle = Mosaic(1, size).centres
            top, left = int(middle[0][0]) - size // 2, int(middle[1][0]) - size // 2
            flux = np.stack([image.flux[top : top + size, left : left + size] for image in made.images.values()])
            found.append(
                ObservationStep("with its noise" if made.places is None else "on its sky", flux / pixel**2, pixel)
            )
        return found

    def tile(self, views: Iterable[PlacedView]) -> MockTile:
        """All mocks of a tile as a mosaic; of the views one at a time is held. DataError without enough empty sky."""
        options, bands = self._options, self._bands
        told, made = list[PlacedView](), list[np.ndarray | None]()
        totals, share, radius = list[np.ndarray](), list[float](), list[float]()
        places: list[tuple[int, int]] = []
        for placed in views:
            flux, total, error, place = None, np.full(len(bands), np.nan), None, _NOWHERE
            try:
                place = self._place(placed) if options.takes_real_sky else _NOWHERE
                flux, total, _ = self.observed(placed)
            except DataError as fault:
                error = str(fault)
            made.append(flux)
            places.append(_NOWHERE if flux is None else place)
            totals.append(total)
            share.append(float(flux[0].sum() / total[0]) if flux is not None and total[0] > 0 else np.nan)
            radius.append(np.nan if flux is None else half_light_radius_pix(flux[0]))
            told.append(replace(placed, view=replace(placed.view, light=None, error=error)))
        if not told:
            raise DataError("the tile has no galaxy of which a camera is known")
        mosaic = Mosaic(len(told), options.stamp_size)
        images = {band: self._band(number, told, made, places, mosaic) for number, band in enumerate(bands)}
        found = None
        if "selection" in options.steps:
            found = selected(images, mosaic, np.array(radius), options.selection, bands)
        whole = np.stack(totals)
        laid = np.array(places) if options.takes_real_sky else None
        return MockTile(images, tuple(told), whole, np.array(share), laid, found)

    def _place(self, placed: PlacedView) -> tuple[int, int]:
        """(y, x) on the imitated tile where a mock is laid, by its name and the seed: other mocks change nothing."""
        if placed.view.error is not None:
            return _NOWHERE
        rng = np.random.default_rng([self._options.seed, hash64(placed.key), _PLACES])
        return self._setting.place(self._options.stamp_size, self._options.min_separation, rng)

    def _band(
        self,
        number: int,
        views: Sequence[PlacedView],
        made: Sequence[np.ndarray | None],
        places: Sequence[tuple[int, int]],
        mosaic: Mosaic,
    ) -> Image:
        """One band of all mocks, with noise or on real sky."""
        size, band = self._options.stamp_size, self._bands[number]
        gain = self._options.of_band("electrons_per_njy", band)
        sky = (self._setting.images or {}).get(band) if self._options.takes_real_sky else None
        sigma = self._setting.sigma_njy.get(band)
        fluxes, ivars, masks = list[np.ndarray | None](), list[np.ndarray | None](), list[np.ndarray | None]()
        for i, whole in enumerate(made):
            if whole is None:
                for planes in (fluxes, ivars, masks):
                    planes.append(None)
                continue
            flux = whole[number]
            rng = np.random.default_rng([self._options.seed, hash64(views[i].key), _NOISE, number])
            noise, variance = (
                photon_noise(flux, gain, rng) if "sky" in self._options.steps else (0.0, np.zeros_like(flux))
            )
            ivar, mask = None, np.zeros((size, size), np.uint16)
            if sky is not None:
                top, left = places[i][0] - size // 2, places[i][1] - size // 2
                patch = (slice(top, top + size), slice(left, left + size))
                noise = noise + sky.flux[patch]
                mask = mask if sky.mask is None else sky.mask[patch]
                if sky.ivar is not None:
                    ivar = sky.ivar[patch] / (1.0 + sky.ivar[patch] * variance)
            elif sigma is not None:
                noise = noise + sigma * rng.standard_normal(flux.shape)
                ivar = 1.0 / (sigma**2 + variance)
            fluxes.append((flux + noise).astype(np.float32))
            ivars.append(None if ivar is None else ivar.astype(np.float32))
            masks.append(mask)
        known = any(ivar is not None for ivar in ivars)
        return Image(
            mosaic.assemble(fluxes, np.nan, np.float32),
            NJY,
            self._setting.pixel_scale_arcsec,
            ivar=mosaic.assemble(ivars, 0.0, np.float32) if known else None,
            mask=mosaic.assemble(masks, int(Plane.NO_DATA), np.uint16),
            psf=self._setting.psfs.get(band),
        )
