"""A published run as one object: its catalogue, the cutout behind each row, its models and its report.

Nothing is computed here, and nothing is read before it is asked for.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.parquet import read_catalog
from galflow.catalog.published import column_names, each_file, file_keys, read_columns_of, read_files
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.errors import SpecError, StoreError
from galflow.storage.layout import RUNS, as_key
from galflow.storage.receipts import RunManifest, read_manifest, read_manifests
from galflow.storage.store import Store
from galflow.surveys.reading.fits_wcs import wcs_of_cutout
from galflow.surveys.reading.windows import corners
from galflow.training.trained_model import TrainedModel, load_uri

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from astropy.wcs import WCS

_SHOWN = ("object_id", "ra", "dec", "anomaly_rank", "anomaly_q")


@dataclass(frozen=True, eq=False)
class Cutout:
    """One object's pixels, as they are stored, with its row of the catalogue."""

    flux: np.ndarray
    """(band, y, x) float32 in ``unit``; NaN where missing."""
    ivar: np.ndarray
    """(band, y, x) float32, inverse variance in 1 / ``unit`` squared; 0 where missing."""
    mask: np.ndarray
    """(band, y, x) uint16: bits of galflow.surveys.base.Plane."""
    bands: tuple[str, ...]
    unit: str
    """nJy, or declared counts."""
    wcs: WCS | None
    """Of these pixels (0-based pixel (0, 0) is ``flux[:, 0, 0]``); None where the survey has no WCS."""
    row: dict[str, Any]
    """Its row of the catalogue: column -> value."""
    sky_sigma: tuple[float, ...]
    """Standard deviation of the sky in a pixel of each band, in ``unit``; NaN where it is not known."""
    display_white: tuple[float | None, ...] = ()
    """White of each band, in ``unit``, of pixels stretched for display already; 0: flux, None: unknown."""

    def picture(self) -> np.ndarray:
        """(y, x, 3) uint8: the object in colour, an asinh of flux or as it was stretched, as the report draws it."""
        from galflow.report.pictures import Display, colour_picture

        if any(self.display_white):
            white = [w or 1.0 for w in self.display_white]
            return Display.as_given(self.bands, white, self.unit).picture(self.flux)
        sigma = tuple(s if math.isfinite(s) and s > 0 else 1.0 for s in self.sky_sigma)
        return colour_picture(self.flux, sigma, self.bands)

    def to_fits(self, path: str | os.PathLike[str]) -> None:
        """A FITS file: FLUX_<band>, IVAR_<band>, MASK_<band>, each with the WCS of these pixels; StoreError if there.

        Units stand in BUNIT, the mask's bits in MP_<plane>, the object's id and position in the primary header.
        """
        from galflow.runs.cutout_fits import write_cutout_fits

        planes = {"flux": self.flux, "ivar": self.ivar, "mask": self.mask}
        write_cutout_fits(path, planes, self.bands, self.unit, self.wcs, self.row)

    def __repr__(self) -> str:
        bands, (_, height, width) = ", ".join(self.bands), self.flux.shape
        return f"<Cutout of object {self.row['object_id']}: {height} x {width} pixels in {bands}, {self.unit}>"

    def _repr_html_(self) -> str:
        from galflow.report.pictures import data_uri, picture_png

        source = data_uri(picture_png(self.picture()))
        said = f"object {self.row['object_id']}, ra {self.row['ra']:.5f}, dec {self.row['dec']:.5f}"
        return (
            f'<figure><img src="{source}" alt="{html.escape(said)}" '
            'style="width: 192px; image-rendering: pixelated"/>'
            f"<figcaption>{html.escape(said)}</figcaption></figure>"
        )


