"""The most memory in use while a step runs: of the whole GPU as its driver tells, or of the step's processes."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

from benchmarks.gpu.figures import MIB

_LOOK_SECONDS = 0.2


class MemoryWatch:
    """Looks a few times a second, from another thread, until the end of the block."""

    def __init__(self, device: str) -> None:
        self.peak_mib: float | None = None
        """None where nobody could tell."""
        self._on_gpu = device == "cuda"
        self._pid: int | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="gpu-memory-watch")

    def of(self, pid: int) -> None:
        """The process that is watched, with all that it starts."""
        self._pid = pid

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        before = self._on_the_gpu() if self._on_gpu else 0.0
        while not self._stopped.wait(_LOOK_SECONDS):
            now = self._on_the_gpu() if self._on_gpu else self._of_processes()
            if now is not None and before is not None:
                self.peak_mib = max(self.peak_mib or 0.0, round(now - before, 1))

    @staticmethod
    def _on_the_gpu() -> float | None:
        """MiB in use on the first GPU; None if its driver does not tell."""
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            return float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used) / MIB
        except pynvml.NVMLError:
            return None

    def _of_processes(self) -> float | None:
        if self._pid is None:
            return None
        try:
            top = psutil.Process(self._pid)
            return sum(process.memory_info().rss for process in (top, *top.children(recursive=True))) / MIB
        except psutil.NoSuchProcess:
            return None  # one of them has ended while it was looked at
