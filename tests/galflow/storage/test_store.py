"""Every promise of the store on a folder and on a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import os
import pickle
import stat
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr
from s3fs import S3FileSystem
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from galflow.errors import SpecError, StoreError
from galflow.storage.checksums import FileSum, SummingStore
from galflow.storage.store import Store


def test_an_object_comes_back_as_it_was_written_with_its_checksum(store: Store) -> None:
    data = np.random.default_rng(1).bytes(300_000)
    written = store.put("a/b/one.bin", data)
    assert store.get("a/b/one.bin") == data
    assert written == FileSum(sha256=hashlib.sha256(data).hexdigest(), size=300_000)
    store.put("a/b/one.bin", b"new")
    assert store.get("a/b/one.bin") == b"new"
    store.put("empty", b"")
    assert store.get("empty") == b""


def test_exists_list_and_delete_agree(store: Store) -> None:
    assert store.list("") == []
    assert store.list("a") == []
    for key in ("a/2.bin", "a/b/1.bin", "ab/3.bin"):
        store.put(key, key.encode())
    assert store.list("a") == ["a/2.bin", "a/b/1.bin"]
    assert store.list("") == ["a/2.bin", "a/b/1.bin", "ab/3.bin"]
    assert store.exists("a/2.bin")
    assert not store.exists("a/b")
    assert not store.exists("a/4.bin")
    store.delete("a")
    assert store.list("") == ["ab/3.bin"]
    store.delete("a")
    store.delete("ab/3.bin")
    assert not store.exists("ab/3.bin")


def test_many_objects_are_fetched_together(store: Store) -> None:
    keys = [f"many/{i}.json" for i in range(7)]
    for key in keys:
        store.put(key, key.encode())
    assert store.get_many(keys) == {key: key.encode() for key in keys}
    assert store.get_many(keys[:1]) == {keys[0]: keys[0].encode()}
    assert store.get_many([]) == {}
    with pytest.raises(StoreError, match="does not exist"):
        store.get_many([*keys, "many/absent.json"])


def test_put_if_absent_never_replaces(store: Store) -> None:
    assert store.put_if_absent("runs/r/manifest.json", b"first")
    assert not store.put_if_absent("runs/r/manifest.json", b"second")
    assert store.get("runs/r/manifest.json") == b"first"


def _race(writers: int, write: Callable[[int], bool]) -> list[int]:
    """The numbers of the writers whose write won, all started at one moment."""
    start = threading.Barrier(writers)
    won: list[int] = []

    def run(number: int) -> None:
        start.wait()
        if write(number):
            won.append(number)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_of_writers_at_once_exactly_one_wins_and_its_bytes_stay(store: Store) -> None:
    for attempt in range(3):
        key = f"race/{attempt}"

        def write(number: int, key: str = key) -> bool:
            return store.put_if_absent(key, bytes([number]) * 2000)

        won = _race(3, write)
        assert len(won) == 1
        assert store.get(key) == bytes([won[0]]) * 2000


def test_a_reader_sees_the_old_object_or_the_new_one_never_half_of_one(store: Store) -> None:
    old, new = b"o" * 400_000, b"n" * 700_000
    store.put("swap", old)
    stop = threading.Event()

    def write() -> None:
        for i in range(20):
            store.put("swap", new if i % 2 == 0 else old)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not stop.is_set():
        seen.add(hashlib.sha256(store.get("swap")).hexdigest())
    writer.join()
    assert seen
    assert seen <= {hashlib.sha256(old).hexdigest(), hashlib.sha256(new).hexdigest()}


def test_a_write_that_breaks_leaves_the_old_object_and_no_litter(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_store.put("kept", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write file://.*/kept: .*No space left.*disk has room"):
        local_store.put("kept", b"newer")
    assert local_store.get("kept") == b"old"
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["kept"]


def test_a_half_written_file_of_a_dead_process_is_no_object(local_store: Store, tmp_path: Path) -> None:
    local_store.put("a/whole", b"1")
    (tmp_path / "store" / "a" / ".galflow-tmp-dead").write_bytes(b"half")
    assert local_store.list("a") == ["a/whole"]


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*no/such\.bin: it does not exist"):
        store.get("no/such.bin")


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd"])
def test_no_key_leaves_the_root(store: Store, key: str) -> None:
    for verb in (store.get, store.exists, store.delete, lambda k: store.put(k, b"x")):
        with pytest.raises(StoreError, match="leaves the root"):
            verb(key)


@pytest.mark.parametrize("root", ["s3://", "file://", "s3:///"])
def test_a_root_without_a_bucket_or_folder_is_refused(root: str) -> None:
    with pytest.raises(SpecError, match="names no folder or bucket; give file:///path or s3://bucket/prefix"):
        Store.open(root)


def test_another_protocol_is_refused() -> None:
    with pytest.raises(SpecError, match=r"gs://bucket/x.* uses gs://; galflow stores to a folder, file://"):
        Store.open("gs://bucket/x")


@pytest.mark.parametrize("name", ["plain", "with blank", "umlaut-ä", "percent%20", "hash#1"])
def test_a_folder_of_any_name_is_a_root(tmp_path: Path, name: str) -> None:
    store = Store.open(tmp_path / name)
    store.put("k/x", b"1")
    assert (tmp_path / name / "k" / "x").read_bytes() == b"1"
    assert store.get("k/x") == b"1"
    assert store.list("k") == ["k/x"]
    group = zarr.create_group(store.zarr("z", read_only=False))
    group.create_array("a", data=np.arange(3))
    assert (tmp_path / name / "z" / "zarr.json").exists()
    again = Store.open(store.root)
    assert again.get("k/x") == b"1"


def test_a_relative_folder_and_home_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store.open("out/").root == f"file://{tmp_path}/out"
    assert Store.open("~/out").root == f"file://{tmp_path}/out"


def test_a_store_crosses_to_a_worker_without_its_connection(store: Store) -> None:
    store.put("x", b"1")
    sent = pickle.dumps(store)
    assert b"galflowsecret" not in sent
    assert pickle.loads(sent).get("x") == b"1"


@pytest.mark.s3
def test_wrong_credentials_are_a_clear_error_without_the_secret(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-but-still-a-secret")
    # Another key in the options makes fsspec open a new connection instead of taking the cached, good one.
    store = Store.open(s3_root, os.environ["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost"))
    for call in (
        store.require_writable,
        lambda: store.get("x"),
        lambda: store.exists("x"),
        lambda: store.list("x"),
        lambda: store.put("x", b"1"),
        lambda: store.put_if_absent("x", b"1"),
    ):
        with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY") as caught:
            call()
        told = "".join(traceback.format_exception(caught.value))
        assert "wrong-but-still-a-secret" not in told
        assert "galflowsecret" not in told
        assert s3_root in str(caught.value)


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_named(s3_server: Any) -> None:
    store = Store.open("s3://no-such-bucket/prefix", s3_server.endpoint_url)
    # (SeaweedFS would make the bucket on a write, AWS refuses; only reading is the same everywhere.)
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/prefix/x: it does not exist.*bucket"):
        store.get("x")


def test_a_server_that_is_away_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "some-secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = Store.open("s3://bucket/prefix", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL"):
        store.get("x")


def asked_of_s3(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the requests to S3 from now on, as they are made."""
    asked: list[str] = []
    call = S3FileSystem._call_s3

    async def counted(self: S3FileSystem, method: str, *words: Any, **named: Any) -> Any:
        asked.append(method)
        return await call(self, method, *words, **named)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    return asked


