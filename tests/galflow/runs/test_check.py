"""A specification's faults are told all at once; what only some tiles have is a remark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from galflow.errors import DataError, SpecError
from galflow.runs import check, check_survey
from galflow.runs.check import check_run
from galflow.spec.run import parse_spec
from galflow.surveys.base import Image, Options, Survey, Tile
from galflow.surveys.reading.fault import Fault


class FakeOptions(Options):
    """No options."""


class FakeSurvey(Survey):
    """Ten tiles without files; a stand-in, whose faults the test gives."""

    Options = FakeOptions
    bands = ("r",)
    pixel_scale_arcsec = 0.2
    unit = "nJy"

    def __init__(self, faults: Sequence[Fault], broken: Exception | None = None) -> None:
        super().__init__("fake", "1", FakeOptions())
        self._faults, self._broken = list(faults), broken

    def tiles(self) -> list[Tile]:
        return [Tile(f"t{i}", (), ("r",)) for i in range(10)]

    def read(self, tile: Tile, band: str) -> Image:
        raise AssertionError("a check reads no pixels")

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        raise AssertionError("a check cuts nothing")

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        assert len(tiles) == 10
        if self._broken is not None:
            raise self._broken
        return self._faults


def fault(tile: str | None, field: str = "weight", problem: str = "no such file") -> Fault:
    values: dict[str, Any] = {"field": field, "problem": problem, "tile": tile, "mend": "give it"}
    return Fault(**{name: value for name, value in values.items() if name in Fault.__dataclass_fields__})


def checked(
    monkeypatch: pytest.MonkeyPatch, faults: Sequence[Fault], broken: Exception | None = None, **more: Any
) -> list[str]:
    for asking in (check, check_survey):
        monkeypatch.setattr(asking, "open_survey", lambda spec: FakeSurvey(faults, broken))
    document = {"name": "x", "survey": {"kind": "fake"}, "models": [{"name": "k", "model": "kmeans.KMeans"}]}
    return check_run(parse_spec(document | more))


def test_a_fault_of_some_tiles_is_a_remark_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    (remark,) = checked(monkeypatch, [fault(f"t{i}") for i in range(6)])
    assert remark.startswith("tiles t0, t1, t2, t3 and 2 more: ")
    assert "no such file" in remark
    (remark,) = checked(monkeypatch, [fault("t5")])
    assert remark.startswith("tile t5: ")


@pytest.mark.parametrize("tiles", [[f"t{i}" for i in range(10)], [None]])
def test_a_fault_of_all_tiles_refuses(tiles: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="no such file") as refused:
        checked(monkeypatch, [fault(tile) for tile in tiles])
    assert str(refused.value).count("no such file") == 1


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [{"name": "a", "model": "nothing.Nothing"}, {"name": "b", "model": "kmeans.KMeans", "options": {"n": 1}}]
    with pytest.raises(SpecError) as refused:
        checked(monkeypatch, [fault(None), fault(None, "zero_point", "no such keyword")], models=models)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"the specification has {len(lines) - 1} faults:"
    for words in ("no such file", "no such keyword", "'nothing.Nothing' is unknown", "no option 'n'"):
        assert sum(words in line for line in lines) == 1


def test_an_inspection_that_breaks_is_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, [], DataError("a header is cut off")) == ["a header is cut off"]
    assert checked(monkeypatch, []) == []


def test_residuals_are_asked_of_models_that_reconstruct(monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans, vae = {"name": "k", "model": "kmeans.KMeans"}, {"name": "v", "model": "vae.VAE"}
    some = {"residuals": 0.1}
    assert checked(monkeypatch, [], models=[kmeans, vae], output=some) == []
    with pytest.raises(
        SpecError, match=r"output.residuals: 0.1 .* no model of the survey reconstructs; add one of .*vae"
    ):
        checked(monkeypatch, [], models=[kmeans], output=some)
    with pytest.raises(SpecError, match=r"output.residuals_of: k \(kmeans.KMeans\) does not reconstruct"):
        checked(monkeypatch, [], models=[kmeans, vae], output=some | {"residuals_of": ["k", "v"]})
