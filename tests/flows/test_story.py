"""The whole story by the real command: on a folder, once more, on S3; what it publishes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import galflow as library
from galflow.cutouts.batches import make_batch
from galflow.cutouts.flags import Flag
from galflow.spec.run import parse_spec
from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import Outcome
from galflow.surveys.resolve import open_survey

if TYPE_CHECKING:
    from conftest import Command, Finished, RunToItsEnd, WriteSpec

Here = Callable[..., tuple[int, str, str]]
MODELS = ("kmeans", "vae", "pixelcnn")
PRIMARY = "vae_neg_elbo"


def survey_objects(story: dict[str, Any]) -> pa.Table:
    """What the survey's own catalogue holds."""
    survey = open_survey(parse_spec(story).survey)
    table = survey.survey_catalog()
    assert table is not None
    return table


def files_of(root: str) -> dict[str, tuple[int, int, int]]:
    """Every file below a folder: inode, time of the last change, size."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        if path.is_file():
            state = path.stat()
            found[str(path.relative_to(root))] = (state.st_ino, state.st_mtime_ns, state.st_size)
    return found


def test_every_object_of_the_survey_is_in_the_catalogue_once(undisturbed: Finished, story: dict[str, Any]) -> None:
    table, planted, truth = undisturbed.catalog, undisturbed.planted, survey_objects(story)
    assert sorted(table["object_id"].to_pylist()) == sorted(truth["object_id"].to_pylist())
    rows = {tuple(row.values()) for row in table.select(("object_id", "ra", "dec")).to_pylist()}
    assert rows == {tuple(row.values()) for row in truth.select(("object_id", "ra_deg", "dec_deg")).to_pylist()}
    assert not (table["flags"].to_numpy() & int(Flag.PLANTED)).any()
    assert all(table["is_primary"].to_pylist())
    assert set(table["run_id"].to_pylist()) == {undisturbed.manifest.run}
    assert set(table["tile"].to_pylist()) == {"t00000", "t00001", "t00002"}
    assert (set(table["survey"].to_pylist()), set(table["release"].to_pylist())) == ({"synthetic"}, {"dr1"})
    assert len(planted) == 9
    assert (planted["flags"].to_numpy() & int(Flag.PLANTED)).all()
    assert not any(planted["is_primary"].to_pylist())
    # A copy leads back to the object it was painted into.
    assert set((~planted["object_id"].to_numpy()).tolist()) <= set(truth["object_id"].to_pylist())


def test_catalogue_columns_are_those_of_the_design(undisturbed: Finished) -> None:
    names = undisturbed.catalog.column_names
    assert names[:7] == ["object_id", "id_in_tile", "ra", "dec", "survey", "release", "tile"]
    assert names[7:13] == ["row", "cutout", "x", "y", "is_primary", "split"]
    raw = ["kmeans_distance", PRIMARY, "vae_reconstruction", "vae_kl", "pixelcnn_bits_per_dim"]
    wanted = {f"{column}{suffix}" for column in raw for suffix in ("", "_sigma", "_p")}
    wanted |= {"loglike_pixelcnn", "bpd_pixelcnn", "anomaly_q", "anomaly_rank", "flags", "outcome", "run_id"}
    assert wanted <= set(names)


def test_scored_rows_have_numbers_and_the_others_null_with_a_reason(undisturbed: Finished) -> None:
    table = undisturbed.catalog
    scored = np.array(table["outcome"].to_pylist()) == "scored"
    assert scored.any()
    held_out = scored & (np.array(table["split"].to_pylist()) != "train")  # what is learnt from has no p
    ranking = ("anomaly_score", "anomaly_rank")
    of_all = (PRIMARY, f"{PRIMARY}_sigma", *ranking, "loglike_pixelcnn", "kmeans_distance")
    for name in (*of_all, f"{PRIMARY}_p", "anomaly_q"):
        column = table[name].combine_chunks()
        expected = scored if name in of_all else held_out
        np.testing.assert_array_equal(column.is_valid().to_numpy(zero_copy_only=False), expected)
        assert np.isfinite(column.drop_null().to_numpy()).all()
    for name in (f"{PRIMARY}_p", "anomaly_q"):
        values = table[name].drop_null().to_numpy()
        assert ((values > 0) & (values <= 1)).all()
    assert all(text.startswith("not scored: ") for text in np.array(table["outcome"].to_pylist())[~scored])


def test_scores_are_those_of_the_stored_model_on_the_stored_cutouts(undisturbed: Finished) -> None:
    """The workers' scores against the same computation done plainly, in memory; of planted copies as well."""
    table, manifest = undisturbed.catalog, undisturbed.manifest
    whole = pa.concat_tables([table, undisturbed.planted.drop_columns("planted_kind")])
    for receipt in undisturbed.receipts("cutouts/synthetic"):
        cutouts = library.open_cutouts(undisturbed.store.uri(receipt.product))
        assert dict(cutouts.sizes) | {"band": 3, "y": 16, "x": 16} == dict(cutouts.sizes)
        rows = whole.filter(pa.array(np.array(whole["tile"].to_pylist()) == receipt.details["tile"])).sort_by("row")
        assert set(rows["cutout"].to_pylist()) == {receipt.product}
        np.testing.assert_array_equal(rows["row"].to_numpy(), np.arange(receipt.rows))
        np.testing.assert_array_equal(rows["object_id"].to_numpy(), cutouts["object_id"].values)
        scored = np.array(rows["outcome"].to_pylist()) == "scored"
        for name in MODELS:
            model = library.load_model(manifest.models[name])
            batch = make_batch(
                cutouts["flux"].values[scored],
                cutouts["ivar"].values[scored],
                model.stretch,
                neighbours=model.card.neighbours,
            )
            main = model.card.main_score
            expected = model.evaluate(batch)[main]
            np.testing.assert_allclose(rows[f"{name}_{main}"].drop_null().to_numpy(), expected, rtol=1e-4, atol=1e-6)


