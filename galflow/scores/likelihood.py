"""Likelihoods made comparable: bits per dimension, densities per flux, ratios, and corrections for complexity.

All log-probabilities are natural logarithms (nats) per object, summed over observed pixels. Raw likelihoods follow
brightness, size and background, and simple images outrank the training set (Nalisnick+19, ICLR): hence the ratio, the
complexity correction and the typicality. Which models may be compared, and how, is galflow.scores.ratio's.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import numpy.typing as npt

from galflow.errors import ModelError, SpecError

FloatArray = npt.NDArray[np.float64]


def _per_object(**arrays: npt.ArrayLike) -> list[FloatArray]:
    """The arrays as float64, checked to be finite and (n,) of one length."""
    values = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    shapes = {name: value.shape for name, value in values.items()}
    if len(set(shapes.values())) != 1 or any(value.ndim != 1 for value in values.values()):
        raise SpecError(f"expected one number per object, shape (n,), in each; got {shapes}")
    for name, value in values.items():
        bad = np.flatnonzero(~np.isfinite(value))
        if bad.size:
            raise ModelError(
                f"{name} holds {bad.size} value(s) that are not finite (first: {value[bad[0]]} at position {bad[0]}); "
                "leave out objects without a likelihood and give them a null with its outcome"
            )
    return list(values.values())


def _check_dims(observed_dims: FloatArray) -> None:
    if np.any(observed_dims < 1):
        raise ModelError(
            f"{int(np.count_nonzero(observed_dims < 1))} object(s) have no observed pixel; expected at least one "
            "observed dimension each. Leave them out and give them a null with outcome NO_DATA"
        )


def bits_per_dim(log_prob: npt.ArrayLike, observed_dims: npt.ArrayLike) -> FloatArray:
    """(n,) bits per observed dimension, -log2 p / dims.

    ``log_prob`` is (n,) nats; ``observed_dims`` (n,) counts each object's observed pixels over all bands.
    """
    nats, dims = _per_object(log_prob=log_prob, observed_dims=observed_dims)
    _check_dims(dims)
    return -nats / (dims * math.log(2.0))


def log_density_from_mass(log_mass: npt.ArrayLike, observed_dims: npt.ArrayLike, bin_width: float) -> FloatArray:
    """(n,) log-density in stretched space of a discrete model: log p(y) = log P(bin) - dims * log(bin width).

    Exact for the density that is constant within each bin; ``bin_width`` is in stretched units.
    """
    if not (math.isfinite(bin_width) and bin_width > 0):
        raise SpecError(f"bin_width is {bin_width}; give the positive width of a bin in stretched units")
    mass, dims = _per_object(log_mass=log_mass, observed_dims=observed_dims)
    return mass - dims * math.log(bin_width)


def log_density_per_flux(log_density: npt.ArrayLike, log_abs_det: npt.ArrayLike) -> FloatArray:
    """(n,) log p(flux) = log p(y) + log|det J|: nats per unit flux from nats per stretched unit.

    ``log_abs_det`` is (n,) from ``AsinhStretch.log_abs_det`` over the same observed pixels.
    """
    density, jacobian = _per_object(log_density=log_density, log_abs_det=log_abs_det)
    return density + jacobian


def log_likelihood_ratio(survey: npt.ArrayLike, background: npt.ArrayLike) -> FloatArray:
    """(n,) LLR = log p_survey(x) - log p_background(x) in nats, on the very same pixels (Ren+19; Zanisi+21).

    Positive: better explained by the survey's model than by the background model, for every sample alike. Both must be
    stated in one space: of one stretch and one bin width, or both per flux.
    """
    ours, theirs = _per_object(survey=survey, background=background)
    return ours - theirs


def eight_bit(stretched: npt.NDArray[np.floating], low: float, bin_width: float) -> npt.NDArray[np.uint8]:
    """Stretched pixels (n, band, y, x) as bins 0..255 of ``bin_width`` from ``low`` on, clipped at both ends."""
    if not (math.isfinite(bin_width) and bin_width > 0) or not np.all(np.isfinite(stretched)):
        raise SpecError(
            f"pixels in bins of width {bin_width!r}: give a positive width and finite pixels (0 where missing)"
        )
    return np.clip(np.floor((stretched - low) / bin_width), 0, 255).astype(np.uint8)


def _paeth_residual(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """PNG's Paeth filter on (..., y, x): each byte minus the nearest to left + up - corner of those three."""
    padded = np.pad(pixels.astype(np.int16), [(0, 0)] * (pixels.ndim - 2) + [(1, 0), (1, 0)])
    left, up, corner = padded[..., 1:, :-1], padded[..., :-1, 1:], padded[..., :-1, :-1]
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    predicted = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    return (pixels - predicted).astype(np.uint8)


def complexity_bits(images: npt.NDArray[np.uint8]) -> FloatArray:
    """(n,) bits that lossless compression needs for each (band, y, x) uint8 image of ``images`` (n, band, y, x).

    The shorter of zlib on the bytes and zlib on PNG's Paeth residuals (each with its constant header of some bytes).
    Compression is per object by nature: filtering is vectorised, then one call into C per object and variant.
    """
    if images.ndim != 4 or images.dtype != np.uint8:
        raise SpecError(
            f"images are {images.dtype} {images.shape}; give uint8 of shape (n, band, y, x) (see eight_bit)"
        )
    variants = [np.ascontiguousarray(v).reshape(len(images), -1) for v in (images, _paeth_residual(images))]
    lengths = [
        np.fromiter((len(zlib.compress(row.tobytes(), 9)) for row in v), dtype=np.float64, count=len(v))
        for v in variants
    ]
    return 8.0 * np.minimum(*lengths)


def complexity_corrected(
    bits_per_dim: npt.ArrayLike, observed_dims: npt.ArrayLike, complexity: npt.ArrayLike
) -> FloatArray:
    """(n,) S / dims with S = -log2 p(x) - L(x) (Serra+20, ICLR): HIGHER = MORE ANOMALOUS, in bits per dimension.

    ``complexity`` is L from ``complexity_bits`` on the same pixels in the bins whose mass the likelihood states; for a
    density the result is shifted by a constant per dimension, which leaves the order of fully observed objects alone.
    """
    bits, dims, shortest = _per_object(bits_per_dim=bits_per_dim, observed_dims=observed_dims, complexity=complexity)
    _check_dims(dims)
    return (bits * dims - shortest) / dims


def typicality(bits_per_dim: npt.ArrayLike, reference_bits_per_dim: npt.ArrayLike) -> FloatArray:
    """(n,) |bits per dimension - their mean over held-out normal objects| (Nalisnick+19b): HIGHER = MORE ANOMALOUS.

    Unlike the likelihood it also marks objects that are suspiciously probable.
    """
    (bits,) = _per_object(bits_per_dim=bits_per_dim)
    (reference,) = _per_object(reference_bits_per_dim=reference_bits_per_dim)
    if not reference.size:
        raise SpecError("typicality needs the bits per dimension of at least one held-out normal object; got none")
    return np.abs(bits - reference.mean())
