"""A run whose objects are labelled: its latents and index made again by hand, labels in the next catalogue, and a
service that two people use at once and that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import galflow
from galflow.cutouts.batches import make_batch
from galflow.errors import SpecError
from galflow.labels.directions import LatentDirections
from galflow.labels.records import LabelBook
from galflow.labels.vectors import LATENT, RESIDUAL, TEXTURE, read_vectors
from galflow.runs.check import check_run
from galflow.runs.label_export import labels_as
from galflow.runs.opened import PublishedRun
from galflow.runs.plan import plan_run
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import verify_store
from galflow.storage.store import Store
from tasks import stages
from tasks.cluster import running_cluster
from tasks.publish import publish
from tasks.run_record import RunRecord
from tasks.similar import encode_latents, index_latents


def specify(root: str, similar: str | None = "vae", **survey: Any) -> RunSpec:
    options = {"tiles": 2, "tile_size": 192, "objects_per_tile": 40, "magnitude_range": [18.5, 21.5]}
    document = {
        "name": "labels",
        "survey": {"kind": "synthetic", "options": options} | survey,
        "cutouts": {"size": 16},
        "models": [
            {"name": "vae", "model": "vae.VAE", "options": {"latent": 2, "width": 8}},
            {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}},
        ],
        "training": {"epochs": 1, "batch_size": 16, "reference_fraction": 0.3},
        "output": {"report": False, "similar": similar},
        "store": {"root": root},
    }
    return parse_spec(document)


def run(spec: RunSpec, cluster: ClusterSpec) -> PublishedRun:
    """The stages as the flow calls them."""
    ran = RunRecord(spec.model_copy(update={"cluster": cluster}))
    ran.cutouts = {None: stages.ingest.fn(ran)}
    ran.joined = {None: stages.join.fn(ran)}
    ran.models = stages.train_models.fn(ran)
    ran.ranking = stages.choose_rule.fn(ran)
    ran.scores = {None: stages.score_cutouts.fn(ran)}
    if spec.output.similar:
        ran.latents = encode_latents.fn(ran)
        ran.index = index_latents.fn(ran)
    assert not ran.failures
    return galflow.open_run(f"{ran.store.root}/runs/{publish.fn(ran).run}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSpec]:
    spec = specify("unused").model_copy(update={"cluster": ClusterSpec(workers=1)})
    with running_cluster(spec) as reached:
        yield reached.cluster


@pytest.fixture(scope="module")
def first(cluster: ClusterSpec, tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    return run(specify(str(tmp_path_factory.mktemp("labels") / "store")), cluster)


def test_latents_are_what_the_model_says_of_the_pixels(first: PublishedRun) -> None:
    model, seen = first.model("vae"), 0
    for receipt in first.manifest.products["latents"]:
        key = receipt.removesuffix(".receipt.json")
        found = {name: read_vectors(first.store, key, name) for name in (LATENT, RESIDUAL, TEXTURE)}
        tile = key.split("/")[3]
        for row in first.catalog.filter(pc.equal(first.catalog["tile"], tile)).to_pylist()[:5]:
            cutout = first.cutout(row["object_id"])
            if cutout.row["row"] != row["row"] or row["outcome"] != "scored":
                continue
            batch = make_batch(cutout.flux[None], cutout.ivar[None], model.stretch, with_ivar=True)
            np.testing.assert_allclose(found[LATENT][row["row"]], model.encode(batch)[0], rtol=1e-3, atol=1e-4)
            assert np.isfinite(found[RESIDUAL][row["row"]]).all()
            assert np.isfinite(found[TEXTURE][row["row"]]).all()
            seen += 1
    assert seen > 4


def test_similar_objects_are_the_nearest_of_all(first: PublishedRun) -> None:
    latents = {}
    for receipt in first.manifest.products["latents"]:
        key = receipt.removesuffix(".receipt.json")
        latents[key.split("/")[3]] = read_vectors(first.store, key)
    rows = [r for r in first.catalog.to_pylist() if r["is_primary"] and r["outcome"] == "scored"]
    points = np.stack([latents[r["tile"]][r["row"]] for r in rows])
    for at in (0, 7, len(rows) - 1):
        distance = np.sqrt(np.square(points - points[at]).sum(1))
        order = [i for i in np.argsort(distance, kind="stable") if i != at][:5]
        found = first.similar(rows[at]["object_id"], 5)
        assert list(found["object_id"]) == [rows[i]["object_id"] for i in order]
        np.testing.assert_allclose(found["distance"], distance[order], rtol=1e-3, atol=1e-4)
    with pytest.raises(SpecError, match="has no latents"):
        first.similar(-1)


def test_the_explorer_has_the_latents_as_columns(first: PublishedRun) -> None:
    parts = [receipt.removesuffix(".receipt.json") for receipt in first.manifest.products["latents"]]
    vectors = {key.split("/")[3]: read_vectors(first.store, key) for key in parts}
    known = np.concatenate([part[np.isfinite(part).all(1)] for part in vectors.values()])
    directions = LatentDirections.of(known)
    found = first.query("vae_latent_1 is not null", columns=["tile", "row", "vae_latent_1", "vae_latent_2"]).to_pylist()
    assert len(found) == len(known)
    for row in found[::7]:
        (place,) = directions.places(vectors[row["tile"]][[row["row"]]])
        np.testing.assert_allclose([row["vae_latent_1"], row["vae_latent_2"]], place, rtol=1e-4, atol=1e-4)


def test_a_plan_knows_what_similar_objects_need_and_a_store_is_whole(first: PublishedRun) -> None:
    spec = specify(first.store.root.removeprefix("file://"))
    assert plan_run(spec, first.store).done
    without = plan_run(specify(spec.store.root, None), first.store)
    assert not without.similar
    assert [u.done for u in without.scores] == [True, True], "asking for similar objects changes no score"
    assert not verify_store(first.store).faults
    with pytest.raises(SpecError, match=r"output.similar: kmeans \(kmeans.KMeans\) does not encode.*expected vae"):
        check_run(specify(spec.store.root, "kmeans"))


def test_labels_are_live_and_the_next_runs_catalogue_has_them(first: PublishedRun, cluster: ClusterSpec) -> None:
    top = [int(i) for i in first.top(6)["object_id"]]
    for number, object_id in enumerate(top[:4]):
        first.label(object_id, "interesting" if number % 2 == 0 else "artefact", by="ann")
    first.label(top[0], "normal", by="bob")
    first.label(top[4:6], "ring galaxy", by="bob")
    with pytest.raises(SpecError, match="has no object 5"):
        first.label(5, "normal")
    found = first.labels.set_index("object_id")
    assert list(found["label"]) == ["disputed", "artefact", "interesting", "artefact", "ring galaxy", "ring galaxy"]
    again = first.rerank(3)
    assert int(again["object_id"][0]) == top[2], "what people call interesting comes first"
    assert "label" not in first.catalog.column_names, "what is published stays as it is"
    for kind in ("csv", "parquet", "fits"):
        assert len(labels_as(first.labelling.table(), kind)) > 100
    # A new release cuts everything anew; scores of the old one stay done, and labels are found by id or position.
    spec = specify(first.store.root.removeprefix("file://"), None, release="2")
    second = run(spec, cluster)
    assert second.name != first.name
    told = {r["object_id"]: r for r in second.catalog.to_pylist() if r["label"] is not None}
    assert {r["label"] for r in told.values()} == {"disputed", "artefact", "interesting", "ring galaxy"}
    assert len(told) == 6
    assert second.summary["labels"] == {
        "classes": {"artefact": 2, "ring galaxy": 2, "disputed": 1, "interesting": 1}, "elsewhere": 0, "unreadable": [],
    }  # fmt: skip
    assert len(second.labels) == 6
    schema = pq.read_schema(next(Path(first.store.root.removeprefix("file://")).glob(f"catalogs/*/{second.name}/*")))
    assert schema.field("label").metadata[b"ucd"] == b"meta.code.class"


class Served:
    """`galflow label` in a process of its own."""

    def __init__(self, root: str, name: str) -> None:
        command = [sys.executable, "-m", "flows.cli", "label", name, "--root", root, "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "300"})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = re.search(r"http://\S+", line)[0]
        self.page, _, self.token = self.address.partition("/label.html#token=")

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.page}/api/{path}", data, headers), timeout=60
        ) as got:
            return json.load(got)

    def refusal(self, path: str, body: dict[str, Any] | None = None) -> int:
        """With which status it refuses."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.ask(path, body)
        refused.value.close()
        return refused.value.code

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.communicate()


