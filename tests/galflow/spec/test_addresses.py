from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from galflow.errors import SpecError
from galflow.spec.addresses import holds_credentials
from galflow.spec.run import parse_spec
from galflow.storage.store import Store
from galflow.surveys.reading.files import expand_root, list_entries

WORDS = "galflow:hidden-7d1f"
REFUSED = r"holds credentials before an @; leave them out, and set AWS_ACCESS_KEY_ID"
PLAIN: dict[str, Any] = {
    "name": "n",
    "survey": {"kind": "hubble"},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
}


@pytest.mark.parametrize(
    ("address", "held"),
    [
        (f"http://{WORDS}@127.0.0.1:8333", True),
        ("https://key@host/path", True),
        (f"s3://{WORDS}@bucket/p", True),
        ("http://127.0.0.1:8333/a@b", False),
        ("s3://bucket/me@here", False),
        ("file:///home/me@here/x", False),
        ("/home/me@here", False),
    ],
)
def test_credentials_in_an_address_are_seen(address: str, held: bool) -> None:
    assert holds_credentials(address) == held


@pytest.mark.parametrize(
    "part",
    [
        {"store": {"endpoint_url": f"http://{WORDS}@127.0.0.1:8333"}},
        {"store": {"root": f"s3://{WORDS}@bucket/p"}},
        {"models": [{"name": "kmeans", "model": "kmeans.KMeans", "trained": f"s3://{WORDS}@bucket/m"}]},
        {"cluster": {"kind": "address", "address": f"tcp://{WORDS}@host:8786"}},
    ],
)
def test_a_specification_with_credentials_in_an_address_is_refused_and_not_repeated(part: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=REFUSED) as refused:
        parse_spec(PLAIN | part)
    assert "hidden" not in str(refused.value)


def test_so_is_a_store_that_is_opened_by_hand() -> None:
    for root, endpoint in ((f"s3://{WORDS}@b/p", None), ("s3://b/p", f"http://{WORDS}@127.0.0.1:1")):
        with pytest.raises(SpecError, match=REFUSED) as refused:
            Store.open(root, endpoint)
        assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_so_is_the_environments_own_endpoint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"http://{WORDS}@127.0.0.1:1")
    for ask in (lambda: Store.open("s3://b/p").exists("x"), lambda: list_entries("s3://b/p", "*")):
        with pytest.raises(SpecError, match=rf"^{name} {REFUSED}") as refused:
            ask()
        assert "hidden" not in str(refused.value)


def test_so_is_a_surveys_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKY_ROOT", f"s3://{WORDS}@bucket")
    with pytest.raises(SpecError, match=REFUSED) as refused:
        expand_root("${SKY_ROOT}/x")
    assert "hidden" not in str(refused.value)
