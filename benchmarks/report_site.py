"""A report with 10,000 objects in headless Chromium: how long it takes to open, to sort and to filter.

A made survey goes through a whole run, whose report is opened as a double click opens it. Each page is opened anew
``TIMES`` times, and each thing that a person does is done as often; what is told is the median. Times are the browser's
own (``performance.now``), from the page's request on; what sorts or filters is over once the other pictures stand.
What the models have learnt does not matter here: they train for a few epochs, so that all takes less than five minutes.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

import galflow
from benchmarks.scratch import scratch
from benchmarks.tables import Figures, Finding, Findings

TILES, OBJECTS_PER_TILE, SIDE = 24, 450, 48
TIMES = 5
OPENS_MS, FIRST_MS, ACTS_MS = 3000.0, 1000.0, 200.0
"""Asked for: the whole page, its first pictures, and each sort and filter."""
WHOLE_SECONDS = 300.0
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--window-size=1440,900",
)  # fmt: skip
_READY = "return document.documentElement.dataset.ready"
_LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
_FIRST_PICTURE = """
const done = arguments[arguments.length - 1], picture = new Image();
const look = () => document.querySelector('.grid .thumb')
  ? picture.decode().then(() => done(performance.now())) : requestAnimationFrame(look);
picture.src = 'sprites/00000.webp';
look();
"""
_ACT = """
const done = arguments[arguments.length - 1], before = document.querySelector('.count').dataset.asked;
const began = performance.now();
(%s)();
const look = () => document.querySelector('.count').dataset.asked !== before
  ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
look();
"""
_SELECT = (
    "() => {{ const s = document.querySelector('.filters select'); s.value = {!r};"
    " s.dispatchEvent(new Event('change')); }}"
)
_FILL = (
    "() => {{ const s = document.querySelector({!r}); s.value = {!r};"
    " s.dispatchEvent(new Event('input', {{bubbles: true}})); }}"
)
ACTS = {
    "sort by a score": (_SELECT.format("kmeans_distance_sigma"), _SELECT.format("anomaly_rank")),
    "filter by magnitude": (
        _FILL.format('input[aria-label="Magnitude: to"]', "21"), _FILL.format('input[aria-label="Magnitude: to"]', ""),
    ),
    "search a name": (_FILL.format("input[type=search]", "77"), _FILL.format("input[type=search]", "")),
}  # fmt: skip
"""What a person does -> script that does it, and one that undoes it."""


def lay_run(root: Path, tiles: int = TILES, objects: int = OBJECTS_PER_TILE) -> Path:
    """A whole run of a made survey; the folder of its report."""
    options = {"tiles": tiles, "tile_size": 1024, "objects_per_tile": objects, "catalog": "tile_truth"}
    spec = {
        "name": "many",
        "survey": {"kind": "synthetic", "options": options},
        "store": {"root": str(root)},
        "cutouts": {"size": SIDE},
        "models": [{"name": "pca", "model": "pca.PCA"}, {"name": "kmeans", "model": "kmeans.KMeans"}],
        "training": {"epochs": 3, "reference_fraction": 0.45},
    }
    report = galflow.run(spec).report
    assert report is not None
    return Path(report.removeprefix("file://")).parent


def measure(folder: Path) -> dict[str, list[float]]:
    """Milliseconds of each thing, ``TIMES`` times."""
    options = Options()
    for flag in _FLAGS:
        options.add_argument(flag)
    options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    driver = webdriver.Chrome(options=options, service=Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))
    try:
        return _measured(driver, folder)
    finally:
        driver.quit()


def _measured(driver: webdriver.Chrome, folder: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(TIMES):
        driver.get("about:blank")
        driver.get((folder / "index.html").as_uri())
        note("overview opens", _wait(lambda: driver.execute_script(_LOADED)))
        driver.get("about:blank")
        driver.get((folder / "anomalies.html").as_uri())
        note("first pictures", driver.execute_async_script(_FIRST_PICTURE))
        note("gallery opens", float(_wait(lambda: driver.execute_script(_READY))))
        for name, (do, undo) in ACTS.items():
            note(name, driver.execute_async_script(_ACT % do))
            driver.execute_async_script(_ACT % undo)
        driver.get("about:blank")
        driver.get((folder / "object.html").as_uri())
        note("object opens", float(_wait(lambda: driver.execute_script(_READY))))
    return found


def _wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"the page is not there after {seconds:g} s")
        time.sleep(0.01)
    return value


def tables(
    objects: int, megabytes: float, found: dict[str, list[float]], seconds: float
) -> Iterator[Figures | Findings]:
    """What was measured, and what of it was asked for; ``seconds``: that the benchmark took, its run among them."""
    limits = {"first pictures": FIRST_MS} | dict.fromkeys(ACTS, ACTS_MS)
    medians = {name: statistics.median(values) for name, values in found.items()}
    title = f"report with {objects:,} objects, {megabytes:.0f} MB, opened by double click in Chromium"
    each: dict[str, tuple[float | str, ...]] = {name: (medians[name], max(values)) for name, values in found.items()}
    yield Figures(f"{title}: milliseconds", ("median", "slowest"), each)
    rows = [Finding(f"{name}, ms", value, high=limits.get(name, OPENS_MS)) for name, value in medians.items()]
    yield Findings(title, (*rows, Finding("the run and all of this, s", seconds, high=WHOLE_SECONDS)))


def run() -> Iterator[Figures | Findings]:
    """Make the run, and open its report."""
    began = time.perf_counter()
    with scratch() as root:
        folder = lay_run(root)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        found = measure(folder)
        yield from tables(min(10_000, TILES * OBJECTS_PER_TILE), size, found, time.perf_counter() - began)