@pytest.fixture(scope="module", params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def served(
    request: pytest.FixtureRequest, first: PublishedRun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Store]]:
    root = str(tmp_path_factory.mktemp("served") / "copy")
    if request.param == "s3":
        root = f"s3://{request.getfixturevalue('s3_server').bucket}/labels-{uuid.uuid4().hex[:12]}"
    store = Store.open(root)
    for folder in ("runs", "catalogs", "scores", "cutouts", "latents", "indexes"):
        for key in first.store.list(folder):
            store.put(key, first.store.get(key))
    made = Served(root, first.name)
    yield made, store
    made.end(signal.SIGKILL)


def test_the_service_undoes_and_refuses(served: tuple[Served, Store]) -> None:
    service, store = served
    (row,) = service.ask("labels/next?by=ann")["rows"]
    told = service.ask("labels", {"ids": [row["object_id"]], "label": "ring galaxy", "by": "ann"})
    assert told["counts"] == {"ring galaxy": 1}
    assert service.ask("rows?label=ring%20galaxy&limit=5")["total"] == 1
    assert "ring galaxy" in service.ask("schema")["labels"]
    undone = service.ask("labels/undo", {"by": "ann"})
    assert [r["object_id"] for r in undone["rows"]] == [row["object_id"]]
    assert undone["counts"] == {}
    likes = service.ask(f"objects/{row['object_id']}/similar?count=4")["rows"]
    assert len(likes) == 4
    assert sorted(r["distance"] for r in likes) == [r["distance"] for r in likes]
    for body in (
        {"ids": ["x"], "label": "normal", "by": "ann"},
        {"ids": [row["object_id"]], "label": "A/B", "by": "ann"},
    ):
        assert service.refusal("labels", body) == 400
    token, service.token = service.token, "another"
    assert service.refusal("labels") == 401
    service.token = token
    assert len(LabelBook(store, "synthetic").read()) == 2, "the label, and that it was taken back"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    program, driver = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
    if not (program.exists() and driver.exists()) and os.environ.get("CI") != "true":
        pytest.skip(f"{program} or {driver} absent; scripts/install-system installs them")
    options = Options()
    options.binary_location = str(program)
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
    for flag in (*flags, "--window-size=1280,900", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(str(driver)))
    yield started
    started.quit()


