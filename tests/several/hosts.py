"""Hosts made of namespaces: each with its own network, name, /etc/hosts and processes, joined by a switch.

Nothing of it lies on the machine itself. A host is a process that waits for the end of its standard input; with it go
its namespaces and everything that runs there, also where the tests are killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

PROJECT = Path(__file__).resolve().parents[2]
_UNSHARE = ("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_START_SECONDS = 30.0
_READY = "ready"


def why_not() -> str | None:
    """Why there can be no hosts here; None if there can."""
    try:
        words = [*_UNSHARE, "sh", "-c", "hostname probe && ip link add probe0 type veth peer name probe1"]
        tried = subprocess.run(words, capture_output=True, text=True, timeout=_START_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"namespaces cannot be made here: {error}"
    return f"namespaces cannot be made here: {tried.stderr.strip()}" if tried.returncode else None


class Namespace:
    """Namespaces held by one process."""

    def __init__(self, script: str) -> None:
        held = f"set -e; {script}; echo {_READY}; exec cat > /dev/null"
        self._holder = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != _READY:
            self.close()
            raise RuntimeError(f"these namespaces could not be made: {script}")
        self.pid = int(Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text())

    def command(self, *words: str) -> list[str]:
        """The command that runs ``words`` inside."""
        return ["nsenter", f"--target={self.pid}", "--net", "--uts", "--mount", "--pid", "--", *words]

    def network(self, *words: str) -> None:
        """``ip`` inside this network, with the processes' numbers of outside."""
        command = ["nsenter", f"--target={self.pid}", "--net", "--", "ip", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=_START_SECONDS)

    def close(self) -> None:
        """End it, and all that runs inside."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.kill()  # --kill-child: then the first process inside is killed, and with it all others
        self._holder.wait()
        self._holder.stdin.close()
        self._holder.stdout.close()


class Host:
    """One machine of a network, called ``name``, at ``address``."""

    def __init__(self, switch: Namespace, name: str, number: int, folder: Path) -> None:
        self.name, self.address = name, f"10.83.0.{number}"
        self._switch, self._port, self._folder = switch, f"port{number}", folder
        hosts = folder / f"hosts-{name}"
        # As an installation of Debian or Ubuntu writes it.
        hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
        self._inside = Namespace(f"hostname {name}; mount --bind {hosts} /etc/hosts; ip link set lo up")
        self._started: list[subprocess.Popen[bytes]] = []
        switch.network("link", "add", self._port, "type", "veth", "peer", "name", f"wire{number}")
        switch.network("link", "set", f"wire{number}", "netns", str(self._inside.pid))
        switch.network("link", "set", self._port, "master", "bridge0", "up")
        self._inside.network("link", "set", f"wire{number}", "name", "eth0")
        self._inside.network("address", "add", f"{self.address}/24", "dev", "eth0")
        self._inside.network("link", "set", "eth0", "up")

    @property
    def process(self) -> int:
        """Number, outside, of this host's first process."""
        return self._inside.pid

    def bind(self, folder: Path, place: Path) -> None:
        """Have this host see ``folder`` at ``place``."""
        words = ["nsenter", f"--target={self.process}", "--mount", "--", "mount", "--bind", str(folder), str(place)]
        subprocess.run(words, check=True, timeout=_START_SECONDS)

    def join_dead_network(self, address: str) -> None:
        """A second card at ``address``, whose cable leads nowhere, as the one that the host's own name means."""
        self._inside.network("link", "add", "eth1", "type", "veth", "peer", "name", "nowhere")
        self._inside.network("address", "add", f"{address}/24", "dev", "eth1")
        for card in ("eth1", "nowhere"):
            self._inside.network("link", "set", card, "up")
        (self._folder / f"hosts-{self.name}").write_text(f"127.0.0.1 localhost\n{address} {self.name}\n")

    def cut(self) -> None:
        """Pull the cable out of the switch: nobody is told, what is sent is lost."""
        self._switch.network("link", "set", self._port, "nomaster")

    def mend(self) -> None:
        """Put it back."""
        self._switch.network("link", "set", self._port, "master", "bridge0")

    @contextlib.contextmanager
    def without_link(self, seconds: float) -> Iterator[None]:
        """Cut for so long, then mended; the block runs meanwhile."""
        until = time.monotonic() + seconds
        self.cut()
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            self.mend()

    def start(self, *words: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command here; what it says goes to a file ``log`` of the folder."""
        with (self._folder / log).open("ab") as out:
            process = subprocess.Popen(
                self._inside.command(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._folder,
                env=_environment() | environment,
            )  # fmt: skip
        self._started.append(process)
        return process

    def python(self, *words: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start Python with galflow's sources here."""
        return self.start(sys.executable, *words, log=log, **environment)

    def close(self) -> None:
        """Switch it off."""
        self._inside.close()
        for process in self._started:
            process.wait(_START_SECONDS)


class Network:
    """Hosts on one switch, gone at the end of the block; their commands' logs lie in ``folder``."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self._names = names
        self._held = contextlib.ExitStack()
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            switch = Namespace("ip link add bridge0 type bridge; ip link set bridge0 up")
            held.callback(switch.close)
            for number, name in enumerate(self._names, start=1):
                host = Host(switch, name, number, self.folder)
                held.callback(host.close)
                self.hosts[name] = host
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def log(self, name: str) -> str:
        """What a command said."""
        return (self.folder / name).read_text(errors="replace")


def wait_for(log: Path, words: str, seconds: float = 60.0, times: int = 1) -> None:
    """Return once a log holds these words so many times."""
    until = time.monotonic() + seconds
    while not log.exists() or log.read_text(errors="replace").count(words) < times:
        if time.monotonic() > until:
            raise AssertionError(f"{words!r} is not in {log.name} after {seconds:g} s:\n{_end_of(log)}")
        time.sleep(0.05)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:] if log.exists() else "(no such file)"


def _environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "GALFLOW_", "DASK_"))}
    return kept | {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
