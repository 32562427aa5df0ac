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


@pytest.mark.parametrize("name", ["maf_seed2", "vae_seed10", "maf_seed3_wide", "maf_seed2x"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_models_name_that_reads_as_a_repeats_is_refused(name: str, seeds: int) -> None:
    """Also where nothing is repeated: its seed would be another one, its scores joined with those of maf."""
    mend = name.replace("_seed", "_s")
    told = rf"models\.1\.name: '_seed\d+' in a model's name .* such as '{mend}' \(given: '{name}'"
    with pytest.raises(SpecError, match=told):
        spec(seeds, [{"name": "maf", "model": "maf.MAF"}, {"name": name, "model": "maf.MAF"}])


def test_a_models_name_may_speak_of_seeds() -> None:
    for name in ("maf_seed", "seed2", "maf_seeds2", "maf_seeded"):
        assert spec(2, [{"name": name, "model": "maf.MAF"}]).trainings[1].name == f"{name}_seed2"