@pytest.mark.s3
def test_an_object_is_read_with_one_request(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(s3_root)
    for name in "ab":
        store.put(f"x.zarr/{name}", name.encode() * 3000)
    asked = asked_of_s3(monkeypatch)
    store.get("x.zarr/a")
    assert asked == ["get_object"]
    store.get_many(["x.zarr/a", "x.zarr/b"])
    assert asked == ["get_object"] * 3
    prototype = default_buffer_prototype()
    assert sync(store.zarr("x.zarr").get("b", prototype)).to_bytes() == b"b" * 3000  # type: ignore[union-attr]
    assert asked == ["get_object"] * 4


@pytest.mark.s3
def test_a_server_that_comes_back_costs_time_and_nothing_else(own_s3: Any) -> None:
    """Killed in the middle, away for seconds, started again: reads and writes that began meanwhile succeed."""
    store = Store.open(f"s3://{own_s3.server.bucket}/x")
    store.put("before", b"1" * 1000)
    own_s3.kill()
    back = threading.Timer(4.0, own_s3.start)
    back.start()
    began = time.monotonic()
    try:
        store.put("after", b"2" * 1000)
        assert time.monotonic() - began > 3
        assert store.get("after") == b"2" * 1000
        assert store.get("before") == b"1" * 1000
        assert store.put_if_absent("after", b"3") is False
    finally:
        back.join()


def test_a_store_that_cannot_be_written_says_so_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a file where the root should be")
    with pytest.raises(StoreError, match=r"cannot write file://.*check"):
        Store.open(tmp_path / "file").require_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match=r"access refused.*check the folder's permissions"):
        Store.open(tmp_path / "store").require_writable()


