"""What distance does to a galaxy's light: how large it looks, and how much fainter each square arcsecond of it is.

Surface brightness I_nu / nu^3 is the same for every observer (Liouville), so light emitted at nu_e and seen at
nu_e / (1 + z) has I_nu(seen) = I_nu(emitted) / (1 + z)^3; per unit wavelength that is (1 + z)^-5, integrated over all
wavelengths (1 + z)^-4 (Tolman 30, PNAS 16, 511). All three say the same of a whole spectrum. Inside galflow light is
per unit frequency, so with the filter redshifted as the light is (k_correction: rest_frame) the exponent is 3.

Without a k-correction the filter stays where it is, and sees light emitted at shorter wavelengths. The exponent then
says of which spectrum this is right: 3 for one flat in F_nu, 4 for one flat in nu F_nu, 5 for one flat in F_lambda.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from astropy.cosmology import realizations

from galflow.errors import DataError

Dimming = Literal["per_frequency", "bolometric", "per_wavelength"]
Cosmology = Literal["Planck18", "Planck15", "Planck13", "WMAP9", "WMAP7", "WMAP5"]
EXPONENTS: dict[str, int] = {"per_frequency": 3, "bolometric": 4, "per_wavelength": 5}


def dimming_factor(redshift: float, dimming: Dimming, *, seen_at: float = 0.0) -> float:
    """What is left, at ``redshift``, of a surface brightness that was seen at the redshift ``seen_at``."""
    return float(((1.0 + seen_at) / (1.0 + redshift)) ** EXPONENTS[dimming])


def power_law_factors(
    flux: npt.NDArray[np.float64], wavelengths_um: npt.NDArray[np.float64], stretch: float
) -> npt.NDArray[np.float64]:
    """(band,) what each band's light grows by when its spectrum is shifted: ``stretch`` is (1+z) / (1+z seen at).

    The filter then sees light of a wavelength ``stretch`` times as short. Between each band and the next shorter one
    (of the shortest: the next longer one) F_nu is a power law through the ``flux`` (band,) of both, and F_nu grows by
    stretch^slope (Hogg+02). DataError where a flux is not positive: it has no colour.
    """
    if not (flux > 0).all():
        raise DataError("a band of its light is not positive, so it has no colour to be k-corrected by")
    order = np.argsort(wavelengths_um)
    log_frequency, log_flux = -np.log(wavelengths_um[order]), np.log(flux[order])
    slopes = np.diff(log_flux) / np.diff(log_frequency)
    of_bands = np.empty_like(flux)
    of_bands[order] = np.concatenate([slopes[:1], slopes])
    return np.asarray(stretch**of_bands)


@functools.lru_cache(maxsize=4096)
def kpc_per_arcsec(redshift: float, cosmology: Cosmology = "Planck18") -> float:
    """Proper kpc in an arcsecond at ``redshift``. DataError for one that is not positive: it has no distance."""
    if not redshift > 0:
        raise DataError(f"redshift {redshift:g} has no distance in an expanding universe; give a positive redshift")
    model: Any = getattr(realizations, cosmology)
    return float(model.kpc_proper_per_arcmin(redshift).value) / 60.0
