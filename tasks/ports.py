"""Whether a port can be listened at, asked before a server takes some other one or ends with a trace of its own."""

from __future__ import annotations

import socket


def taken(host: str, port: int) -> str | None:
    """Why nothing can listen at ``port`` of ``host`` (a name, IPv4, or IPv6 with or without brackets); None if it can.

    The reason is the system's, as "Address already in use".
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        return error.strerror or str(error)
    return None
