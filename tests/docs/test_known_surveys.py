"""The table of known surveys is of the presets there are, and says of each what its data model says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from galflow.surveys.preset import Preset
from galflow.surveys.resolve import survey_kinds

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "known_surveys.md"
COLUMNS = ["`kind`", "image and unit", "noise", "mask", "PSF", "primary", "verified"]
PRESETS = {kind: survey for kind, survey in survey_kinds().items() if issubclass(survey, Preset)}


def rows() -> dict[str, dict[str, str]]:
    """Kind -> column -> text, of the page's table."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `kind` |") or "| own files" in line]
    lines += [line for line in PAGE.read_text().splitlines() if re.match(r"\| `\w+` \|.*\| (real|own)[: ]", line)]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in dict.fromkeys(lines)]
    assert [cell.strip("| ") for cell in cells[0]] == COLUMNS
    return {row[0].strip("`"): dict(zip(COLUMNS, row, strict=True)) for row in cells[1:]}


def test_every_preset_has_a_row() -> None:
    assert set(rows()) == set(PRESETS)


@pytest.mark.parametrize("kind", sorted(PRESETS))
def test_a_row_says_what_the_data_model_says(kind: str) -> None:
    row, survey = rows()[kind], PRESETS[kind]
    model = survey.model
    assert all(row.values()), "a cell is empty"
    unit = row["image and unit"]
    if model.zero_point is not None:
        assert f"{model.zero_point:g}" in unit or "nanomagg" in unit
    assert (
        all(card in unit for card in model.zero_point_keywords[:1] if card not in ("PHOTZP", "FLUXMAG0"))
        or "see below" in unit
    )
    measured = model.weight is None and not survey.makes_noise
    assert row["noise"].startswith("measured") == measured
    assert row["noise"].startswith("made") == survey.makes_noise
    assert row["mask"].startswith("none") == (model.mask is None and not model.mask_names)
    if model.needed:
        assert "needed" in row["mask"]
        assert all(name in row["mask"] for names in model.needed for name in names.split("|"))
    known_psf = bool(model.fwhm) or "psfsize" in survey.extra
    assert row["PSF"].startswith(("not read", "none")) != known_psf
    flag = model.columns.get("is_primary")
    assert flag is None or f"`{flag}`" in row["primary"]
    assert re.search(r"own files .*\(.+\)|own files for .*", row["verified"]), "no document is cited"
    assert re.search(r"real|never", row["verified"]), "it does not say whether a real file was read"
