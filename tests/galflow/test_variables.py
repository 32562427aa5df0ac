from __future__ import annotations

import logging
import pickle

import pytest

from galflow import variables
from galflow.errors import SpecError, StoreError
from galflow.logs import LogSettings
from galflow.runs.check import check_run
from galflow.spec.run import parse_spec
from galflow.surveys.reading.files import expand_root, list_entries


@pytest.fixture(autouse=True)
def _nothing_expanded_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "_expanded", {})


def test_a_message_names_the_variable_and_never_shows_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKY_SECRET", "wJalrXUtnFEMI/K7MDENG")
    options = {"root": "${SKY_SECRET}/x", "pattern": "*.fits", "pixel_scale_arcsec": 0.2}
    spec = parse_spec(
        {
            "name": "n",
            "survey": {
                "kind": "stamps",
                "options": options,
            },
            "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
        }
    )
    with pytest.raises(SpecError) as told:
        check_run(spec)
    assert "wJalr" not in str(told.value)
    assert "${SKY_SECRET}/x" in str(told.value)


def test_also_where_the_error_has_travelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKY_SECRET", "/data/of/mine/")
    uri = expand_root("${SKY_SECRET}tile")
    error = StoreError(f"{uri} cannot be read")
    monkeypatch.setattr(variables, "_expanded", {})  # the process that it travels to has expanded nothing
    assert str(pickle.loads(pickle.dumps(error))) == "file://${SKY_SECRET}tile cannot be read"


def test_also_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKY_SECRET", "hidden-word")
    expand_root("${SKY_SECRET}")
    record = logging.makeLogRecord({"msg": "reading %s", "args": ("/x/hidden-word/y",), "levelname": "INFO"})
    for form in ("text", "json"):
        line = LogSettings(format=form).formatter().format(record)  # type: ignore[arg-type]
        assert "hidden-word" not in line
        assert "/x/${SKY_SECRET}/y" in line


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("/d", "file:///d/tile and /data", "file://${V}/tile and /data"),
        ("a", "can a tile be read", "can ${V} tile be read"),
        ("/", "/a/b", "/a/b"),
        ("secretsecret", "xsecretsecretx", "x${V}x"),
    ],
)
def test_short_values_are_whole_words(value: str, text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V", value)
    variables.expand("${V}")
    assert variables.without_values(text) == shown


def test_what_stands_beside_it_can_be_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("SKY_HERE", str(tmp_path))
    assert list_entries(expand_root("${SKY_HERE}"), "*") == []
