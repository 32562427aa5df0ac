"""Prefect's UI in a real browser: the ad-hoc form is filled in and submitted; the run's page shows progress and report.

With GALFLOW_SCREENSHOTS=docs/images it writes the pictures of docs/service.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from flows.form_values import specification
from galflow.models.base import all_models
from galflow.spec.run import parse_spec
from galflow.storage.receipts import list_runs
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Served

pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.timeout(900)]

COMPLAINTS = ("Can't connect", "Oops", "Authentication failed")
TALL = (1280, 1450)
"""Prefect draws an artifact only where it is seen; a run's lie below its timeline."""
# The field with this label (its n-th), as the form draws it: a line, or a list to choose from.
FIELD = """
const labels = [...document.querySelectorAll('.schema-form-property__label')].filter(
    e => e.textContent.replace('(Optional)', '').trim() === arguments[0]);
const field = labels[arguments[1]]?.closest('.schema-form-property');
return field?.querySelector('textarea, input, select') ?? null;
"""


@pytest.fixture
def picture(browser: webdriver.Chrome) -> Callable[[str], None]:
    """Keeps what the browser shows, if pictures are asked for; fails if Prefect says there that something is wrong."""
    folder = os.environ.get("GALFLOW_SCREENSHOTS")

    def keep(name: str) -> None:
        if folder:
            time.sleep(1.5)  # the page's own animations
        # Prefect says so, and keeps on saying it, where a request gets no answer, or a 5xx, 401 or 403.
        assert [words for words in COMPLAINTS if words in text_of(browser)] == []
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            browser.save_screenshot(str(Path(folder) / f"{name}.png"))

    return keep


