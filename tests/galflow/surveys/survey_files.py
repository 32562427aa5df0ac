"""Small files after the data models that surveys have published: one tile each, a few stars on an empty sky.

Nothing of galflow makes them: numpy draws, astropy writes. Each function says which document it follows; none of them
has seen a file of that survey unless it says so.
"""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

SHAPE = (150, 170)
"""(y, x)."""
STARS = ((40, 50), (75, 120), (110, 35), (50, 145), (120, 90))
"""(y, x) of the stars' centres."""
SIGMA_PIXELS = 1.6
SKY_SIGMA_NJY = 5.0
RA, DEC = 150.1, 2.2


def star_njy(number: int) -> float:
    """Flux of a star."""
    return 20_000.0 * (number + 1)


def sky_njy(seed: int) -> np.ndarray:
    """(y, x) float64: stars on noise without a level."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flux = np.random.default_rng(seed).normal(0, SKY_SIGMA_NJY, SHAPE)
    for number, (row, column) in enumerate(STARS):
        profile = np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / SIGMA_PIXELS**2)
        flux += star_njy(number) * profile / (2 * np.pi * SIGMA_PIXELS**2)
    return np.asarray(flux)


def njy_per_count(zero_point: float) -> float:
    """By the definition of AB magnitudes (Oke & Gunn 1983), not by galflow's own function."""
    return float(3631e9 * 10 ** (-0.4 * zero_point))


def header(scale_arcsec: float, shift: float = 0.0, **cards: Any) -> fits.Header:
    """A TAN WCS with north up, ``shift`` degrees to the north, and more cards."""
    found = fits.Header(
        {
            **{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": RA, "CRVAL2": DEC + shift},
            **{"CRPIX1": 85.0, "CRPIX2": 75.0, "CDELT1": -scale_arcsec / 3600, "CDELT2": scale_arcsec / 3600},
            **{"CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS"},
        }
    )
    for name, value in cards.items():
        found[name.replace("_", "-") if name in ("DATE_OBS", "MJD_OBS") else name] = value
    return found


def write(path: Path, *hdus: Any) -> Path:
    """The HDUs as a file, an empty primary one before them where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*first, *hdus]).writeto(path, overwrite=True)
    return path


def bad_pixels() -> dict[str, tuple[slice, slice]]:
    """Places of flags, away from the stars."""
    return {
        name: (slice(5, 8), slice(10 * i, 10 * i + 4))
        for i, name in enumerate(("BAD", "SAT", "CR", "INTRP", "NO_DATA", "EDGE", "DETECTED", "BRIGHT"))
    }


def flags(bits: dict[str, int], kind: type = np.int32) -> np.ndarray:
    """(y, x) flags with each named plane's bit at its place."""
    found = np.zeros(SHAPE, kind)
    for name, where in bad_pixels().items():
        if name in bits:
            found[where] |= kind(1 << bits[name])
    return found


HSC_BITS = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8, "BRIGHT": 9}


def hsc(root: Path, seed: int = 0, patch: str = "4,4", shift: float = 0.0, zero_point: float = 27.0) -> None:
    """calexp of Aihara+22 (PASJ 74, 247) as the LSST stack's afw.image.ExposureF writes it: HDU 1 image, HDU 2 int32
    mask with MP_* cards, HDU 3 variance, opaque tables; FLUXMAG0 in the primary header."""
    for i, band in enumerate(("HSC-I", "HSC-R")):
        unit = njy_per_count(zero_point)
        counts = (sky_njy(seed + i) / unit).astype(np.float32)
        cards = header(0.168, shift, EXTNAME="IMAGE")
        bits = HSC_BITS | ({"NO_DATA": 10} if band == "HSC-R" else {})
        mask = fits.Header({f"HIERARCH MP_{'BRIGHT_OBJECT' if n == 'BRIGHT' else n}": bit for n, bit in bits.items()})
        variance = np.full(SHAPE, (SKY_SIGMA_NJY / unit) ** 2, np.float32)
        variance[flags({"NO_DATA": 0}) > 0] = np.nan
        counts[flags({"NO_DATA": 0}) > 0] = np.nan
        opaque = fits.BinTableHDU.from_columns([fits.Column("blob", "8B", array=np.zeros((3, 8), np.uint8))])
        write(
            root / f"deepCoadd-results/{band}/9813/{patch}/calexp-{band}-9813-{patch}.fits",
            fits.PrimaryHDU(header=fits.Header({"FLUXMAG0": 10 ** (0.4 * zero_point)})),
            fits.ImageHDU(counts, cards),
            fits.ImageHDU(flags(bits), cards + mask, name="MASK"),
            fits.ImageHDU(variance, cards, name="VARIANCE"),
            opaque,
        )


