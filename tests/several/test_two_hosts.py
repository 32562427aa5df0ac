"""Runs whose workers are on two hosts, whose names mean an address at which the other cannot reach them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.several.conftest import Machines, catalogue


@pytest.mark.full
@pytest.mark.parametrize("names", ["on loopback, as on Debian", "on a second network"])
def test_two_hosts_train_together_and_publish_what_one_machine_does(
    names: str, machines: Machines, on_one_machine: Callable[..., pa.Table], fault_line: Callable[[str], None]
) -> None:
    expected = on_one_machine()
    if names == "on a second network":
        for number, host in enumerate((machines.one, machines.two), start=1):
            host.join_dead_network(f"10.99.{number}.1")
    machines.start()
    path = machines.specification("two")
    run = machines.run(path)
    assert run.end() == 0, run.said
    assert catalogue(machines.folder / "store-two").equals(expected)
    fault_line(f"names {names}, training.workers: 2 | same catalogue, {expected.num_rows} rows, {run.seconds:.0f} s")