def test_p_values_count_the_held_out_objects_that_score_as_high(undisturbed: Finished) -> None:
    table = undisturbed.catalog
    reference = library.load_model(undisturbed.manifest.models["vae"]).reference["neg_elbo"]
    told = table.filter(table[f"{PRIMARY}_p"].is_valid())
    raw, p = told[PRIMARY].to_numpy(), told[f"{PRIMARY}_p"].to_numpy()
    assert len(p) > 20
    expected = (1 + (reference[None, :] >= raw[:, None]).sum(1)) / (1 + len(reference))
    np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_report_and_manifest_tell_of_the_run(undisturbed: Finished) -> None:
    manifest = undisturbed.manifest
    page = undisturbed.store.get(f"reports/{manifest.run}/index.html").decode()
    assert manifest.run in page
    assert all(name in page for name in MODELS)
    assert manifest.summary["objects"] == manifest.summary["rows"] == len(undisturbed.catalog)
    assert manifest.summary["planted"] == 9
    assert set(manifest.summary["samples"]) == {"bright"}
    assert f"report     {manifest.report}" in undisturbed.process.stdout
    outcomes = {r.product: r.outcome for r in undisturbed.receipts("cutouts")}
    assert set(outcomes.values()) == {Outcome.DONE}


def test_second_start_finds_everything_done_in_seconds(
    galflow: Command, undisturbed: Finished, story: dict[str, Any], write_spec: WriteSpec
) -> None:
    before = files_of(undisturbed.root)
    started = time.monotonic()
    second = galflow("run", str(write_spec(story)), "--root", undisturbed.root)
    seconds = time.monotonic() - started
    assert second.returncode == 0
    assert f"Nothing to do: run {undisturbed.manifest.run} is published" in second.stdout
    assert files_of(undisturbed.root) == before
    assert seconds < 30, "a second start costs the imports and the plan, nothing else"