LEGACY_BITS = {"SAT": 3, "BAD": 6, "BRIGHT": 1}
PRIMARY_COLUMNS = 130
"""x from which on the brick's pixels belong to its neighbour."""


def compressed(pixels: np.ndarray, cards: fits.Header, name: str) -> fits.CompImageHDU:
    """A tile-compressed HDU without loss; gzip would write the time into the file."""
    if pixels.dtype.kind != "f":
        return fits.CompImageHDU(pixels, cards, name=name, compression_type="RICE_1")
    return fits.CompImageHDU(pixels, cards, name=name, compression_type="NOCOMPRESS", quantize_level=0)


def legacy(root: Path, seed: int = 0, brick: str = "1501p022", shift: float = 0.0) -> None:
    """Bricks of DR10 (legacysurvey.org/dr10/files, dr10/bitmasks): nanomaggies, 1/nanomaggy^2, FWHM in arcsec."""
    unit, folder = 3631.0, root / f"south/coadd/{brick[:3]}/{brick}"
    for i, band in enumerate("rz"):
        cards = header(0.262, shift, MAGZERO=22.5, BUNIT="nanomaggy", IMTYPE="image")
        for kind, values in (
            ("image", sky_njy(seed + i) / unit),
            ("invvar", np.where(flags({"NO_DATA": 0}) > 0, 0, (unit / SKY_SIGMA_NJY) ** 2)),
            ("psfsize", np.where(flags({"NO_DATA": 0}) > 0, 0, 1.2 + 0.1 * i)),
        ):
            path = folder / f"legacysurvey-{brick}-{kind}-{band}.fits.fz"
            write(path, compressed(values.astype(np.float32), cards, f"{kind.upper()}_{band.upper()}"))
    bits = flags(LEGACY_BITS)
    bits[:, PRIMARY_COLUMNS:] |= 1
    bits[60:90, 110:130] |= 1 << 12
    write(folder / f"legacysurvey-{brick}-maskbits.fits.fz", compressed(bits, header(0.262, shift), "MASKBITS"))


KIDS_BITS = {"SAT": 1, "BAD": 6, "BRIGHT": 3}


def kids(root: Path, seed: int = 0, tile: str = "150.1_2.2", shift: float = 0.0) -> None:
    """Coadds of DR5 (kids.strw.leidenuniv.nl/DR5/format.php); PHOTZP and PSF_FWHM by ESO's data products standard."""
    for i, band in enumerate("rg"):
        name = f"KiDS_DR5.0_{tile}_{band}"
        cards = header(0.2, shift, INSTRUME="OMEGACAM", TELESCOP="ESO-VST", OBJECT="KIDS", PHOTZP=0.0, PSF_FWHM=0.7)
        weight = np.where(flags({"NO_DATA": 0}) > 0, 0, 4e13)
        write(root / f"{name}_sci.fits", fits.PrimaryHDU((sky_njy(seed + i) / 3631e9).astype(np.float32), cards))
        write(root / f"{name}_wei.fits", fits.PrimaryHDU(weight.astype(np.float32), cards))
        write(root / f"{name}_msk.fits", fits.PrimaryHDU(flags(KIDS_BITS), cards))


