"""galflow init and galflow check: what they write and say, and that what init writes runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
import s3fs  # type: ignore[import-untyped]
from PIL import Image as Picture

from tests.galflow.surveys import survey_files as written

if TYPE_CHECKING:
    from conftest import Command

Here = Callable[..., tuple[int, str, str]]
KINDS = ("hsc", "legacy", "kids", "vista", "jwst", "euclid", "des", "lsst", "sdss")


@pytest.mark.parametrize("kind", KINDS)
def test_the_specification_of_every_survey_passes_plan(
    kind: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    getattr(written, kind)(tmp_path / "data" / f"My {kind}")
    code, said, errors = here("init", f"data/My {kind}")
    assert (code, errors) == (0, "")
    assert said.startswith(f"{kind}: ")
    spec = tmp_path / f"my-{kind}.yaml"
    assert "#" in spec.read_text()
    with Picture.open(tmp_path / f"my-{kind}.png") as picture:
        pixels = np.asarray(picture).astype(int).max(axis=2)
    third = pixels.shape[1] // 3
    assert [pixels[:, i * third : (i + 1) * third].max() > 150 for i in range(3)] == [True] * 3, "a star in each"
    code, planned, errors = here("plan", str(spec), "--root", str(tmp_path / "store"), "--json")
    assert code == 0, errors
    assert json.loads(planned)["remarks"] == []


def test_nothing_is_written_over(here: Here, tmp_path: Path) -> None:
    written.vista(tmp_path / "data")
    path = tmp_path / "own.yaml"
    path.write_text("mine")
    code, _, errors = here("init", str(tmp_path / "data"), "--output", str(path))
    assert code == 2
    assert "own.yaml is there already" in errors
    assert path.read_text() == "mine"
    assert not path.with_suffix(".png").exists()


def test_init_without_a_picture_and_in_json(here: Here, tmp_path: Path) -> None:
    written.vista(tmp_path / "data")
    path = tmp_path / "own.yaml"
    code, said, _ = here("init", str(tmp_path / "data"), "-o", str(path), "--no-picture", "--json")
    found = json.loads(said)
    assert (code, found["kind"], found["picture"], found["bands"]) == (0, "vista", None, ["H"])
    assert not path.with_suffix(".png").exists()
    assert any(sentence.startswith("noise: ") for sentence in found["unknown"])


def test_what_is_mixed_or_unknown_ends_with_2(here: Here, tmp_path: Path) -> None:
    written.hsc(tmp_path / "mixed")
    written.des(tmp_path / "mixed")
    code, said, errors = here("init", str(tmp_path / "mixed"), "-o", str(tmp_path / "x.yaml"))
    assert (code, said) == (2, "")
    assert "hsc: deepCoadd" in errors
    assert "des: DES2157" in errors
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("a")
    code, _, errors = here("init", str(tmp_path / "other"))
    assert code == 2
    assert "a.txt" in errors
    assert not (tmp_path / "x.yaml").exists()


def test_check_explains_a_file(here: Here, tmp_path: Path) -> None:
    written.hsc(tmp_path)
    path = next(tmp_path.glob("**/calexp-HSC-R-*.fits"))
    code, said, _ = here("check", str(path), "--json")
    (found,) = json.loads(said)
    assert code == 0
    assert [hdu["kind"] for hdu in found["hdus"]] == ["empty", "image", "image", "image", "table"]
    assert (found["recognised"], found["band"], found["image"]) == ("hsc", "r", 1)
    assert found["zero_point"] == pytest.approx(27.0, abs=1e-6)
    assert found["planes"]["NO_DATA"] == {"bit": 10, "becomes": "NO_DATA"}
    assert found["planes"]["DETECTED"] == {"bit": 5, "becomes": None}
    assert found["used"] == {"image": "HDU 1 (IMAGE)", "noise": "HDU 3 (VARIANCE)", "mask": "HDU 2 (MASK)"}
    assert found["centre_deg"] == pytest.approx([written.RA, written.DEC], abs=1e-3)
    assert found["pixel_scale_arcsec"] == pytest.approx(0.168, rel=1e-4)
    code, said, _ = here("check", str(path))
    assert code == 0
    assert "NO_DATA (bit 10) NO_DATA" in said
    assert "DETECTED (bit 5) nothing" in said


def test_check_finds_what_lies_beside(here: Here, tmp_path: Path) -> None:
    written.kids(tmp_path)
    image = tmp_path / "KiDS_DR5.0_150.1_2.2_r_sci.fits"
    (found,) = json.loads(here("check", str(image), "--json")[1])
    assert found["used"]["noise"] == "KiDS_DR5.0_150.1_2.2_r_wei.fits, beside it"
    assert found["psf"] == "FWHM 0.700 arcsec, by the header"
    (tmp_path / "KiDS_DR5.0_150.1_2.2_r_msk.fits").unlink()
    (found,) = json.loads(here("check", str(image), "--json")[1])
    assert found["used"]["mask"].startswith("missing")


def test_check_of_what_cannot_be_read_ends_with_2(here: Here, tmp_path: Path) -> None:
    written.vista(tmp_path)
    good, cut = tmp_path / "frame_1.fits", tmp_path / "cut.fits"
    cut.write_bytes(good.read_bytes()[:9000])
    code, said, errors = here("check", str(cut), str(good), str(tmp_path / "none.fits"), str(tmp_path / "a.png"))
    assert code == 2
    assert "vista: a VISTA frame, band H" in said, "the others are explained all the same"
    assert "truncated" in errors
    assert "none.fits does not exist" in errors
    assert "a.png is no FITS file by its name" in errors


TILES = {
    "hsc": ("patch", "{},4"), "legacy": ("brick", "150{}p022"), "kids": ("tile", "15{}.1_2.2"),
    "vista": ("tile", "frame_{}"), "jwst": ("tile", "jw02561-o001_t00{}_nircam"), "euclid": ("tile", "10201821{}"),
    "des": ("tile", "DES215{}-5248"), "lsst": ("patch", "4849_{}"), "sdss": ("field", "002125-1-001{}"),
}  # fmt: skip
"""Kind -> (parameter of survey_files, names of its tiles)."""


def ten_tiles(kind: str, folder: Path) -> Path:
    name, pattern = TILES[kind]
    for number in range(10):
        getattr(written, kind)(folder, seed=number, shift=0.02 * number, **{name: pattern.format(number)})
    return folder


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_what_init_writes_runs_and_finds_the_objects(
    kind: str, galflow: Command, prefect_api: dict[str, str], tmp_path: Path
) -> None:
    folder = str(ten_tiles(kind, tmp_path / "few"))
    objects_of_a_run(galflow, prefect_api, folder, tmp_path)


@pytest.mark.full
@pytest.mark.s3
@pytest.mark.parametrize("kind", ["des", "hsc"])
def test_what_init_writes_of_a_prefix_runs_and_finds_the_objects(
    kind: str, galflow: Command, prefect_api: dict[str, str], tmp_path: Path, s3_root: str
) -> None:
    """Of one whose files are compressed, and of one that has commas in its names and folders below."""
    server = s3fs.S3FileSystem(use_listings_cache=False)
    server.put(str(ten_tiles(kind, tmp_path / "few")), f"{s3_root}/a survey", recursive=True)
    assert f"kind: {kind}" in objects_of_a_run(galflow, prefect_api, f"{s3_root}/a survey", tmp_path)


def objects_of_a_run(galflow: Command, prefect_api: dict[str, str], folder: str, tmp_path: Path) -> str:
    """Run what `init` writes of ten tiles: every star is scored once. The specification."""
    spec, root = tmp_path / "few.yaml", tmp_path / "store"
    begun = galflow("init", folder, "-o", str(spec), **prefect_api)
    assert begun.returncode == 0, begun.stderr
    done = galflow("run", str(spec), "--root", str(root), **prefect_api)
    assert done.returncode == 0, done.stderr
    (folder,) = (p for p in root.glob("catalogs/*/*") if p.is_dir() and not p.name.endswith("_supplement"))
    table = pq.read_table(folder).to_pandas()
    assert len(table) == 10 * len(written.STARS)
    assert table["anomaly_score"].notna().all()
    return spec.read_text()
