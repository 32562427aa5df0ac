"""What the PSF is at each object of a tile whose PSF differs over the image: stamps that objects share, and weights.

A cutout set then has, beside the mean PSF: psf_stamps (stamp, y, x), and psf_nodes and psf_weights (object, 4 a band).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.cutting import TileCutter
from galflow.surveys.base import Image
from galflow.surveys.psf_field import NEIGHBOURS, PsfField
from galflow.surveys.reading.table_metadata import notes

STAMPS, NODES, WEIGHTS = "psf_stamps", "psf_nodes", "psf_weights"


@dataclass(frozen=True, eq=False)
class ObjectPsfs:
    """The PSFs of a tile's objects."""

    stamps: np.ndarray
    """(k, side, side) float32, each of sum 1; of all bands."""
    nodes: np.ndarray
    """(N, band * 4) int32: numbers of stamps."""
    weights: np.ndarray
    """(N, band * 4) float32, of sum 1 for each band."""

    @classmethod
    def of(cls, cutter: TileCutter, bands: Sequence[str], images: Mapping[str, Image]) -> ObjectPsfs | None:
        """None where no band's PSF differs over its image, or some band has no PSF image."""
        psfs = [images[band].psf if band in images else None for band in bands]
        fields = [_field(None if psf is None else psf.field, None if psf is None else psf.image) for psf in psfs]
        if not any(psf is not None and psf.field is not None for psf in psfs) or None in fields:
            return None
        side = max(field.images.shape[-1] for field in fields if field is not None)
        stamps, nodes, weights, first = [], [], [], 0
        for number, field in enumerate(fields):
            if field is None:
                continue
            around = (side - field.images.shape[-1]) // 2
            stamps.append(np.pad(field.images, ((0, 0), (around, around), (around, around))))
            own, share = field.at(*cutter.places(number))
            nodes.append(own + np.int32(first))
            weights.append(share)
            first += len(field.images)
        return cls(
            np.concatenate(stamps).astype(np.float32), np.concatenate(nodes, axis=1), np.concatenate(weights, axis=1)
        )

    @classmethod
    def read(cls, cutouts: CutoutSet) -> ObjectPsfs | None:
        """As they are stored; None where the set has one PSF for all."""
        if not cutouts.has(STAMPS):
            return None
        return cls(cutouts.read(STAMPS), cutouts.read(NODES), cutouts.read(WEIGHTS))

    def per_object(self, copied: np.ndarray) -> dict[str, np.ndarray]:
        """What is stored of each object, and then of copies of the rows ``copied``."""
        return {
            name: np.concatenate([values, values[copied]])
            for name, values in ((NODES, self.nodes), (WEIGHTS, self.weights))
        }

    def images(self, rows: slice, wanted: np.ndarray | slice) -> np.ndarray:
        """(n, band, side, side) float32 PSFs of the ``wanted`` of these rows."""
        nodes, weights = self.nodes[rows][wanted], self.weights[rows][wanted]
        shape = (len(nodes), -1, NEIGHBOURS)
        taken = self.stamps[nodes.reshape(shape)]
        return np.einsum("nbk,nbkyx->nbyx", weights.reshape(shape), taken).astype(np.float32)


def _field(field: PsfField | None, image: np.ndarray | None) -> PsfField | None:
    """A PSF that is one all over the image as a field of one stamp."""
    if field is not None or image is None:
        return field
    side = max(image.shape)
    around = [((side - n) // 2, (side - n) // 2) for n in image.shape]
    return PsfField(np.zeros(1), np.zeros(1), np.pad(image, around)[None])


def with_fwhm_columns(
    rows: pa.Table, cutter: TileCutter, bands: Sequence[str], images: Mapping[str, Image]
) -> pa.Table:
    """The rows with psf_fwhm_<band>, the FWHM at each object, of bands whose PSF brings a map of it."""
    for number, band in enumerate(bands):
        psf = images[band].psf if band in images else None
        name = f"psf_fwhm_{band}"
        if psf is None or psf.fwhm_map is None or name in rows.column_names:
            continue
        values = pa.array(psf.fwhm_map.at(*cutter.places(number)), from_pandas=True)
        metadata = notes("arcsec", f"FWHM of the PSF in band {band} at the object")
        rows = rows.append_column(pa.field(name, pa.float64(), metadata=metadata), values)
    return rows
