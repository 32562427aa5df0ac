from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from galflow.report.report import ReportInputs, build_report

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900",
)  # fmt: skip
HEADINGS = [
    "What ran", "Most anomalous objects", "Left out of training or of the reference", "Random normal objects",
    "Why this score ranks", "Planted anomalies", "Score distributions", "Flags against the anomaly score",
    "Likelihoods and comparison with other samples", "Learning curves",
]  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} absent; scripts/install-system installs them")
    profile = tmp_path / "profile"
    profile.mkdir()
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def test_the_report_opens_in_a_browser(finished_run: ReportInputs, tmp_path: Path, browser: webdriver.Chrome):
    path = tmp_path / "index.html"
    path.write_bytes(build_report(finished_run))
    browser.get(path.as_uri())

    assert browser.get_log("browser") == []
    assert finished_run.run in browser.title
    assert [h.text for h in browser.find_elements(By.TAG_NAME, "h2")] == HEADINGS
    widths = browser.execute_script("return [...document.images].map(i => i.complete ? i.naturalWidth : 0)")
    assert len(widths) > 60
    assert min(widths) > 0
    scrolled, wide = browser.execute_script("const d = document.documentElement; return [d.scrollWidth, d.clientWidth]")
    assert 1200 < wide <= 1280
    assert scrolled <= wide
    requested = [e["message"] for e in browser.get_log("performance") if 'Network.requestWillBeSent"' in e["message"]]
    assert requested
    assert not any('"url":"http' in message for message in requested)


def test_contact_sheets_come_first_and_lead_to_the_cards(
    finished_run: ReportInputs, tmp_path: Path, browser: webdriver.Chrome
):
    path = tmp_path / "index.html"
    path.write_bytes(build_report(finished_run))
    browser.get(path.as_uri())
    # Eight pictures a row at 1280 px, and two cards or more.
    rows = browser.execute_script(
        "const tops = s => [...document.querySelectorAll(s)].map(e => Math.round(e.getBoundingClientRect().top));"
        "return [tops('#planted .sheet a'), tops('#top .card'), tops('#top .sheet a')]"
    )
    planted, cards, sheet = rows
    assert planted.count(planted[0]) == 8
    assert cards.count(cards[0]) >= 2
    assert max(sheet) < min(cards)
    # The cards of normal objects are folded away until one of them is asked for.
    card = browser.find_element(By.ID, "normal-2")
    assert not card.is_displayed()
    link = browser.find_element(By.CSS_SELECTOR, 'a[href="#normal-2"]')
    browser.execute_script("arguments[0].click()", link)  # the page scrolls smoothly, which a mouse click would miss
    assert card.is_displayed()


def test_it_fits_a_narrow_screen(finished_run: ReportInputs, tmp_path: Path, browser: webdriver.Chrome):
    path = tmp_path / "index.html"
    path.write_bytes(build_report(finished_run))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 480, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(path.as_uri())
    scrolled = browser.execute_script("return document.documentElement.scrollWidth")
    assert scrolled <= 480
