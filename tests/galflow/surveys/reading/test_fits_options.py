"""Options of FITS surveys as a specification carries them: through JSON, whose keys are texts."""

from galflow.spec.run import parse_spec
from galflow.surveys.reading.fits_options import MaskOptions


def test_bit_numbers_stay_numbers_on_their_way_through_the_specification() -> None:
    planes = {0: "BAD", 3: "SATURATED", "SAT": "SATURATED"}
    assert MaskOptions(pattern="m.fits", planes=planes).planes == planes
    document = {
        "name": "x",
        "survey": {"kind": "fits_tiles", "options": {"mask": {"pattern": "m.fits", "planes": planes}}},
        "models": [{"name": "k", "model": "kmeans.KMeans"}],
    }
    carried = parse_spec(document).survey.options["mask"]
    assert MaskOptions.model_validate(carried).planes == planes
