"""Where an object's position opens in the tools that astronomers use; links alone, nothing is loaded from them."""

from __future__ import annotations

from galflow.spec.survey import SurveySpec

_ALADIN = "https://aladin.cds.unistra.fr/AladinLite/?target={ra}%20{dec}&fov={fov}"
_COMMON = (
    ("Aladin Lite", _ALADIN),
    (
        "SIMBAD",
        "https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={ra}%20{dec}&CooFrame=ICRS&Radius=10&Radius.unit=arcsec",
    ),
    (
        "NED",
        "https://ned.ipac.caltech.edu/conesearch?search_type=Near%20Position%20Search&in_csys=Equatorial"
        "&in_equinox=J2000&coordinates={ra}d%20{dec}d&radius=0.2",
    ),
)
_OWN = {
    "sdss": ("SDSS Navigate", "https://skyserver.sdss.org/dr18/VisualTools/navi?ra={ra}&dec={dec}&scale=0.2"),
    "legacy": ("Legacy Surveys viewer", "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&layer=ls-dr10&zoom=15"),
    "des": (
        "DES in Legacy Surveys viewer",
        "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&layer=des-dr1&zoom=15",
    ),
    "hsc": ("HSC in Aladin Lite", _ALADIN + "&survey=CDS/P/HSC/DR2/wide/color-i-r-g"),
    "kids": ("KiDS in Aladin Lite", _ALADIN + "&survey=CDS/P/KiDS/DR5/color-gri"),
    "euclid": ("Euclid in ESASky", "https://sky.esa.int/?target={ra}%20{dec}&fov={fov}&cooframe=J2000"),
    "jwst": ("ESASky", "https://sky.esa.int/?target={ra}%20{dec}&fov={fov}&cooframe=J2000"),
    "hubble": ("ESASky", "https://sky.esa.int/?target={ra}%20{dec}&fov={fov}&cooframe=J2000"),
}
"""Word in a survey's kind or name -> its own viewer."""


def viewers(survey: SurveySpec) -> list[dict[str, str]]:
    """Name and address of each, with {ra}, {dec} and {fov} in degrees to be filled in; the survey's own first."""
    words = f"{survey.kind} {survey.survey_name}".lower()
    own = [found for word, found in _OWN.items() if word in words][:1]
    return [{"name": name, "url": url} for name, url in (*own, *_COMMON)]
