"""Several trainings of a model: their names, their seeds, and what is not repeated."""

from __future__ import annotations

import pytest

from galflow.errors import SpecError
from galflow.spec.repeats import first_training, seed_of
from galflow.spec.run import RunSpec, parse_spec

GIVEN = {"name": "run", "seed": 5, "survey": {"kind": "synthetic"}}
MODELS = [
    {"name": "maf", "model": "maf.MAF", "background": "other"},
    {"name": "other", "model": "maf.MAF"},
    {"name": "old", "model": "vae.VAE", "trained": "file:///models/old"},
]


def spec(seeds: int, models: list[dict[str, object]] = MODELS) -> RunSpec:
    return parse_spec(GIVEN | {"models": models, "training": {"seeds": seeds}})


def test_each_model_that_is_trained_is_repeated_with_seeds_of_its_own() -> None:
    assert spec(1).trainings == spec(1).models
    found = spec(3).trainings
    names = ["maf", "maf_seed2", "maf_seed3", "other", "other_seed2", "other_seed3", "old"]
    assert [m.name for m in found] == names
    seeds = {name: seed_of(name, 5) for name in names}
    assert seeds["maf"] == seeds["other"] == 5
    assert len({seeds["maf"], seeds["maf_seed2"], seeds["maf_seed3"]}) == 3
    assert 0 <= seed_of("maf_seed10", 2**31 - 1) < 2**31


def test_a_repeat_makes_no_ratio_of_its_own() -> None:
    assert [r.column for r in spec(3).ratios] == ["llr_maf_other"]


def test_a_score_is_called_by_its_first_training() -> None:
    assert first_training("maf_seed2_bits_per_dim") == "maf_bits_per_dim"
    assert first_training("bpd_maf_seed12") == "bpd_maf"
    assert first_training("maf_bits_per_dim") == "maf_bits_per_dim"


def test_a_models_name_that_a_repeat_would_get_is_refused() -> None:
    with pytest.raises(SpecError, match="maf_seed2"):
        spec(2, [{"name": "maf", "model": "maf.MAF"}, {"name": "maf_seed2", "model": "maf.MAF"}])
