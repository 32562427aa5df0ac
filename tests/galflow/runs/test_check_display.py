"""Pictures that were stretched for display are known before any work; what cannot be seen in one stretch is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image as Picture

from galflow.errors import SpecError
from galflow.runs.check import check_run
from galflow.spec.run import parse_spec


def pictures(folder: Path, count: int = 3) -> dict[str, Any]:
    """A survey of small PNG files."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / f"a{i}.png")
    return survey(folder)


def survey(folder: Path, **options: Any) -> dict[str, Any]:
    base = {"root": str(folder), "pattern": "*", "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": 0.7}
    return {"kind": "stamps", "name": folder.name, "options": base | options}


def checked(survey: dict[str, Any], model: str = "kmeans.KMeans", **more: Any) -> list[str]:
    document = {"name": "x", "survey": survey, "models": [{"name": "m", "model": model}], "cutouts": {"size": 16}}
    return check_run(parse_spec(document | more))


def test_pictures_are_remarked_on(tmp_path: Path) -> None:
    found = pictures(tmp_path / "p")
    (remark,) = checked(found)
    assert "were stretched for display already" in remark
    assert "in a linear stretch, from black at 0 to their white" in remark
    (remark,) = checked(found, stretch={"softening_sigma": 3.0})
    assert "stretched by an asinh again" in remark
    found["options"]["display_stretched"] = False
    assert checked(found) == []


def test_files_of_both_kinds_are_refused_with_both_named(tmp_path: Path) -> None:
    found = pictures(tmp_path / "p")
    fits.writeto(tmp_path / "p" / "b.fits", np.ones((3, 16, 16), np.float32))
    with pytest.raises(SpecError, match=r"a\d\.png was stretched for display already .* b\.fits was not.*declare"):
        checked(found)


def test_a_sample_of_flux_is_not_compared_with_pictures(tmp_path: Path) -> None:
    found, other = pictures(tmp_path / "p"), tmp_path / "q"
    other.mkdir()
    fits.writeto(other / "b.fits", np.ones((3, 16, 16), np.float32))
    compared = {"samples": [{"name": "mock", "survey": survey(other)}]}
    with pytest.raises(
        SpecError, match=r"the pictures of the survey were .* pixels of comparison sample mock are flux"
    ):
        checked(found, comparison=compared)
    (remark,) = checked(found, comparison={"samples": [{"name": "mock", "survey": pictures(tmp_path / "r")}]})
    assert "linear" in remark


def test_a_model_of_flux_is_refused_on_pictures(tmp_path: Path) -> None:
    found = pictures(tmp_path / "p")
    with pytest.raises(SpecError, match=r"flow_vae\.FlowVAE models flux.*display_stretched: false, or stretch\.kind"):
        checked(found, model="flow_vae.FlowVAE")
    (remark,) = checked(found, model="flow_vae.FlowVAE", stretch={"kind": "asinh"})
    assert "asinh again" in remark
