"""A survey of arrays made in the test, so that every pixel of a cutout is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from astropy.wcs import WCS

from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData
from galflow.errors import DataError
from galflow.spec.run import CutoutSpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.base import Footprint, Image, Options, Survey, Tile, TileFile

MakeWcs = Callable[..., WCS]
MakeSurvey = Callable[..., Survey]
Cut = Callable[..., tuple[CutoutSet, Receipt]]
MakeData = Callable[..., CutoutData]


class ArrayOptions(Options):
    """No options."""


@dataclass(frozen=True)
class Content:
    """What an ArraySurvey holds."""

    images: Mapping[str, Mapping[str, Image | DataError]]
    """Tile -> band -> image, or the error that reading it raises."""
    catalogs: Mapping[str, pa.Table | DataError]
    bands: tuple[str, ...]
    checksums: Mapping[str, str] = field(default_factory=dict)


class ArraySurvey(Survey):
    """A survey held in memory."""

    Options = ArrayOptions
    kind: ClassVar[str] = "array"

    def __init__(self, content: Content) -> None:
        super().__init__("arrays", "1", ArrayOptions())
        self.content = content

    @property
    def bands(self) -> tuple[str, ...]:
        return self.content.bands

    @property
    def pixel_scale_arcsec(self) -> float:
        return 0.2

    @property
    def unit(self) -> str:
        return "nJy"

    def tiles(self) -> list[Tile]:
        return [self._tile(name) for name in sorted(self.content.images)]

    def _tile(self, name: str) -> Tile:
        bands = tuple(self.content.images[name])
        files = tuple(TileFile(f"flux/{b}", f"mem/{b}", self.content.checksums.get(name, "0")) for b in bands)
        return Tile(name, files, bands)

    def read(self, tile: Tile, band: str) -> Image:
        found = self.content.images[tile.name][band]
        if isinstance(found, DataError):
            raise found
        return found

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        found = self.content.catalogs[tile.name]
        if isinstance(found, DataError):
            raise found
        return found

    def footprint(self, tile: Tile) -> Footprint | None:
        image = next(iter(self.content.images[tile.name].values()))
        return Footprint(image.wcs, image.flux.shape) if isinstance(image, Image) else None


@pytest.fixture(scope="session")
def array_survey() -> MakeSurvey:
    """``array_survey(images, catalogs, bands=None, checksums={})``; a single tile may be given without its name."""

    def make(
        images: Mapping[str, Any], catalogs: Any, bands: tuple[str, ...] | None = None, **more: Any
    ) -> ArraySurvey:
        if not isinstance(catalogs, Mapping):
            images, catalogs = {"t": images}, {"t": catalogs}
        return ArraySurvey(Content(images, catalogs, bands or tuple(next(iter(images.values()))), **more))

    return make


@pytest.fixture(scope="session")
def cut() -> Cut:
    """Cut one tile and open what was stored: ``cut(store, survey, tile=None, rows=None, **cutout_settings)``."""

    def run(
        store: Store, survey: Survey, tile: Tile | None = None, rows: pa.Table | None = None, **settings: Any
    ) -> tuple[CutoutSet, Receipt]:
        tile = tile or survey.tiles()[0]
        spec = CutoutSpec(**settings)
        receipt = cut_tile(store, survey, tile, spec, cutouts_fingerprint(survey, tile, spec, rows), rows)
        return CutoutSet(store, receipt.product), receipt

    return run


@pytest.fixture(scope="session")
def catalog() -> Callable[..., pa.Table]:
    """``catalog(x, y, ids=None, **columns)``: a tile's catalogue."""

    def make(x: Any, y: Any, ids: Any = None, **columns: Any) -> pa.Table:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        ids = np.arange(1, len(x) + 1) if ids is None else ids
        nothing = np.full(len(x), np.nan)
        return pa.table(
            {"object_id": ids, "ra_deg": pa.array(nothing, from_pandas=True),
             "dec_deg": pa.array(nothing, from_pandas=True), "x": x, "y": y} | columns
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def tan_wcs() -> MakeWcs:
    """A gnomonic WCS: ``tan_wcs(scale_arcsec, angle_deg, crpix, crval)``; crpix 0-based (x, y)."""

    def make(
        scale_arcsec: float = 0.2,
        angle_deg: float = 0.0,
        crpix: tuple[float, float] = (100.0, 100.0),
        crval: tuple[float, float] = (150.0, 2.0),
    ) -> WCS:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crpix = [crpix[0] + 1, crpix[1] + 1]
        wcs.wcs.crval = list(crval)
        angle, scale = np.deg2rad(angle_deg), scale_arcsec / 3600
        wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wcs.wcs.set()
        return wcs

    return make


@pytest.fixture(scope="session")
def image() -> Callable[..., Image]:
    """``image(flux, **fields)``: an image in nJy at 0.2 arcsec a pixel."""

    def make(flux: np.ndarray, **fields: Any) -> Image:
        return Image(np.asarray(flux, np.float32), "nJy", 0.2, **fields)

    return make


@pytest.fixture(scope="session")
def data() -> MakeData:
    """``data(n, bands, size, seed, ids=None, flags=None, ...)``: cutouts in memory, noise of unit sigma."""

    def make(
        n: int = 10, bands: int = 2, size: int = 8, seed: int = 0, ids: Any = None, flags: Any = None, **columns: Any
    ) -> CutoutData:
        rng = np.random.default_rng(seed)
        flux = rng.normal(size=(n, bands, size, size)).astype(np.float32)
        ids = np.arange(n) + 1000 * seed if ids is None else ids
        rows = pa.table(
            {"object_id": ids, "ra": rng.uniform(0, 360, n), "dec": rng.uniform(-90, 90, n),
             "x_pixel": np.arange(n) * 1.0, "y_pixel": np.arange(n) * 1.0,
             "flags": np.zeros(n, np.int64) if flags is None else flags} | columns
        )  # fmt: skip
        names = [f"b{i}" for i in range(bands)]
        attributes = {
            "survey": "arrays", "release": "1", "tile": f"t{seed}", "bands": names, "unit": "nJy",
            "pixel_scale_arcsec": 0.2, "sky_sigma": [1.0] * bands, "psf_fwhm_arcsec": [None] * bands,
        }  # fmt: skip
        return CutoutData(flux, np.ones_like(flux), np.zeros(flux.shape, np.uint16), rows, attributes)

    return make
