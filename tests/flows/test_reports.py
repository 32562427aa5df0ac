"""Reports by signed links, from a folder and from S3; every way out of a report's folder is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from flows.reports import NoSuchReport, read_file, reports
from galflow.spec.store import StoreSpec
from galflow.storage.store import Store
from tasks.report_links import SERVED_AT, ReportFolder, served_address

LOGIN = "galflow:a-token-of-some-length"


class Client:
    """The app, asked without a server."""

    def ask(self, method: str, link: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=reports(LOGIN))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, link)

        return asyncio.run(asked())

    def get(self, link: str) -> httpx.Response:
        return self.ask("GET", link)


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_link_opens_the_report(store: Store, client: Client) -> None:
    store.put("reports/r-1/index.html", b"<title>r-1</title>")
    store.put("reports/r-1/data/a b.json", b"{}")
    folder = ReportFolder(store.root, None, "r-1")
    shown = client.get(folder.link(LOGIN, "index.html"))
    assert (shown.status_code, shown.text) == (200, "<title>r-1</title>")
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.headers["content-security-policy"].startswith("sandbox allow-scripts ")
    assert client.get(folder.link(LOGIN, "data/a b.json")).json() == {}
    assert client.get(folder.link(LOGIN, "absent.html")).status_code == 404
    assert client.ask("POST", folder.link(LOGIN, "index.html")).status_code == 405


@pytest.mark.parametrize(
    "name",
    [
        "../r-2/index.html", "../../runs/secret", ".hidden", "a/../../r-2/index.html", "/etc/passwd", "//etc/passwd",
        "link", "up/runs/secret", "index.html\0", "a\\..\\b", "",
    ],
)  # fmt: skip
def test_nothing_but_the_reports_folder_is_read(name: str, local_store: Store) -> None:
    for key in ("reports/r-1/index.html", "reports/r-2/index.html", "runs/secret"):
        local_store.put(key, b"x")
    folder = Path(local_store.root.removeprefix("file://")) / "reports" / "r-1"
    (folder / ".hidden").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "up").symlink_to(folder.parents[1])
    named = ReportFolder(local_store.root, None, "r-1")
    assert read_file(named, "index.html") == b"x"
    with pytest.raises(NoSuchReport, match=r"report 'r-1' has no file .*; expected one such as index.html"):
        read_file(named, name)


@pytest.mark.parametrize("run", ["..", "../..", ".", "r-1/.."])
def test_nor_is_any_other_folder_named(run: str, local_store: Store, client: Client) -> None:
    local_store.put("runs/secret", b"x")
    assert client.get(ReportFolder(local_store.root, None, run).link(LOGIN, "runs/secret")).status_code == 404


def test_a_link_that_was_not_signed_with_this_login_opens_nothing(local_store: Store, client: Client) -> None:
    local_store.put("reports/r-1/index.html", b"x")
    folder = ReportFolder(local_store.root, None, "r-1")
    own = folder.link(LOGIN, "index.html")
    other = ReportFolder(local_store.root, None, "r-2").link(LOGIN, "index.html")
    forged = "/".join([*own.split("/")[:3], *other.split("/")[3:]])
    for link in (folder.link("galflow:guessed", "index.html"), forged, "/reports/x/y/index.html", "/reports/x/é/z"):
        assert client.get(link).status_code == 403


def test_a_store_that_does_not_answer_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-7d1f")
    told = client.get(ReportFolder("s3://bucket/p", "http://127.0.0.1:9", "r-1").link(LOGIN, "index.html"))
    assert (told.status_code, "the report's store does not give it" in told.text) == (502, True)
    assert "hidden-7d1f" not in told.text


def test_a_run_links_to_the_server_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    uri, catalog = "s3://b/p/reports/r-1/index.html", "s3://b/p/catalogs/c/r-1"
    with temporary_settings({PREFECT_API_AUTH_STRING: LOGIN}):
        assert served_address(uri, StoreSpec()) is None
        monkeypatch.setenv(SERVED_AT, "http://127.0.0.1:4200")
        expected = "http://127.0.0.1:4200" + ReportFolder("s3://b/p", None, "r-1").link(LOGIN, "index.html")
        assert served_address(uri, StoreSpec()) == expected
        assert served_address(catalog, StoreSpec()) is None
        # The server does not know what is in a run's own block.
        assert served_address(uri, StoreSpec(credentials_block="theirs")) is None
