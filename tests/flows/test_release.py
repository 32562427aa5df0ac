"""What a release's event carries, and what is said when nobody can hear of it. The real server is in served/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.release import announce, of_release, release_of, server_address, specs_of_survey
from galflow.errors import GalflowError, SpecError
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import RunManifest, publish_manifest
from galflow.storage.store import Store

Here = Callable[..., tuple[int, str, str]]


def document(name: str = "nightly", survey: str = "wide") -> dict[str, Any]:
    return {
        "name": name,
        "survey": {"kind": "synthetic", "name": survey, "release": "dr1", "options": {"tiles": 2}},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
        "comparison": {
            "controls": [],
            "samples": [
                {"name": "again", "survey": {"kind": "synthetic", "name": survey, "release": "dr1"}},
                {"name": "other", "survey": {"kind": "synthetic", "name": "mock", "release": "v7"}},
            ],
        },
        "cluster": {"workers": 3},
    }


def publish(store: Store, name: str, survey: str, finished: str, seed: int = 0) -> None:
    spec = parse_spec(document(name, survey) | {"seed": seed})
    manifest = RunManifest(
        run=f"{name}-{seed}", name=name, finished=finished, code_version="1", specification=spec.content(), models={},
        products={}, catalog="", report=None, summary={},
    )  # fmt: skip
    publish_manifest(store, manifest)


def test_the_release_replaces_that_of_the_survey_and_of_samples_of_it() -> None:
    spec = parse_spec(document())
    found = of_release(spec, "dr2")
    assert found.survey.release == "dr2"
    assert [s.survey.release for s in found.comparison.samples] == ["dr2", "v7"]
    assert of_release(found, "dr1") == spec


@pytest.mark.parametrize("name", ["", "dr 2", "../dr2", "x" * 64])
def test_a_release_that_cannot_be_part_of_an_address_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"with release .* is not valid:\n  survey.release: .* letters, digits"):
        of_release(parse_spec(document()), name)


def test_the_payload_is_a_whole_specification_with_an_address_that_means_the_same_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release = release_of(parse_spec(document() | {"store": {"root": "products"}}), "dr2", {"new": ["t7"]})
    payload = release.payload()
    assert {key: payload[key] for key in ("survey", "release", "run_name", "new")} == {
        "survey": "wide", "release": "dr2", "run_name": "nightly", "new": ["t7"],
    }  # fmt: skip
    received = parse_spec(payload["spec"])
    assert received == release.spec
    assert received.store.root == f"file://{tmp_path}/products"
    assert received.survey.release == "dr2"
    assert received.cluster.workers == 3


def test_without_a_specification_the_last_published_one_of_each_name_is_taken(local_store: Store) -> None:
    publish(local_store, "nightly", "wide", "2026-01-01T00:00:00+00:00", seed=1)
    publish(local_store, "nightly", "wide", "2026-02-01T00:00:00+00:00", seed=2)
    publish(local_store, "other", "wide", "2026-01-15T00:00:00+00:00", seed=3)
    publish(local_store, "third", "deep", "2026-03-01T00:00:00+00:00", seed=4)
    # What is of another survey need not be understood.
    old = RunManifest(
        run="old-5", name="old", finished="2025-01-01T00:00:00+00:00", code_version="0", products={}, catalog="",
        specification={"survey": {"kind": "synthetic", "name": "past", "gone": 1}}, models={}, report=None, summary={},
    )  # fmt: skip
    publish_manifest(local_store, old)
    found = specs_of_survey(local_store, "wide")
    assert {(spec.name, spec.seed) for spec in found} == {("nightly", 2), ("other", 3)}
    assert {spec.store.root for spec in found} == {local_store.root}
    with pytest.raises(SpecError, match=r"no run of survey 'narrow' .*surveys there: deep, past, wide.*--spec.*--root"):
        specs_of_survey(local_store, "narrow")


def test_no_server_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    spec: RunSpec = parse_spec(document() | {"store": {"root": str(tmp_path)}})
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(
            SpecError, match=r"no Prefect server is configured.*set PREFECT_API_URL, as http://127.0.0.1:4200"
        ),
    ):
        announce([release_of(spec, "dr2")])


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://me:hidden@127.0.0.1:9/api"}),
        pytest.raises(GalflowError, match=r"the Prefect server at http://127.0.0.1:9/api does not answer") as told,
    ):
        server_address()
    assert "hidden" not in str(told.value)


def test_the_command_says_by_its_exit_code_what_is_wrong(here: Here, local_store: Store) -> None:
    publish(local_store, "nightly", "wide", "2026-01-01T00:00:00+00:00")
    words = ("release", "wide", "dr2", "--root", local_store.root)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        code, _, complaint = here(*words)
        assert (code, "no Prefect server is configured" in complaint) == (2, True)
        code, _, complaint = here("release", "deep", *words[2:])
        assert (code, "no run of survey 'deep'" in complaint) == (2, True)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        code, _, complaint = here(*words)
    assert (code, "does not answer" in complaint) == (1, True)


def test_the_command_refuses_another_surveys_name(here: Here, tmp_path: Path) -> None:
    import yaml

    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document()))
    code, out, complaint = here("release", "narrow", "dr2", "--spec", str(spec))
    assert (code, out) == (2, "")
    assert "is about survey 'wide', not 'narrow'" in complaint