def text_of(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def field(served: Served, browser: webdriver.Chrome, label: str, number: int = 0) -> WebElement:
    found = served.wait_for(lambda: browser.execute_script(FIELD, label, number), f"the field {label}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def write(served: Served, browser: webdriver.Chrome, label: str, value: str, number: int = 0) -> None:
    found = field(served, browser, label, number)
    found.send_keys(Keys.CONTROL, "a")
    found.send_keys(value)


def choices(select: WebElement) -> list[str]:
    return [str(o.get_attribute("value")) for o in select.find_elements(By.TAG_NAME, "option")]


def choose(browser: webdriver.Chrome, select: WebElement, value: str) -> None:
    """As its list does, which lies over the plain one."""
    change = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
    browser.execute_script(change, select, value)


def click(browser: webdriver.Chrome, words: str) -> bool:
    """Click what carries just these words; whether there is such a thing. Not a choice of a list."""
    for element in browser.find_elements(By.XPATH, f"//*[not(self::option)][normalize-space(.) = '{words}']")[::-1]:
        if element.is_displayed():
            browser.execute_script("arguments[0].click()", element)
            return True
    return False


def whole_form(browser: webdriver.Chrome) -> None:
    """The window as tall as the form."""
    height = browser.execute_script("return document.querySelector('form').scrollHeight")
    browser.set_window_size(1280, int(height) + 300)


def labels(browser: webdriver.Chrome) -> list[str]:
    """Of the fields that are drawn, from above."""
    script = "return [...document.querySelectorAll('.schema-form-property__label')].map(e => e.textContent)"
    return [label.removesuffix("(Optional)").strip() for label in browser.execute_script(script)]


def test_the_form_opens_short_and_says_what_is_wrong_before_a_run_is_made(
    served: Served, browser: webdriver.Chrome, picture: Callable[[str], None]
) -> None:
    served.log_in(browser)
    picture("deployments")
    deployment = served.deployment("survey-run/survey-adhoc")["id"]
    before = len(served.runs_of("survey-run/survey-adhoc"))
    browser.get(f"http://127.0.0.1:{served.port}/deployments/deployment/{deployment}/run")
    assert field(served, browser, "Name").get_attribute("value") == "first-run"
    assert choices(field(served, browser, "Model")) == sorted(all_models())
    assert "Side in pixels of the reference band." in text_of(browser)
    hidden = {"Batch Size", "Softening Sigma", "Codec", "Controls", "Dashboard", "Endpoint Url", "Gallery"}
    assert not hidden & set(labels(browser))
    assert len(labels(browser)) < 25
    whole_form(browser)
    picture("adhoc-form")

    # Whichever kind is chosen, and after whichever, its own fields are drawn.
    for group, kind, own in (
        ("files", "stamps", "Pattern"),
        ("simulations", "synthetic", "Tiles"),
        ("surveys", "sdss", "Root"),
        ("files", "fits_tiles", "Root"),
        ("surveys", "sdss", "Root"),
    ):
        assert click(browser, group)
        served.wait_for(lambda kind=kind: click(browser, kind), f"the kind {kind}")
        served.wait_for(lambda kind=kind, own=own: {kind, own} <= set(labels(browser)), f"the fields of {kind}")
    write(served, browser, "Root", "/data/frames")
    write(served, browser, "Cutout size", "2")
    assert click(browser, "Submit")
    sentence = "should be greater than or equal to 8 (given: 2)"
    served.wait_for(lambda: f"To mend: size {sentence}" in text_of(browser), "the sentence")
    assert text_of(browser).count(sentence) == 2  # at the field, and beside the button
    whole_form(browser)
    picture("adhoc-form-fault")
    assert len(served.runs_of("survey-run/survey-adhoc")) == before

    # What a program sends past the form, and only the data can tell: the run ends with these very words.
    options = {"root": "/no-such", "bands": {"r": "{tile}.fits"}}
    nowhere = served.tiny | {"survey": {"kind": "fits_tiles", "options": options}}
    run = served.start_run("survey-run/survey-adhoc", nowhere)
    assert served.end_of(run) == "FAILED"
    told = served.message(run)
    assert "/no-such" in told
    (refused,) = served.ask("artifacts/filter", artifact_of(run, "galflow-refused"))
    assert "/no-such" in refused["data"]


def artifact_of(run: str, key: str) -> dict[str, Any]:
    return {"flow_runs": {"id": {"any_": [run]}}, "artifacts": {"key": {"any_": [key]}}}


def test_the_form_starts_a_run_whose_page_shows_progress_pictures_and_the_report(
    served: Served, browser: webdriver.Chrome, picture: Callable[[str], None], tmp_path: Path
) -> None:
    served.log_in(browser)
    deployment = served.deployment("survey-run/survey-adhoc")["id"]
    # What the form starts out with is the deployment's: a run of seconds instead of minutes.
    slow = {"training": {"batch_size": 8}}
    vae = {"name": "vae", "model": "vae.VAE", "more": {"options": {"latent": 4, "width": 8}}}
    wild = {**vae, "name": "wild", "more": {"training": {"learning_rate": 1e6, "epochs": 1}}}
    options = {"tiles": 1, "more": {"tile_size": 128, "objects_per_tile": 20, "survey": {"name": "mock"}}}
    tiny = {
        "name": "served",
        "survey": {"simulations": {"synthetic": options}},
        "size": 16,
        "models": [vae, wild],
        "epochs": 800,
        "workers": 1,
        "root": str(tmp_path / "store"),
        "more": slow | {"cutouts": {}, "cluster": {"performance_report": True}},
    }
    served.ask(f"deployments/{deployment}", {"parameters": {"spec": tiny}}, "PATCH")
    browser.get(f"http://127.0.0.1:{served.port}/deployments/deployment/{deployment}/run?again")
    served.wait_for(lambda: field(served, browser, "Name").get_attribute("value") == "served", "the new form")
    write(served, browser, "Name", "from-the-form")
    write(served, browser, "Seed", "7", labels(browser).count("Seed") - 1)
    write(served, browser, "Release", "dr9")
    choose(browser, field(served, browser, "Pixels"), "quantised")
    before = len(served.runs_of("survey-run/survey-adhoc"))
    assert click(browser, "Submit")
    run = served.wait_for(lambda: served.runs_of("survey-run/survey-adhoc")[before:], "the run that was asked for")[0]
    spec = parse_spec(specification(run["parameters"]["spec"]))
    assert (spec.name, spec.seed, spec.survey.release) == ("from-the-form", 7, "dr9")
    assert spec.cutouts.pixels == "quantised"
    assert spec.survey.options == {"tiles": 1, "tile_size": 128, "objects_per_tile": 20}

    progress(served, browser, picture, run["id"])
    assert served.end_of(run["id"]) == "COMPLETED", served.complained
    assert len(list_runs(Store.open(tmp_path / "store"))) == 1
    top(served, browser, picture, run["id"])
    report(served, browser, picture, run["id"])


def top(served: Served, browser: webdriver.Chrome, picture: Callable[[str], None], run: str) -> None:
    """The artifact galflow-top: pictures that are drawn."""
    (page,) = served.ask("artifacts/filter", artifact_of(run, "galflow-top"))
    browser.set_window_size(1280, 1450)
    browser.get(f"http://127.0.0.1:{served.port}/artifacts/artifact/{page['id']}")
    sizes = "return [...document.querySelectorAll('table img')].map(i => [i.complete, i.naturalWidth])"
    found = served.wait_for(lambda: browser.execute_script(sizes), "the pictures")
    assert found == [[True, 16]] * 12
    picture("run-top")


def progress(served: Served, browser: webdriver.Chrome, picture: Callable[[str], None], run: str) -> None:
    """While it runs its page shows its stages, and how far each is."""
    served.wait_for(lambda: "galflow-train" in served.artifacts_of(run), "the training")
    open_tab(served, browser, run, "Task Runs")
    served.wait_for(lambda: "train" in text_of(browser).split("Task Runs")[-1], "the training on the run's page")
    picture("run-page")
    browser.set_window_size(*TALL)
    open_tab(served, browser, run, "Artifacts")
    served.wait_for(lambda: "ingest: 1 of 1 done" in text_of(browser), "the progress")
    picture("run-progress")


def watched(served: Served, browser: webdriver.Chrome, picture: Callable[[str], None], run: str, report: Any) -> None:
    """The artifact galflow-run: a row for each stage, and links."""
    (page,) = served.ask("artifacts/filter", artifact_of(run, "galflow-run"))
    browser.set_window_size(1280, 1100)
    browser.get(f"http://127.0.0.1:{served.port}/artifacts/artifact/{page['id']}")
    served.wait_for(lambda: "done before" in text_of(browser), "the run's table")
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "table tbody tr")]
    assert [row.split()[:4] for row in rows if row.startswith(("ingest", "train", "score"))] == [
        ["ingest", "1", "0", "0"], ["train", "1", "0", "1"], ["score", "1", "0", "0"],
    ]  # fmt: skip
    assert "1 failed. Run the same specification again" in text_of(browser)
    links = {str(a.get_attribute("href")) for a in browser.find_elements(By.TAG_NAME, "a")}
    assert report in links
    assert any("/performance-" in link for link in links)
    picture("run-watched")


