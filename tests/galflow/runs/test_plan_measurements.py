"""What is to be measured: a unit a cutout set, anew only when the cutouts or what is measured change."""

from __future__ import annotations

from typing import Any

import pytest

from galflow.errors import SpecError
from galflow.measurements.measure import measurements_fingerprint
from galflow.runs.plan import plan_run, run_id
from galflow.runs.plan_measurements import plan_measurements
from galflow.runs.plan_units import CutTile
from galflow.spec.run import parse_spec
from galflow.storage.layout import measurements_product, product_of
from galflow.storage.receipts import Receipt, write_receipt
from galflow.storage.store import Store

SURVEY = {"kind": "synthetic", "options": {"tiles": 1, "tile_size": 96, "objects_per_tile": 4}}
DOCUMENT: dict[str, Any] = {
    "name": "planned",
    "survey": SURVEY,
    "measure": ["sersic"],
    "models": [{"name": "near", "model": "kmeans.KMeans"}],
    "comparison": {"controls": [], "samples": [{"name": "mock", "survey": SURVEY | {"name": "mock"}}]},
}
CUT = CutTile("t00000", "c1", "cutouts/synthetic/1/t00000/c1.zarr")


def test_survey_and_samples_have_a_unit_a_tile_and_nothing_without_the_wish(local_store: Store) -> None:
    plan = plan_run(parse_spec(DOCUMENT), local_store)
    assert {name: [u.name for u in units] for name, units in plan.measurements.items()} == {
        None: ["t00000"], "mock": ["t00000"],
    }  # fmt: skip
    assert [u.stage for u in plan.units].count("measure") == 2
    without = plan_run(parse_spec({k: v for k, v in DOCUMENT.items() if k != "measure"}), local_store)
    assert not any(u.stage == "measure" for u in without.units)
    scores = [[(u.fingerprint, u.product) for u in p.scores] for p in (plan, without)]
    assert scores[0] == scores[1], "what is measured makes no score stale"


def test_a_part_is_done_for_its_cutouts_and_what_was_measured(local_store: Store) -> None:
    spec = parse_spec(DOCUMENT)
    (unit,) = plan_measurements(spec, local_store, spec.survey, [CUT])
    assert unit.why == "tile t00000 was never measured"
    assert product_of(f"{unit.product}.receipt.json") == unit.product
    found = measurements_fingerprint("c1", ["sersic"])
    assert unit.product == measurements_product("synthetic", "1", "t00000", found)
    details, inputs = {"tile": "t00000"}, {"cutouts": "c1"}
    write_receipt(local_store, Receipt(product=unit.product, fingerprint=found, details=details, inputs=inputs))
    (done,) = plan_measurements(spec, local_store, spec.survey, [CUT])
    assert done.done
    more = spec.model_copy(update={"measure": ("sersic", "morphology")})
    (unit,) = plan_measurements(more, local_store, spec.survey, [CUT])
    assert (unit.done, unit.why) == (False, "tile t00000: what is measured changed")
    (unit,) = plan_measurements(spec, local_store, spec.survey, [CutTile("t00000", "c2", "cutouts/other.zarr")])
    assert (unit.done, unit.why) == (False, "tile t00000: its cutouts changed")


def test_a_run_that_measures_nothing_keeps_its_name() -> None:
    plain = parse_spec({k: v for k, v in DOCUMENT.items() if k != "measure"})
    assert "measure" not in plain.content()
    assert run_id(plain, ["a"]) != run_id(parse_spec(DOCUMENT), ["a"])


@pytest.mark.parametrize(("given", "said"), [(["sersik"], "measure.0"), (["sersic", "sersic"], "measured must differ")])
def test_what_cannot_be_measured_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_spec(DOCUMENT | {"measure": given})
