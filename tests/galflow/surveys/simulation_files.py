"""Small files as simulations publish them, with galaxies whose light is known by a formula.

Nothing of galflow makes them: numpy draws, astropy writes. Sunrise's layout is that of the Illustris project's stellar
mocks as the project describes it (Torrey+15, MNRAS 447, 2753; illustris-project.org/data, "stellar mocks") and as
public readers of these files expect it; SKIRT's cards are those of a file that RealSim (Bottrell+19) carries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

C = 299792458.0
JY = 1e-26
"""W/m^2/Hz."""
PC_M = 3.0856775814913673e16
FILTERS = {
    "galex/fuv_1500.res": 1.53e-7,
    "g_SDSS.res": 4.72e-7,
    "r_SDSS.res": 6.19e-7,
    "i_SDSS.res": 7.50e-7,
}
"""Name -> lambda_eff in metres."""
REDSHIFT = 0.05
FOV_KPC = 48.0
SIDE = 96


def luminosity(number: int, absolute_magnitude: float = -21.0) -> float:
    """L_nu in W/Hz of a galaxy in the filter of that number: F at 10 pc is 4 pi (10 pc)^2 smaller."""
    at_10_pc = 3631 * JY * 10 ** (-0.4 * (absolute_magnitude - 0.4 * number))
    return float(at_10_pc * 4 * np.pi * (10 * PC_M) ** 2)


def gaussian(side: int, sigma_pixels: float, axis_ratio: float = 1.0) -> np.ndarray:
    """(side, side) of sum 1, centred."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    light = np.exp(-0.5 * (x**2 + (y / axis_ratio) ** 2) / sigma_pixels**2)
    return np.asarray(light / light.sum())


def sunrise(
    path: Path,
    *,
    seed: int = 0,
    cameras: int = 2,
    scale: float = 1.0,
    widths: bool = True,
    sigma_kpc: float = 2.0,
    absolute_magnitude: float = -21.0,
    redshift: float = REDSHIFT,
) -> Path:
    """A broadband file; ``scale`` multiplies the images and not the magnitudes, which then contradict them."""
    rng = np.random.default_rng(seed)
    lambdas = np.array(list(FILTERS.values()))
    # A pivot wavelength 1 % off lambda_eff, as a filter's is.
    pivots = lambdas * 1.01 if widths else lambdas
    ewidth = lambdas * 0.2
    kpc = FOV_KPC / SIDE
    area_m2 = (kpc * 1000 * PC_M) ** 2
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(name="BROADBAND")]
    hdus[1].header["REDSHIFT"] = redshift
    columns = [
        fits.Column("filter", "30A", array=[f"{name:<28}" for name in FILTERS]),
        fits.Column("lambda_eff", "D", array=lambdas),
    ]
    if widths:
        columns += [
            fits.Column("ewidth_lambda", "D", array=ewidth),
            fits.Column("ewidth_nu", "D", array=ewidth * C / pivots**2),
        ]
    for camera in range(cameras):
        cube = []
        shape = gaussian(SIDE, sigma_kpc / kpc, float(rng.uniform(0.4, 1.0)))
        for number, pivot in enumerate(pivots):
            # An isotropic emitter of L_nu has intensity L_nu / (4 pi area) in each pixel's share, per steradian.
            i_nu = luminosity(number, absolute_magnitude) / (4 * np.pi) * shape / area_m2
            cube.append(scale * i_nu * C / pivot**2)
        image = fits.ImageHDU(np.array(cube, np.float32), name=f"CAMERA{camera}-BROADBAND-NONSCATTER")
        image.header["IMUNIT"] = "W/m/m^2/sr"
        parameters = fits.ImageHDU(name=f"CAMERA{camera}-PARAMETERS")
        parameters.header["HIERARCH linear_fov"] = FOV_KPC
        parameters.header["theta"], parameters.header["phi"] = 0.5 * camera, 1.0
        hdus += [image, parameters]
        magnitudes = [absolute_magnitude - 0.4 * number for number in range(len(FILTERS))]
        columns.append(fits.Column(f"AB_mag_nonscatter{camera}", "D", array=magnitudes))
    hdus.append(fits.BinTableHDU.from_columns(columns, name="FILTERS"))
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


SKIRT_PC = 500.0


def skirt(
    path: Path, band: str, *, seed: int = 0, camera: str = "i0", unit: str | None = "AB mag/arcsec2", **cards: Any
) -> Path:
    """One band of one view in AB mag/arcsec2, empty beyond 12 sigma: 18 mag/arcsec2 in the middle."""
    rng = np.random.default_rng(seed)
    light = gaussian(SIDE, 5.0, float(rng.uniform(0.4, 1.0)))
    with np.errstate(divide="ignore"):
        magnitudes = 18.0 - 2.5 * np.log10(light / light.max())
    magnitudes[light < 1e-8 * light.max()] = np.nan
    header = fits.Header(
        {
            **{"CRPIX1": 48.5, "CDELT1": SKIRT_PC, "CTYPE1": "pc", "CRPIX2": 48.5, "CDELT2": SKIRT_PC, "CTYPE2": "pc"},
            **{"CAMERA": camera, "FILTER": f"{band}_SDSS.res", "WLEFF": 6192.8, "REDSHIFT": 0.046},
        }
    )
    if unit is not None:
        header["BUNIT"] = unit
    for name, value in cards.items():
        if value is None:
            del header[name]
        else:
            header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(magnitudes, header).writeto(path, overwrite=True)
    return path
