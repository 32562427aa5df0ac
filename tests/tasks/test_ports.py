"""A port that something listens at is taken, by whatever name its host goes; a free one is not."""

from __future__ import annotations

import socket

import pytest

from tasks.ports import taken


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_is_taken_while_something_listens(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert taken("127.0.0.1", port) == "Address already in use"
    assert taken(host, port) is None


def test_a_host_that_is_none_of_this_machine_says_so() -> None:
    assert taken("no-such-host.invalid", 8787)
    assert taken("203.0.113.1", 8787) == "Cannot assign requested address"