def test_a_writable_store_stays_empty(store: Store) -> None:
    store.require_writable()
    assert store.list("") == []


def _write_group(store: Store) -> SummingStore:
    target = store.zarr("cutouts/x.zarr", read_only=False)
    assert isinstance(target, SummingStore)
    group = zarr.create_group(target, overwrite=True, attributes={"tile": "1"})
    values = np.random.default_rng(0).normal(size=(10, 2, 4, 4)).astype(np.float32)
    array = group.create_array("flux", shape=values.shape, dtype=values.dtype, chunks=(2, 2, 4, 4), shards=(4, 2, 4, 4))
    array[:] = values
    group.create_array("object_id", data=np.arange(10))
    group.attrs["late"] = 1
    return target


def test_what_zarr_writes_is_what_was_summed(store: Store) -> None:
    sums = _write_group(store).sums
    prefix = "cutouts/x.zarr/"
    on_store = {key.removeprefix(prefix): FileSum.of(store.get(key)) for key in store.list("cutouts/x.zarr")}
    assert on_store == sums
    assert len(on_store) == 3 + 1 + 3  # zarr.json of the group and two arrays; ids; three shards
    group = zarr.open_group(store.zarr("cutouts/x.zarr"), mode="r")
    assert group.attrs["late"] == 1


def test_the_same_pixels_give_the_same_bytes_on_a_folder_and_on_s3(local_store: Store, s3_root: str) -> None:
    assert _write_group(local_store).sums == _write_group(Store.open(s3_root)).sums


def test_an_object_removed_or_left_alone_through_the_summing_store_keeps_the_sums_true(store: Store) -> None:
    target = store.zarr("z", read_only=False)
    assert isinstance(target, SummingStore)
    buffer = default_buffer_prototype().buffer

    async def scenario() -> None:
        await target.set("kept", buffer.from_bytes(b"kept"))
        await target.set_if_not_exists("kept", buffer.from_bytes(b"other"))
        await target.set_if_not_exists("new", buffer.from_bytes(b"new"))
        await target.set("gone", buffer.from_bytes(b"gone"))
        await target.delete("gone")

    # On zarr's own loop, where the S3 connection lives.
    zarr.core.sync.sync(scenario())
    assert target.sums == {"kept": FileSum.of(b"kept"), "new": FileSum.of(b"new")}
    assert {k: store.get(f"z/{k}") for k in target.sums} == {"kept": b"kept", "new": b"new"}


def test_a_reading_zarr_store_refuses_to_write(store: Store) -> None:
    _write_group(store)
    reading = store.zarr("cutouts/x.zarr")
    with pytest.raises(ValueError, match="read-only"):
        asyncio.run(reading.set("zarr.json", default_buffer_prototype().buffer.from_bytes(b"{}")))


def test_a_chunk_that_vanished_is_an_error_and_not_a_field_of_zeros(store: Store) -> None:
    _write_group(store)
    store.delete("cutouts/x.zarr/flux/c/1")
    flux = zarr.open_group(store.zarr("cutouts/x.zarr"), mode="r")["flux"]
    assert isinstance(flux, zarr.Array)
    assert np.isfinite(np.asarray(flux[0:4])).all()
    with pytest.raises(FileNotFoundError, match="chunk flux/c/1/0/0/0 is missing"):
        flux[4:6]


