"""A sample whose pixels are not like the survey's is refused before any work, with the reason, all four ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from galflow.errors import SpecError
from galflow.runs.check import check_run
from galflow.spec.run import parse_spec

SKY: dict[str, Any] = {"tiles": 1, "tile_size": 128, "objects_per_tile": 4, "bands": ["r"], "sky_sigma_njy": [10.0]}


def checked(sample: dict[str, Any], size: int = 16, **survey: Any) -> list[str]:
    document = {
        "name": "compared",
        "survey": {"kind": "synthetic", "options": SKY | survey},
        "cutouts": {"size": size},
        "models": [{"name": "pca", "model": "pca.PCA"}],
        "comparison": {"samples": [{"name": "mock", "survey": sample}]},
    }
    return check_run(parse_spec(document))


def mock(**options: Any) -> dict[str, Any]:
    return {"kind": "synthetic", "name": "mock", "options": SKY | options}


def pictures(folder: Path, suffix: str, **options: Any) -> dict[str, Any]:
    folder.mkdir()
    Picture.new("L", (24, 24), 7).save(folder / f"one.{suffix}")
    given = {"root": str(folder), "pattern": f"*.{suffix}", "bands": ["r"], "pixel_scale_arcsec": 0.2}
    return {"kind": "stamps", "name": "mock", "options": given | options}


def test_a_sample_like_the_survey_passes() -> None:
    assert checked(mock(seed=3, sky_sigma_njy=[5.0])) == []


def test_another_stretch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"comparison sample mock were stretched for display already, and the pixels of"
    ):
        checked(pictures(tmp_path / "jpg", "jpg"))


def test_another_unit_is_refused(tmp_path: Path) -> None:
    declared = pictures(tmp_path / "png", "png", display_stretched=False)
    with pytest.raises(SpecError, match=r"comparison sample mock: its flux is in count, the survey's in nJy"):
        checked(declared)


def test_another_size_on_the_pixels_is_refused() -> None:
    with pytest.raises(SpecError, match=r"comparison sample mock: its pixels are 0\.4 arcsec wide, the survey's 0\.2;"):
        checked(mock(pixel_scale_arcsec=0.4), pixel_scale_arcsec=0.2)
    # Images that are smaller than the cutouts: what lies beyond them would be missing on one side alone.
    like = {"kind": "synthetic", "options": SKY}
    small = {"kind": "sersic_mock", "name": "mock", "options": {"like": like, "count": 4, "stamp_size": 8}}
    with pytest.raises(SpecError, match=r"comparison sample mock: cutouts\.size: 32 pixels is more than the 16"):
        checked(small, size=32)


def test_another_psf_is_refused() -> None:
    with pytest.raises(
        SpecError, match=r"mock: its PSF in band r is declared 1\.4 arcsec wide, the survey's 0\.7; a model"
    ):
        checked(mock(psf_fwhm_arcsec=1.4))
    assert checked(mock(psf_fwhm_arcsec=0.72)) == [], "a difference that no galaxy shows"
