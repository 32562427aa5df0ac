"""Which cutout sets are to be measured, what of it is done, and why the rest is to do."""

from __future__ import annotations

from collections.abc import Sequence

from galflow.measurements.measure import measurements_fingerprint
from galflow.runs.plan_cutouts import briefly, by_tile_of
from galflow.runs.plan_units import CutTile, MeasureUnit
from galflow.spec.run import RunSpec, SurveySpec
from galflow.storage.layout import measurements_folder, measurements_product
from galflow.storage.store import Store


def plan_measurements(spec: RunSpec, store: Store, survey: SurveySpec, cuts: Sequence[CutTile]) -> list[MeasureUnit]:
    """A unit for each cutout set of the survey, or of a sample; none where nothing is to be measured."""
    if not spec.measure:
        return []
    receipts = briefly(store, measurements_folder(survey.survey_name))
    by_tile = by_tile_of(receipts.values())
    units = []
    for cut in cuts:
        found = measurements_fingerprint(cut.fingerprint, spec.measure)
        receipt = receipts.get(found)
        name, release = survey.survey_name, survey.release
        product = receipt.product if receipt else measurements_product(name, release, cut.tile, found)
        same = any(r.inputs.get("cutouts") == cut.fingerprint for r in by_tile.get(cut.tile, []))
        why = f"tile {cut.tile} was never measured"
        if cut.tile in by_tile:
            why = f"tile {cut.tile}: " + ("what is measured changed" if same else "its cutouts changed")
        units.append(MeasureUnit("measure", cut.tile, found, product, receipt, why, cutouts=cut))
    return units
