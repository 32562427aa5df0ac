"""A published run as one object: its catalogue, the cutout behind each row, its models and its report.

Nothing is computed here, and nothing is read before it is asked for.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.files import each_file, file_keys, read_columns_of
from galflow.catalog.parquet import read_catalog
from galflow.catalog.published import column_names, read_files
from galflow.catalog.published_table import LIKELIHOODS, sample_catalog_name, tables_among
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.cutouts.stored_wcs import stored_wcs
from galflow.errors import SpecError, StoreError
from galflow.runs.opened_cutout import Cutout
from galflow.storage.layout import RECEIPT_SUFFIX, RUNS, as_key
from galflow.storage.receipts import RunManifest, read_manifest, read_manifests
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel, load_uri

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from galflow.explore.rows import Rows
    from galflow.labels.records import Label
    from galflow.report.figures import RunFigures
    from galflow.report.side_by_side import SideBySide
    from galflow.runs.labelling import Labelling

_SHOWN = ("object_id", "ra", "dec", "anomaly_rank", "anomaly_q")


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

    @cached_property
    def likelihoods(self) -> pa.Table:
        """The likelihood catalogue in memory: a row for each galaxy and model, of the survey and of all samples.

        StoreError if the run has none: it compared nothing, or no model of it states a density.
        """
        return read_files(self.store, self._beside(LIKELIHOODS))

    def sample(self, name: str) -> pa.Table:
        """The catalogue of a comparison sample in memory; StoreError if the run has none of that name."""
        return read_files(self.store, self._beside(sample_catalog_name(name)))

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

    @cached_property
    def _rows(self) -> Rows:
        from galflow.explore.index import open_rows

        return open_rows(self.store, self.manifest).rows

    def query(
        self,
        where: str = "",
        order: str | None = None,
        *,
        descending: bool = False,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows that fulfil an expression such as ``mag_i < 22 and flags & 4 == 0``, as the explorer finds them.

        Sorted by the column ``order``, missing values last; of more than 200,000 rows in the catalogue's order. Of a
        catalogue beyond 300,000 rows a copy is built for this at the first time. SpecError for a wrong expression.
        """
        from galflow.explore.query import Query, Selection

        rows = self._rows
        names = list(rows.columns) if columns is None else list(columns)
        schema = pa.schema([rows.columns.schema.field(rows.columns.named(name).name) for name in names])
        tables = rows.pieces(Query(Selection(where), order, descending), names, limit)
        return pa.concat_tables([table.cast(schema) for table in tables] or [schema.empty_table()])

    def cutout(self, object_id: int) -> Cutout:
        """The pixels of an object's primary row; SpecError if the catalogue has no such object."""
        for key in file_keys(self.store, self._catalog):
            ids = read_columns_of(self.store, key, ["object_id", "is_primary"])
            found = pc.indices_nonzero(pc.and_(pc.equal(ids["object_id"], int(object_id)), ids["is_primary"]))
            if len(found):
                return self.cutout_of(read_catalog(self.store.get(key)).slice(found[0].as_py(), 1).to_pylist()[0])
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

    def side_by_side(self, count: int | None = None) -> SideBySide:
        """``count`` random galaxies of the sky and of each compared sample, and the least and most probable ones.

        For the figures of galflow.report.compared_figures; None: as many as the report shows. SpecError if the run
        compared no sample.
        """
        from galflow.report.compared_run import ComparedRun
        from galflow.report.side_by_side import side_by_side

        return side_by_side(ComparedRun.of_published(self.store, self.manifest), count)

    @cached_property
    def figures(self) -> RunFigures:
        """The report's figures: ``figures.names``, ``figures.draw(name)``, ``figures.save(folder)`` (PNG and PDF)."""
        from galflow.report.figures import RunFigures

        return RunFigures.of_published(self.store, self.manifest)

    @cached_property
    def labelling(self) -> Labelling:
        """Labels of the run's objects, and what follows from them; more than is offered here."""
        from galflow.runs.labelling import Labelling

        return Labelling(self.store, self.manifest)

    @property
    def labels(self) -> pd.DataFrame:
        """What people say of the run's objects by now, a row a labelled object, the first labelled first.

        Columns: object_id, ra, dec, anomaly_rank, label (what strictly more people say than anything else, else
        "disputed"), label_by, label_at, label_agreement and label_votes (everybody's word).
        """
        self.labelling.refresh()
        return self.labelling.table().to_pandas()

    def label(
        self, object_id: int | Iterable[int], label: str | None, by: str | None = None, note: str = ""
    ) -> list[Label]:
        """Say what one object is, or several in one act: interesting, artefact, normal, or a class of your own.

        None takes back what you said. ``by``: who says so, by default your login. Stored at once, never overwritten:
        other people's words stay beside it. SpecError for an object that the run has not.
        """
        ids = [int(object_id)] if isinstance(object_id, int | np.integer) else [int(one) for one in object_id]
        return self.labelling.label(ids, label, by, note)

    def rerank(self, n: int = 50, target: str = "interesting") -> pd.DataFrame:
        """The ``n`` objects that come first by the labels: those called ``target``, then the most probable ones.

        Columns: object_id, ra, dec, anomaly_rank, probability, label. Of the 20,000 objects that the run ranks first,
        and all labelled ones (galflow.labels.reranking says how).
        """
        return self.labelling.ranked_anew(n, target).to_pandas()

    def similar(self, object_id: int, n: int = 12) -> pd.DataFrame:
        """The ``n`` objects most like one, the nearest first: object_id, distance in latents, ra, dec, anomaly_rank.

        SpecError if the specification names no model for it (``output.similar``), or for an object without latents.
        """
        from galflow.runs.similar import similar_rows

        return similar_rows(self.store, self.manifest, int(object_id), n).to_pandas()

    def _beside(self, name: str) -> str:
        """Key of a table that was published beside the catalogue."""
        if name not in self.manifest.products:
            tables = ", ".join(tables_among(self.manifest.products)) or "no table"
            raise StoreError(f"run {self.name} published no {name}; beside its catalogue it has {tables}")
        return self.manifest.products[name][0].removesuffix(RECEIPT_SUFFIX)

    @property
    def _catalog(self) -> str:
        return as_key(self.manifest.catalog)

    def cutout_of(self, row: dict[str, Any]) -> Cutout:
        """The pixels of a row of the catalogue, which has at least its ``cutout`` and ``row``."""
        cutouts, number = CutoutSet(self.store, row["cutout"]), int(row["row"])
        at = slice(number, number + 1)
        said, wcs = cutouts.attributes, stored_wcs(cutouts, number)
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
