"""What a Secret block may hold, and where it goes."""

from __future__ import annotations

import os
from typing import Any

import pytest
from prefect.blocks.system import Secret

from galflow.errors import SpecError
from galflow.spec.store import StoreSpec
from tasks.credentials import use_credentials

KEYS = {"AWS_ACCESS_KEY_ID": "some", "AWS_SECRET_ACCESS_KEY": "thing"}


def in_block(value: Any, monkeypatch: pytest.MonkeyPatch) -> StoreSpec:
    for name in KEYS:
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr(Secret, "load", lambda name: Secret(value=value))
    return StoreSpec(root="s3://bucket/x", credentials_block="store-keys")


@pytest.mark.parametrize("value", [KEYS, '{"AWS_ACCESS_KEY_ID": "some", "AWS_SECRET_ACCESS_KEY": "thing"}'])
def test_a_blocks_keys_replace_those_of_the_environment(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_credentials(in_block(value, monkeypatch))
    assert {name: os.environ[name] for name in KEYS} == KEYS


def test_without_a_block_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    in_block(KEYS, monkeypatch)
    use_credentials(StoreSpec())
    assert os.environ["AWS_ACCESS_KEY_ID"] == "before"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a-secret", "does not hold a JSON object such as"),
        ({}, "does not hold a JSON object such as"),
        ({"AWS_ACCESS_KEY_ID": 5}, "does not hold a JSON object such as"),
        ({"a-secret": "x"}, r"has 1 name\(s\) besides AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_holds_something_else_is_refused_and_not_repeated(
    value: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = in_block(value, monkeypatch)
    with pytest.raises(SpecError, match=told) as refused:
        use_credentials(spec)
    assert "a-secret" not in str(refused.value)
    assert os.environ["AWS_ACCESS_KEY_ID"] == "before"
