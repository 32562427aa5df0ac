from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.compare.samples import (
    INCONSISTENT_LEVEL,
    MINIMUM_OBJECTS,
    compare_samples,
    comparison_fingerprint,
    require_same_space,
)
from galflow.compare.two_sample import TwoSample, compare_scalars
from galflow.errors import SpecError
from galflow.models.pixelcnn_pp import PixelCNNPP
from galflow.storage.layout import comparison_product
from galflow.storage.products import Target
from galflow.storage.receipts import Outcome, find_receipts
from galflow.storage.store import Store
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

BANDS = ("g", "r")


def trained(reference: Mapping[str, np.ndarray]) -> TrainedModel:
    """A model whose held-out scores are given; its network is never run here."""
    module = PixelCNNPP(channels=2, size=8, width=4, layers=1, mixtures=2)
    card = ModelCard(
        name="pixelcnn", model="pixelcnn_pp.PixelCNNPP", model_version="1", source="", arguments={}, cutouts={},
        bands=BANDS, unit="nJy", stretch=StretchCard(softening_sigma=3, white_sigma=300, sky_sigma=(1.0, 1.0)),
        bin_width=None, training={}, curves=(), metrics={}, scores=dict(PixelCNNPP.scores), main_score="bits_per_dim",
        abilities={}, fingerprint="f", code_version="0",
    )  # fmt: skip
    return TrainedModel(card, module, {name: np.sort(values) for name, values in reference.items()})


@pytest.fixture
def model() -> TrainedModel:
    bits = np.random.default_rng(0).normal(4.0, 0.2, 300)
    return trained({"bits_per_dim": bits, "bpd": bits, "loglike": -1000 * bits})


def sample(bits: np.ndarray, planted: int = 0) -> pa.Table:
    """A score part; the last ``planted`` rows are planted copies, which are no primary rows."""
    primary = np.arange(len(bits)) < len(bits) - planted
    known = np.isfinite(bits)
    columns = {"pixelcnn_bits_per_dim": bits, "bpd_pixelcnn": bits, "loglike_pixelcnn": -1000 * bits}
    return pa.table({"is_primary": primary} | {name: pa.array(v, mask=~known) for name, v in columns.items()})


def compare(store: Store, model: TrainedModel, **samples: pa.Table) -> tuple[Any, dict[str, Any]]:
    receipt = compare_samples(
        Target(store, "comparisons/c/1.json", "1", {"model m": "f"}),
        samples,
        {"pixelcnn": model},
        bootstraps=60,
        seed=3,
    )
    return receipt, json.loads(store.get("comparisons/c/1.json"))


def test_each_column_has_its_statistics_and_values(local_store: Store, model: TrainedModel):
    bits = np.random.default_rng(1).normal(4.3, 0.2, 80)
    receipt, found = compare(local_store, model, tng=sample(bits))
    assert (receipt.outcome, receipt.rows, receipt.reasons) == (Outcome.DONE, 80, ())
    assert receipt.inputs == {"model m": "f"}
    assert find_receipts(local_store, "comparisons/c")["1"] == receipt
    assert found["bootstraps"] == 60
    results = found["samples"]["tng"]
    assert set(results) == {"pixelcnn_bits_per_dim", "loglike_pixelcnn", "bpd_pixelcnn"}
    expected = compare_scalars(model.reference["bpd"], bits, bootstraps=60, seed=3)
    assert TwoSample.from_json(results["bpd_pixelcnn"]["statistics"]) == expected
    np.testing.assert_array_equal(results["bpd_pixelcnn"]["sample_values"], np.sort(bits))
    np.testing.assert_array_equal(results["loglike_pixelcnn"]["reference_values"], model.reference["loglike"])
    assert results["bpd_pixelcnn"]["statistics"]["auroc"]["value"] > 0.8  # higher bits in the sample
    assert results["loglike_pixelcnn"]["statistics"]["auroc"]["value"] < 0.2


def test_inconsistent_images_are_counted_over_all_values_of_anomaly_scores(local_store: Store, model: TrainedModel):
    bits = np.random.default_rng(1).normal(4.3, 0.2, 9001)  # more than are kept for plots
    _, found = compare(local_store, model, tng=sample(bits))
    results = found["samples"]["tng"]
    assert len(results["pixelcnn_bits_per_dim"]["sample_values"]) == 4000
    reference = model.reference["bits_per_dim"]
    above = (reference[None] > bits[:, None]).sum(axis=1) <= INCONSISTENT_LEVEL * len(reference)
    share = results["pixelcnn_bits_per_dim"]["inconsistent"]
    assert share["n"] == 9001
    assert share["value"] == pytest.approx(above.mean())
    assert share["low"] < share["value"] < share["high"]
    assert "inconsistent" not in results["bpd_pixelcnn"]
    assert "inconsistent" not in results["loglike_pixelcnn"]


