"""By whose latents similar objects are found, and what of that is done: a part of latents a tile, and one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from galflow.errors import SpecError
from galflow.labels.latents import latents_fingerprint
from galflow.labels.similarity import index_fingerprint
from galflow.models.base import Encodes, all_models, find_model
from galflow.runs.plan_cutouts import briefly
from galflow.runs.plan_units import CutTile, JoinedTile, LatentsUnit, Unit
from galflow.spec.run import RunSpec
from galflow.storage.layout import index_product, indexes_folder, latents_folder, latents_product
from galflow.storage.receipts import find_receipts
from galflow.storage.store import Store


def check_similar(spec: RunSpec) -> None:
    """SpecError where similar objects are to be found by a model that is not there, or that does not encode."""
    name = spec.output.similar
    if name is None:
        return
    models = {m.name: m for m in spec.trainings if m.sample is None}
    able = [n for n, m in models.items() if issubclass(find_model(m.model), Encodes)]
    if name not in able:
        kinds = ", ".join(n for n, found in all_models().items() if issubclass(found, Encodes))
        what = f"{name} ({models[name].model}) does not encode" if name in models else f"no model is called {name!r}"
        mend = f"expected {' or '.join(able)}" if able else f"add a model of {kinds}"
        raise SpecError(f"output.similar: {what}, so it tells no similar objects; {mend}")


def plan_similar(spec: RunSpec, store: Store, tiles: Sequence[JoinedTile], models: Mapping[str, str]) -> list[Unit]:
    """All units by which similar objects are found, of joined sets and ``models``, name -> fingerprint."""
    latents = plan_latents(spec, store, [tile.cutouts for tile in tiles], models)
    index = plan_index(spec, store, [u.fingerprint for u in latents], [tile.fingerprint for tile in tiles])
    return [*latents, *([] if index is None else [index])]


def plan_latents(spec: RunSpec, store: Store, cuts: Sequence[CutTile], models: Mapping[str, str]) -> list[LatentsUnit]:
    """A unit for each of the survey's cutout sets, by ``models``, name -> fingerprint; none where none is asked for."""
    model = spec.output.similar
    if model is None or model not in models:
        return []
    survey, release = spec.survey.survey_name, spec.survey.release
    receipts = briefly(store, latents_folder(survey))
    units = []
    for cut in cuts:
        found = latents_fingerprint(cut.fingerprint, models[model])
        receipt = receipts.get(found)
        product = receipt.product if receipt else latents_product(survey, release, cut.tile, found)
        why = f"tile {cut.tile}: its cutouts or model {model} are new"
        units.append(LatentsUnit("encode", cut.tile, found, product, receipt, why, cutouts=cut))
    return units


def plan_index(spec: RunSpec, store: Store, latents: Sequence[str], joins: Sequence[str]) -> Unit | None:
    """The index of latents and joins with these fingerprints; None where none is asked for, or nothing is encoded."""
    if spec.output.similar is None or not latents:
        return None
    survey = spec.survey.survey_name
    found = index_fingerprint(latents, joins)
    receipt = find_receipts(store, indexes_folder(survey)).get(found)
    product = receipt.product if receipt else index_product(survey, found)
    why = f"the latents by {spec.output.similar}, or which rows are one object, are new"
    return Unit("index", survey, found, product, receipt, why)