def vista(root: Path, seed: int = 0, tile: str = "frame_1", shift: float = 0.0, **cards: Any) -> None:
    """A frame with the cards of the three real ones in GALFLOW_DATA/viking_H_frames: MAGZPT of the whole frame."""
    known = {"INSTRUME": "VIRCAM", "FILTER": "H", "MAGZPT": 30.0, "NIGHTZPT": 23.855, "EXPTIME": 10.0, "SEEING": 2.2}
    head = header(0.339, shift, **(known | cards))
    write(root / f"{tile}.fits", fits.ImageHDU((sky_njy(seed) / njy_per_count(30.0)).astype(np.float32), head))


def jwst(root: Path, seed: int = 0, tile: str = "jw02561-o001_t003_nircam", shift: float = 0.0) -> None:
    """i2d of the JWST pipeline (jwst-pipeline.readthedocs.io, data products): MJy/sr, ERR its sigma, CON a cube."""
    scale = 0.031
    sr = (scale * np.pi / 648000) ** 2
    unit = 1e15 * sr  # nJy of 1 MJy/sr in a pixel
    for i, band in enumerate(("f200w", "f277w")):
        cards = header(scale, shift, BUNIT="MJy/sr", PIXAR_SR=sr)
        surface = (sky_njy(seed + i) / unit).astype(np.float32)
        surface[flags({"NO_DATA": 0}) > 0] = np.nan
        error = np.where(np.isnan(surface), np.nan, SKY_SIGMA_NJY / unit).astype(np.float32)
        write(
            root / f"{tile}_clear-{band}_i2d.fits",
            fits.PrimaryHDU(header=fits.Header({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "FILTER": band.upper()})),
            fits.ImageHDU(surface, cards, name="SCI"),
            fits.ImageHDU(error, cards, name="ERR"),
            fits.ImageHDU(np.ones((2, *SHAPE), np.int32), name="CON"),
            fits.ImageHDU(np.ones(SHAPE, np.float32), cards, name="WHT"),
        )


def euclid(root: Path, seed: int = 0, tile: str = "102018211", shift: float = 0.0) -> None:
    """Q1 mosaics (euclid.esac.esa.int/dr/q1/dpdd, DpdMerBksMosaic); cards of the real GALFLOW_DATA/euclid_q1_stamp."""
    for i, (folder, band, zero_point) in enumerate((("VIS", "VIS", 24.6), ("NISP", "NIR-H", 29.9))):
        unit, where = njy_per_count(zero_point), root / tile / folder
        cards = header(0.1, shift, MAGZERO=zero_point, SOFTINST="Euclid Consortium", FILTER=band.replace("-", "_"))
        rms = np.where(flags({"NO_DATA": 0}) > 0, 1e16, SKY_SIGMA_NJY / unit).astype(np.float32)
        counts = (sky_njy(seed + i) / unit).astype(np.float32)
        for kind, pixels, digest in (
            (f"BGSUB-MOSAIC-{band}", counts, "5EBF45"),
            (f"MOSAIC-{band}-RMS", rms, "BB87CE"),
            (f"MOSAIC-{band}-FLAG", flags({"BAD": 0, "SAT": 4}), "B260B9"),
        ):
            name = f"EUC_MER_{kind}_TILE{tile}-{digest}_20241018T001123.12345{i}Z_00.00.fits"
            write(where / name, fits.PrimaryHDU(pixels, cards))


DES_BITS = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 4, "BRIGHT": 5, "EDGE": 9}


def des(root: Path, seed: int = 0, tile: str = "DES2157-5248", shift: float = 0.0, magzero: float = 30.0) -> None:
    """Coadds of DR2 (Abbott+21, ApJS 255, 20): SCI, MSK, WGT, compressed; bits of Morganson+18."""
    for i, band in enumerate("rg"):
        unit = njy_per_count(magzero)
        cards = header(0.263, shift, MAGZERO=magzero, INSTRUME="DECam", TILENAME=tile)
        weight = np.where(flags({"NO_DATA": 0}) > 0, 0, (unit / SKY_SIGMA_NJY) ** 2).astype(np.float32)
        write(
            root / f"{tile}/{tile}_r4907p01_{band}.fits.fz",
            compressed((sky_njy(seed + i) / unit).astype(np.float32), cards, "SCI"),
            compressed(flags(DES_BITS), cards, "MSK"),
            compressed(weight, cards, "WGT"),
        )