@pytest.mark.browser
def test_the_page_is_used_by_keys_alone_and_axe_finds_nothing(
    served: tuple[Served, Store], browser: webdriver.Chrome
) -> None:
    service, store = served
    before = len(LabelBook(store, "synthetic").read())

    def shows(words: str) -> None:
        said = (By.CSS_SELECTOR, ".label-said")
        WebDriverWait(browser, 60).until(lambda seen: words in seen.find_element(*said).text)

    browser.get(service.address)
    WebDriverWait(browser, 60).until(lambda seen: seen.switch_to.active_element.get_attribute("id") == "person")
    browser.switch_to.active_element.send_keys("cy", Keys.ENTER)
    WebDriverWait(browser, 60).until(lambda seen: seen.find_elements(By.CSS_SELECTOR, ".label-stamp[src]"))
    first = browser.find_element(By.CSS_SELECTOR, ".label-words h2").text
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("1")
    shows(f"{first}: Interesting. Stored.")
    body.send_keys("2")
    shows("Artefact. Stored.")
    body.send_keys("u")
    shows("taken back")
    added = LabelBook(store, "synthetic").read()[before:]
    assert [(label.by, label.label) for label in added] == [("cy", "interesting"), ("cy", "artefact"), ("cy", None)]
    assert str(added[0].object_id) == first
    assert Axe().run(browser)["violations"] == []
    assert browser.get_log("browser") == []


def test_two_label_at_once_and_a_kill_loses_at_most_what_is_in_flight(served: tuple[Served, Store]) -> None:
    service, store = served
    acknowledged: list[tuple[str, str]] = []
    asked: list[tuple[str, str]] = []
    enough = threading.Event()

    def person(name: str) -> None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            while True:
                rows = service.ask(f"labels/next?by={name}")["rows"]
                if not rows:
                    return
                mine = (name, rows[0]["object_id"])
                asked.append(mine)
                service.ask("labels", {"ids": [mine[1]], "label": "normal", "by": name})
                acknowledged.append(mine)
                if len(acknowledged) >= 24:
                    enough.set()

    people = [threading.Thread(target=person, args=(name,)) for name in ("ann", "bob")]
    for one in people:
        one.start()
    assert enough.wait(60)
    service.end(signal.SIGKILL)
    for one in people:
        one.join()
    given = (label for label in LabelBook(store, "synthetic").read() if label.label == "normal")
    stored = [(label.by, str(label.object_id)) for label in given]
    assert set(acknowledged) <= set(stored) <= set(asked)
    assert len(asked) - len(stored) <= 2, "each of the two had at most one label in flight"
    assert len({i for _, i in stored}) == len(stored), "nobody was shown what another was looking at"
