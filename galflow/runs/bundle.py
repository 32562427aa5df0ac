"""A run for a paper's archive: what it was told, found and made of, as an RO-Crate of plain files.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): ro-crate-metadata.json describes every file. Cutouts stay in the store:
the manifest and each model's card name them with their fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from galflow.catalog.published import file_keys
from galflow.errors import StoreError
from galflow.runs.opened import PublishedRun
from galflow.storage.layout import as_key, manifest_key
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store
from galflow.training.trained_model import CARD, README, REFERENCE, WEIGHTS

METADATA = "ro-crate-metadata.json"
CITATION = "CITATION.cff"
PROFILE = "https://w3id.org/ro/crate/1.1"
_RUN, _SOFTWARE, _TERMS = "#run", "#galflow", "#terms"
_BLOCK = 16 << 20
_MEDIA = {
    ".json": "application/json", ".yaml": "application/yaml", ".cff": "application/yaml", ".md": "text/markdown",
    ".html": "text/html", ".parquet": "application/vnd.apache.parquet", ".png": "image/png", ".pdf": "application/pdf",
    ".safetensors": "application/octet-stream",
}  # fmt: skip


def write_bundle(run: PublishedRun, output: Path) -> str:
    """Write the run as a new folder ``output``, or as one file if its name ends in .zip; the line to cite it by.

    Files: manifest.json, specification.yaml, catalogue/*.parquet, report/, models/<name>/, CITATION.cff and
    ro-crate-metadata.json. A model that was trained elsewhere is named, not copied. StoreError if ``output`` exists.
    """
    if output.exists():
        raise StoreError(f"{output} exists already; nothing is overwritten, give another name")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bundle-") as scratch:
        folder = Path(scratch, output.stem)
        folder.mkdir()
        _copy_products(run, folder)
        (folder / "specification.yaml").write_text(yaml.safe_dump(run.spec, sort_keys=False), "utf-8")
        (folder / CITATION).write_text(yaml.safe_dump(_citation(run), sort_keys=False, allow_unicode=True), "utf-8")
        crate = json.dumps(_crate(run, folder), indent=1) + "\n"
        (folder / METADATA).write_text(crate, "utf-8")
        if output.suffix == ".zip":
            _zip(folder, Path(scratch, output.name))
            folder = Path(scratch, output.name)
        shutil.move(folder, output)
    return citation_line(run)


def citation_line(run: PublishedRun) -> str:
    """How a paper names the run."""
    said = run.manifest
    return f"galflow run {said.run} ({said.finished[:10]}), made with galflow {said.code_version}"


def _copy_products(run: PublishedRun, folder: Path) -> None:
    store, manifest = run.store, run.manifest
    _copy(store, manifest_key(run.name), folder / "manifest.json")
    for key in file_keys(store, as_key(manifest.catalog)):
        _copy(store, key, folder / "catalogue" / key.rpartition("/")[2])
    if manifest.report is not None:
        product = as_key(manifest.report).rpartition("/")[0]
        for key in store.list(f"{product}/"):
            _copy(store, key, folder / "report" / key.removeprefix(f"{product}/"))
    for name, place in manifest.models.items():
        for file in (CARD, WEIGHTS, REFERENCE, README):
            key = f"{place}/{file}"
            if "://" not in place and store.exists(key):
                _copy(store, key, folder / "models" / name / file)


def _copy(store: Store, key: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.reading(key) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, _BLOCK)


def _citation(run: PublishedRun) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "cff-version": "1.2.0",
        "message": "Please cite this run, galflow, the survey, and the papers of the models that ran.",
        "type": "dataset",
        "title": citation_line(run),
        "authors": [{"name": "Whoever ran it: put your names here"}],
        "version": manifest.run,
        "date-released": manifest.finished[:10],
        "references": [
            {
                "type": "software",
                "title": "galflow: generative models of galaxy surveys, at survey scale",
                "authors": [{"name": "The galflow developers"}],
                "version": manifest.code_version,
                "license": "BSD-3-Clause",
            }
        ],
    }


def _crate(run: PublishedRun, folder: Path) -> dict[str, Any]:
    """The metadata of all files in ``folder``: descriptor, root, folders, files, and what made them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    folders = [path for path in sorted(folder.rglob("*")) if path.is_dir()]
    manifest = run.manifest
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": citation_line(run),
        "description": f"Anomaly scores of {run.summary['objects']:,} objects by {', '.join(manifest.models)}",
        "datePublished": manifest.finished,
        "license": {"@id": _TERMS},
        "hasPart": _parts(folder, folder),
        "mentions": {"@id": _RUN},
    }
    return {
        "@context": f"{PROFILE}/context",
        "@graph": [
            {
                "@id": METADATA,
                "@type": "CreativeWork",
                "conformsTo": {"@id": PROFILE},
                "about": {"@id": "./"},
            },
            root,
            *(
                {"@id": _id(p, folder), "@type": "Dataset", "name": p.name, "hasPart": _parts(p, folder)}
                for p in folders
            ),
            *_file_entities(files, folder),
            *_context(manifest),
        ],
    }


def _context(manifest: RunManifest) -> list[dict[str, Any]]:
    """What made the files, and under which terms they are."""
    return [
        {
            "@id": _RUN,
            "@type": "CreateAction",
            "name": f"run {manifest.run}",
            "endTime": manifest.finished,
            "instrument": {"@id": _SOFTWARE},
            "object": [{"@id": "specification.yaml"}],
            "result": [{"@id": "catalogue/"}],
        },
        {
            "@id": _SOFTWARE,
            "@type": "SoftwareApplication",
            "name": "galflow",
            "version": manifest.code_version,
        },
        {
            "@id": _TERMS,
            "@type": "CreativeWork",
            "name": "Terms of the survey",
            "description": "Catalogue, pictures and weights are made of the survey's data; its terms hold.",
        },
    ]


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() + ("/" if path.is_dir() else "")


def _parts(folder: Path, root: Path) -> list[dict[str, str]]:
    return [{"@id": _id(path, root)} for path in sorted(folder.iterdir())]


def _file_entities(files: list[Path], root: Path) -> Iterator[dict[str, Any]]:
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield {
            "@id": _id(path, root),
            "@type": "File",
            "name": path.name,
            "contentSize": str(path.stat().st_size),
            "encodingFormat": _MEDIA.get(path.suffix, "application/octet-stream"),
            "sha256": digest,
        }


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
