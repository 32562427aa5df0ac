"""Whole processes side by side: `galflow cut`, Cutana 0.4.0, and a floor that only reads, gathers and writes.

Cutana (ESA Datalabs; Gómez+25) makes cutouts of Euclid tiles for AnomalyMatch. It runs as it comes from the package
index, in an environment of its own, which this benchmark installs once. It is asked for raw values in Zarr, 64 x 64
pixels, with one worker. galflow runs as `galflow cut` on a specification, pixels lossless. The floor is a process too:
it knows the pixel positions, reads each band with astropy, gathers flux alone and writes it with galflow's codec and
chunks; it knows no catalogue, sky, mask, inverse variance, checksum or receipt.

Peak memory is that of the process and its children, from the operating system.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from astropy.io import fits

from benchmarks.scratch import scratch
from benchmarks.tile import PIXEL_SCALE_ARCSEC, SKY_SIGMA, tan_wcs

CUTANA = "cutana==0.4.0"
REPEATS = 5
SIZE = 64
ENVIRONMENT = Path(os.environ.get("GALFLOW_CUTANA", Path.home() / ".cache" / "galflow" / "cutana-0.4.0"))
"""Where Cutana is installed, once."""


@dataclass(frozen=True)
class Processes:
    """How long each way took as a whole process, and how much memory."""

    title: str
    rows: dict[str, dict[str, float]]

    def text(self) -> str:
        """The table as aligned text."""
        width = max(map(len, self.rows))
        names = list(next(iter(self.rows.values())))
        lines = [self.title, "  " + " " * width + "".join(f"  {name:>14}" for name in names)]
        for row, cells in self.rows.items():
            lines.append(f"  {row:{width}}" + "".join(f"  {cells[name]:14.5g}" for name in names))
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"title": self.title, "rows": self.rows}


@dataclass(frozen=True)
class Field:
    """One tile on disk, described to each of the three."""

    title: str
    folder: Path
    bands: tuple[str, ...]
    objects: int


SIZES = {
    "4 bands of 2600 x 2600, 2,674 objects": (("g", "r", "i", "z"), 2600, 2674),
    "1 band of 10,000 x 10,000, 50,000 objects": (("r",), 10_000, 50_000),
}


def run() -> Iterator[Processes]:
    """A table a tile: seconds, ratios to galflow and peak memory."""
    python = cutana_python()
    with scratch() as work:
        for title, (bands, side, objects) in SIZES.items():
            field = make_field(work / "tile", title, bands, side, objects)
            yield measure(field, python)
            shutil.rmtree(work / "tile")


def cutana_python() -> Path:
    """The interpreter of Cutana's own environment, which is made if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", CUTANA], check=True)
        (ENVIRONMENT / "ready").touch()
    return python