@pytest.mark.s3
def test_a_large_object_is_written_in_parts_and_never_replaced(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(s3_root)
    asked = asked_of_s3(monkeypatch)
    large = os.urandom(1 << 20) * 101
    assert store.put("large", large) == FileSum.of(large)
    assert asked.count("create_multipart_upload") == 1
    assert asked.count("upload_part") > 1
    assert store.get("large") == large
    assert store.put_if_absent("manifest", large)
    assert not store.put_if_absent("manifest", large[:-1])
    assert FileSum.of(store.get("manifest")) == FileSum.of(large)


def test_a_file_is_stored_as_it_lies_on_disk_with_its_checksum(store: Store, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    path = tmp_path / "with blank.bin"
    for content in (data, b"", b"shorter"):
        path.write_bytes(content)
        assert store.put_file("a/b/file.bin", path) == FileSum.of(content)
        assert store.get("a/b/file.bin") == content
    assert path.read_bytes() == b"shorter"
    assert store.list("") == ["a/b/file.bin"]


def test_a_file_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*/key: it does not exist \(.*none\.fits"):
        store.put_file("key", tmp_path / "none.fits")
    with pytest.raises(StoreError, match="leaves the root"):
        store.put_file("../key", Path(__file__))
    assert store.list("") == []


def test_a_file_that_breaks_on_its_way_leaves_the_old_object_and_no_litter(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_store.put("kept", b"old")
    (tmp_path / "new").write_bytes(b"newer")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write file://.*/kept: .*No space left.*disk has room"):
        local_store.put_file("kept", tmp_path / "new")
    assert local_store.get("kept") == b"old"
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["kept"]


def test_a_file_on_its_way_to_a_folder_is_never_whole_in_memory(local_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    tracemalloc.start()
    local_store.put_file("large", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.s3
def test_a_large_file_goes_to_s3_in_parts(s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(s3_root)
    asked = asked_of_s3(monkeypatch)
    large = os.urandom(1 << 20) * 101
    (tmp_path / "large").write_bytes(large)
    assert store.put_file("large", tmp_path / "large") == FileSum.of(large)
    assert asked.count("upload_part") == 3
    assert asked.count("complete_multipart_upload") == 1
    assert FileSum.of(store.get("large")) == FileSum.of(large)


class Throttling(http.server.BaseHTTPRequestHandler):
    """A mock of an S3 server that is overloaded: SeaweedFS cannot be made to say so."""

    refusals: ClassVar[list[tuple[int, str]]] = []
    held: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"

    def _refused(self) -> bool:
        if not self.refusals:
            return False
        status, code = self.refusals.pop(0)
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())
        return True

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._refused():
            self.held[self.path] = data
            self._answer(200)

    def do_GET(self) -> None:
        if not self._refused():
            self._answer(200, self.held[self.path])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def throttling(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Throttling) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Store.open("s3://bucket/x", f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


def test_an_overloaded_server_is_asked_again_and_a_refusal_is_not(throttling: Store) -> None:
    Throttling.refusals[:] = [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")]
    throttling.put("a", b"data")
    Throttling.refusals[:] = [(429, "SlowDown"), (502, "BadGateway")]
    assert throttling.get("a") == b"data"
    assert Throttling.refusals == []
    Throttling.refusals[:] = [(403, "AccessDenied")] * 3
    with pytest.raises(StoreError, match="access refused"):
        throttling.get("a")
    assert len(Throttling.refusals) == 2


def test_a_listing_around_folders_does_not_enter_them(store: Store) -> None:
    kept = ["cutouts/s/1/9813/402/f.zarr.receipt.json", "cutouts/s/1/9813/f.zarrs/x", "cutouts/s/plain"]
    for key in [*kept, "cutouts/s/1/9813/402/f.zarr/zarr.json", "cutouts/s/1/9813/402/f.zarr/flux/c/0/0/0/0"]:
        store.put(key, b"x")
    assert store.list("cutouts", around=(".zarr",)) == sorted(kept)
    assert len(store.list("cutouts")) == 5
    assert store.list("nothing", around=(".zarr",)) == []


def test_a_summing_store_for_reading_alone_is_the_same_store(local_store: Store) -> None:
    writing = local_store.zarr("set.zarr", read_only=False)
    assert isinstance(writing, SummingStore)
    reading = writing.with_read_only(True)
    assert (reading.read_only, writing.read_only, reading.sums is writing.sums) == (True, False, True)
