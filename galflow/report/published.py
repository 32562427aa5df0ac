"""What a report is made of, read again from a published run."""

from __future__ import annotations

import json

from galflow.catalog.published import read_summary
from galflow.report.inputs import COMPARISON, CUTOUTS, MODELS, RANKING, SCORES, ReportInputs, StageRecord
from galflow.spec.run import parse_spec
from galflow.storage.layout import as_key
from galflow.storage.receipts import RunManifest, read_receipts
from galflow.storage.store import Store
from galflow.training.trained_model import load_uri


def published_inputs(store: Store, manifest: RunManifest) -> ReportInputs:
    """As the publishing stage had them, but for the names of what failed, which the manifest has in words alone."""
    stages = {stage: StageRecord(tuple(read_receipts(store, keys))) for stage, keys in manifest.products.items()}
    places = manifest.located(store).models
    catalog = as_key(manifest.catalog)
    compared = stages.get(COMPARISON, StageRecord()).receipts
    ranked = stages[RANKING].receipts[0]
    return ReportInputs(
        run=manifest.run,
        spec=parse_spec(dict(manifest.specification)),
        code_versions={"galflow": manifest.code_version},
        store=store,
        stages=dict.fromkeys((CUTOUTS, MODELS, SCORES), StageRecord()) | stages,
        models={name: load_uri(uri, store.endpoint_url) for name, uri in places.items()},
        summary=read_summary(store, catalog),
        catalog=catalog,
        comparison=json.loads(store.get(compared[0].product)) if compared else None,
        findings=dict(manifest.summary),
        evidence=json.loads(store.get(ranked.product)),
    )
