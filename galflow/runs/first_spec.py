"""The first specification of a folder: commented YAML of what was recognised, which runs as it is.

It chooses the size of cutouts and three models that need no tuning; what it could not know stands in it as comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from galflow.errors import SpecError
from galflow.spec.run import RunSpec, load_spec
from galflow.surveys.recognise import Recognised

_SIDES = (32, 48, 64, 96, 128)
"""Pixels; what models halve several times."""
_FWHM_ACROSS = 12.0
"""FWHM in a cutout: most galaxies of a ground-based survey, and the sky about them."""
_PIXELS_PER_FWHM = 4.0
"""Where no header gives the PSF: surveys sample it with 3 (HSC, DES) to 5 pixels (Legacy)."""
_LONGEST_NAME = 40
_COMMENTS_AT = 28
"""Column of comments that stand beside a value."""
_MODELS = (
    ("pca", "pca.PCA", "what the principal components of the survey's galaxies cannot draw"),
    ("features", "outliers.Mahalanobis", "how far an object lies from the others in all that is measured on it"),
    ("vae", "vae.VAE", "a variational autoencoder"),
)
"""(name, model, comment)."""


def name_of(folder: str) -> str:
    """A run's name after the last part of a folder or prefix."""
    last = re.sub(r"[^a-z0-9_.-]+", "-", folder.rstrip("/").rpartition("/")[2].lower()).strip("-_.")
    return last[:_LONGEST_NAME].rstrip("-_.") or "survey"


def cutout_side(found: Recognised) -> tuple[int, str]:
    """(pixels a side, why so many)."""
    most = min(found.shape)
    if found.ready_made:
        side = max(8, min(most, _SIDES[-1]))
        return side, "pixels: the images' own"
    known = found.fwhm_arcsec is not None
    fwhm = found.fwhm_arcsec / found.pixel_scale_arcsec if found.fwhm_arcsec is not None else _PIXELS_PER_FWHM
    side = next((side for side in _SIDES if side >= _FWHM_ACROSS * fwhm), _SIDES[-1])
    side = max(8, min(side, most))
    arcsec = side * found.pixel_scale_arcsec
    psf = f"{fwhm:.1f} pixels" if known else f"not known, {fwhm:g} pixels assumed"
    return side, f"pixels, {arcsec:.3g} arcsec: about {_FWHM_ACROSS:g} times the FWHM of the PSF ({psf})"


def spec_text(found: Recognised, folder: str, name: str) -> str:
    """The specification as commented YAML."""
    return "\n".join(_lines(found, folder, name)) + "\n"


def _lines(found: Recognised, folder: str, name: str) -> Iterator[str]:
    side, why = cutout_side(found)
    images = f"{found.images:,} image{'' if found.images == 1 else 's'}"
    yield f"# Written by `galflow init {_plain(folder)}`: {found.product}, {images}."
    yield f"# galflow plan {name}.yaml says what would be done; galflow run {name}.yaml does it."
    for sentence in found.known:
        yield f"# Found: {_plain(sentence)}."
    for sentence in found.unknown:
        yield f"# Not known: {_plain(sentence)}."
    yield f"name: {_scalar(name)}"
    yield "survey:"
    yield _beside(f"  kind: {found.kind}", f"galflow schema {found.kind} explains its options")
    yield f"  name: {_scalar(name)}"
    yield _beside('  release: "1"', "the version of these data; of another one all is made anew")
    yield "  options:"
    dumped = yaml.safe_dump(found.options, sort_keys=False, allow_unicode=True, width=10_000)
    yield from (f"    {line}" for line in dumped.splitlines())
    yield "cutouts:"
    yield _beside(f"  size: {side}", why)
    bands = ", ".join(map(_scalar, found.bands))
    yield _beside(f"  bands: [{bands}]", "the first is the reference; models see them in this order")
    yield _beside("models:", "`galflow models` lists all; which score ranks is found out")
    for label, model, comment in _MODELS:
        yield _beside(f"  - {{name: {label}, model: {model}}}", comment)
    if not found.ready_made:  # a stamp may be a scene that somebody chose
        yield "training:"
        yield _beside("  neighbours: sky", "models see sky in the place of other objects' light; keep: all light")
    yield "store:"
    yield _beside("  root: galflow-out", "or s3://bucket/prefix; credentials come from the environment")


def _beside(text: str, comment: str) -> str:
    return f"{text:<{_COMMENTS_AT}} # {comment}"


def _plain(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def _scalar(text: str) -> str:
    """A text as YAML reads it back: y and n are no truth values."""
    return text if yaml.safe_load(f"[{text}]") == [text] and text not in ("y", "n", "Y", "N") else json.dumps(text)


def write_spec(found: Recognised, folder: str, output: Path | None) -> tuple[Path, RunSpec]:
    """Write ``<name>.yaml``, or ``output``, and read it back. SpecError where the file is there already."""
    name = name_of(str(found.options["root"]))
    path = output if output is not None else Path(f"{name}.yaml")
    text = spec_text(found, folder, name)
    write_new(
        path,
        text.encode("utf-8"),
        taken="give another with --output, or remove it",
        refused="give a file in a writable folder with --output",
    )
    return path, load_spec(path)


def write_new(path: Path, data: bytes, *, taken: str, refused: str) -> None:
    """Write a file that is not there yet. SpecError, with the mend, where it is ``taken`` or cannot be written."""
    try:
        with open(path, "xb") as file:
            file.write(data)
    except FileExistsError:
        raise SpecError(f"{path} is there already, and nothing is written over it; {taken}") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be written ({error}); {refused}") from error


def recognised_json(found: Recognised, path: Path, picture: Path | None) -> dict[str, Any]:
    """What was recognised, for programs."""
    return {
        "specification": str(path),
        "picture": None if picture is None else str(picture),
        "kind": found.kind,
        "product": found.product,
        "options": found.options,
        "bands": list(found.bands),
        "pixel_scale_arcsec": found.pixel_scale_arcsec,
        "psf_fwhm_arcsec": found.fwhm_arcsec,
        "images": found.images,
        "known": list(found.known),
        "unknown": list(found.unknown),
    }
