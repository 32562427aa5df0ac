"""Image sets of the Multimodal Universe: HDF5 files by HEALPix pixel, or a HATS catalogue of the same.

Layout: The Multimodal Universe Collaboration+24 (arXiv:2412.02527) and its build scripts. HDF5 below ``healpix=*/``
holds image_band, image_array, image_ivar, image_mask, image_psf_fwhm (arcsec), image_scale (arcsec), object_id and a
column for each catalogue value; in Parquet they are the fields of one column ``image``. True in a mask is a good pixel.
What an image counts is not in the files: ``zero_point_ab`` says it (27 for HSC, 22.5 for Legacy Surveys).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.cube_options import CubeOptions
from galflow.surveys.reading.files import StoredFile, list_entries
from galflow.surveys.reading.hdf5 import decoded_text
from galflow.surveys.reading.stamp_arrays import StampArrays, opened_arrays
from galflow.surveys.reading.table_hats import partitions
from galflow.surveys.stamp_cubes import StampCubes

_ROLES = {"weight": "ivar", "mask": "mask", "psf_fwhm": "psf_fwhm", "scale": "scale"}
_FLUX = {"image_array": "image_", "image.flux": "image."}
"""Array of the pixels -> how the names of what goes with them begin."""
_PLACES = (("ra", "dec"), ("RA", "DEC"))


class MultimodalUniverseOptions(CubeOptions):
    """Where the files lie, and what they do not say."""

    mask_good: bool = True
    """Whether non-zero flags mark the good pixels."""

    def _require_what_no_file_says(self) -> None:
        """Bands and scales are in the files."""


def layout_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str] | None:
    """Option -> array, of a file with these arrays; None where it is not of the Multimodal Universe."""
    flux = next((name for name in _FLUX if name in shapes), None)
    if flux is None or f"{_FLUX[flux]}band" not in shapes:
        return None
    found = {"flux": flux} | {
        option: f"{_FLUX[flux]}{name}" for option, name in _ROLES.items() if f"{_FLUX[flux]}{name}" in shapes
    }
    if "object_id" in shapes:
        found["object_id"] = "object_id"
    place = next((pair for pair in _PLACES if set(pair) <= set(shapes)), None)
    return found if place is None else found | {"ra_deg": place[0], "dec_deg": place[1]}


def bands_in(arrays: StampArrays, start: int, stop: int) -> list[tuple[str, ...]]:
    """The bands of each row, as the file writes them."""
    name = next(f"{begin}band" for flux, begin in _FLUX.items() if flux in arrays.shapes())
    stored = arrays.read(name, start, stop)
    texts = [text or "" for text in decoded_text(stored.reshape(-1))]
    return [tuple(texts[row * stored.shape[1] : (row + 1) * stored.shape[1]]) for row in range(len(stored))]


class MultimodalUniverse(StampCubes):
    """The Multimodal Universe; see the module's docstring."""

    Options = MultimodalUniverseOptions
    options: MultimodalUniverseOptions

    @cached_property
    def _first(self) -> tuple[CubeOptions, tuple[str, ...]]:
        """Names of arrays, and the bands of the first row of the first file."""
        uri = self.entries[0].uri
        try:
            with opened_arrays(uri) as arrays:
                found = layout_of(arrays.shapes())
                if found is None:
                    raise SpecError(
                        f"{uri} is not of the Multimodal Universe: expected image_array and image_band (HDF5), or a "
                        f"column image (Parquet); it has {', '.join(sorted(arrays.shapes()))}. kind: stamp_cubes reads "
                        "arrays of any name"
                    )
                (bands,) = bands_in(arrays, 0, 1)
        except DataError as error:
            raise SpecError(f"{error}") from error
        given = {name for name in found if name in self.options.model_fields_set}
        return self.options.model_copy(update={n: a for n, a in found.items() if n not in given}), bands

    @property
    def layout(self) -> CubeOptions:
        """Which arrays hold what, as the first file's names say."""
        return self._first[0]

    @property
    def bands(self) -> tuple[str, ...]:
        """Those of the option, else the file's: "hsc-g" is g where no two end alike."""
        if self.options.bands:
            return self.options.bands
        written = self._first[1]
        short = tuple(band.rsplit("-", 1)[-1].lower() for band in written)
        return short if len(set(short)) == len(short) else tuple(band.lower().replace("-", "_") for band in written)

    @property
    def entries(self) -> list[StoredFile]:
        """Of a HATS catalogue its partitions, without margins."""
        if any("Norder=" in entry.uri for entry in list_entries(self._root, "**.parquet")):
            try:
                return partitions(self._root)
            except DataError as error:
                raise SpecError(f"{error}") from error
        return super().entries

    def verify(self, arrays: StampArrays, start: int, stop: int) -> None:
        """All rows have the bands of the first file, in its order."""
        others = [bands for bands in bands_in(arrays, start, stop) if bands != self._first[1]]
        if others:
            raise DataError(
                f"{arrays.uri}: {len(others)} rows have the bands {', '.join(others[0])}, the first file "
                f"{', '.join(self._first[1])}; give each set of bands a survey of its own"
            )

    @property
    def typical_size(self) -> tuple[tuple[int, int], float]:
        """((y, x), arcsec in a pixel) of the first image."""
        with opened_arrays(self.entries[0].uri) as arrays:
            image = arrays.read(str(self.layout.flux), 0, 1)
            return (int(image.shape[-2]), int(image.shape[-1])), float(np.ravel(self._reader.scales(arrays, 0, 1))[0])
