"""The schema as readable pages: every part has one, every field a row, and what the schema says stands in it."""

from __future__ import annotations

import pytest

from galflow.errors import SpecError
from galflow.models.base import all_models
from galflow.spec.form import run_schema
from galflow.spec.pages import FieldHelp, Schema, overview, part_help, parts, readable
from galflow.spec.run import RunSpec
from galflow.surveys.resolve import survey_kinds, survey_options


@pytest.fixture(scope="module")
def schema() -> Schema:
    return run_schema(survey_options(), all_models())


def row(schema: Schema, part: str, name: str) -> FieldHelp:
    return next(field for field in part_help(schema, part).fields if field.name == name)


def test_every_definition_every_kind_and_every_model_has_a_page(schema: Schema) -> None:
    pages = parts(schema)
    assert set(survey_kinds()) | set(all_models()) <= set(pages)
    assert {"run", "training", "cluster.slurm", "comparison.samples", "fits_tiles.psf"} <= set(pages)
    assert {"fits_tiles.catalog", "fits_tiles.detection"} <= set(pages), "what kinds share has the name it always had"
    with_fields = [d for d in schema["$defs"].values() if "properties" in d]
    assert len(pages) == len(with_fields) + 1, "a definition lacks its page, or has two"
    assert all(pages.values()), "a page does not say what it is about"


def test_a_row_for_each_field(schema: Schema) -> None:
    assert [field.name for field in part_help(schema, "run").fields] == list(RunSpec.model_fields)
    for part in parts(schema):
        for field in part_help(schema, part).fields:
            assert field.type
            assert field.default
            assert field.help, f"{part}: {field.name} has no help text"
            assert f"\n{field.name}: " in readable(schema, part)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("training", FieldHelp("batch_size", "integer", "64", "1 or more", "Objects per optimiser step.")),
        ("cutouts", FieldHelp("codec", "text", '"lz4"', "zstd, lz4", "Blosc codec: lz4 where the CPU is the limit, "
                              "zstd where the link is.")),
        ("cutouts", FieldHelp("plant", "part cutouts.plant or none", "none", "",
                              "Known anomalies to add; none by default.")),
        ("run", FieldHelp("scoring", "part scoring", "as that part says", "", "How objects are scored.")),
        ("stretch", FieldHelp("sky_sigma", "mapping of names to number or none", "none", "each above 0",
                              "Sky sigma per band in the survey's flux unit; by default the median over the training "
                              "set's tiles.")),
        ("sersic_mock", FieldHelp("axis_ratio_range", "2 x number", "[0.2, 1.0]", "", "Axis ratios, drawn evenly.")),
        ("sersic_mock", FieldHelp("like", "part survey", "required", "", "The survey to imitate: kind, options.")),
    ],
)  # fmt: skip
def test_what_a_row_says(schema: Schema, part: str, expected: FieldHelp) -> None:
    assert row(schema, part, expected.name) == expected


def test_lines_are_as_wide_as_asked_for(schema: Schema) -> None:
    assert max(len(line) for part in parts(schema) for line in readable(schema, part, 72).splitlines()) <= 72
    assert max(len(line) for line in overview(schema, 90).splitlines()[1:]) <= 90


def test_an_unknown_part_is_refused_with_the_nearest(schema: Schema) -> None:
    with pytest.raises(SpecError, match=r"no part 'traning'; expected one such as training"):
        part_help(schema, "traning")
