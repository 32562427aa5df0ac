"""Stored cutouts -> what a model sees: stretched pixels, and inverse variance, PSF and catalogue values where wanted.

Every pixel passes through here on its way to a model: stretched, with missing ones set to 0 and marked as unobserved.
This file decides no order and holds no more than it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.neighbours import without_neighbours
from galflow.cutouts.object_psfs import ObjectPsfs
from galflow.errors import DataError
from galflow.photometry import FWHM_PER_SIGMA, Stretch
from galflow.spec.neighbours import Neighbours

_PSF_REACH_FWHM = 2.5
"""A Gaussian PSF made of a FWHM is cut off so many FWHM from its centre, where 1e-7 of its peak is left."""


@dataclass(frozen=True)
class BatchFields:
    """What batches hold beside stretched pixels and which of them are observed."""

    ivar: bool = False
    psf: bool = False
    conditions: tuple[str, ...] = ()
    """Catalogue columns."""
    neighbours: Neighbours = "keep"
    """What is seen of other objects' light. It asks nothing of a set, and says nothing of what is read."""

    def within(self, other: BatchFields) -> bool:
        """Whether ``other`` holds all of it."""
        return other.joined([self]) == other

    def joined(self, others: Iterable[BatchFields]) -> BatchFields:
        """All that any of them holds."""
        everything = [self, *others]
        names = dict.fromkeys(name for contents in everything for name in contents.conditions)
        return BatchFields(any(c.ivar for c in everything), any(c.psf for c in everything), tuple(names))


PIXELS_ALONE = BatchFields()


def make_batch(
    flux: np.ndarray,
    ivar: np.ndarray,
    stretch: Stretch,
    *,
    with_ivar: bool = False,
    neighbours: Neighbours = "keep",
    device: torch.device | str = "cpu",
) -> Batch:
    """The batch of cutouts (N, band, y, x) on ``device``: stretched, 0 and unobserved where ``ivar`` is 0.

    The inverse variance of a stretched pixel is that of the flux divided by the squared slope of the stretch.
    """
    seen = ivar > 0
    known = _tensor(flux if seen.all() else np.where(seen, flux, np.float32(0))).to(device)
    if neighbours == "keep":
        weight, observed = _tensor(ivar).to(device) if with_ivar else None, torch.from_numpy(seen).to(device)
    else:
        known, weight = without_neighbours(known, _tensor(ivar).to(device), neighbours)
        observed = weight > 0
    stretched_ivar = weight / stretch.derivative(known, torch) ** 2 if with_ivar and weight is not None else None
    return Batch(stretch.forward(known, torch), observed, stretched_ivar)


def _tensor(values: np.ndarray) -> Tensor:
    """Of the same memory where it may be written, which is what torch wants."""
    return torch.from_numpy(np.require(values, requirements="W"))


Rows = slice | np.ndarray | list[int]


@dataclass(frozen=True, eq=False)
class CutoutRows:
    """Some rows of a cutout set as they are stored, read once for all models."""

    flux: np.ndarray
    """(N, band, y, x) float32."""
    ivar: np.ndarray
    psf: np.ndarray | None
    """(band, y, x) of all of them, or (N, band, y, x) of each."""
    columns: Mapping[str, np.ndarray]
    """Catalogue column -> (N,) float32, NaN where nobody knows."""

    @property
    def contents(self) -> BatchFields:
        """The most that batches of these objects can hold."""
        return BatchFields(True, self.psf is not None, tuple(self.columns))

    def __len__(self) -> int:
        return len(self.flux)

    def __getitem__(self, rows: slice) -> CutoutRows:
        columns = {name: values[rows] for name, values in self.columns.items()}
        return CutoutRows(self.flux[rows], self.ivar[rows], self.psf, columns)

    @staticmethod
    def joined(parts: Sequence[CutoutRows]) -> CutoutRows:
        """The rows of all parts, at least one, of one cutout set."""
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        flux, ivar = (np.concatenate([getattr(part, name) for part in parts]) for name in ("flux", "ivar"))
        return CutoutRows(flux, ivar, parts[0].psf, columns)

    def row(self, number: int) -> CutoutRows:
        """One of them, copied, so that the others can be forgotten."""
        columns = {name: values[number : number + 1].copy() for name, values in self.columns.items()}
        return CutoutRows(self.flux[[number]], self.ivar[[number]], self.psf_of([number]), columns)

    def psf_of(self, rows: Rows) -> np.ndarray | None:
        """The PSF of some of them, as ``psf``."""
        return self.psf if self.psf is None or self.psf.ndim == 3 else self.psf[rows]

    @property
    def mean_psf(self) -> np.ndarray | None:
        """(band, y, x)."""
        return self.psf if self.psf is None or self.psf.ndim == 3 else self.psf.mean(axis=0)

    def batch(self, stretch: Stretch, contents: BatchFields, device: torch.device | str = "cpu") -> Batch:
        """The batch in one stretch with the contents that one model wants, made on ``device``."""
        plain = make_batch(
            self.flux, self.ivar, stretch, with_ivar=contents.ivar, neighbours=contents.neighbours, device=device
        )
        psf, conditions = None, None
        if contents.psf and self.psf is not None:
            psf = torch.from_numpy(self.psf).to(device).expand(len(plain), *self.psf.shape[-3:])
        if contents.conditions:
            chosen = np.stack([self.columns[name] for name in contents.conditions], axis=1)
            conditions = torch.from_numpy(chosen).to(device)
        return Batch(plain.pixels, plain.observed, plain.ivar, psf, conditions)


