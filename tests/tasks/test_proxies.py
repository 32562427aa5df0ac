"""Behind an institute's proxy this machine is asked directly; what a person has set stays."""

from __future__ import annotations

import os
import urllib.request

import pytest

from tasks.proxies import bypass_for_this_machine


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, "")  # so that it is put back
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_this_machine_is_asked_directly(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    bypass_for_this_machine()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "127.0.0.1,localhost,::1"
    assert urllib.request.proxy_bypass("127.0.0.1:4200")
    assert not urllib.request.proxy_bypass("s3.amazonaws.com")


def test_exceptions_of_before_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "mine.example, localhost")
    monkeypatch.setenv("no_proxy", ".inst.example")
    bypass_for_this_machine()
    bypass_for_this_machine()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert os.environ["NO_PROXY"] == ".inst.example,mine.example,localhost,127.0.0.1,::1"


def test_without_a_proxy_nothing_is_set() -> None:
    bypass_for_this_machine()
    assert "NO_PROXY" not in os.environ
