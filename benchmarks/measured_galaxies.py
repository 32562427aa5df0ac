"""Galaxies with a known truth for the benchmark of measurements, and what statmorph measured on some of them.

``python -m benchmarks.measured_galaxies`` draws the galaxies of the golden file and measures them with statmorph
(Rodriguez-Gomez+19; tested with 0.7.2), which must be installed beside galflow: pip install statmorph photutils.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import galsim
import numpy as np

from galflow.measurements.nonparametric import STATISTICS
from galflow.measurements.segmentation import segment

GOLDEN = Path(__file__).with_name("measured_statmorph.json")
SIZE, PSF_FWHM = 64, 3.0
GOLDEN_COUNT, GOLDEN_SNR = 36, 400.0


@dataclass(frozen=True)
class Galaxy:
    """A Sersic profile of flux 1 with clumps, in pixels."""

    n: float
    r50: float
    """Half-light radius, circularised."""
    q: float
    theta: float
    dx: float
    dy: float
    clumps: tuple[tuple[float, float], ...] = ()
    """Offsets x, y of clumps of 6 % of the flux each."""


def psf_profile() -> galsim.GSObject:
    """The effective PSF, pixel included."""
    return galsim.Moffat(beta=3.5, fwhm=PSF_FWHM)


def psf_image(side: int = 41) -> np.ndarray:
    """(side, side) float64."""
    image: np.ndarray = psf_profile().drawImage(nx=side, ny=side, scale=1, method="no_pixel", dtype=np.float64).array
    return image / image.sum()


def draw(galaxy: Galaxy, size: int = SIZE) -> np.ndarray:
    """(size, size) float64 without noise."""
    accurate = galsim.GSParams(folding_threshold=1e-3, maxk_threshold=1e-4, maximum_fft_size=32768)
    profile = galsim.Sersic(n=galaxy.n, half_light_radius=galaxy.r50, gsparams=accurate)
    profile = profile.shear(q=galaxy.q, beta=galaxy.theta * galsim.degrees)
    for x, y in galaxy.clumps:
        profile = profile + galsim.Gaussian(sigma=0.8, flux=0.06).shift(x, y)
    seen = galsim.Convolve(profile, psf_profile(), gsparams=accurate)
    image: np.ndarray = seen.drawImage(
        nx=size, ny=size, scale=1, offset=(galaxy.dx, galaxy.dy), method="no_pixel", dtype=np.float64
    ).array
    return image


def noisy(image: np.ndarray, snr: float, seed: int) -> tuple[np.ndarray, float]:
    """The image with white noise, and the noise's sigma; ``snr`` is that of its flux were its shape known."""
    sigma = math.sqrt(float((image**2).sum())) / snr
    return image + sigma * np.random.default_rng(seed).standard_normal(image.shape), sigma


def population(count: int, seed: int, clumpy: bool) -> list[Galaxy]:
    """Galaxies of all kinds; every second one has clumps if ``clumpy``."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        n, r50 = round(float(rng.choice([0.5, 1.0, 1.5, 2.5, 4.0])), 1), float(rng.uniform(2.0, 5.0))
        q, theta = float(rng.uniform(0.35, 1.0)), float(rng.uniform(0, 180))
        dx, dy = rng.uniform(-0.5, 0.5, 2)
        places = rng.normal(0, 0.8 * r50, (3, 2)).round(3)
        clumps = tuple((float(x), float(y)) for x, y in places) if clumpy and number % 2 else ()
        found.append(Galaxy(n, round(r50, 3), round(q, 3), round(theta, 3), round(dx, 3), round(dy, 3), clumps))
    return found


def own_pixels(image: np.ndarray, sigma: float) -> np.ndarray:
    """(size, size) bool: what both fitters are told is the galaxy's."""
    middle = np.full((1, 2), (image.shape[0] - 1) / 2)
    ivar = np.full((1, *image.shape), sigma**-2, np.float32)
    return segment(image[None].astype(np.float32), ivar, middle).own[0]


def by_statmorph(image: np.ndarray, sigma: float) -> dict[str, float]:
    """statmorph's numbers; its flag, 0 good to 4, as ``flag``."""
    import statmorph
    from photutils.segmentation import SegmentationImage

    own = own_pixels(image, sigma)
    found = statmorph.SourceMorphology(
        image, SegmentationImage(own.astype(int)), 1, weightmap=np.full(image.shape, sigma), cutout_extent=10
    )
    names = ("rpetro_ellip", "concentration", "asymmetry", "gini", "m20")
    values = {name: round(float(getattr(found, of)), 5) for name, of in zip(STATISTICS, names, strict=True)}
    return values | {"flag": float(found.flag)}


def golden() -> dict[str, Any]:
    """The golden file's content."""
    import statmorph

    rows = []
    for number, galaxy in enumerate(population(GOLDEN_COUNT, 5, clumpy=True)):
        image, sigma = noisy(draw(galaxy), GOLDEN_SNR, number)
        rows.append({"galaxy": asdict(galaxy), "noise_seed": number, "statmorph": by_statmorph(image, sigma)})
    made = "python -m benchmarks.measured_galaxies"
    return {"made_by": made, "statmorph": statmorph.__version__, "snr": GOLDEN_SNR, "size": SIZE, "galaxies": rows}


def read_golden() -> dict[str, Any]:
    """The golden file."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for row in found["galaxies"]:
        row["galaxy"] = Galaxy(**row["galaxy"] | {"clumps": tuple(map(tuple, row["galaxy"]["clumps"]))})
    return found


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