DP2_PLANES = ("NO_DATA", "INTERPOLATED", "COSMIC_RAY", "SATURATED", "DETECTION_EDGE", "CLIPPED", "REJECTED", "DETECTED",
              "INEXACT_PSF")  # fmt: skip
"""Of a deep coadd, bit by bit: get_legacy_deep_coadd_mask_planes in lsst/images, python/lsst/images/_mask.py."""
DP2_BITS = {"NO_DATA": 0, "INTRP": 1, "CR": 2, "SAT": 3, "EDGE": 4, "DETECTED": 7}
"""The places of ``bad_pixels`` that have such a plane."""


def lsst(root: Path, seed: int = 0, patch: str = "4849_21", shift: float = 0.0, dp2: str = "") -> None:
    """DP1: ExposureF (dp1.lsst.io), planes by MP_* cards. ``dp2``: lsst.images as its code writes it, which compresses
    by GZIP_2. "cards": a mask of two axes, planes by MSKNnnnn, MSKMnnnn and MSKDnnnn; "bytes" and "tree": its early
    form, (y, x, bytes), named by cards or by the file's JSON tree alone."""
    for i, band in enumerate("ir"):
        cards = header(0.2, shift, BUNIT="nJy")
        planes = (sky_njy(seed + i), np.full(SHAPE, SKY_SIGMA_NJY**2))
        image, variance = (plane.astype(np.float32) for plane in planes)
        path = root / f"deep_coadd_{patch}_{band}_lsst_cells_v1_LSSTComCam_runs_DRP_DP1_DM-51335.fits"
        if dp2:
            _lsst_images(path, image, variance, cards, dp2)
            continue
        mask = cards.copy()
        for name, bit in HSC_BITS.items():
            mask[f"HIERARCH MP_{'BRIGHT_OBJECT' if name == 'BRIGHT' else name}"] = bit
        write(
            path,
            fits.ImageHDU(image, cards, name="IMAGE"),
            fits.ImageHDU(flags(HSC_BITS), mask, name="MASK"),
            fits.ImageHDU(variance, cards, name="VARIANCE"),
        )


