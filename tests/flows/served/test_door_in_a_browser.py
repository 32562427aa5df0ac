"""The door of `galflow serve` in a real browser: pages of others get nothing, and its own page calls nobody else."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Served

pytestmark = [pytest.mark.browser]

# All that a page can try: a request that asks first, one that the browser sends without asking (of a type that Prefect
# takes for JSON), a form, a websocket, a frame and a read. What it learnt is in window.learnt.
ATTACK = """
<!doctype html><title>harmless</title><iframe src="API/../"></iframe>
<form id=f method=post enctype="text/plain" target=sink action="API/deployments/ID/create_flow_run">
<input name='{"parameters": QUESTION, "x": "' value='"}'></form><iframe name=sink></iframe>
<script>
const body = JSON.stringify({parameters: QUESTION}), url = "API/deployments/ID/create_flow_run";
const tries = [
  () => fetch(url, {method: "POST", body, headers: {"content-type": "application/json"}}),
  () => fetch(url, {method: "POST", body: new Blob([body]), mode: "no-cors", credentials: "include"}),
  () => fetch("API/csrf-token?client=x"),
  () => fetch("API/deployments/name/survey-run/survey-adhoc"),
  () => new Promise((done, no) => {
    const s = new WebSocket("API/events/in".replace("http", "ws"), "prefect");
    s.onopen = () => done({type: "websocket", status: 200}); s.onerror = () => no(new Error("closed"));
  }),
];
document.getElementById("f").submit();
(async () => {
  const learnt = [];
  for (const attempt of tries) {
    try { const a = await attempt(); learnt.push(a.type + " " + a.status); } catch (e) { learnt.push(e.name); }
  }
  window.learnt = learnt;
})();
</script>
"""


@pytest.fixture
def hostile_page(served: Served) -> Iterator[int]:
    """The port of somebody else's server, whose page tries to start runs."""
    question = json.dumps({"spec": served.tiny | {"name": "stolen"}})
    deployment = served.deployment("survey-run/survey-adhoc")["id"]
    page = ATTACK.replace("API", served.api).replace("ID", deployment).replace("QUESTION", question)

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def others_asked(browser: webdriver.Chrome, own: str) -> list[str]:
    """What the browser's pages have asked of other hosts than ``own`` since this was asked last."""
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            asked.append(message["params"]["url"])
    assert asked, "the browser has noted no request at all"
    network = [parts for parts in map(urlsplit, asked) if parts.scheme in ("http", "https", "ws", "wss")]
    return [parts.geturl() for parts in network if parts.netloc != own]  # beside chrome:, data: and blob:


@pytest.mark.parametrize("host", [pytest.param("127.0.0.1", marks=pytest.mark.full), "evil.test"])
def test_a_page_of_another_origin_starts_nothing_and_learns_nothing(
    served: Served, browser: webdriver.Chrome, hostile_page: int, host: str
) -> None:
    served.log_in(browser)  # this browser's user has the login
    runs = {run["id"] for run in served.runs_of("survey-run/survey-adhoc")}
    browser.get(f"http://{host}:{hostile_page}/")
    learnt = served.wait_for(lambda: browser.execute_script("return window.learnt"), "the attack's end")
    assert learnt == ["TypeError", "opaque 0", "TypeError", "TypeError", "Error"]
    assert {run["id"] for run in served.runs_of("survey-run/survey-adhoc")} == runs


def test_a_name_that_was_bound_anew_to_this_machine_shows_nothing(served: Served, browser: webdriver.Chrome) -> None:
    """DNS rebinding: for the browser this is one origin, and its page may ask whatever it likes."""
    browser.get(f"http://rebound.test:{served.port}/")
    assert "this server is not called 'rebound.test:" in browser.find_element(By.TAG_NAME, "body").text
    script = "const done = arguments[0]; fetch('/api/csrf-token?client=x').then(a => done(a.status), e => done(e.name))"
    assert browser.execute_async_script(script) == 403


@pytest.mark.full
def test_who_has_the_login_starts_a_run_by_the_form_and_the_page_calls_nobody_else(
    served: Served, browser: webdriver.Chrome
) -> None:
    own = f"127.0.0.1:{served.port}"
    # By its other name, and with the cookie of who has chosen the second UI: that one calls an analytics host.
    browser.get(f"http://localhost:{served.port}/")
    browser.add_cookie({"name": "prefect_ui_version", "value": "v2"})
    browser.get(f"http://localhost:{served.port}/")
    assert browser.current_url.startswith(f"http://{own}/")
    browser.add_cookie({"name": "prefect_ui_version", "value": "v2"})
    served.log_in(browser)
    deployment = served.deployment("ingest/ingest-adhoc")
    refused = served.tiny | {"cluster": {"kind": "address", "address": "tcp://theirs:8786"}}
    served.ask(f"deployments/{deployment['id']}", {"parameters": {"spec": refused}}, "PATCH")
    try:
        for page in ("dashboard", "runs", "blocks", "v2/", f"deployments/deployment/{deployment['id']}/run"):
            browser.get(f"http://{own}/{page}")
        button = "//button[normalize-space(.) = 'Submit']"
        submit = served.wait_for(lambda: browser.find_elements(By.XPATH, button), "the form")[0]
        served.wait_for(lambda: submit.is_enabled() and "Where the work runs" in text_of(browser), "the form's fields")
        browser.execute_script("arguments[0].click()", submit)
        run = served.wait_for(lambda: served.runs_of("ingest/ingest-adhoc"), "the run that was asked for")[-1]["id"]
    finally:
        served.ask(f"deployments/{deployment['id']}", {"parameters": deployment["parameters"]}, "PATCH")
    assert served.ask(f"flow_runs/{run}")["parameters"]["spec"]["cluster"]["address"] == "tcp://theirs:8786"
    others = [url for url in others_asked(browser, own) if urlsplit(url).netloc != f"localhost:{served.port}"]
    assert others == []


def text_of(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return document.body.innerText"))


REPORT = """<!doctype html><title>a report</title><img src="points.png"><p id=p>waiting
<script>
const found = [];
try { found.push(String(localStorage.length)); } catch (e) { found.push(e.name); }
fetch("data.json").then(a => a.json()).then(d => found.push(d.answer))
  .then(() => fetch("/api/csrf-token?client=x")).then(a => found.push("read " + a.status), e => found.push(e.name))
  .then(() => { document.getElementById("p").textContent = found.join(", "); });
</script>"""


def test_a_report_opens_by_its_link_and_its_scripts_cannot_reach_the_login(
    served: Served, browser: webdriver.Chrome, tmp_path: Any
) -> None:
    from tasks.report_links import ReportFolder

    store = Store.open(tmp_path / "store")
    store.put("reports/r-1/index.html", REPORT.encode())
    store.put("reports/r-1/data.json", b'{"answer": "its own data"}')
    served.log_in(browser)
    link = ReportFolder(store.root, None, "r-1").link(served.login, "index.html")
    browser.get(f"http://127.0.0.1:{served.port}{link}")
    assert browser.title == "a report"
    said = served.wait_for(
        lambda: (t := browser.find_element(By.ID, "p").text) != "waiting" and t, "what the report's script found"
    )
    assert said == "SecurityError, its own data, TypeError"
