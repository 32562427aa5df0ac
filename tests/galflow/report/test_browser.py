"""The pages in a browser, opened as a double click opens them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import uvicorn
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from flows.reports import reports
from galflow.report.inputs import ReportInputs
from galflow.report.report import choose_report, report_files
from galflow.report.site.gallery import Gallery
from galflow.report.site.latents import latent_map
from galflow.report.site.pages import PAGES
from galflow.report.site.sheets import make_sheet
from tasks.report_links import ReportFolder

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900",
)  # fmt: skip
LOGIN = "galflow:a-token-of-some-length"
LIVE = ("anomalies", "object", "tiles", "latents")
"""Pages with a part that script makes."""
HOSTILE = "<img src=x onerror=\"document.title='stolen'\"></script><script>document.title='stolen'</script>"


@pytest.fixture(scope="module")
def folder(finished_run: ReportInputs) -> Path:
    """The whole report of a small run, in which names, labels and the survey's release hold scripts."""
    survey = finished_run.spec.survey.model_copy(update={"release": HOSTILE})
    chosen = choose_report(replace(finished_run, spec=finished_run.spec.model_copy(update={"survey": survey})))
    rows = chosen.gallery.rows
    column = rows.column_names.index("triage")
    # What a triage would say, which so small a run does not learn: every other object of the first ten is an artefact.
    triage = ["artefact" if i % 2 == 0 and i < 10 else "galaxy" for i in range(len(rows))]
    rows = rows.set_column(column, "triage", pa.array(triage))
    rows = rows.append_column("source_name", pa.array([HOSTILE] * len(rows)))
    rows = rows.append_column("label", pa.array([HOSTILE if i % 3 == 0 else None for i in range(len(rows))]))
    chosen = replace(chosen, gallery=Gallery(rows, ()))
    store, key = finished_run.store, "reports/in-a-browser"
    encoder = finished_run.models[str(chosen.encoder)]
    for job in chosen.jobs:
        assert make_sheet(store, key, job, chosen.explaining if job.index == 0 else {}, encoder).reasons == ()
    latents = latent_map(store, key, str(chosen.encoder), {job.index: len(job.places) for job in chosen.jobs})
    for name, data in report_files(chosen, "Published now.", latents):
        store.put_once(f"{key}/{name}", data)
    return Path(store.root.removeprefix("file://"), key)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} absent; scripts/install-system installs them")
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


Open = Callable[..., webdriver.Chrome]