def test_verify_finds_what_was_altered_truncated_and_lost(undisturbed: Finished, here: Here, tmp_path: Path) -> None:
    assert here("verify", "--root", undisturbed.root)[0] == 0
    damaged = str(tmp_path / "damaged")
    shutil.copytree(undisturbed.root, damaged)
    shard = max(Path(damaged).glob("cutouts/synthetic/dr1/t00000/*/flux/c/0/**/*"), key=lambda p: p.stat().st_size)
    flipped = bytearray(shard.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    shard.write_bytes(flipped)
    part = next(Path(damaged).glob("scores/synthetic/dr1/t00001/*.parquet"))
    os.truncate(part, part.stat().st_size - 1)
    weights = next(Path(damaged).glob("models/vae/*/weights.safetensors"))
    weights.unlink()
    code, output, _ = here("verify", "--root", damaged, "--json")
    assert code == 1
    faults = json.loads(output)["faults"]
    assert len(faults) == 3
    for path, text in ((shard, "content differs"), (part, "bytes instead of"), (weights, "missing")):
        (line,) = [f for f in faults if str(path.relative_to(damaged)) in f]
        assert text in line
    code, output, _ = here("verify", "--root", damaged)
    assert code == 1
    assert output.count("fault: ") == 3


def test_show_and_runs_know_the_run(undisturbed: Finished, here: Here) -> None:
    run = undisturbed.manifest.run
    code, output, _ = here("runs", "--root", undisturbed.root, "--json")
    assert (code, [m["run"] for m in json.loads(output)]) == (0, [run])
    code, output, _ = here("show", run, "--root", undisturbed.root)
    assert code == 0
    assert undisturbed.manifest.catalog in output


@pytest.mark.full
@pytest.mark.s3
def test_on_s3_the_catalogue_is_row_for_row_the_same(
    run_to_its_end: RunToItsEnd,
    prefect_api: dict[str, str],
    undisturbed: Finished,
    s3_root: str,
    s3_server: Any,
    story: dict[str, Any],
    write_spec: WriteSpec,
    here: Here,
    tmp_path: Path,
) -> None:
    story["cluster"]["performance_report"] = True
    on_s3 = run_to_its_end(tmp_path, story, s3_root, **prefect_api, GALFLOW_LOG_LEVEL="DEBUG")
    assert on_s3.manifest.catalog.startswith(s3_root)
    assert library.open_catalog(on_s3.manifest.catalog).equals(undisturbed.catalog)
    # No secret in anything that the run wrote: log, products, receipts, manifest, reports, Prefect's database.
    secret = s3_server.secret_key.encode()
    written = {"terminal": (on_s3.process.stdout + on_s3.process.stderr).encode()}
    written |= {key: on_s3.store.get(key) for key in on_s3.store.list("")}
    written |= {str(p): p.read_bytes() for p in Path(prefect_api["SERVER_HOME"]).rglob("*") if p.is_file()}
    assert len(written) > 20
    assert any(name.endswith(".db") for name in written), "Prefect's database is elsewhere"
    assert any("/performance-" in name for name in written)
    assert b"score t00002]: done: " in written["terminal"]
    assert not [name for name, content in written.items() if secret in content]
    # What one and the same tile and model hold, read back through S3 and from the folder.
    (mine,), (other,) = (
        [r for r in run.receipts("cutouts/synthetic") if r.details["tile"] == "t00002"] for run in (on_s3, undisturbed)
    )
    cutouts = library.open_cutouts(f"{s3_root}/{mine.product}")
    local = library.open_cutouts(undisturbed.store.uri(other.product))
    assert cutouts.load().equals(local.load())
    theirs = library.load_model(undisturbed.manifest.models["pixelcnn"]).module.state_dict()
    for name, value in library.load_model(on_s3.manifest.models["pixelcnn"]).module.state_dict().items():
        assert torch.equal(value, theirs[name])
    assert here("verify", "--root", s3_root)[0] == 0
    code, output, _ = here("run", str(write_spec(story)), "--root", s3_root)
    assert (code, "Nothing to do" in output) == (0, True)
    # One object altered on the server: found, and listed.
    part = next(k for k in on_s3.store.list("scores/bright") if not k.endswith(RECEIPT_SUFFIX))
    on_s3.store.put(part, on_s3.store.get(part)[:-1])
    code, output, _ = here("verify", "--root", s3_root)
    assert (code, part in output) == (1, True)


def bad_specifications() -> dict[str, tuple[Callable[[dict[str, Any]], Any], list[str]]]:
    """What is wrong -> how to make it so, and what the message must say."""
    return {
        "unknown field": (lambda s: s["training"].update(epoch=3), ["training.epoch", "is not a field"]),
        "wrong value": (lambda s: s["cutouts"].update(size=4), ["cutouts.size", "given: 4"]),
        "unknown survey": (lambda s: s["survey"].update(kind="sdsss"), ["sdsss", "synthetic"]),
        "unknown survey option": (lambda s: s["survey"]["options"].update(tile=3), ["tile"]),
        "unknown model": (lambda s: s["models"][0].update(model="kmeans.KMean"), ["kmeans.KMean", "kmeans.KMeans"]),
        "unknown model option": (lambda s: s["models"][1]["options"].update(depth=3), ["depth", "latent, width"]),
        "unknown band": (lambda s: s["cutouts"].update(bands=["g", "y"]), ["cutouts.bands", "'y'", "g, r, i"]),
        "unknown score": (lambda s: s["scoring"].update(primary="vae_x"), ["scoring.primary", "vae_neg_elbo"]),
        "no such tile": (lambda s: s["survey"]["options"].update(revision={"t7": 1}), ["'t7'", "t00000 to t00002"]),
    }


@pytest.mark.parametrize("what", bad_specifications())
def test_bad_specification_is_refused_before_anything_is_written(
    what: str, story: dict[str, Any], write_spec: WriteSpec, here: Here, tmp_path: Path
) -> None:
    spoil, words = bad_specifications()[what]
    spoil(story)
    root = tmp_path / "store"
    code, output, errors = here("run", str(write_spec(story)), "--root", str(root))
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert all(word in errors for word in words), errors
    assert not root.exists()


def test_bad_specification_ends_the_real_command_with_2(
    galflow: Command, story: dict[str, Any], write_spec: WriteSpec, tmp_path: Path
) -> None:
    story["models"] = []
    process = galflow("run", str(write_spec(story)), "--root", str(tmp_path / "store"))
    assert process.returncode == 2
    assert "models:" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "store").exists()