def test_a_sample_like_the_reference_is_inconsistent_at_the_level(local_store: Store, model: TrainedModel):
    _, found = compare(local_store, model, same=sample(model.reference["bits_per_dim"]))
    assert found["samples"]["same"]["pixelcnn_bits_per_dim"]["inconsistent"]["value"] == 0.05


def test_planted_copies_and_objects_without_a_score_do_not_count(local_store: Store, model: TrainedModel):
    bits = np.concatenate([np.full(30, 4.0), [np.nan] * 5, np.full(10, 99.0)])
    _, found = compare(local_store, model, tng=sample(bits, planted=10))
    statistics = found["samples"]["tng"]["bpd_pixelcnn"]["statistics"]
    assert (statistics["n_b"], statistics["median_b"]) == (30, 4.0)
    assert found["samples"]["tng"]["pixelcnn_bits_per_dim"]["inconsistent"]["n"] == 30


def test_too_few_objects_are_recorded_and_the_other_samples_compared(local_store: Store, model: TrainedModel):
    rng = np.random.default_rng(2)
    few = np.concatenate([rng.normal(4, 0.2, MINIMUM_OBJECTS - 1), [np.nan] * 50])
    enough = rng.normal(4, 0.2, MINIMUM_OBJECTS)
    receipt, found = compare(local_store, model, few=sample(few), enough=sample(enough))
    assert receipt.outcome == Outcome.PARTIAL
    assert len(receipt.reasons) == 3
    assert receipt.reasons[0] == (
        "few, pixelcnn_bits_per_dim: 19 scored objects against 300 held-out ones; "
        "a comparison needs at least 20 of each"
    )
    assert found["samples"]["few"] == {}
    assert len(found["samples"]["enough"]) == 3


def test_too_few_held_out_objects_are_recorded(local_store: Store):
    bits = np.linspace(3, 5, MINIMUM_OBJECTS - 1)
    small = trained({"bits_per_dim": bits, "bpd": bits, "loglike": -bits})
    receipt, found = compare(local_store, small, tng=sample(np.linspace(3, 5, 50)))
    assert receipt.outcome == Outcome.PARTIAL
    assert "50 scored objects against 19 held-out ones" in receipt.reasons[0]
    assert found["samples"] == {"tng": {}}


def test_only_the_same_unit_and_bands_are_compared(model: TrainedModel):
    require_same_space("tng", {"unit": "nJy", "bands": ["g", "r"]}, model)
    with pytest.raises(SpecError, match="sample 'tng' cannot be compared: its flux unit is 'count', the model's 'nJy'"):
        require_same_space("tng", {"unit": "count", "bands": ["g", "r"]}, model)
    with pytest.raises(SpecError, match=r"its bands is \['r', 'g'\], the model's \['g', 'r'\]; likelihoods are"):
        require_same_space("tng", {"unit": "nJy", "bands": ["r", "g"]}, model)
    pictures = {"unit": "nJy", "bands": ["g", "r"], "display_white": [255.0, 255.0]}
    with pytest.raises(SpecError, match=r"its pixels is 'stretched for display \(white 255\)', the model's 'flux'"):
        require_same_space("tng", pictures, model)
    learnt = replace(model, card=model.card.model_copy(update={"display_white": (255.0, 255.0)}))
    require_same_space("tng", pictures, learnt)
    with pytest.raises(SpecError, match="its pixels is 'flux', the model's 'stretched for display"):
        require_same_space("tng", {"unit": "nJy", "bands": ["g", "r"]}, learnt)


def test_the_fingerprint_follows_parts_models_bootstraps_and_seed():
    base = comparison_fingerprint({"a": ["1", "2"]}, {"m": "f"}, 100, 0)
    assert comparison_fingerprint({"a": ["2", "1"]}, {"m": "f"}, 100, 0) == base  # tiles have no order
    others = [
        comparison_fingerprint({"b": ["1", "2"]}, {"m": "f"}, 100, 0),
        comparison_fingerprint({"a": ["1"]}, {"m": "f"}, 100, 0),
        comparison_fingerprint({"a": ["1", "2"]}, {"m": "g"}, 100, 0),
        comparison_fingerprint({"a": ["1", "2"]}, {"m": "f"}, 101, 0),
        comparison_fingerprint({"a": ["1", "2"]}, {"m": "f"}, 100, 1),
    ]
    assert len({base, *others}) == 6
    assert comparison_product("demo", base) == f"comparisons/demo/{base}.json"
