"""The likelihood catalogue where a survey and a sample differ: in the kind of their ids, and in having names."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galflow.catalog.likelihoods import LATENTS, PIXELS, LikelihoodTable, StatedDensity, stated_densities
from galflow.catalog.published_table import SourcePart, grouped
from galflow.cutouts.flags import Flag
from galflow.spec.run import parse_spec
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store

PCA = StatedDensity("pca", PIXELS, None, (("loglike", "loglike_pca"), ("bpd", "bpd_pca")))
VAE = StatedDensity("z", LATENTS, None, (("loglike", "z_latent"),))


def part(store: Store, key: str, sample: str | None, ids: pa.Array, **more: pa.Array) -> SourcePart:
    n = len(ids)
    flags = pa.array([0, int(Flag.MISSING_PIXELS), int(Flag.PLANTED)][:n], pa.uint32())
    texts = {name: pa.array([name] * n) for name in ("survey", "release", "tile")}
    numbers = {"ra": 1.0, "dec": 2.0, "loglike_pca": -5.0, "bpd_pca": 1.5, "z_latent": 7.0}
    columns = {"object_id": ids, **more, **texts, "row": pa.array(range(n)), "is_primary": pa.array([True] * n)}
    columns |= {name: pa.array([value] * n) for name, value in numbers.items()}
    columns |= {"split": pa.nulls(n, pa.string()), "flags": flags, "outcome": pa.array(["scored"] * n)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    data = sink.getvalue().to_pybytes()
    return SourcePart(key, store.put_once(key, data), n, sample)


def test_ids_of_two_kinds_and_names_of_one_side_alone(local_store: Store) -> None:
    large = (1 << 63) + 5  # no int64 and no float holds it
    ours = pa.array([large, large + 1, large + 2], pa.uint64())
    sky = part(local_store, "sky.parquet", None, ours, source_name=pa.array(["M 31", "M 33", "M 51"]))
    mock = part(local_store, "mock.parquet", "mock", pa.array([-4, 7], pa.int64()))
    table = LikelihoodTable.of([PCA, VAE], [pa.uint64(), pa.int64()], named=True)
    written, rows = table.write_file(local_store, "t", 0, [sky, mock])
    (name,) = written
    found = pq.read_table(pa.BufferReader(local_store.get(f"t/{name}"))).to_pylist()
    assert rows == len(found) == 2 * 4, "each galaxy by each model, no planted copy"
    assert [row["object_id"] for row in found[:2]] == [str(large), str(large + 1)]
    assert {row["object_id"] for row in found if row["sample"] == "mock"} == {"-4", "7"}
    assert [row["source_name"] for row in found if row["model"] == "pca"] == ["M 31", "M 33", None, None]
    assert [row["complete"] for row in found if row["model"] == "pca"] == [True, False, True, False]
    assert {row["loglike"] for row in found if row["model"] == "z"} == {-7.0}
    assert {row["bpd"] for row in found if row["model"] == "z"} == {None}


def test_every_column_says_what_it_is() -> None:
    table = LikelihoodTable.of([PCA], [pa.int64()], named=False, compared=["mock"], cells="matches/run/a.parquet")
    for field in table.schema:
        assert field.metadata[b"description"], field.name
        assert field.metadata[b"ucd"], field.name
    assert table.schema.field("bpd").metadata[b"unit"] == b"bit"
    assert {"matched_mock", "cell_mock"} < set(table.schema.names)


def test_bounds_are_no_likelihoods() -> None:
    models = {"vae": "vae.VAE", "maf": "maf.MAF", "ae": "autoencoder.Autoencoder", "kmeans": "kmeans.KMeans"}
    spec = parse_spec(
        {
            "name": "x",
            "survey": {"kind": "synthetic"},
            "models": [{"name": name, "model": model} for name, model in models.items()],
        }
    )
    found = {one.model: one for one in stated_densities(spec, list(models))}
    assert {name: one.density_of for name, one in found.items()} == {"maf": PIXELS, "ae": LATENTS}
    assert dict(found["maf"].places)["noise_misfit"] == "maf_noise_misfit"
    assert found["ae"].places == (("loglike", "ae_latent"),)


@pytest.mark.parametrize(("rows", "files"), [([3, 3, 3], [2, 1]), ([9, 1], [1, 1]), ([], [])])
def test_parts_are_grouped_whole(rows: list[int], files: list[int]) -> None:
    sources = [SourcePart(f"{n}", FileSum.of(b""), count, None) for n, count in enumerate(rows)]
    assert [len(group) for group in grouped(sources, 5)] == files