@pytest.fixture
def opened(folder: Path, browser: webdriver.Chrome) -> Open:
    """Opens a page, and waits until what script makes of it is there."""

    def open_page(name: str, address: str = "", *, width: int = 1280, dark: bool = False) -> webdriver.Chrome:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get("about:blank")
        browser.get(f"{(folder / f'{name}.html').as_uri()}{address}")
        if name in LIVE:
            wait(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
        return browser

    return open_page


def wait(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What the condition gives once it holds."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come to hold"
        time.sleep(0.02)
    return found


def cells(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, ".grid li a")


def ranks(browser: webdriver.Chrome) -> list[str]:
    """Of the objects in view, in order of place."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.grid li')].sort((a, b) => a.dataset.place - b.dataset.place)"
        ".map(cell => cell.querySelector('b').textContent)"
    )


def total(browser: webdriver.Chrome) -> int:
    return int(browser.find_element(By.CSS_SELECTOR, ".count").text.split()[0].replace(",", ""))


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_a_page_opens_alone_and_has_no_fault_for_those_who_see_otherwise(name: str, opened: Open):
    for dark in (False, True):
        browser = opened(name, dark=dark)
        assert [e["message"] for e in browser.get_log("browser")] == []
        assert browser.title != "stolen"
        # What is a fault in the dark alone is one of contrast.
        found = Axe().run(browser, options={"runOnly": ["color-contrast"]} if dark else {"resultTypes": ["violations"]})
        serious = [
            (v["id"], node["target"]) for v in found["violations"] if v["impact"] in ("serious", "critical")
            for node in v["nodes"]
        ]  # fmt: skip
        assert serious == [], f"{name}, {'dark' if dark else 'light'}"
    requested = [e["message"] for e in browser.get_log("performance") if 'Network.requestWillBeSent"' in e["message"]]
    assert requested
    assert not any('"url":"http' in message for message in requested)
    widths = browser.execute_script("return [...document.images].map(i => i.complete ? i.naturalWidth : 1)")
    assert min(widths, default=1) > 0


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_a_page_fits_a_narrow_screen(name: str, opened: Open):
    browser = opened(name, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_the_policy_forbids_what_is_not_the_folders_own(opened: Open):
    browser = opened("anomalies")
    browser.execute_script(
        "document.addEventListener('securitypolicyviolation', e => (window.refused = e.effectiveDirective));"
        "const made = document.createElement('script'); made.textContent = 'window.ran = 1';"
        "document.head.append(made);"
    )
    assert wait(lambda: browser.execute_script("return window.refused")) == "script-src-elem"
    assert browser.execute_script("return window.ran") is None
    browser.get_log("browser")


def test_the_most_anomalous_galaxy_that_is_no_artefact_and_bright_takes_four_clicks(opened: Open, folder: Path):
    browser, clicks = opened("index"), 0

    def click(element: WebElement) -> None:
        nonlocal clicks
        clicks += 1
        element.click()

    click(browser.find_element(By.LINK_TEXT, "Anomalies"))
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    every = total(browser)
    click(browser.find_element(By.CSS_SELECTOR, ".preset"))
    wait(lambda: total(browser) == every - 5)
    faint = browser.find_element(By.CSS_SELECTOR, 'input[aria-label="Magnitude: to"]')
    click(faint)
    faint.send_keys("20")
    wait(lambda: total(browser) < every - 5)
    first = min(cells(browser), key=lambda cell: (cell.location["y"], cell.location["x"]))
    assert ranks(browser)[0] == "#2"
    click(first)
    wait(lambda: "object.html" in browser.current_url and browser.find_elements(By.CSS_SELECTOR, ".large canvas"))
    assert clicks <= 4
    assert browser.find_element(By.TAG_NAME, "h1").text == HOSTILE
    assert "2 of " in browser.find_element(By.CSS_SELECTOR, ".facts-list").text
    aladin = browser.find_element(By.LINK_TEXT, "Aladin Lite")  # one click more
    ra, dec = browser.find_element(By.CSS_SELECTOR, ".facts-list .mono").text.split()
    assert f"target={ra}%20{dec}" in aladin.get_attribute("href")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".likes a")) == 12  # others like it: one click more
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('canvas')].map(c => new Set(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert len(pictures) == 1 + 3 + 4  # in colour, three bands, reconstruction and residual of two models
    assert min(pictures) > 5
    assert browser.get_log("browser") == []


def test_whether_a_tile_is_bad_takes_two_clicks(opened: Open):
    browser = opened("index")
    browser.find_element(By.LINK_TEXT, "Sky and tiles").click()
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    rows = browser.find_elements(By.CSS_SELECTOR, "#tiles tbody tr")
    assert rows[0].text.split()[0] == "t00009"  # failed: first
    assert "failed: DataError: the tile cannot be read; restore it" in rows[0].text
    finder = browser.find_element(By.CSS_SELECTOR, 'input[list="tile-names"]')
    finder.send_keys("t00000", Keys.ENTER)
    said = wait(lambda: browser.find_element(By.CSS_SELECTOR, ".panel").text)
    assert said.startswith("Tile t00000: doubtful, partial")
    assert "band z: the tile has no such file" in said


def test_sorting_by_a_score_orders_as_the_catalogue_does(finished_run: ReportInputs, opened: Open):
    from galflow.catalog.published import read_files

    frame = read_files(finished_run.store, finished_run.catalog).to_pandas().dropna(subset="anomaly_rank")
    wanted = frame.sort_values("vae_kl_sigma", ascending=False).anomaly_rank.astype(int).tolist()
    browser = opened("anomalies", "#sort=vae_kl_sigma&down=1")
    shown = ranks(browser)
    assert len(shown) > 20
    assert shown == [f"#{rank}" for rank in wanted[: len(shown)]]
    some = f"#{wanted[3]}"
    browser = opened("anomalies", f"#text={frame.set_index('anomaly_rank').object_id[wanted[3]]}")
    assert ranks(browser) == [some]
    place = frame.set_index("anomaly_rank").loc[wanted[3]]
    browser = opened("anomalies", f"#text={place.ra:.6f}%20{place.dec:.6f}%200.5%20arcsec")
    assert some in ranks(browser)


def test_keys_walk_through_the_gallery(opened: Open):
    browser = opened("anomalies")
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("j")
    first = wait(lambda: browser.switch_to.active_element.get_attribute("href"))
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.switch_to.active_element.get_attribute("href") != first
    browser.switch_to.active_element.send_keys(Keys.END)
    wait(lambda: browser.execute_script("return document.activeElement.closest('li')?.dataset.place") == "104")
    browser.switch_to.active_element.send_keys("/")
    assert browser.switch_to.active_element.get_attribute("type") == "search"


def test_a_line_around_points_of_the_latents_leads_to_the_gallery(opened: Open):
    browser = opened("latents")
    canvas = browser.find_element(By.CSS_SELECTOR, ".map canvas")
    drag = webdriver.ActionChains(browser, duration=20)
    wide, tall = canvas.size["width"] // 2 - 80, canvas.size["height"] // 2 - 60
    drag.move_to_element_with_offset(canvas, -wide, -tall).click_and_hold()
    for x, y in ((wide, -tall), (wide, tall), (-wide, tall)):
        drag.move_to_element_with_offset(canvas, x, y)
    drag.release().perform()
    link = wait(lambda: browser.find_elements(By.LINK_TEXT, "Show them in the gallery"))[0]
    count = int(browser.find_element(By.CSS_SELECTOR, "[role=status] b").text.split()[0])
    assert 10 < count <= 105
    link.click()
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    assert total(browser) == count


def test_without_script_the_pages_still_show_what_they_found(finished_run: ReportInputs, opened: Open):
    browser = opened("index")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(browser.current_url.replace("index", "anomalies"))
        shown = browser.find_elements(By.CSS_SELECTOR, ".sheet img")
        assert len(shown) == finished_run.spec.output.top
        assert all(image.is_displayed() for image in shown)
        browser.get(browser.current_url.replace("anomalies", "tiles"))
        assert browser.find_element(By.CSS_SELECTOR, ".sky img").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.fixture(scope="module")
def served(finished_run: ReportInputs, folder: Path) -> Iterator[str]:
    """The report as `galflow serve` gives it: behind a signed link, in a sandbox without an origin; its first page."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(reports(LOGIN), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    link = ReportFolder(finished_run.store.root, None, folder.name).link(LOGIN, "index.html")
    yield f"http://127.0.0.1:{listening.getsockname()[1]}{link}"
    server.should_exit = True
    thread.join()
    listening.close()


def test_as_galflow_serve_gives_it_the_report_works_in_its_sandbox(served: str, browser: webdriver.Chrome):
    browser.get_log("browser")
    ready = "return document.documentElement.dataset.ready"
    browser.get(served)
    assert browser.execute_script("return window.origin") == "null"
    browser.find_element(By.LINK_TEXT, "Anomalies").click()
    wait(lambda: browser.execute_script(ready))
    every = total(browser)
    browser.find_element(By.CSS_SELECTOR, ".preset").click()  # the address of the page changes
    wait(lambda: total(browser) == every - 5)
    cells(browser)[0].click()
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, ".large canvas"))
    assert browser.find_element(By.TAG_NAME, "h1").text == HOSTILE
    drawn = "const c = arguments[0]; return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert browser.execute_script(drawn, browser.find_element(By.CSS_SELECTOR, ".large canvas")) > 5
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_RIGHT)
    wait(lambda: "no. 2 in this order" in browser.find_element(By.TAG_NAME, "main").text)
    for name in ("tiles", "latents"):
        browser.get(served.replace("index.html", f"{name}.html"))
        wait(lambda: browser.execute_script(ready))
        assert browser.find_elements(By.CSS_SELECTOR, ".map canvas")
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script("return document.documentElement.dataset.theme")
    assert "stolen" not in browser.title  # neither here nor on any page before: else the browser would have warned
    assert browser.get_log("browser") == []
