"""The explorer's pages in a browser: select by an expression, sort, open, draw a line around, take along."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from flows.gate import Gate, own_names
from galflow.explore.explored import ExploredRun
from galflow.explore.service import create_app
from tests.galflow.explore.conftest import COUNT, FIRST_ID, RUN, SCRIPT

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


def _open(browser: webdriver.Chrome, address: str) -> WebDriverWait[webdriver.Chrome]:
    browser.get("about:blank")
    browser.get(address)
    waiting = WebDriverWait(browser, WAIT_SECONDS)
    waiting.until(lambda b: b.execute_script("return document.documentElement.dataset.ready"))
    return waiting


def test_an_object_is_reconstructed_when_asked_and_the_next_one_too(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/object.html#token={TOKEN}&id={FIRST_ID + 3}")
    assert not browser.find_elements(By.CSS_SELECTOR, "canvas[aria-label='Reconstruction by pca']")
    browser.find_element(By.XPATH, "//button[text()='Reconstruct it']").click()
    made = "canvas[aria-label='Reconstruction by pca']"
    waiting.until(lambda b: b.find_elements(By.CSS_SELECTOR, made))
    assert browser.find_elements(By.CSS_SELECTOR, "canvas[aria-label^='Data minus reconstruction by pca']")
    browser.execute_script("location.hash = arguments[0]", f"id={FIRST_ID + 4}")
    waiting.until(lambda b: b.find_element(By.ID, "title").text == "M4")
    waiting.until(lambda b: b.find_elements(By.CSS_SELECTOR, made))


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


def test_a_line_drawn_on_the_map_selects(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/map.html#token={TOKEN}&x=x&y=y")
    assert f"{COUNT} rows in view" in browser.find_element(By.CSS_SELECTOR, ".count").text
    canvas = browser.find_element(By.TAG_NAME, "canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    wide, tall = canvas.size["width"], canvas.size["height"]
    drag = webdriver.ActionChains(browser, duration=10)
    drag.move_to_element_with_offset(canvas, -wide // 2 + 70, -tall // 2 + 20).click_and_hold()
    for dx, dy in ((wide - 90, 0), (0, tall - 70), (90 - wide, 0)):
        drag.move_by_offset(dx, dy)
    drag.release().perform()
    waiting.until(lambda b: f"{COUNT} rows within the line" in b.find_element(By.TAG_NAME, "main").text)
    browser.find_element(By.LINK_TEXT, "Show them").click()
    waiting.until(lambda b: f"{COUNT} of" in b.find_element(By.CSS_SELECTOR, ".count").text)


def test_a_selection_is_downloaded(browser: webdriver.Chrome, address: str) -> None:
    waiting = _open(browser, f"{address}/table.html#token={TOKEN}&where=object_id < {FIRST_ID + 4}")
    browser.find_element(By.CSS_SELECTOR, ".take summary").click()
    browser.find_element(By.CSS_SELECTOR, "[data-format=csv]").click()
    waiting.until(lambda b: "4 rows as CSV" in b.find_element(By.ID, "where-said").text)
    path = Path(browser.downloads) / f"{RUN}.csv"  # type: ignore[attr-defined]
    waiting.until(lambda _: path.exists())
    assert len(path.read_text().splitlines()) == 5


def test_without_the_token_a_page_says_how_it_is_opened(browser: webdriver.Chrome, address: str) -> None:
    browser.get(f"{address}/")
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    waiting = WebDriverWait(browser, WAIT_SECONDS)
    waiting.until(lambda b: "open the address that `galflow explore` printed" in b.find_element(By.ID, "live").text)
