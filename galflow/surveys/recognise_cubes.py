"""Files of many ready-made images with the names of the Multimodal Universe. Only names and one image are read."""

from __future__ import annotations

from collections.abc import Sequence

from galflow.errors import DataError
from galflow.surveys.multimodal_universe import MultimodalUniverse, MultimodalUniverseOptions, layout_of
from galflow.surveys.reading.files import StoredFile
from galflow.surveys.reading.hdf5 import is_hdf5
from galflow.surveys.reading.stamp_arrays import opened_arrays
from galflow.surveys.recognise import Recognised, stated_root

_LARGEST_CUTOUT = 96
"""Pixels a side beyond which stamps are cropped."""


def recognise_cubes(folder: str, root: str, entries: Sequence[StoredFile]) -> Recognised | None:
    """An image set of the Multimodal Universe; None for anything else."""
    cubes = [e for e in entries if is_hdf5(e.uri) or ("Norder=" in e.uri and e.uri.endswith(".parquet"))]
    if not cubes:
        return None
    try:
        with opened_arrays(cubes[0].uri) as arrays:
            found = layout_of(arrays.shapes())
    except DataError:
        return None  # what it is, nobody can say
    if found is None:
        return None
    options = {"root": stated_root(folder)}
    survey = MultimodalUniverse("m", "1", MultimodalUniverseOptions.model_validate(options))
    shape, scale = survey.typical_size
    stated: dict[str, object] = dict(options)
    if min(shape) > _LARGEST_CUTOUT:
        stated["crop"] = _LARGEST_CUTOUT
    known = [f"bands: {', '.join(survey.bands)}", f"images: {shape[1]} x {shape[0]} pixels of {scale:g} arcsec"]
    known += [f"{option}: {array}" for option, array in found.items() if option in ("weight", "mask", "psf_fwhm")]
    unknown = ["unit: pixels are taken for counts; zero_point_ab says it (27 for HSC, 22.5 for Legacy Surveys)"]
    return Recognised(
        "multimodal_universe", "an image set of the Multimodal Universe", stated, survey.bands, scale, shape, None,
        survey.entries[0].uri, len(survey.entries), tuple(known), tuple(unknown), True,
    )  # fmt: skip