def _lsst_images(path: Path, image: np.ndarray, variance: np.ndarray, cards: fits.Header, form: str) -> None:
    """PRIMARY, IMAGE, MASK, VARIANCE, JSON and INDEX."""
    mask, bits = cards.copy(), flags(DP2_BITS)
    for number, name in enumerate(DP2_PLANES):
        if form != "tree":
            mask[f"MSKN{number:04d}"], mask[f"MSKM{number:04d}"] = name, 1 << number
            mask[f"MSKD{number:04d}"] = f"What {name} means, in more words than one card of a FITS header has room for."
    if form != "cards":
        bits = np.stack([bits & 255, bits >> 8], axis=-1).astype(np.uint8)
        for card in [card for card in mask if card[:-1] in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT")]:
            del mask[card]
    tree = {"image": {"unit": "nJy"}, "mask": {"planes": [{"name": n, "description": ""} for n in DP2_PLANES]}}
    content = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    hdus = [
        fits.CompImageHDU(plane, head, name=name, compression_type="GZIP_2", quantize_level=0)
        for plane, head, name in ((image, cards, "IMAGE"), (bits, mask, "MASK"), (variance, cards, "VARIANCE"))
    ]
    held = fits.BinTableHDU.from_columns([fits.Column("JSON", "PB()", array=[content])], name="JSON")
    index = fits.BinTableHDU.from_columns([fits.Column("EXTNAME", "8A", array=["IMAGE"])], name="INDEX")
    first = fits.PrimaryHDU(header=fits.Header(dict.fromkeys(("INDXADDR", "INDXSIZE", "JSONADDR", "JSONSIZE"), 0)))
    write(path, first, *hdus, held, index)


SDSS_BITS = {"INTRP": 0, "SAT": 1, "CR": 9}
"""The places of ``bad_pixels`` that have a plane in an fpM file: INTERP, SATUR, CR."""


def sdss_mask(root: Path, band: str = "r", key: bool = True, swapped: bool = False) -> Path:
    """fpM (classic.sdss.org/dr7/dm/flatFiles/fpM; rows and spans as photo's phFits.c and phSpanUtil.h have them): a
    table a plane, of objects with spans (y, x1, x2) in the whole frame, and a last one that names the planes."""
    names = ["INTERP", "SATUR", "NOTCHECKED", "OBJECT", "BRIGHTOBJECT", "BINOBJECT", "CATOBJECT", "SUBTRACTED", "GHOST",
             "CR"]  # fmt: skip
    tables, x0, y0 = [], 1025 - 85, 745 - 75
    places = {bit: bad_pixels()[name] for name, bit in SDSS_BITS.items()} | {3: (slice(60, 70), slice(60, 75))}
    for number in range(len(names)):
        of_plane = [places[number]] if number in places else []
        spans = [
            np.array([[y + y0, x.start + x0, x.stop - 1 + x0] for y in range(rows.start, rows.stop)], ">i2")
            for rows, x in of_plane
        ]
        held = [np.frombuffer(span.tobytes(), np.uint8) for span in spans]
        columns = {"refcntr": [1] * len(held), "nspan": [len(span) for span in spans]}
        columns |= {n: [0] * len(held) for n in ("row0", "col0", "rmin", "rmax", "cmin", "cmax", "npix")}
        made = [fits.Column(name, "J", array=np.array(values, np.int32)) for name, values in columns.items()]
        made.append(fits.Column("s", "PB()", array=np.array([*held, None], object)[:-1]))
        tables.append(fits.BinTableHDU.from_columns(made))
    order = list(range(len(names)))
    if swapped:
        order[1], order[8] = 8, 1
        tables[1], tables[8] = tables[8], tables[1]
    if key:
        texts = {"defName": ["S_MASKTYPE"] * len(names), "attributeName": [f"S_MASK_{name}" for name in names]}
        known = [fits.Column("Value", "J", array=np.array(order))]
        known += [fits.Column(name, "32A", array=values) for name, values in texts.items()]
        tables.append(fits.BinTableHDU.from_columns(known))
    head = fits.Header({"RUN": 2125, "CAMCOL": 1, "FIELD": 18, "MASKROWS": 1489, "MASKCOLS": 2048, "NPLANE": 10})
    return write(root / f"fpM-002125-{band}1-0018.fit", fits.PrimaryHDU(header=head), *tables)


def sdss(root: Path, seed: int = 0, field: str = "002125-1-0018", shift: float = 0.0) -> None:
    """Frames of DR8 and later (data.sdss.org/datamodel, BOSS_PHOTOOBJ, frame), cut to ``SHAPE`` as CRPIX says."""
    for i, band in enumerate("rg"):
        cards = header(0.396, shift, RUN=2125, CAMCOL=1, FILTER=band, BUNIT="nanomaggy", ORIGIN="SDSS    ")
        calibration = np.linspace(0.0048, 0.0050, 2048).astype(np.float32)
        sky = np.linspace(150, 160, 8 * 12).reshape(8, 12).astype(np.float32)
        table = fits.BinTableHDU.from_columns(
            [
                fits.Column("ALLSKY", "96E", dim="(12,8)", array=sky[None]),
                fits.Column("XINTERP", "2048E", array=np.linspace(-0.4, 11.4, 2048, dtype=np.float32)[None]),
                fits.Column("YINTERP", "1489E", array=np.linspace(-0.4, 7.4, 1489, dtype=np.float32)[None]),
            ]
        )
        image = fits.PrimaryHDU((sky_njy(seed + i) / 3631).astype(np.float32), cards)
        path = write(root / f"frame-{band}-{field}.fits", image, fits.ImageHDU(calibration), table)
        Path(f"{path}.bz2").write_bytes(bz2.compress(path.read_bytes()))
        path.unlink()