@dataclass(frozen=True, eq=False)
class PublishedRun:
    """A run that is published: what ``galflow.open_run`` returns."""

    store: Store
    manifest: RunManifest
    """With keys, which hold wherever the store is moved."""

    @property
    def name(self) -> str:
        """The run's id."""
        return self.manifest.run

    @property
    def spec(self) -> dict[str, Any]:
        """Its specification, as it was run."""
        return self.manifest.specification

    @property
    def summary(self) -> dict[str, Any]:
        """What it found, in a few numbers; what failed and what is not whole, in words."""
        return self.manifest.summary

    @cached_property
    def catalog(self) -> pa.Table:
        """The whole catalogue in memory; ``galflow.catalog.schema`` and the columns' metadata say what each is."""
        return read_files(self.store, self._catalog)

    @property
    def models(self) -> dict[str, str]:
        """Name of each trained model -> its URI."""
        return self.manifest.located(self.store).models

    def model(self, name: str) -> TrainedModel:
        """A trained model of the run; SpecError if it has none of that name."""
        models = self.models
        if name not in models:
            raise SpecError(f"run {self.name} has no model {name!r}; its models are {', '.join(models)}")
        return load_uri(models[name], self.store.endpoint_url)

    @property
    def report(self) -> str | None:
        """URI of the report's page; None if the specification asked for none."""
        return self.manifest.located(self.store).report

    def top(self, n: int = 20, by: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The ``n`` most anomalous objects, the most anomalous first, one row each.

        ``by``: any score's column instead of the run's own ranking, the largest first. ``columns``: what to show, by
        default id, position, rank, q-value and scores. SpecError for a column that the catalogue has not.
        """
        names = column_names(self.store, self._catalog)
        scores = [name for name in names if f"{name}_sigma" in names]
        shown = list(columns) if columns is not None else [*(c for c in _SHOWN if c in names), *scores]
        order = by or "anomaly_rank"
        for name in (*shown, order):
            if name not in names:
                raise SpecError(f"the catalogue of run {self.name} has no column {name!r}; it has {', '.join(names)}")
        direction = "ascending" if by is None else "descending"
        wanted = list(dict.fromkeys((*shown, order)))
        best: list[pa.Table] = []
        for part in each_file(self.store, self._catalog, wanted):  # no more than one file and n rows are in memory
            both = pa.concat_tables([*best, part.filter(pc.is_valid(part[order]))])
            best = [both.take(pc.sort_indices(both, sort_keys=[(order, direction)])[:n])]
        return pa.concat_tables(best).select(shown).to_pandas()

    def cutout(self, object_id: int) -> Cutout:
        """The pixels of an object's primary row; SpecError if the catalogue has no such object."""
        for key in file_keys(self.store, self._catalog):
            ids = read_columns_of(self.store, key, ["object_id", "is_primary"])
            found = pc.indices_nonzero(pc.and_(pc.equal(ids["object_id"], int(object_id)), ids["is_primary"]))
            if len(found):
                return self._cutout(read_catalog(self.store.get(key)).slice(found[0].as_py(), 1).to_pylist()[0])
        raise SpecError(f"run {self.name} has no object {object_id}; ids stand in the catalogue's column object_id")

    def residuals(self, model: str, n: int | None = None) -> xr.Dataset:
        """Pictures of what a model leaves unexplained, of the ``n`` most anomalous objects or of all that have them.

        In memory, dims (object, band, y, x), the most anomalous object first: ``flux``, ``reconstruction``,
        ``residual`` (data minus reconstruction in the model's stretch) and, where the stretch can be undone,
        ``flux_reconstruction`` and ``flux_residual``. Data and residuals are NaN where a pixel is not observed.
        Coordinates: object_id, anomaly_rank, ra, dec, tile, row. The pixels are those of ``cutout(object_id)``, whose
        WCS is theirs. SpecError if the run stored none by this model.
        """
        from galflow.runs.opened_residuals import open_residuals

        return open_residuals(self.store, self.manifest, model, n)

    @property
    def _catalog(self) -> str:
        return as_key(self.manifest.catalog)

    def _cutout(self, row: dict[str, Any]) -> Cutout:
        cutouts, number = CutoutSet(self.store, row["cutout"]), int(row["row"])
        at = slice(number, number + 1)
        said = cutouts.attributes
        wcs = None
        if (cards := said.get("wcs")) is not None:
            size = cutouts.pixel_shape[-1]
            x0, y0 = (int(corners(cutouts.read(name, at), size)[0]) for name in ("x_pixel", "y_pixel"))
            wcs = wcs_of_cutout(cards, x0, y0, size)
        flux, ivar, mask = (np.array(cutouts.read(name, at)[0]) for name in ("flux", "ivar", "mask"))
        sigma = tuple(math.nan if s is None else float(s) for s in said["sky_sigma"])
        return Cutout(flux, ivar, mask, tuple(said["bands"]), str(said["unit"]), wcs, row, sigma, white_of(said))

    def __repr__(self) -> str:
        found = self.summary
        return (
            f"<PublishedRun {self.name} at {self.store.root}: {found['objects']:,} objects, {found['scored']:,} scored "
            f"by {', '.join(self.manifest.models)}>"
        )

    def _repr_html_(self) -> str:
        found = self.summary
        lines = {
            "store": self.store.root,
            "finished": f"{self.manifest.finished} UTC",
            "objects": f"{found['objects']:,}",
            "scored": f"{found['scored']:,}",
            "models": ", ".join(self.manifest.models),
            "failed": f"{len(found.get('failures', []))} of its parts",
            "report": self.report or "none",
        }
        rows = "".join(f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in lines.items())
        return f"<table><caption>galflow run {html.escape(self.name)}</caption>{rows}</table>"


def published_at(store: Store, run: str) -> PublishedRun:
    """The run of this id; StoreError if it is not published there."""
    manifest = read_manifest(store, run)
    if manifest is None:
        raise StoreError(f"run {run} is not published at {store.root}; `galflow runs` lists what is")
    return PublishedRun(store, manifest)


def open_run(uri: str, endpoint_url: str | None = None) -> PublishedRun:
    """The run at ROOT/runs/RUN; of a store's ROOT alone the run that finished last. StoreError if there is none."""
    root, separator, run = uri.rstrip("/").rpartition(f"/{RUNS}/")
    store = Store.open(root if separator else uri, endpoint_url)
    if separator:
        return published_at(store, run)
    manifests = read_manifests(store)
    if not manifests:
        raise StoreError(f"no run is published at {store.root}; give ROOT/{RUNS}/RUN, or the root of another store")
    return PublishedRun(store, max(manifests, key=lambda m: m.finished))