def open_tab(served: Served, browser: webdriver.Chrome, run: str, name: str) -> None:
    browser.get(f"http://127.0.0.1:{served.port}/runs/flow-run/{run}")
    served.wait_for(lambda: click(browser, name), f"the tab {name}")


def report(served: Served, browser: webdriver.Chrome, picture: Callable[[str], None], run: str) -> None:
    """When it has ended its page leads to the report, by the artifact that holds the link."""
    address = served.report_link(run)
    assert address.startswith(f"http://127.0.0.1:{served.port}/reports/")
    open_tab(served, browser, run, "Artifacts")
    cards = served.wait_for(
        lambda: [a for a in browser.find_elements(By.TAG_NAME, "a") if "galflow-report" in a.text], "the report's card"
    )
    browser.get(str(cards[0].get_attribute("href")))
    links = served.wait_for(
        lambda: [a for a in browser.find_elements(By.TAG_NAME, "a") if a.get_attribute("href") == address], "the link"
    )
    assert links[0].text == "the run's report"
    picture("run-report")
    before = browser.window_handles
    browser.execute_script("arguments[0].click()", links[0])
    served.wait_for(lambda: "from-the-form" in title(browser, before), "the report")
    watched(served, browser, picture, run, address)


def title(browser: webdriver.Chrome, before: list[str]) -> str:
    """Of what a link has opened, in this window or in a new one."""
    new = [window for window in browser.window_handles if window not in before]
    browser.switch_to.window((new or before)[0])
    return browser.title
