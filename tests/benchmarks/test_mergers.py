"""The merger test: what is drawn has the light and the size it should have, and the table says what a run published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import galflow
from benchmarks import merger_galaxies as drawn
from benchmarks import mergers
from benchmarks.mergers import ALL, LECTURE, draw_folder, published, specification
from galflow.errors import SpecError
from galflow.report.findings import REAL
from galflow.scores.fractions import Fraction
from galflow.spec.run import parse_spec

SYSTEMS = 24


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def systems() -> list[drawn.System]:
    return [drawn.System.draw(rng(5, i)) for i in range(SYSTEMS)]


@pytest.fixture(scope="module")
def stages(systems: list[drawn.System]) -> dict[str, list[np.ndarray]]:
    """Noise-free images; of the same systems but for the isolated."""
    usual = drawn.of_usual_size
    each = list(enumerate(systems))
    return {
        "isolated": [drawn.isolated(rng(1, i)) for i, _ in each],
        "pre": [drawn.before(system, rng(2, i)) for i, system in each],
        "merger": [usual(drawn.coalescing, system, rng(3, i)) for i, system in each],
        "post": [usual(drawn.after, system, rng(4, i)) for i, system in each],
    }


def asymmetry(light: np.ndarray) -> float:
    """Light that differs from that half a turn away, as a part of all, within 12 pixels (Conselice 2003)."""
    middle = drawn.SIDE // 2
    within = light[middle - 12 : middle + 13, middle - 12 : middle + 13]
    return float(np.abs(within - within[::-1, ::-1]).sum() / within.sum())


def test_a_system_keeps_its_light_through_all_stages(
    systems: list[drawn.System], stages: dict[str, list[np.ndarray]]
) -> None:
    for name in ("pre", "merger", "post"):
        kept = [light.sum() / system.flux for light, system in zip(stages[name], systems, strict=True)]
        assert max(kept) < 1.001  # nothing is added
        assert np.median(kept) > 0.95  # and what leaves the frame is little
        assert all(light.min() > -1e-3 * light.max() for light in stages[name])


def test_mergers_are_as_bright_as_isolated_galaxies_and_single_ones_as_large(systems: list[drawn.System]) -> None:
    alone = np.array([drawn.draw_flux(rng(6, i)) for i in range(4000)])
    together = np.array([drawn.System.draw(rng(7, i)).flux for i in range(4000)])
    assert np.median(together) == pytest.approx(np.median(alone), rel=0.03)
    system, other = systems[0], systems[1]
    for stage in (drawn.coalescing, drawn.after):
        for which in (system, other):
            wanted = drawn.half_light_radius(drawn.draw_galaxy(which.flux, rng(8)).light())
            assert drawn.half_light_radius(drawn.of_usual_size(stage, which, rng(8))) == pytest.approx(wanted, rel=0.1)


def test_stages_are_lopsided_in_the_order_in_which_they_look_so(stages: dict[str, list[np.ndarray]]) -> None:
    pre, merger, post, isolated = (
        np.median([asymmetry(light) for light in stages[name]]) for name in ("pre", "merger", "post", "isolated")
    )
    assert pre > merger > isolated
    assert pre > post > isolated


def test_bridges_are_bowed_tails_bend_and_shells_alternate() -> None:
    middle = drawn.SIDE // 2
    straight, bowed = (drawn.bridge((0.0, -8.0), (0.0, 8.0), bow, 1.0) for bow in (0.0, 0.3))
    rows = np.arange(drawn.SIDE) - middle
    assert abs(rows @ straight[:, middle]) < 1e-6
    aside = rows @ bowed[:, middle] / bowed[:, middle].sum()
    assert abs(aside) == pytest.approx(4.8, abs=0.5)  # 0.3 of 16 pixels
    ahead, bent = (drawn.tail((0.0, 0.0), 0.0, 4.0, 12.0, turn) for turn in (0.0, 1.5))
    assert rows @ ahead.sum(1) == pytest.approx(0.0, abs=1e-6)
    assert rows @ bent.sum(1) > 2.0
    arcs = drawn.shells(0.0, 5.0, 2, rng(1))
    left, right = arcs[:, : middle - 3].sum(), arcs[:, middle + 4 :].sum()
    assert left == pytest.approx(right, rel=0.2)
    for light in (straight, bowed, ahead, bent):
        assert light.sum() == pytest.approx(1.0)
    assert arcs.sum() == pytest.approx(1.0)


@pytest.mark.skipif(not mergers.SKIRT.is_file(), reason=f"real data are absent: {mergers.SKIRT}")
def test_the_skirt_merger_is_observed_with_the_size_and_light_of_an_isolated_galaxy() -> None:
    light = drawn.skirt_light(mergers.SKIRT)
    assert light.sum() == pytest.approx(1.0)
    for seed in range(3):
        generator = rng(9, seed)
        galaxy = drawn.draw_galaxy(drawn.draw_flux(generator), generator)
        seen = drawn.observed_simulation(light, rng(9, seed))
        assert 0.7 < seen.sum() / galaxy.flux < 1.001
        wanted = drawn.half_light_radius(galaxy.light())
        assert drawn.half_light_radius(seen) == pytest.approx(wanted, rel=0.1)


def test_noise_is_that_of_the_sky_and_of_the_object() -> None:
    light = np.zeros((drawn.SIDE, drawn.SIDE))
    light[:, drawn.SIDE // 2 :] = 3 * drawn.SKY_NJY
    noise = np.stack([drawn.with_noise(light, rng(10, i)) for i in range(10)]) - light
    empty, full = noise[:, :, : drawn.SIDE // 2].std(), noise[:, :, drawn.SIDE // 2 :].std()
    assert empty == pytest.approx(drawn.SKY_SIGMA_NJY, rel=0.03)
    assert full == pytest.approx(2 * drawn.SKY_SIGMA_NJY, rel=0.03)


def test_the_table_joins_the_stages_by_their_counts() -> None:
    def of(count: int, n: int) -> dict[str, float]:
        return Fraction.of(count, n).to_json()

    said = {
        "other": {"a_s": of(2, 40)},
        "post": {"a_s": of(30, 100), "b_s": of(0, 100)},
        "pre": {"a_s": of(45, 50)},
        REAL: {"a_s": of(5, 100)},
    }
    table = published(said, "title", LECTURE)
    assert table.samples == [ALL, "pre", "post", "other", REAL]
    assert table.found["a_s"][ALL] == Fraction.of(75, 150)
    assert list(table.found["b_s"]) == [ALL, "post"]
    lines = table.text().splitlines()
    assert lines[1].split("  ")[-1].strip() == f"{REAL} (100)"
    assert "90 [ 79,  96]" in lines[2]
    assert lines[3].split()[-1] == "-"
    assert lines[4].split() == ["lecture:", "WGAN", "46", "86", "45"]
    plain = json.loads(json.dumps(table.to_json()))
    assert plain["rows"]["a_s"]["pre"]["value"] == 0.9
    assert plain["percent_of_others"]["lecture: k-means"]["pre"] == 74


def test_a_folder_of_ones_own_takes_the_drawn_ones_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"holds no sub-folder; expected isolated, at least one of pre, merger, post"):
        specification(tmp_path)
    draw_folder(tmp_path, seed=3, isolated=4, each=2, views=1)
    again = fits.getdata(tmp_path / "pre" / "pre-00001.fits")
    np.testing.assert_array_equal(again, drawn.observed(*_light_and_rng(3, 1, kind=3)))
    monkeypatch.setenv(mergers.OWN, str(tmp_path))
    with mergers.images() as folder:
        spec = parse_spec(specification(folder))
    assert tmp_path.is_dir()
    assert spec.survey.survey_name == "isolated"
    names = {sample.name for sample in spec.comparison.samples}
    assert names - {"skirt"} == {"control", "pre", "merger", "post"}
    (tmp_path / mergers.OPTIONS).unlink()
    with pytest.raises(SpecError, match=r"beside them stamps\.json"):
        specification(tmp_path)


def _light_and_rng(seed: int, i: int, kind: int) -> tuple[np.ndarray, np.random.Generator]:
    generator = rng(seed, kind, i)
    return drawn.before(drawn.System.draw(rng(seed, 0, i)), generator), generator


@pytest.mark.full
@pytest.mark.timeout(600)  # a whole run
def test_percentages_are_those_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    draw_folder(folder, seed=2, isolated=200, each=25, views=20)
    models = tuple(model for model in mergers.MODELS if model["name"] in ("kmeans", "pca"))
    run = galflow.run(specification(folder, models), str(tmp_path / "store"))
    table = published(run.summary["inconsistent"], "title")
    assert {score.partition("_")[0] for score in table.found} == {"kmeans", "pca"}
    for row in table.found.values():
        assert row["pre"].n == row["control"].n == 25
        assert row[ALL].n == 75
    residual = table.found["pca_residual"]
    assert residual["pre"].low > residual["control"].high


def test_brightness_alone_tells_little_of_the_stages(tmp_path: Path) -> None:
    draw_folder(tmp_path, seed=4, isolated=60, each=30, views=1)
    found = mergers.brightness_and_size(tmp_path)
    assert "isolated" not in found
    assert found["control"]["flux"]["n"] == 30
    for name in ("control", "merger", "post"):
        assert found[name]["flux"]["low"] < 0.15
