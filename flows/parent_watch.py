"""Ends Prefect's temporary server when the run that started it is gone, however it ended.

Prefect stops that server when its parent exits, but not when the parent is killed (SIGKILL, out of memory): it would
stay for good. Uvicorn takes the event loop's factory from UVICORN_LOOP, which is the one place where galflow is asked
anything inside that process. By then the parent may be gone already, so it says who it is in GALFLOW_PARENT_PID. This
file imports neither Prefect nor galflow.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 3.0
"""Uvicorn may wait without end for connections that a killed client never closed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Uvicorn's event loop; from now on the process ends soon after its parent, and not at the terminal's Ctrl-C.

    The run still needs it then, to say that it was interrupted: without a server it would wait for a minute and more.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    parent = os.getppid()
    told = int(os.environ.get("GALFLOW_PARENT_PID", parent))
    threading.Thread(target=_end_with, args=(parent, told), name="parent-watch", daemon=True).start()
    return asyncio.new_event_loop()


def _end_with(parent: int, told: int) -> None:
    # A process whose parent is gone is given another one. Where that has happened before it looked for the first time,
    # the one that it was told of is not its parent, and no longer there.
    while os.getppid() == parent and (parent == told or _is_alive(told)):
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_alive(process: int) -> bool:
    """Not so for one that has ended and that nobody has asked about yet."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        line = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux, or it ended just now: then the next look finds it gone
        return True
    return line.rpartition(")")[2].split()[0] not in "ZX"