@dataclass(frozen=True, eq=False)
class ObjectReader:
    """Reads rows of one cutout set with what models want of it; what is one for all rows is read when it is made."""

    cutouts: CutoutSet
    contents: BatchFields
    psf: np.ndarray | None
    columns: Mapping[str, np.ndarray]
    psfs: ObjectPsfs | None = None
    """Of sets in which objects have PSFs of their own."""

    @classmethod
    def of(cls, cutouts: CutoutSet, contents: BatchFields) -> Self:
        """DataError if the set lacks something of ``contents`` (see ``missing_inputs``)."""
        if (reason := missing_inputs(cutouts, contents)) is not None:
            raise DataError(reason)
        columns = {name: _numbers(cutouts, name) for name in contents.conditions}
        psf, psfs = (psf_of(cutouts), ObjectPsfs.read(cutouts)) if contents.psf else (None, None)
        return cls(cutouts, contents, psf, columns, psfs)

    def read(self, rows: slice, wanted: np.ndarray | slice = slice(None)) -> CutoutRows:
        """The ``wanted`` rows, counted from ``rows.start``, of the rows read."""
        flux, ivar = self.cutouts.read("flux", rows)[wanted], self.cutouts.read("ivar", rows)[wanted]
        columns = {name: values[rows][wanted] for name, values in self.columns.items()}
        return CutoutRows(flux, ivar, self.psf if self.psfs is None else self.psfs.images(rows, wanted), columns)


def missing_inputs(cutouts: CutoutSet, contents: BatchFields) -> str | None:
    """Why batches of these cutouts cannot hold ``contents``; None if they can."""
    attributes = cutouts.attributes
    if contents.psf and not cutouts.has("psf"):
        without = [b for b, f in zip(attributes["bands"], _fwhm_pixels(cutouts), strict=True) if not f]
        if without:
            return (
                f"tile {attributes['tile']} has no PSF in {', '.join(without)}, and a model needs it; give the survey "
                "a PSF image or its FWHM (option psf_fwhm_arcsec or psf), or leave the model out"
            )
    for name in contents.conditions:
        if not cutouts.has(name):
            return (
                f"tile {attributes['tile']} has no catalogue column {name!r}, on which a model is conditioned; its "
                f"columns are {attributes['coordinates'].replace(' ', ', ')}; choose among them with the model's "
                "option conditions"
            )
    return None


def _fwhm_pixels(cutouts: CutoutSet) -> list[float | None]:
    """The PSF's FWHM in pixels, per band; None where the survey gives none."""
    attributes = cutouts.attributes
    scale = attributes["pixel_scale_arcsec"]
    return [f / scale if f and scale else None for f in attributes["psf_fwhm_arcsec"]]


def psf_of(cutouts: CutoutSet) -> np.ndarray:
    """(band, side, side) float32 PSF images with sum 1; a Gaussian where the survey gives its FWHM alone."""
    if cutouts.has("psf"):
        images = cutouts.read("psf").astype(np.float64)
    else:
        fwhm = [f or 0.0 for f in _fwhm_pixels(cutouts)]
        side = 2 * math.ceil(_PSF_REACH_FWHM * max(fwhm)) + 1
        r2 = (np.arange(side) - side // 2) ** 2
        images = np.stack([np.exp(-0.5 * (r2[:, None] + r2) / (f / FWHM_PER_SIGMA) ** 2) for f in fwhm])
    return (images / images.sum((1, 2), keepdims=True)).astype(np.float32)


def join_batches(parts: Sequence[Batch]) -> Batch:
    """One batch of several with the same contents; smaller PSF images are zero-padded to the largest."""

    def together(name: str) -> Tensor | None:
        found = [value for part in parts if (value := getattr(part, name)) is not None]
        if name == "psf":
            side = max((value.shape[-1] for value in found), default=0)
            found = [F.pad(value, [(side - value.shape[-1]) // 2] * 4) for value in found]
        return torch.cat(found) if found else None

    pixels, observed = (torch.cat([getattr(p, name) for p in parts]) for name in ("pixels", "observed"))
    return Batch(pixels, observed, together("ivar"), together("psf"), together("conditions"))


def _numbers(cutouts: CutoutSet, name: str) -> np.ndarray:
    values = cutouts.read(name)
    if "categories" in cutouts.column_attributes(name) or values.dtype.kind not in "biuf":
        raise DataError(f"column {name!r} of {cutouts.product} holds texts; a model is conditioned on numbers alone")
    return values.astype(np.float32)
