"""Specifications that no person means: real ones, changed at random, by a seed."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SPECIFICATIONS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "flows" / "demo.yaml"]

VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 99_999, 10**9, 2**31, 2**63, -(2**63), 10**30, 10**4000, 0.5, 1e308, 1e-308, -0.0,
    float("nan"), float("inf"), "", " ", "x", "\0", "a\0b", "../..", "/", "/dev/null", "~", "${NO_SUCH}",
    "{tile}", "{" * 30, "{tile}" * 40, "*" * 80, "**/" * 40, "**" * 40 + ".fits", "*a" * 60,
    "{id}{band}" * 20, "[", "(a+)+$", r"((a|a)*)*(\d+)$", "(?P<id>", r"(x{999}){999}",
    "2026-13-45", "2026-02-30T25:61:61Z", "0x" + "f" * 300, "1_000", "é" * 300, "🌌", "\ud800", "a" * 9_999,
    "a" * 200_000, "s3://", "s3://no-such-bucket-of-galflow/x", "http://x", "file://", "os.system", "galflow.surveys",
    "a\nb", "\x1b[31m", [], {}, [[]], {"": ""}, {"a": {"b": {"c": 1}}}, [None] * 50, list(range(5000)), ["x", "x"],
    {"min": 2, "max": 1}, {1: 2}, {"__class__": "x"}, {"$ref": "#"}, "__import__('os')", "!!python/object:os.system",
]  # fmt: skip


def _places(document: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        found += _places(value, (*place, key))
    return found


def _change(document: Any, chance: random.Random) -> None:
    """One change of the values, in place."""
    place = chance.choice(_places(document))
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    last, kind = place[-1], chance.randrange(8)
    if kind < 4:
        holder[last] = copy.deepcopy(chance.choice(VALUES))
    elif kind == 4:
        del holder[last]
    elif kind == 5 and isinstance(holder, dict):
        holder[chance.choice(["unknown", "Name", "kind", "options", "path", "seed", "0"])] = chance.choice(VALUES)
    elif kind == 6:
        holder[last] = [holder[last]] * chance.choice([1, 3, 50])
    else:
        for _ in range(chance.choice([2, 30, 60])):
            holder[last] = {"x": holder[last]} if chance.random() < 0.5 else [holder[last]]


FIELDS: list[tuple[str, list[Any]]] = [
    ("survey", [
        {"kind": "synthetic", "options": {"tiles": 99_999}},
        {"kind": "synthetic", "options": {"tiles": 1000, "objects_per_tile": 100_000}},
        {"kind": "synthetic", "options": {"tile_size": 8192, "tiles": 50}},
        {"kind": "synthetic", "options": {"bands": [f"b{i}" for i in range(3000)], "sky_sigma_njy": [1]}},
        {"kind": "synthetic", "options": {"pixel_scale_arcsec": 1e300}},
        {"kind": "synthetic", "options": {"magnitude_range": [-1e308, 1e308]}},
        {"kind": "synthetic", "options": {"overlap_pixels": 10**18}},
        {"kind": "synthetic", "options": {"seed": 10**18}},
        {"kind": "synthetic", "options": {"revision": {"t00000": 10**18}}},
        {"kind": "sersic_mock", "options": {"like": {"kind": "sersic_mock"}}},
        {"kind": "sersic_mock", "options": {"like": {"kind": "hubble"}, "count": 10**12}},
    ]),
    ("cutouts", [{"size": 10**6}, {"bands": ["x"] * 500}, {"plant": {"per_tile": 10**12}}]),
    ("models", [
        [{"name": "vae", "model": "vae.VAE", "options": {"latent": 10**9}}],
        [{"name": "vae", "model": "vae.VAE", "options": {"width": 10**9}}],
        [{"name": "vae", "model": "vae.VAE", "options": {"width": -3, "latent": "x"}}],
        [{"name": "nvp", "model": "realnvp.RealNVP", "options": {"steps": 10**7}}],
        [{"name": "nvp", "model": "realnvp.RealNVP", "options": {"levels": 60}}],
        [{"name": "cnn", "model": "pixelcnn_pp.PixelCNNPP", "options": {"layers": 10**8, "mixtures": 10**8}}],
        [{"name": "cnn", "model": "pixelcnn_pp.PixelCNNPP", "options": {"width": [1, 2]}}],
        [{"name": "gan", "model": "wgan.WGAN", "options": {"width": 10**6, "learning_rate": 1e300}}],
        [{"name": "k", "model": "kmeans.KMeans", "options": {"clusters": 10**15}}],
        [{"name": "k", "model": "kmeans"}], [{"name": "k", "model": "os.path"}], [{"name": "k", "model": "." * 300}],
        [{"name": f"k{i}", "model": "kmeans.KMeans"} for i in range(3000)],
        [{"name": "k", "model": "kmeans.KMeans", "trained": "file:///no/such"}],
        [{"name": "k", "model": "kmeans.KMeans", "trained": "file://"}],
        [{"name": "k", "model": "kmeans.KMeans", "trained": "s3://x"}],
    ]),
    ("training", [{"epochs": 10**18}, {"memory_gigabytes": 1e308}, {"workers": 10**9}, {"batch_size": 10**18}]),
    ("stretch", [{"sky_sigma": {"nowhere": 1e300}}, {"white_sigma": 1e308}, {"softening_sigma": 1e-320}]),
    ("scoring", [{"primary": "x" * 5000}, {"batch_objects": 10**18}]),
    ("comparison", [{"bootstraps": 10**9}, {"samples": [{"name": "x", "survey": {"kind": "x"}}] * 2000}]),
    ("cluster", [{"kind": "address", "address": "\0"}, {"memory_limit": "9" * 5000 + "GiB"}]),
    ("cluster", [{"dashboard": "x:" + "9" * 5000}, {"workers": 10**12}, {"kind": "slurm", "slurm": {"prologue": [1]}}]),
    ("store", [{"root": "\0"}, {"root": "/dev/null/x"}, {"root": "s3://"}, {"root": "ftp://x"}, {"root": "x" * 5000}]),
    ("output", [{"columns": ["x"] * 5000}, {"catalog": "../x"}, {"formats": ["fits"] * 3000}]),
]  # fmt: skip
"""Whole parts that are worth a try each."""


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + f"\nname: *a{levels - 1}\n"


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text))]


def _noise(text: str, chance: random.Random) -> str:
    letters = list(text)
    for _ in range(chance.randrange(1, 12)):
        letters[chance.randrange(len(letters))] = chance.choice("\t\n:{}[]&*!|>'\"%@`#-? ,\0\x85\ufeff0")
    return "".join(letters)


TEXTS: list[Callable[[str, random.Random], str]] = [
    _cut,
    _noise,
    lambda text, _: bomb(9) + text,
    lambda text, _: bomb(30) + text,
    lambda text, _: "a: &a [*a]\n" + text,
    lambda text, _: "x: &x {<<: *x}\n" + text,
    lambda text, _: text + "\nextra: " + "[" * 3000,
    lambda text, _: text + "\nextra: " + "{a: " * 3000,
    lambda text, _: text + "\n" + "- " * 3000,
    lambda text, _: text + "\n? " * 1000,
    lambda text, _: re.sub(r"(?m)^name: .*", "name: 2026-13-45", text),
    lambda text, _: re.sub(r"(?m)^name: .*", 'name: "a\\0b"', text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: !!int x", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: !!timestamp x", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: !!float x", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: !!bool x", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: !!binary '$'", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: !!python/object/apply:os.getcwd []", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: &n *n", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: " + "9" * 6000, text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: 1e999999999", text),
    lambda text, _: re.sub(r"(?m)^name: .*", "name: 190:20:30:40:50", text),
    lambda text, _: text + text,
    lambda text, _: "---\n" + text + "\n---\n" + text,
    lambda text, _: text + "\nseed: !!set {1, 2}",
    lambda text, _: text + "\nseed: !!omap [a: 1]",
    lambda text, _: text + "\n[1, 2]: 3",
    lambda text, _: text + "\n{a: b}: 3",
    lambda text, _: text + "\nnull: 3\n1.5: 2",
    lambda text, _: "%YAML 9.9\n---\n" + text,
    lambda _, chance: "".join(chance.choice(" \n-:[]{}&*ab0'\"") for _ in range(400)),
    lambda _, chance: bytes(chance.randrange(256) for _ in range(300)).decode("latin-1"),
    lambda text, _: text + "\nx: " + "a" * (1 << 20),
    lambda text, _: "".join(f"k{i}: {i}\n" for i in range(60_000)) + text,
    lambda _, __: "",
    lambda _, __: "[]",
    lambda _, __: "just a text",
]  # fmt: skip


def specification(number: int) -> str:
    """The text of malformed specification ``number``: the same in each run of the tests."""
    chance = random.Random(number)
    text = chance.choice(SPECIFICATIONS).read_text("utf-8")
    if number % 4 == 3:
        return TEXTS[number // 4 % len(TEXTS)](text, chance)
    document = yaml.safe_load(text)
    if number % 4 == 2:
        parts = [(name, value) for name, values in FIELDS for value in values]
        name, value = parts[number // 4 % len(parts)]
        document[name] = copy.deepcopy(value)
    for _ in range(0 if number % 4 == 2 else chance.choice([1, 1, 1, 2, 4])):
        if isinstance(document, dict) and document:
            _change(document, chance)
    with_regex = number % 16 == 4
    if with_regex:
        options = {"root": "${GALFLOW_DATA}/galaxyzoo_sloan", "pattern": "*.jpg", "pixel_scale_arcsec": 0.1}
        pattern = chance.choice(
            ["(a+)+$", r"((a|a)*)*(\d+)$", r"(.*)(.*)(.*)(.*)(.*)(.*)=", r"(a|aa)+$", r"(\w+\s?)*$"]
        )
        named = pattern.replace("(", "(?P<g>", 1)
        options |= {"id_pattern": pattern} if chance.random() < 0.5 else {"name_pattern": named}
        document = {"name": "x", "survey": {"kind": "stamps", "options": options},
                    "cutouts": {"size": 16}, "models": [{"name": "k", "model": "kmeans.KMeans"}]}  # fmt: skip
    return _dumped(document)


def _dumped(document: Any) -> str:
    """As YAML, also what the library would not write."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=10**6)
    return str(text)


