"""The specifications that the project ships parse, mean what they say, and find their data where there are any."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from galflow.errors import SpecError
from galflow.runs.check import check_run
from galflow.runs.plan import plan_run
from galflow.spec.run import load_spec
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey

PROJECT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GALFLOW_DATA", PROJECT.parent / "shared" / "data"))
EXAMPLES = sorted((PROJECT / "examples").glob("*.yaml"))
MADE = {"made_simulations"}
"""Examples whose data galflow draws itself."""
DEMO = PROJECT / "flows" / "demo.yaml"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are absent: {DATA} (set GALFLOW_DATA)")

BANDS = {
    "hsc_patch": {"i", "r", "g"},
    "kids_viking": {"r", "g", "i", "Z", "J"},
    "sdss_vs_illustris": {"r", "g", "b"},
    "sdss_vs_skirt": {"r"},
    "viking_h": {"H"},
}
TILES = {"hsc_patch": 1, "kids_viking": 1, "sdss_vs_skirt": 1, "viking_h": 3}


def test_there_are_examples() -> None:
    assert set(BANDS) <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", [*EXAMPLES, DEMO], ids=lambda p: p.stem)
def test_parses_and_says_how_to_start_it(path: Path) -> None:
    spec = load_spec(path)
    assert spec.name.replace("-", "_") == path.stem
    if path.stem in MADE:
        assert f"galflow run examples/{path.name}" in path.read_text()
    elif path != DEMO:
        assert f"GALFLOW_DATA=../shared/data galflow run examples/{path.name}" in path.read_text()
        assert str(spec.survey.options["root"]).startswith("${GALFLOW_DATA}/")


@needs_data
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_can_be_run_on_the_real_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALFLOW_DATA", str(DATA))
    spec = load_spec(path)
    check_run(spec)
    survey = open_survey(spec.survey)
    assert BANDS.get(path.stem, set(survey.bands)) <= set(survey.bands)
    tiles = survey.tiles()
    assert len(tiles) == TILES.get(path.stem, len(tiles)) > 0


@needs_data
def test_plan_of_three_frames(monkeypatch: pytest.MonkeyPatch, local_store: Store) -> None:
    monkeypatch.setenv("GALFLOW_DATA", str(DATA))
    planned = plan_run(load_spec(PROJECT / "examples" / "viking_h.yaml"), local_store)
    assert [len(planned.cutouts), len(planned.models), len(planned.scores)] == [3, 3, 3]
    assert not any(unit.done for unit in planned.units)


def test_demo_can_be_run_without_any_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GALFLOW_DATA", raising=False)
    check_run(load_spec(DEMO))


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem not in MADE], ids=lambda p: p.stem)
def test_data_that_are_not_named_are_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GALFLOW_DATA", raising=False)
    with pytest.raises(SpecError, match="GALFLOW_DATA"):
        plan_run(load_spec(path), Store.open("unused"))


def test_merge_key_takes_the_anchor_and_changes_one_field() -> None:
    """The simulation is read exactly as the sky is, but for its folder."""
    spec = load_spec(PROJECT / "examples" / "sdss_vs_illustris.yaml")
    (sample,) = spec.comparison.samples
    assert "<<" not in sample.survey.options
    differing = {k for k, v in sample.survey.options.items() if spec.survey.options[k] != v}
    assert (differing, set(sample.survey.options)) == ({"root"}, set(spec.survey.options))


def test_deployments_name_flows_that_exist() -> None:
    files = {f"flows.{name}": (PROJECT / "flows" / f"{name}.py").read_text() for name in ("survey_run", "emulate")}
    deployed = yaml.safe_load((PROJECT / "deploy" / "prefect.yaml").read_text())["deployments"]
    entrypoints = [d["entrypoint"] for d in deployed]
    # One flow may be deployed more than once: nightly and from the form.
    assert len(set(entrypoints)) == sum(text.count("@flow(") for text in files.values())
    assert len({(d["entrypoint"], d["name"]) for d in deployed}) == len(deployed)
    for entrypoint in entrypoints:
        module, _, function = entrypoint.rpartition(".")
        # The form's lists of surveys and models come with the annotation.
        form = "EmulationSpec" if function == "emulate" else "Form"
        assert re.search(rf"\ndef {function}\(spec: {form}[,)]", files[module])
