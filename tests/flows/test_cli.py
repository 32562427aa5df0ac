"""What the command says, to whom, how wide, and how it ends. Whole runs are in test_story and test_faults."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml
from rich.console import Console

from flows.cli import Stage
from flows.terminal import show_plan, show_runs, terminal
from flows.terminal_run import likelihood_sentence, ratio_sentence, show_run
from galflow.models.base import abilities, all_models
from galflow.runs.plan import plan_run
from galflow.spec.run import parse_spec
from galflow.storage.receipts import Receipt, RunManifest, publish_manifest, write_receipt
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Command

Here = Callable[..., tuple[int, str, str]]
WIDTHS = (80, 100, 120)
TINY: dict[str, Any] = {
    "name": "tiny",
    "survey": {"kind": "synthetic", "options": {"tiles": 2, "tile_size": 128, "objects_per_tile": 9}},
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "comparison": {"controls": [], "samples": [{"name": "other", "survey": {"kind": "synthetic", "name": "other"}}]},
    "cluster": {"workers": 1},
}


def compared(value: float, low: float, high: float) -> dict[str, Any]:
    return {
        "auroc": {"value": value, "low": low, "high": high},
        "ks": {"value": 2 * abs(value - 0.5), "low": 0.0, "high": 1.0},
        "median_a": 4.8124407, "median_b": 4.7060165, "n_a": 216, "n_b": 400,
    }  # fmt: skip


def manifest(**changes: Any) -> RunManifest:
    share = {"value": 0.3, "low": 0.18, "high": 0.45, "n": 40}
    summary = {
        "rows": 1160, "planted": 40, "scored": 1150, "objects": 1152, "discoveries": 0, "false_discovery_rate": 0.1,
        "resolvable": False, "reference_objects": 216, "objects_needed": 55, "objects_beyond_reference": 3,
        "recall_in_top_5_percent": {"kmeans_distance": share | {"value": 0.2}, "vae_neg_elbo": share},
        "samples": {"sersic": {
            "vae_neg_elbo": compared(0.45, 0.41, 0.49),
            "wgan_anomaly": compared(0.64, 0.60, 0.68),
            "bpd_pixelcnn": compared(0.29, 0.248, 0.334),
            "loglike_pixelcnn": compared(0.71, 0.666, 0.752),
            "pixelcnn_bits_per_dim": compared(0.29, 0.248, 0.334),
        }},
    }  # fmt: skip
    whole: dict[str, Any] = {
        "run": "demo-0123456789", "name": "demo", "finished": "2026-11-22T15:52:14+00:00", "code_version": "0.1.0",
        "specification": {}, "models": {"pixelcnn": f"s3://bucket/{'long/' * 20}models/pixelcnn/0"}, "products": {},
        "catalog": f"s3://bucket/{'long/' * 20}catalogs/anomalies/demo-0123456789",
        "report": "s3://bucket/reports/demo-0123456789/index.html", "summary": summary | changes,
    }  # fmt: skip
    return RunManifest.model_validate(whole)


def printed(show: Callable[[Console], None], width: int) -> list[str]:
    """What is shown on a terminal of that width."""
    page = io.StringIO()
    show(Console(file=page, width=width, markup=False, emoji=False, highlight=False))
    return page.getvalue().splitlines()


@pytest.mark.parametrize("width", WIDTHS)
def test_summary_fits_the_terminal_and_ends_with_the_paths(width: int) -> None:
    shown = manifest()
    lines = printed(lambda out: show_run(out, shown, models=True), width)
    assert lines[-2:] == [f"catalogue  {shown.catalog}", f"report     {shown.report}"]
    assert any(shown.models["pixelcnn"] in line for line in lines)
    assert all(len(line) <= width for line in lines if "s3://" not in line)
    text = " ".join(" ".join(lines).split())
    assert (
        "1,152 objects in 1,160 rows (column is_primary marks one for each), and 40 copies of them with a planted "
        "anomaly; 2 not scored (column outcome says why)"
    ) in text
    assert "with 216 held-out objects 55 would have to outscore them all, and 3 do" in text
    assert "sersic against the sky: 400 objects against 216 held-out real ones" in text
    assert (
        "Galaxies of sersic are MORE probable than the sky's under pixelcnn: "
        "P(sersic bits/dim > sky) = 0.29 [0.25, 0.33]; 0.5 = alike"
    ) in text
    for header in ("score found recall 95% interval", "score median sky median sample P(sample > sky) KS"):
        assert header in text
    assert "vae_neg_elbo 12 of 40 30% 18% to 45%" in text


def test_likelihood_comes_first_once_and_then_what_is_farthest() -> None:
    lines = printed(lambda out: show_run(out, manifest()), 100)
    start = next(i for i, line in enumerate(lines) if "median sky" in line)
    rows = [line.split()[0] for line in lines[start + 1 : start + 4]]
    assert rows == ["pixelcnn", "wgan_anomaly", "vae_neg_elbo"]
    assert lines[start + 1].split()[:2] == ["pixelcnn", "bits/dim"]
    assert "loglike" not in " ".join(lines)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.2, 0.4, "MORE probable than"), (0.6, 0.8, "LESS probable than"), (0.45, 0.55, "about as probable as")],
)
def test_sentence_follows_the_interval(low: float, high: float, verdict: str) -> None:
    words, numbers = likelihood_sentence("tng", "glow", {"value": (low + high) / 2, "low": low, "high": high})
    assert words == f"Galaxies of tng are {verdict} the sky's under glow:"
    assert numbers == f"P(tng bits/dim > sky) = {(low + high) / 2:.2f} [{low:.2f}, {high:.2f}]; 0.5 = alike"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.2, 0.4, "LESS like the survey than"),
        (0.6, 0.8, "MORE like the survey than"),
        (0.45, 0.55, "about as much like the survey as"),
    ],
)
def test_sentence_of_a_ratio_has_the_other_direction(low: float, high: float, verdict: str) -> None:
    auroc = {"value": (low + high) / 2, "low": low, "high": high}
    found = ratio_sentence("tng", "llr_glow_sersic", auroc)
    assert found == (
        f"Galaxies of tng are {verdict} the sky's by llr_glow_sersic:",
        f"P(tng > sky) = {(low + high) / 2:.2f} [{low:.2f}, {high:.2f}]",
    )
    statistics = {"auroc": auroc, "ks": auroc, "median_a": 1.0, "median_b": 2.0, "n_a": 30, "n_b": 40}
    columns = dict.fromkeys(["bpd_glow", "loglike_glow", "llr_glow_sersic", "llr_of_nothing"], statistics)
    text = "\n".join(printed(lambda out: show_run(out, manifest(samples={"tng": columns})), 120))
    assert " ".join(found) in " ".join(text.split())
    assert text.count("like the survey") == 2, "the sentence, and what the columns mean"


def test_summary_without_samples_copies_or_report() -> None:
    shown = manifest(planted=0, samples={}, recall_in_top_5_percent={}, discoveries=7).model_copy(
        update={"report": None}
    )  # fmt: skip
    text = "\n".join(printed(lambda out: show_run(out, shown), 100))
    assert "7 objects stand out at a false discovery rate of 10%" in text
    assert "planted" not in text
    assert "against the sky" not in text
    assert "report" not in text
    empty = "\n".join(printed(lambda out: show_run(out, manifest(samples={"few": {}})), 120))
    assert "few against the sky: too few scored objects" in empty


def test_failures_keep_their_brackets_and_colons() -> None:
    reason = "ingest t1: size [4] is not in [8, 512] :warning: [/red]"
    text = "\n".join(printed(lambda out: show_run(out, manifest(failures=[reason])), 120))
    assert reason in text
    assert "1 of its parts failed" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_runs_are_listed_the_newest_last(width: int) -> None:
    newer = manifest().model_copy(update={"run": "later-1", "finished": "2027-01-01T00:00:00+00:00"})
    lines = printed(lambda out: show_runs(out, [newer, manifest()]), width)
    assert lines[0].split() == ["run", "finished", "(UTC)", "objects", "scored", "models"]
    assert lines[1].split() == ["demo-0123456789", "2026-11-22", "15:52", "1,152", "1,150", "pixelcnn"]
    assert lines[2].startswith("later-1")


@pytest.mark.parametrize("width", WIDTHS)
def test_plan_shows_each_stage_and_why(width: int, local_store: Store) -> None:
    planned = plan_run(parse_spec(TINY), local_store)
    lines = printed(lambda out: show_plan(out, planned, local_store.root), width)
    assert lines[0].split() == ["stage", "done", "to", "do", "why"]
    assert all(len(line) <= width for line in lines if "file://" not in line)
    stages = [line[:13].strip() for line in lines if line[:1].isalpha() and line[:4] not in ("stag", "run ")]
    assert stages[:4] == ["ingest", "ingest other", "join", "join other"]
    assert stages[4:8] == ["train", "score", "score other", "compare"]
    assert "tile t00000 is new; tile t00001 is new" in " ".join(" ".join(lines).split())
    assert lines[-1] == "15 of 15 products to do, then catalogue, report and manifest."


# --- the commands, within this process


def test_lines_stay_whole_where_there_is_no_terminal(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(TINY))
    code, output, _ = here("plan", str(path), "--root", str(tmp_path / "store"))
    assert code == 0
    assert "\ningest           0      2  tile t00000 is new; tile t00001 is new\n" in output
    assert not any(line.endswith(" ") for line in output.splitlines())
    assert terminal().width > 10_000


def test_read_only_commands_on_an_empty_store(here: Here, tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    assert "No run has been published at" in here("runs", "--root", root)[1]
    assert json.loads(here("runs", "--root", root, "--json")[1]) == []
    assert "nothing to verify; is --root right?" in here("verify", "--root", root)[1]
    assert json.loads(here("verify", "--root", root, "--json")[1]) == {
        "products": 0, "faults": [], "discarded": [],
    }  # fmt: skip
    code, output, errors = here("show", "demo-1", "--root", root)
    assert (code, output) == (2, "")
    assert errors == f"error: no run 'demo-1' has been published at file://{root}; published: none\n"
    assert not (tmp_path / "store").exists()


def test_published_run_is_listed_shown_and_verified(here: Here, local_store: Store) -> None:
    publish_manifest(local_store, manifest())
    sums = {"": local_store.put("scores/a/1/t/0.parquet", b"sound")}
    write_receipt(local_store, Receipt(product="scores/a/1/t/0.parquet", fingerprint="0", files=sums))
    root = ("--root", local_store.root)
    assert [m["run"] for m in json.loads(here("runs", *root, "--json")[1])] == ["demo-0123456789"]
    assert json.loads(here("show", "demo-0123456789", *root, "--json")[1]) == manifest().model_dump(mode="json")
    assert here("show", "demo-0123456789", *root)[1].endswith(f"report     {manifest().report}\n")
    code, output, _ = here("verify", *root)
    assert (code, output) == (0, f"1 product at {local_store.root}: all as their receipts say\n")
    local_store.put("scores/a/1/t/0.parquet", b"altered")
    code, output, _ = here("verify", *root)
    assert code == 1
    assert "7 bytes instead of 5" in output
    assert output.splitlines()[-2].endswith(": 1 fault(s)")
    assert output.splitlines()[-1] == "`galflow verify --discard` lets the next run make what is damaged anew"
    code, output, _ = here("verify", *root, "--json")
    assert (code, len(json.loads(output)["faults"])) == (1, 1)
    code, output, _ = here("verify", *root, "--discard")
    assert code == 1
    assert output.endswith("discarded 1 of them: the next run makes them anew\n")
    assert here("verify", *root)[0] == 0


def test_models_are_listed_with_sources_scores_and_abilities(here: Here) -> None:
    listed = json.loads(here("models", "--json")[1])
    assert set(listed) == set(all_models())
    assert listed["wgan.WGAN"]["abilities"] == abilities(all_models()["wgan.WGAN"])
    text = here("models")[1]
    for name, model in all_models().items():
        assert f"\n{name} ({model.source})\n" in text
        for score, meaning in model.scores.items():
            assert any(line.split(None, 1) == [score, meaning] for line in text.splitlines()), score


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["run"], "Missing argument 'SPEC.yaml'"),
        (["run", "x.yaml", "--until", "nope"], "'nope' is not one of 'ingest', 'train'"),
        (["sample", "model", "-n", "0"], "Input should be greater than or equal to 1"),
        (["serve", "--port", "80"], "Input should be greater than or equal to 1024"),
        (["run", "no-such.yaml"], "cannot read the specification no-such.yaml"),
        (["sample", "model", "-o", "x.jpg"], "'.jpg' is not known; end it in .png, .fits, .zarr"),
        (["show", "x", "--root", "ftp://host/x"], "galflow stores to a folder, file:// or s3://bucket/prefix"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(here: Here, words: list[str], said: str) -> None:
    code, output, errors = here(*words)
    assert (code, output) == (2, "")
    assert said in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors


def test_unexpected_error_keeps_its_trace(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(store: Store) -> list[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr("galflow.storage.receipts.list_runs", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        here("runs")


def test_help_needs_no_heavy_library() -> None:
    heavy = ("torch", "prefect", "distributed", "zarr", "astropy")
    code = f"import sys, flows.cli; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert found.stdout == "[]\n"


# --- a real flow


REFUSED_LATER = """
import sys
from galflow.errors import StoreError
from galflow.storage.store import Store