def small_data(folder: Path) -> None:
    """What the examples read, a few small files of each, so that their checks get as far as they can."""
    noise = np.random.default_rng(0)

    def image(path: str, **cards: Any) -> None:
        hdu = fits.PrimaryHDU(noise.normal(0, 1, (64, 64)).astype(np.float32))
        for name, value in cards.items():
            hdu.header[name] = value
        (folder / path).parent.mkdir(exist_ok=True)
        hdu.writeto(folder / path)

    for band in "GRI":
        image(f"hsc_cosmos_patch/{band}-10054-0,2-c1_scarlet_img.fits")
    for band in ("g", "r", "i", "Z", "J"):
        image(f"kids_viking_tile/{band}.fits")
    for number in range(3):
        sky = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 0.0, "CRPIX1": 32.0,
               "CRPIX2": 32.0, "CDELT1": -1e-4, "CDELT2": 1e-4, "MAGZPT": 25.0, "SEEING": 3.0}  # fmt: skip
        image(f"viking_H_frames/image_{number}.fits", **sky)
    image("sdss_frame/SDSS_1.fits", BUNIT="nanomaggy", **{key: sky[key] for key in list(sky)[:8]})
    image("realsim_skirt_merger/photo_r_1_99_i0_total.fits", BUNIT="AB mag/arcsec2", CTYPE1="pc", CTYPE2="pc",
          CDELT1=100.0, CDELT2=100.0, CAMERA="i0", FILTER="r_SDSS.res", WLEFF=6165.0, REDSHIFT=0.046)  # fmt: skip
    for name in ("galaxyzoo_sloan", "galaxyzoo_illustris"):
        (folder / name).mkdir()
        for number in range(5):
            pixels = noise.integers(0, 255, (256, 256, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{'a' * 60}_{number}.jpg")
    files = [f"{'a' * 60}_{i}.jpg" for i in range(5)]
    (folder / "galaxyzoo_labels.csv").write_text("file,answer,group\n" + "".join(f"{file},x,1\n" for file in files))
