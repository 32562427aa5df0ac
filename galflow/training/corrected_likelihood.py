"""Scores of every model with an exact likelihood that its bits per dimension alone do not give.

A likelihood follows brightness, size and background, and simple images outrank the training set (Nalisnick+19, ICLR).
Typicality asks whether an object is as probable as objects are; the complexity correction takes off what any lossless
compression would need for it. Both are HIGHER = MORE ANOMALOUS.
"""

from __future__ import annotations

import math

import numcodecs
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.errors import ModelError
from galflow.models.base import Density, GenerativeModel

FloatArray = npt.NDArray[np.float64]

TYPICALITY, COMPLEXITY = "typicality", "complexity_corrected"
CORRECTED = {
    TYPICALITY: "distance of bits per dimension from held-out objects' mean: too probable counts too (Nalisnick+19)",
    COMPLEXITY: "bits per dimension beyond those that lossless compression needs (Serra+20)",
}
_ZSTD = numcodecs.Zstd(level=1)
"""Twice as fast as zlib on a galaxy, and within 2% as short; higher levels are no shorter."""


def scores_of(model: type[GenerativeModel]) -> dict[str, str]:
    """Name -> meaning of the scores that a trained model of this class gives; the first is its main one."""
    return {**model.scores, **(CORRECTED if issubclass(model, Density) else {})}


def typicality(bits_per_dim: FloatArray, reference_bits_per_dim: FloatArray) -> FloatArray:
    """(n,) |bits per dimension - their mean over held-out normal objects| (Nalisnick+19b, arXiv:1906.02994)."""
    if not len(reference_bits_per_dim):
        raise ModelError("typicality needs the bits per dimension of held-out normal objects; got none")
    return np.abs(bits_per_dim - np.mean(reference_bits_per_dim))


def complexity_corrected(model: Density, pixels: Tensor, observed: Tensor, bits_per_dim: FloatArray) -> FloatArray:
    """(n,) S / dims with S = -log2 p(x) - L(x) (Serra+20, ICLR), in bits per observed dimension.

    ``pixels`` and ``observed`` are (n, band, y, x), ``bits_per_dim`` (n,) as ``model`` states them. L is the length of
    the observed pixels, in bins of ``model.pixel_bins``, as Zstandard compresses them; p is brought to a probability of
    those bins.
    """
    low, width = model.pixel_bins
    shortest = complexity_bits(eight_bit(pixels, low, width), observed)
    dims = observed.sum((1, 2, 3)).clamp(min=1).double().cpu().numpy()
    in_bins = bits_per_dim + math.log2(model.bin_width or 1.0) - math.log2(width)
    return in_bins - shortest / dims


def eight_bit(pixels: Tensor, low: float, width: float) -> Tensor:
    """Stretched pixels (n, band, y, x) as bins 0..255 of ``width`` from ``low`` on, uint8, clipped at both ends."""
    return ((pixels - low) / width).floor().nan_to_num(0.0).clamp(0, 255).to(torch.uint8)


def _paeth_residual(images: Tensor) -> Tensor:
    """PNG's Paeth filter on uint8 (..., y, x): each byte minus the nearest to left + up - corner of those three."""
    padded = F.pad(images.to(torch.int16), (1, 0, 1, 0))
    left, up, corner = padded[..., 1:, :-1], padded[..., :-1, 1:], padded[..., :-1, :-1]
    to_left, to_up, to_corner = (up - corner).abs(), (left - corner).abs(), (left + up - 2 * corner).abs()
    predicted = torch.where(
        (to_left <= to_up) & (to_left <= to_corner), left, torch.where(to_up <= to_corner, up, corner)
    )
    return (images - predicted).bitwise_and(255).to(torch.uint8)


def complexity_bits(images: Tensor, observed: Tensor) -> FloatArray:
    """(n,) bits that lossless compression needs for the observed pixels of uint8 ``images`` (n, band, y, x).

    The shorter of Zstandard on the bytes and on PNG's Paeth residuals (each with its header of some bytes).
    Compression is per object by nature: filtering is vectorised, then one call into C per object and variant.
    """
    lengths = np.stack([_zstd_bytes(variant, observed) for variant in (images, _paeth_residual(images))])
    return 8.0 * lengths.min(axis=0)


def _zstd_bytes(images: Tensor, observed: Tensor) -> FloatArray:
    """(n,) lengths of the observed bytes, compressed."""
    rows = images.flatten(1).cpu().numpy()
    keep = observed.flatten(1).cpu().numpy()
    pieces = rows if keep.all() else [row[kept] for row, kept in zip(rows, keep, strict=True)]
    return np.fromiter((len(_ZSTD.encode(piece)) for piece in pieces), np.float64, count=len(rows))
