"""Principal components of a stream of images, missing pixels included: maximum likelihood of probabilistic PCA.

Complete images of few pixels, or few of them: the eigenvectors of their covariance, exactly. Otherwise subspace
iteration: each pass multiplies the covariance with an orthonormal basis (a randomised range finder with power
iterations, Halko, Martinsson & Tropp 11, SIAM Rev. 53, 217) without ever making it. Where pixels are missing, the
covariance is that which the present components expect (the E step of Tipping & Bishop 99), so that passes are
iterations of EM at the same time.
Memory is a few arrays of components by pixels, or one of no more than 4096 by 4096.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.layers.images.blocks import observed_pixels
from galflow.models.shared.linear_gaussian import cholesky_of_precision, missing_loadings, posterior_mean

LARGEST_COVARIANCE = 4096
"""Pixels (all bands) up to which the covariance is made; fewer objects than pixels are held if no more numbers."""
OVERSAMPLING = 16
"""Vectors of the basis beyond the components wanted: they make the last components converge."""
PASSES = 60
"""Over the training set at most; complete images have taken 6 to 15."""
TOLERANCE = 1e-4
"""The passes end when noise and explained variance both change by less than this share of themselves."""
START_SEED = 20
"""Of the random basis: the same images give the same components."""
LEAST_SIGMA = 1e-3
"""Least noise, in stretched units: images that the components describe exactly have a density all the same."""


@dataclass(frozen=True)
class Components:
    """x = mean + z loadings + noise: what was found, in double precision."""

    mean: Tensor
    """(P,)"""
    loadings: Tensor
    """(k, P), orthogonal, by falling variance."""
    variance: Tensor
    """() of the noise."""


def principal_components(batches: Iterable[Batch], k: int, device: torch.device) -> Components:
    """The ``k`` components of all objects in ``batches``, which are read several times; objects count equally."""
    mean, scatter, complete, objects = _moments(batches, device)
    if complete and objects < len(mean) and objects * len(mean) <= LARGEST_COVARIANCE**2:
        return _from_inner_products(batches, mean, k)
    if complete and len(mean) <= LARGEST_COVARIANCE:
        return _from_covariance(batches, mean, objects, k)
    found = Components(mean, mean.new_zeros(k, len(mean)), scatter.mean().clamp_min(LEAST_SIGMA**2))
    draw = torch.Generator().manual_seed(START_SEED)
    start = torch.randn(len(mean), min(k + OVERSAMPLING, len(mean)), generator=draw, dtype=mean.dtype)
    basis = torch.linalg.qr(start.to(device)).Q
    explained = mean.new_zeros(())
    for _ in range(PASSES):
        before, explained_before = found, explained
        found, basis, explained = _one_pass(batches, found, basis)
        steady = _near(found.variance, before.variance) and _near(explained, explained_before)
        if steady:
            break
    return found


def _near(value: Tensor, before: Tensor) -> bool:
    return bool((value - before).abs() <= TOLERANCE * before.abs())


def flat(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels (B, P) in double precision, 0 where not observed, and observed (B, P), of objects with any pixel."""
    for given in batches:
        batch = given.to(device)
        observed = batch.observed.flatten(1)
        seen = observed.any(1)
        yield observed_pixels(batch).flatten(1)[seen].double(), observed[seen]


def _moments(batches: Iterable[Batch], device: torch.device) -> tuple[Tensor, Tensor, bool, int]:
    """Each pixel's mean and variance where observed, whether all are, and the number of objects."""
    objects, complete = 0, True
    totals: list[Tensor] = []
    for pixels, observed in flat(batches, device):
        sums = [observed.sum(0).double(), pixels.sum(0), pixels.square().sum(0)]
        totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
        objects += len(pixels)
        complete = complete and bool(observed.all())
    if objects == 0:
        raise ModelError(
            "PCA met no observed object in a pass over the training set; "
            "give batches that can be read several times (a list or a stream), with at least one observed object"
        )
    counted = totals[0].clamp_min(1)
    mean = totals[1] / counted
    return mean, (totals[2] / counted - mean.square()).clamp_min(0), complete, objects


