"""Runs whose workers are on two hosts, each of which has its own name at its loopback, as on Debian."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.several.conftest import Machines, catalogue


@pytest.mark.full
def test_two_hosts_train_together_and_publish_what_one_machine_does(
    machines: Machines, on_one_machine: Callable[..., pa.Table], fault_line: Callable[[str], None]
) -> None:
    expected = on_one_machine()
    machines.start()
    path = machines.specification("two")
    run = machines.run(path)
    assert run.end() == 0, run.said
    assert catalogue(machines.folder / "store-two").equals(expected)
    fault_line(
        f"names on loopback, training.workers: 2 | same catalogue, {expected.num_rows} rows, {run.seconds:.0f} s"
    )