def make_field(folder: Path, title: str, bands: tuple[str, ...], side: int, objects: int) -> Field:
    """Noise with bright pixels at random places, at least half a cutout from the edge (Cutana refuses others)."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    wcs = tan_wcs(side)
    x, y = rng.uniform(SIZE / 2 + 1, side - SIZE / 2 - 2, (2, objects))
    for band in bands:
        flux = rng.standard_normal((side, side), dtype=np.float32) * np.float32(SKY_SIGMA)
        flux[np.rint(y).astype(int), np.rint(x).astype(int)] += 1000
        fits.PrimaryHDU(flux, wcs.to_header()).writeto(folder / f"{band}.fits")
    ra, dec = wcs.all_pix2world(x, y, 0)
    ids = np.arange(objects)
    table = pa.table({"object_id": ids, "ra_deg": ra, "dec_deg": dec})
    pq.write_table(table, folder / "catalog.parquet")
    np.save(folder / "positions.npy", np.stack([x, y]))
    paths = "[" + ", ".join(f"'{folder / f'{band}.fits'}'" for band in bands) + "]"
    cutana = pa.table(
        {
            "SourceID": [str(i) for i in ids],
            "RA": ra,
            "Dec": dec,
            "diameter_pixel": np.full(objects, SIZE),
            "fits_file_paths": [paths] * objects,
        }
    )
    pq.write_table(cutana, folder / "cutana.parquet")
    specification = {
        "name": "bench",
        "survey": {
            "kind": "fits_tiles",
            "name": "bench",
            "release": "1",
            "options": {
                "root": str(folder),
                "bands": {band: f"{band}.fits" for band in bands},
                "tile": "bench",
                "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
                "catalog": {"path": "catalog.parquet"},
            },
        },
        "cutouts": {"size": SIZE, "pixels": "lossless", "defects": False},  # Cutana looks for none
        "models": [{"name": "none", "model": "kmeans.KMeans"}],
        "store": {"root": str(folder / "galflow")},
    }
    (folder / "spec.json").write_text(json.dumps(specification))
    return Field(title, folder, bands, objects)


def measure(field: Field, python: Path) -> Processes:
    """All three in turns; medians."""
    commands = {
        "galflow": [str(Path(sys.executable).parent / "galflow"), "cut", str(field.folder / "spec.json")],
        "Cutana 0.4.0": [str(python), "-c", _CUTANA, str(field.folder), ",".join(field.bands)],
        "floor, flux alone": [sys.executable, "-m", "benchmarks.cut_floor", str(field.folder), ",".join(field.bands)],
    }
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for repeat in range(REPEATS):
        for name in [*commands][repeat % 3 :] + [*commands][: repeat % 3]:
            for made in ("galflow", "cutana", "floor.zarr"):
                shutil.rmtree(field.folder / made, ignore_errors=True)
            os.sync()
            measured[name].append(timed(commands[name]))
            require_all(field, name)
    medians = {name: [statistics.median(column) for column in zip(*of, strict=True)] for name, of in measured.items()}
    floor = medians["floor, flux alone"][0]
    return Processes(
        f"whole processes, {field.title}, {SIZE} px",
        {
            name: {
                "wall s": round(wall, 3),
                "cpu s": round(cpu, 3),
                "peak MB": round(peak),
                "objects/s": round(field.objects / wall),
                "wall/galflow": round(wall / medians["galflow"][0], 2),
                "wall/floor": round(wall / floor, 2),
            }
            for name, (wall, cpu, peak) in medians.items()
        },
    )


def timed(command: list[str]) -> tuple[float, float, float]:
    """Wall and processor seconds of a process and its children, and the most memory they had at once, MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _resident_mb(process.pid))
        time.sleep(0.02)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = process.stderr.read() if process.stderr is not None else ""
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, peak


def _resident_mb(pid: int) -> float:
    """Of a process and all its descendants, shared pages divided among those that share them."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            rolled = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rolled.splitlines() if line.startswith("Pss:")) / 1024
            waiting += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            continue  # it has ended meanwhile
    return total


def require_all(field: Field, name: str) -> None:
    """RuntimeError unless as many cutouts are there as were asked for."""
    folder = field.folder / {"galflow": "galflow", "Cutana 0.4.0": "cutana", "floor, flux alone": "floor.zarr"}[name]
    array = {"galflow": "flux", "Cutana 0.4.0": "images", "floor, flux alone": "flux"}[name]
    found = sum(
        zarr.open_array(path.parent, mode="r").shape[0]
        for path in [*folder.rglob("zarr.json"), *folder.rglob(".zarray")]
        if path.parent.name == array
    )
    if found != field.objects:
        raise RuntimeError(f"{name} made {found} cutouts of {field.objects} in {folder}")


_CUTANA = """
import sys
from pathlib import Path
from cutana import Orchestrator, get_default_config
folder, bands = Path(sys.argv[1]), sys.argv[2].split(",")
if __name__ == "__main__":
    config = get_default_config()
    config.source_catalogue = str(folder / "cutana.parquet")
    config.output_dir = str(folder / "cutana")
    config.output_format = "zarr"
    config.data_type = "float32"
    config.target_resolution = 64
    config.normalisation_method = "none"
    config.apply_flux_conversion = False
    config.selected_extensions = [{"name": band, "ext": "PrimaryHDU"} for band in bands]
    config.max_workers = 1
    config.process_threads = 2
    config.channel_weights = {band: [float(i == j) for j in range(len(bands))] for i, band in enumerate(bands)}
    config.loadbalancer.skip_memory_calibration_wait = True
    config.loadbalancer.main_process_memory_reserve_gb = 0.5
    result = Orchestrator(config).run()
    if result.get("status") != "completed":
        sys.exit(str(result))
"""