def _from_covariance(batches: Iterable[Batch], mean: Tensor, objects: int, k: int) -> Components:
    """The exact solution for complete images (Tipping & Bishop 99, eqs. 7 and 8)."""
    covariance = mean.new_zeros(len(mean), len(mean))
    for pixels, _ in flat(batches, mean.device):
        centred = pixels - mean
        covariance.addmm_(centred.T, centred)
    covariance /= objects
    values, vectors = torch.linalg.eigh(covariance)
    return _components(mean, values.flip(0)[:k], vectors.flip(1)[:, :k], covariance.trace())


def _from_inner_products(batches: Iterable[Batch], mean: Tensor, k: int) -> Components:
    """The same for fewer objects than pixels: (1/N) X X^T and X^T X share their eigenvalues."""
    centred = torch.cat([pixels - mean for pixels, _ in flat(batches, mean.device)])
    values, turn = torch.linalg.eigh(centred @ centred.T / len(centred))
    vectors = torch.nn.functional.normalize(centred.T @ turn.flip(1)[:, :k], dim=0)
    values = values.flip(0)[:k].clamp_min(0)
    lacking = k - len(values)  # directions in which nothing varies
    values, vectors = (torch.nn.functional.pad(part, (0, lacking)) for part in (values, vectors))
    return _components(mean, values, vectors, centred.square().sum() / len(centred))


def _components(mean: Tensor, values: Tensor, vectors: Tensor, total: Tensor) -> Components:
    """Of the largest eigenvalues (k,), their vectors (P, k) and the covariance's trace (Tipping & Bishop 99)."""
    variance = ((total - values.sum()) / (len(mean) - len(values))).clamp_min(LEAST_SIGMA**2)
    loadings = vectors.T * (values - variance).clamp_min(0).sqrt()[:, None]
    return Components(mean, loadings, variance)


def _one_pass(batches: Iterable[Batch], found: Components, basis: Tensor) -> tuple[Components, Tensor, Tensor]:
    """The components within the span of ``basis``, the next basis, and the variance that the components explain."""
    product, shift = torch.zeros_like(basis), torch.zeros_like(found.mean)
    total, objects = found.variance.new_zeros(()), 0
    for pixels, observed in flat(batches, basis.device):
        filled = (pixels - found.mean) * observed
        if not observed.all():
            extra, trace = _expected(filled, observed, found, basis)
            product += extra
            total += trace
        product += filled.T @ (filled @ basis)
        shift += filled.sum(0)
        total += filled.square().sum()
        objects += len(filled)
    shift /= objects
    product = product / objects - torch.outer(shift, shift @ basis)
    small = basis.T @ product
    values, turn = torch.linalg.eigh((small + small.T) / 2)
    k = len(found.loadings)
    values, vectors = values.flip(0)[:k], (basis @ turn).flip(1)[:, :k]
    new = _components(found.mean + shift, values, vectors, total / objects - shift.square().sum())
    return new, torch.linalg.qr(product).Q, values.sum()


def _expected(filled: Tensor, observed: Tensor, found: Components, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Fill missing pixels of ``filled`` (B, P) with their conditional mean, in place.

    Returned are their conditional covariance, summed over objects, times ``basis``; and its trace.
    """
    loadings, variance = found.loadings, found.variance
    factors = cholesky_of_precision(loadings, variance, observed)
    latents = posterior_mean(factors, filled @ loadings.T)
    filled += (latents @ loadings) * ~observed
    # The conditional covariance of missing pixels m is variance (1 + W_m^T M^-1 W_m).
    lost = (~observed).sum(0).to(basis.dtype)
    product, trace = lost[:, None] * basis, lost.sum()
    for some in missing_loadings(loadings, observed):
        inside = some.loadings.mT @ basis[some.pixels]
        spread = some.loadings @ torch.cholesky_solve(inside, factors[some.rows])
        product.index_add_(0, some.pixels.flatten(), spread.flatten(0, 1))
        trace = (
            trace
            + torch.cholesky_solve(some.loadings.mT @ some.loadings, factors[some.rows]).diagonal(dim1=1, dim2=2).sum()
        )
    return variance * product, variance * trace
