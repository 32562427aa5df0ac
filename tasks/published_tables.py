"""What a run publishes beside its catalogue: the likelihood catalogue, and a catalogue of each comparison sample.

Their files are written by workers, as the catalogue's are. A run without a comparison has neither: all that they would
say stands in its catalogue.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from galflow.catalog.likelihoods import LikelihoodTable, stated_densities
from galflow.catalog.measured_columns import MeasuredColumns, measured_beside
from galflow.catalog.published import ROWS_PER_FILE
from galflow.catalog.published_table import (
    LIKELIHOODS,
    MATCHES,
    PublishedTable,
    SourcePart,
    carried_schemas,
    grouped,
    sample_catalog_name,
)
from galflow.catalog.sample_catalog import SampleCatalog
from galflow.errors import DataError, GalflowError, TakenError
from galflow.runs.plan import Unit
from galflow.scores.part_columns import SOURCE_NAME
from galflow.scores.score import columns_of
from galflow.storage.checksums import FileSum
from galflow.storage.layout import (
    catalog_file,
    likelihoods_product,
    matches_product,
    receipt_key,
    sample_catalog_product,
)
from galflow.storage.products import outcome_of, write_product
from galflow.storage.receipts import Receipt, read_receipts
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel
from tasks.fan_out import StageResult, Work, run_stage
from tasks.run_record import RunRecord
from tasks.worker_check import Needs
from tasks.worker_jobs import TAKEN, write_table


def publish_tables(record: RunRecord, run: str, models: Mapping[str, TrainedModel]) -> dict[str, Receipt]:
    """Write them under the run's id, and give their receipts by their names in the manifest.

    GalflowError where a file cannot be written: nothing counts as published then.
    """
    if not record.spec.comparison.samples:
        return {}
    found = {}
    cells = _matched_objects(record)
    if cells is not None:
        found[MATCHES] = cells
    if (likelihoods := _likelihoods(record, run, models, cells)) is not None:
        found[LIKELIHOODS] = likelihoods
    for sample in record.scores:
        if sample is not None and (catalog := _sample_catalog(record, sample, run, models)) is not None:
            found[sample_catalog_name(sample)] = catalog
    return found


def _matched_objects(record: RunRecord) -> Receipt | None:
    """Of the objects that the run's comparison matched; None: it matched none."""
    if not record.comparison.receipts:
        return None
    product = matches_product(record.spec.name, record.comparison.receipts[0].fingerprint)
    store = record.store
    return next(read_receipts(store, [key])) if store.exists(key := receipt_key(product)) else None


def _likelihoods(
    record: RunRecord, run: str, models: Mapping[str, TrainedModel], cells: Receipt | None
) -> Receipt | None:
    densities = stated_densities(record.spec, list(models))
    sources = [source for sample in record.scores for source in _sources(record, sample)]
    if not densities or not sources:
        return None
    schemas = carried_schemas(_whole(record.store, [source.key for source in sources]))
    table = LikelihoodTable.of(
        densities,
        [schema.field("object_id").type for schema in schemas],
        named=any(SOURCE_NAME in schema.names for schema in schemas),
        compared=() if cells is None else cells.details["samples"],
        cells=None if cells is None else cells.product,
    )
    per_file = max(1, ROWS_PER_FILE // len(densities))
    product = likelihoods_product(record.spec.output.catalog, run)
    return _written(record, product, table, grouped(sources, per_file), ())


def _sample_catalog(record: RunRecord, sample: str, run: str, models: Mapping[str, TrainedModel]) -> Receipt | None:
    spec, sources = record.spec, _sources(record, sample)
    if not sources:
        return None
    columns = columns_of(models)
    measured = MeasuredColumns.of(spec.measure, record.measurements[sample].receipts) if spec.measure else None
    try:
        table, remarks = SampleCatalog.of(
            run,
            [column.name for column in columns if column.calibrated],
            [column.name for column in columns if not column.calibrated] + [ratio.column for ratio in spec.ratios],
            list(_whole(record.store, [source.key for source in sources])),
            measured,
        )
    except DataError as error:
        raise GalflowError(f"the catalogue of sample {sample} cannot be written: {error}") from error
    product = sample_catalog_product(spec.output.catalog, sample, run)
    return _written(record, product, table, grouped(sources, ROWS_PER_FILE), remarks)


def _sources(record: RunRecord, sample: str | None) -> list[SourcePart]:
    """Score parts with rows, by key, with what was measured on the same cutouts."""
    receipts = sorted((r for r in record.scores[sample].receipts if r.rows), key=lambda r: r.product)
    measured = measured_beside(receipts, record.measurements[sample].receipts) if record.measurements else {}
    return [SourcePart(r.product, r.files[""], r.rows, sample, measured.get(r.product, {})) for r in receipts]


def _whole(store: Store, parts: Sequence[str]) -> Iterable[Receipt]:
    return read_receipts(store, [receipt_key(part) for part in parts])


def _written(
    record: RunRecord,
    product: str,
    table: PublishedTable,
    groups: Sequence[Sequence[SourcePart]],
    remarks: Sequence[str],
) -> Receipt:
    """A table's folder, its files each written by a worker."""
    started, store, rows = time.perf_counter(), record.store, 0
    fingerprint = product.rpartition("-")[2]
    outcome, told = outcome_of(remarks)

    def put(key: str) -> dict[str, FileSum]:
        units = [
            Unit("publish", f"{key.split('/')[1]} {catalog_file(n)}", f"{fingerprint}-{n}", f"{key}/{catalog_file(n)}",
                 None)
            for n in range(len(groups))
        ]  # fmt: skip
        todo = [
            Work(unit, write_table, {"store": store, "product": key, "index": n, "sources": group, "table": table})
            for n, (unit, group) in enumerate(zip(units, groups, strict=True))
        ]
        written = run_stage("publish", units, todo, record.spec.cluster, needs=Needs(store))
        files = files_of(written, f"{len(todo)} files of {key}")
        nonlocal rows
        rows = sum(receipt.rows for receipt in written.receipts)
        return files

    receipt = Receipt(
        product=product,
        fingerprint=fingerprint,
        inputs={source.key: source.file.sha256 for group in groups for source in group},
        outcome=outcome,
        reasons=told,
    )
    return write_product(store, receipt, put, started, lambda whole: whole.model_copy(update={"rows": rows}))


def files_of(written: StageResult, expected: str) -> dict[str, FileSum]:
    """Every file that workers wrote of a product, of which ``expected`` says in words how many there are to be.

    GalflowError if any could not be written; TakenError if other bytes lie in the place of one.
    """
    if written.failures:
        first = written.failures[0]
        raise GalflowError(
            f"{len(written.failures)} of {expected} could not be written, first {first.name}: "
            f"{first.reason}. Nothing is published; give the same command again"
        )
    for receipt in written.receipts:
        if TAKEN in receipt.details:
            raise TakenError(str(receipt.details[TAKEN]))
    return {name: found for receipt in written.receipts for name, found in receipt.files.items()}
