"""Which cutout sets a survey needs: one a tile, what of them is done, and why the rest is to do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from galflow.cutouts.cut import chosen_bands, cutouts_fingerprint
from galflow.errors import DataError, SpecError
from galflow.runs.plan_units import PlannedSelection, TileUnit
from galflow.spec.run import RunSpec, SurveySpec
from galflow.storage.layout import cutouts_folder, cutouts_product
from galflow.storage.look import seen
from galflow.storage.receipts import Receipt, receipt_keys, sound_receipts
from galflow.storage.store import Store
from galflow.surveys.base import OUTSIDE_TILE, Footprint, Survey, Tile
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.regions import out_of_reach
from galflow.surveys.reading.selection import left_out_of, selected, with_left_out
from galflow.surveys.reading.table_metadata import is_part_of_sky, reasons_of, with_reasons, without_reasons
from galflow.surveys.resolve import open_survey

logger = logging.getLogger(__name__)


def plan_cutouts(spec: RunSpec, survey_spec: SurveySpec, store: Store, *, is_sample: bool = False) -> list[TileUnit]:
    """A unit for each tile of a survey, and one for the rows outside every tile; a sample is never planted into.

    Tiles that lie wholly beyond the selected regions have none (``planned_selection``).
    """
    survey = open_survey(survey_spec)
    cutouts = spec.cutouts.model_copy(update={"plant": None}) if is_sample else spec.cutouts
    receipts = briefly(store, cutouts_folder(survey.name))
    earlier_of = by_tile_of(receipts.values())
    units = []
    for tile, rows, place in _tiles_and_rows(survey, chosen_bands(survey, cutouts)[0]):
        found = cutouts_fingerprint(survey, tile, cutouts, rows)
        receipt = receipts.get(found)
        earlier = earlier_of.get(tile.name, [])
        if not earlier:
            why = f"tile {tile.name} is new"
        elif all(r.inputs.get("tile") != tile.identity for r in earlier):
            why = f"tile {tile.name} changed"
        else:
            why = f"tile {tile.name}: cutout settings or catalogue rows changed"
        product = receipt.product if receipt else cutouts_product(survey.name, survey.release, tile.name, found)
        unit = TileUnit("ingest", tile.name, found, product, receipt, why, survey=survey_spec, tile=tile, place=place)
        units.append(replace(unit, rows=rows))
    return units


def briefly(store: Store, prefix: str) -> dict[str, Receipt]:
    """Fingerprint -> brief receipt, of one product a tile or more."""
    known: dict[str, Receipt] = seen(("receipts", store, prefix), dict)
    keys = receipt_keys(store, prefix)
    for key, receipt in sound_receipts(store, [key for key in keys if key not in known]):
        known[key] = receipt.brief()
    return {known[key].fingerprint: known[key] for key in keys if key in known}


def by_tile_of(receipts: Iterable[Receipt]) -> dict[str, list[Receipt]]:
    """Tile -> receipts."""
    found: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        found.setdefault(str(receipt.details.get("tile", "")), []).append(receipt)
    return found


def _tiles_and_rows(survey: Survey, reference: str) -> list[tuple[Tile, pa.Table | None, Place | None]]:
    """Every tile, its rows of a survey-wide catalogue if there is one, and where it lies."""
    if not survey.listed:
        raise SpecError(f"survey {survey.name} has no tiles; check the folder and the file patterns of its options")
    footprints = {
        tile.name: seen for tile in survey.listed if (seen := _readable_footprint(survey, tile, reference)) is not None
    }
    places = {name: Place.of(footprint) for name, footprint in footprints.items()}
    tiles = [tile for tile in survey.listed if not out_of_reach(survey.selection, places.get(tile.name))]
    if not tiles:
        raise SpecError(f"survey.select.regions: none of the tiles of {survey.name} lies in them; correct them")
    footprints = {tile.name: footprints[tile.name] for tile in tiles if tile.name in footprints}
    catalog = survey.survey_catalog()
    if catalog is None:
        return [(tile, None, places.get(tile.name)) for tile in tiles]
    from galflow.cutouts.assign import assign  # here: it imports much, which a plan without such a catalogue needs not

    # What is wrong with the one catalogue is told once, with the first tile's rows.
    reasons, covers_more = reasons_of(catalog), is_part_of_sky(catalog)
    catalog, left_out = selected(without_reasons(catalog), survey.selection)
    assignment = assign(catalog, footprints)
    rows = [assignment.by_tile.get(tile.name, assignment.outside.slice(0, 0)) for tile in tiles]
    rows = [survey.with_columns(own, tile) for own, tile in zip(rows, tiles, strict=True)]
    rows[0] = with_reasons(rows[0], reasons)
    if left_out is not None:
        rows[0] = with_left_out(rows[0], left_out)
    found: list[tuple[Tile, pa.Table | None, Place | None]] = [
        (tile, own, places.get(tile.name)) for tile, own in zip(tiles, rows, strict=True)
    ]
    if len(assignment.outside) and not covers_more:
        found.append((Tile(OUTSIDE_TILE, (), ()), assignment.outside, None))
    return found


def planned_selection(survey_spec: SurveySpec, units: Sequence[TileUnit]) -> PlannedSelection | None:
    """What is left out of a survey with this plan, as far as it is known; None: nothing is to be selected."""
    if survey_spec.selection is None:
        return None
    planned = {unit.name for unit in units}
    unopened = [tile.name for tile in open_survey(survey_spec).listed if tile.name not in planned]
    counts = (left_out_of(unit.rows) for unit in units if unit.rows is not None)
    return PlannedSelection(tuple(unopened), next((found for found in counts if found is not None), None))


def _readable_footprint(survey: Survey, tile: Tile, reference: str) -> Footprint | None:
    """None for a tile whose headers cannot be read: it covers nothing, and cutting it records why."""
    try:
        return survey.footprint(tile, reference) or Footprint(None, (0, 0))
    except DataError as error:
        logger.warning("tile %s covers no object: %s", tile.name, error)
        return None


def planned_selections(
    spec: RunSpec, cutouts: Sequence[TileUnit], samples: Mapping[str, Sequence[TileUnit]]
) -> dict[str, PlannedSelection]:
    """Of the survey and of each sample that select objects, what is left out."""
    found = {spec.survey.survey_name: planned_selection(spec.survey, cutouts)}
    found |= {f"sample {s.name}": planned_selection(s.survey, samples[s.name]) for s in spec.samples}
    return {name: one for name, one in found.items() if one is not None}
