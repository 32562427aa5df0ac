"""Of which objects residuals are stored, by which models, and what of that is done: who they are, then a unit a tile.

Which objects they are is known only once all are ranked. Until then a plan names that choice alone; a run's id does
not depend on what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from galflow.catalog.residual_objects import residual_objects_fingerprint, rows_by_tile
from galflow.errors import SpecError
from galflow.models.base import Reconstructs, all_models, find_model
from galflow.runs.plan_cutouts import briefly
from galflow.runs.plan_units import CutTile, ResidualsUnit, Unit
from galflow.scores.residuals import residuals_fingerprint
from galflow.spec.models import ModelSpec
from galflow.spec.run import RunSpec
from galflow.storage.layout import (
    residual_objects_folder,
    residual_objects_product,
    residuals_folder,
    residuals_product,
)
from galflow.storage.receipts import find_receipts
from galflow.storage.store import Store


def residual_models(spec: RunSpec) -> tuple[str, ...]:
    """Names of the models whose residuals are stored, in the specification's order; none where none are asked for."""
    asked = spec.output.residuals_of or [m.name for m in spec.trainings if m.sample is None and _reconstructs(m)]
    return tuple(m.name for m in spec.trainings if m.name in asked) if spec.output.residuals else ()


def check_residuals(spec: RunSpec) -> None:
    """SpecError where residuals are asked for that no model, or not the model named, can give."""
    if not spec.output.residuals:
        return
    able = ", ".join(name for name, found in all_models().items() if issubclass(found, Reconstructs))
    models = {m.name: m for m in spec.trainings}
    unable = [f"{name} ({models[name].model})" for name in spec.output.residuals_of if not _reconstructs(models[name])]
    if unable:
        raise SpecError(
            f"output.residuals_of: {', '.join(unable)} does not reconstruct, so it leaves no residual; expected "
            f"a model of {able}"
        )
    if not residual_models(spec):
        raise SpecError(
            f"output.residuals: {spec.output.residuals:g} of the objects are to have residuals stored, but no model of "
            f"the survey reconstructs; add one of {able}, or leave output.residuals out"
        )


def _reconstructs(model: ModelSpec) -> bool:
    return issubclass(find_model(model.model), Reconstructs)


def plan_residual_objects(spec: RunSpec, store: Store, scores: Sequence[str], ranking: str | None) -> Unit | None:
    """The objects whose residuals are stored, of score parts and a rule with these fingerprints; None: of none."""
    share, survey = spec.output.residuals, spec.survey.survey_name
    if not share or ranking is None:
        return None
    found = residual_objects_fingerprint(scores, ranking, share)
    receipt = find_receipts(store, residual_objects_folder(survey)).get(found)
    product = receipt.product if receipt else residual_objects_product(survey, found)
    why = f"the first {share:.3g} of all ranked objects: they are not ranked yet, or what ranks them changed"
    return Unit("residual objects", survey, found, product, receipt, why)


def plan_residuals(
    spec: RunSpec, store: Store, chosen: str, tiles: Sequence[CutTile], models: Mapping[str, str]
) -> list[ResidualsUnit]:
    """A unit for each tile with objects that are chosen at this key, by ``models``, name -> fingerprint."""
    wanted = {name: models[name] for name in residual_models(spec) if name in models}
    if not wanted:
        return []
    survey, release = spec.survey.survey_name, spec.survey.release
    receipts = briefly(store, residuals_folder(survey))
    rows = rows_by_tile(store, chosen)
    units = []
    for tile in tiles:
        if tile.tile not in rows:
            continue
        found = residuals_fingerprint(tile.fingerprint, wanted, rows[tile.tile])
        receipt = receipts.get(found)
        product = receipt.product if receipt else residuals_product(survey, release, tile.tile, found)
        why = f"tile {tile.tile}: its cutouts, the models or the objects chosen are new"
        units.append(ResidualsUnit("residuals", tile.tile, found, product, receipt, why, cutouts=tile, models=wanted))
    return units
