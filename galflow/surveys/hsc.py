"""HSC-SSP coadds (PDR2, PDR3): calexp files as the pipeline writes them, with mask planes by name and a variance.

Data model: Aihara+22, PASJ 74, 247 (PDR3); Bosch+18, PASJ 70, S5 (the pipeline). One file a band and patch,
``calexp-HSC-I-9813-4,4.fits``: an empty primary HDU with FLUXMAG0, the image, its mask and its variance, opaque tables
after them. Bits are those of the MP_* cards of each file. DETECTED, which every galaxy has, is no fault of a pixel, nor
is CR: in a coadd it says that one of many exposures was interpolated there. The PSF is in the opaque tables and is not
read. Patches overlap: an object's primary row is that of the patch in which it lies deepest.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from galflow.surveys.base import Tile
from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import PIPELINE_PLANES, Companion, DataModel
from galflow.surveys.reading.fits_names import tile_names

Layer = Literal["wide", "deep", "ultradeep"]
LAYER = "layer"
"""Column."""


class HscOptions(PresetOptions):
    """Where HSC's coadds lie, and of which layers."""

    layers: Layer | dict[Layer, str] | None = Field(
        default=None,
        description="Layer of all that lies below root (wide, deep or ultradeep), or layer to its folder directly "
        "below root ({wide: pdr3_wide, deep: pdr3_deep}): the catalogue gets a column layer. Empty: no such column",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        folders = list(self.layers.values()) if isinstance(self.layers, dict) else []
        for folder in folders:
            if not folder or set(folder) & set("/{},*") or folders.count(folder) > 1:
                raise ValueError(
                    f"layers gives the folder {folder!r}; expected one folder a layer, directly below root, such as "
                    "{wide: pdr3_wide, deep: pdr3_deep}"
                )
        return self


class Hsc(Preset):
    """HSC-SSP; see the module's docstring."""

    Options = HscOptions
    options: HscOptions
    model = DataModel(
        product="an HSC-SSP coadd (calexp)",
        expected="extensions 1 to 3 with the image of 0.168 arcsec pixels, its mask (MP_* cards) and its variance",
        example="deepCoadd-results/HSC-I/9813/4,4/calexp-HSC-I-9813-4,4.fits",
        bands={b: f"HSC-{b.upper()}" for b in "irgzy"}
        | {b: b.replace("nb", "NB") for b in ("nb0387", "nb0816", "nb0921", "nb1010")},
        images=tuple(f"**calexp-{{band}}-{{tile}}.fits{end}" for end in ("", ".gz", ".fz")),
        image=1,
        scale_arcsec=0.168,
        zero_point=27.0,
        zero_point_keywords=("FLUXMAG0",),
        weight=Companion(3),
        weight_kind="variance",
        mask=Companion(2),
        planes=PIPELINE_PLANES,
        needed=frozenset({"BAD", "SAT", "NO_DATA"}),
        columns={"object_id": "object_id", "ra_deg": "ra", "dec_deg": "dec", "is_primary": "isprimary"},
    )

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the layers."""
        return tuple(self.options.layers.values()) if isinstance(self.options.layers, dict) else ()

    @property
    def own_columns(self) -> frozenset[str]:
        """The layer, where it is said."""
        return frozenset() if self.options.layers is None else frozenset({LAYER})

    def with_columns(self, table: pa.Table, tile: Tile) -> pa.Table:
        """The tile's rows with their layer."""
        layers = self.options.layers
        if layers is None or LAYER in table.column_names:
            return table
        if isinstance(layers, dict):
            folder = tile.name.partition("/")[0]
            layer = next(name for name, given in layers.items() if tile_names([given])[given] == folder)
        else:
            layer = layers
        column = pa.array(np.repeat(layer, len(table)).tolist(), pa.string())
        return table.append_column(pa.field(LAYER, pa.string(), metadata={"description": "Layer of HSC-SSP"}), column)
