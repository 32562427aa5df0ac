"""The explorer's pages in a browser: select by an expression, sort, open, draw a line around, take along."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from flows.gate import Gate, own_names
from galflow.explore.explored import ExploredRun
from galflow.explore.pages import PAGES
from galflow.explore.service import create_app
from tests.galflow.explore.conftest import COUNT, EACH, FIRST_ID, PICTURED, RUN, SCRIPT

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900",
)  # fmt: skip
TOKEN = "browser-test-token"
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def address(local_run: ExploredRun) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    page = f"http://127.0.0.1:{port}"
    app = Gate(create_app(local_run, TOKEN), page, own_names(port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield page
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} absent; scripts/install-system installs them")
    folder = tmp_path_factory.mktemp("browser")
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.downloads = folder  # type: ignore[attr-defined]
    yield driver
    driver.quit()


def _open(
    browser: webdriver.Chrome, address: str, *, width: int = 1280, dark: bool = False
) -> WebDriverWait[webdriver.Chrome]:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(address)
    waiting = WebDriverWait(browser, WAIT_SECONDS)
    waiting.until(lambda b: b.execute_script("return document.documentElement.dataset.ready"))
    return waiting


def test_an_expression_selects_and_a_click_opens(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/#token={TOKEN}")
    assert "token" not in browser.current_url  # nor in the history
    assert f"{COUNT} of" in browser.find_element(By.CSS_SELECTOR, ".count").text
    field = browser.find_element(By.ID, "where")
    field.send_keys("mag_r < \n")
    waiting.until(lambda b: "at its end" in b.find_element(By.ID, "where-said").text)
    field.clear()
    field.send_keys("flags & 1 == 0 and anomaly_rank > 2\n")
    waiting.until(lambda b: "29 of" in b.find_element(By.CSS_SELECTOR, ".count").text)
    drawn = "return getComputedStyle(document.querySelector('.grid .thumb')).backgroundImage.startsWith('url(\"blob:')"
    waiting.until(lambda b: b.execute_script(drawn))
    browser.find_element(By.CSS_SELECTOR, ".grid a").click()
    waiting.until(lambda b: b.find_element(By.ID, "title").text == "M2")
    waiting.until(lambda b: "no. 1 in this order" in b.find_element(By.TAG_NAME, "main").text)
    assert [e["message"] for e in browser.get_log("browser") if "400 (Bad Request)" not in e["message"]] == []


def test_the_table_sorts_pages_and_shows_scripts_as_text(browser: webdriver.Chrome, address: str) -> None:
    columns = "source_name,mag_r,anomaly_rank"
    waiting = _open(browser, f"{address}/table.html#token={TOKEN}&columns={columns}")
    cells = browser.find_elements(By.CSS_SELECTOR, "table.data tbody tr:first-child td")
    assert cells[1].text == SCRIPT
    assert not browser.execute_script("return [...document.scripts].some(s => s.textContent.includes('alert'))")
    browser.find_elements(By.CSS_SELECTOR, "table.data thead button")[2].click()  # rank: falls now
    first = "table.data tbody tr:first-child td:last-child"
    waiting.until(lambda b: b.find_element(By.CSS_SELECTOR, first).text == str(COUNT))
    browser.find_element(By.CSS_SELECTOR, "[data-step='1']").click()
    waiting.until(lambda b: b.find_element(By.CSS_SELECTOR, first).text == "10")


def _downloaded(browser: webdriver.Chrome, waiting: WebDriverWait[webdriver.Chrome]) -> list[str]:
    """The lines of the CSV file, which is taken away."""
    path = Path(browser.downloads) / f"{RUN}.csv"  # type: ignore[attr-defined]
    waiting.until(lambda _: path.exists())
    lines = path.read_text().splitlines()
    path.unlink()
    return lines


def _drag_around(browser: webdriver.Chrome, share: float = 1.0) -> None:
    """A line around the left ``share`` of a map."""
    canvas = browser.find_element(By.CSS_SELECTOR, ".map canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    wide, tall = canvas.size["width"], canvas.size["height"]
    across = int(share * (wide - 90))
    drag = webdriver.ActionChains(browser, duration=10)
    drag.move_to_element_with_offset(canvas, -wide // 2 + 70, -tall // 2 + 20).click_and_hold()
    for dx, dy in ((across, 0), (0, tall - 70), (-across, 0)):
        drag.move_by_offset(dx, dy)
    drag.release().perform()


def test_a_line_drawn_on_the_map_selects(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/map.html#token={TOKEN}&x=x&y=y")
    assert f"{COUNT} rows in view" in browser.find_element(By.CSS_SELECTOR, ".count").text
    _drag_around(browser)
    waiting.until(lambda b: f"{COUNT} rows within the line" in b.find_element(By.TAG_NAME, "main").text)
    browser.find_element(By.LINK_TEXT, "Show them").click()
    waiting.until(lambda b: f"{COUNT} of" in b.find_element(By.CSS_SELECTOR, ".count").text)


def test_a_line_drawn_on_the_latents_narrows_what_is_taken_along(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/latents.html#token={TOKEN}")
    assert f"{COUNT} rows in view" in browser.find_element(By.CSS_SELECTOR, ".count").text
    _drag_around(browser, 0.5)
    said = waiting.until(lambda b: re.search(r"(\d+) rows within the line", b.find_element(By.TAG_NAME, "main").text))
    count = int(said[1])
    assert 0 < count < COUNT
    browser.find_element(By.XPATH, "//button[text()='Only these here']").click()
    waiting.until(lambda b: f"{count} rows in view" in b.find_element(By.CSS_SELECTOR, ".count").text)
    browser.find_element(By.CSS_SELECTOR, ".take summary").click()
    browser.find_element(By.CSS_SELECTOR, "[data-format=csv]").click()
    assert len(_downloaded(browser, waiting)) == 1 + count
    browser.find_element(By.LINK_TEXT, "Show them on the sky").click()
    waiting.until(lambda b: "map.html" in b.current_url and b.find_elements(By.CSS_SELECTOR, ".count"))
    waiting.until(lambda b: f"{count} rows in view" in b.find_element(By.CSS_SELECTOR, ".count").text)
    browser.find_element(By.XPATH, "//button[text()='All rows again']").click()
    waiting.until(lambda b: f"{COUNT} rows in view" in b.find_element(By.CSS_SELECTOR, ".count").text)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("number", "origin"), [(0, "stored residual pictures"), (PICTURED, "computed now")])
def test_an_object_has_its_reconstruction_and_where_it_is_from(
    browser: webdriver.Chrome, address: str, number: int, origin: str
) -> None:
    waiting = _open(browser, f"{address}/object.html#token={TOKEN}&id={FIRST_ID + number}")
    waiting.until(lambda b: origin in b.find_element(By.CSS_SELECTOR, ".explained").text)
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.explained canvas')].map(c => new Set(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert len(drawn) == 2  # the reconstruction and what it leaves
    assert min(drawn) > 3
    assert browser.get_log("browser") == []


def test_a_range_of_right_ascension_may_cross_0(browser: webdriver.Chrome, address: str) -> None:
    for low, high, count in ((150.5, 149.5, COUNT - EACH), (-210.5, -209.5, EACH), (149, 152, COUNT), (0, 360, COUNT)):
        _open(browser, f"{address}/table.html#token={TOKEN}&in.ra={low}..{high}")
        assert f"{count} of" in browser.find_element(By.CSS_SELECTOR, ".count").text


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_a_page_has_no_fault_for_those_who_see_otherwise_and_fits_a_phone(
    name: str, browser: webdriver.Chrome, address: str
) -> None:
    _open(browser, f"{address}/{name}.html#token={TOKEN}")
    browser.execute_script("localStorage.setItem('galflow-person', 'ann')")  # else the label page only asks who it is
    for dark in (False, True):
        waiting = _open(browser, f"{address}/{name}.html#token={TOKEN}", dark=dark)
        if name == "object":
            waiting.until(lambda b: "stored" in b.find_element(By.CSS_SELECTOR, ".explained").text)
        for menu in browser.find_elements(By.CSS_SELECTOR, "details"):
            browser.execute_script("arguments[0].open = true", menu)
        # What is a fault in the dark alone is one of contrast.
        found = Axe().run(browser, options={"runOnly": ["color-contrast"]} if dark else {"resultTypes": ["violations"]})
        serious = [
            (v["id"], node["target"]) for v in found["violations"] if v["impact"] in ("serious", "critical")
            for node in v["nodes"]
        ]  # fmt: skip
        assert serious == [], f"{name}, {'dark' if dark else 'light'}"
    _open(browser, f"{address}/{name}.html#token={TOKEN}", width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_a_selection_is_downloaded(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/table.html#token={TOKEN}&where=object_id < {FIRST_ID + 4}")
    browser.find_element(By.CSS_SELECTOR, ".take summary").click()
    browser.find_element(By.CSS_SELECTOR, "[data-format=csv]").click()
    waiting.until(lambda b: "4 rows as CSV" in b.find_element(By.ID, "where-said").text)
    assert len(_downloaded(browser, waiting)) == 5


def test_without_the_token_a_page_says_how_it_is_opened(browser: webdriver.Chrome, address: str) -> None:
    browser.get(f"{address}/")
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    waiting = WebDriverWait(browser, WAIT_SECONDS)
    waiting.until(lambda b: "open the address that `galflow explore` printed" in b.find_element(By.ID, "live").text)