def refuse(store):
    if "flows.survey_run" in sys.modules:
        print(*sys.modules["flows.survey_run"].FLOWS)
        raise StoreError("the disk is gone; bring it back")

Store.require_writable = refuse

if __name__ == "__main__":
    from flows.cli import main
    main()
"""


@pytest.mark.full
def test_error_inside_a_flow_is_said_once_and_without_a_trace(
    galflow: Command, prefect_api: dict[str, str], tmp_path: Path
) -> None:
    """The store goes away between the plan and the run."""
    script, spec = tmp_path / "command.py", tmp_path / "tiny.yaml"
    script.write_text(REFUSED_LATER)
    # Refused before the cluster is asked for anything, so none need be there.
    spec.write_text(yaml.safe_dump(TINY | {"cluster": {"kind": "address", "address": "tcp://127.0.0.1:1"}}))
    ended = subprocess.run(
        [sys.executable, str(script), "run", str(spec), "--root", str(tmp_path / "store"), "--until", "ingest"],
        env=os.environ | galflow.environment | prefect_api, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert set(ended.stdout.split()) == set(get_args(Stage))
    progress, *said = ended.stderr.splitlines()
    assert progress.endswith("15 of 15 products to do. Starting Prefect and the workers ...")
    assert said == ["error: the disk is gone; bring it back"]


@pytest.mark.full
def test_a_run_imports_nothing_of_the_folder_that_it_is_started_in(galflow: Command, tmp_path: Path) -> None:
    """As the console script is: `python -m` itself would look there first."""
    for name in ("galflow", "tasks", "flows"):
        (tmp_path / f"{name}.py").write_text('raise SystemExit("somebody\'s own module was imported")')
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(TINY))
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "GALFLOW_"))}
    environment |= galflow.environment | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    words = ["run", "spec.yaml", "--root", "store", "--until", "ingest"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flows.cli", *words], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ingest is done" in done.stdout


def test_schema_explains_one_part_and_prints_json_where_nobody_reads(here: Here) -> None:
    code, page, _ = here("schema", "training")
    assert (code, page.splitlines()[0]) == (0, "training")
    assert "batch_size: integer; 1 or more; default 64" in page
    code, rows, _ = here("schema", "training", "--json")
    assert (code, json.loads(rows)["fields"][0]["name"]) == (0, "epochs")
    code, whole, _ = here("schema")
    assert (code, json.loads(whole)["title"]) == (0, "RunSpec")
    code, _, error = here("schema", "nonesuch")
    assert code == 2
    assert "there is no part 'nonesuch'" in error


def test_version_is_the_installed_one(here: Here) -> None:
    code, told, _ = here("--version")
    assert (code, told) == (0, f"galflow {importlib.metadata.version('galflow')}\n")
