"""Ends Prefect's temporary server when the run that started it is gone, however it ended.

Prefect stops that server when its parent exits, but not when the parent is killed (SIGKILL, out of memory): it would
stay for good. Uvicorn takes the event loop's factory from UVICORN_LOOP, which is the one place where galflow is asked
anything inside that process. This file imports neither Prefect nor galflow.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 3.0
"""Uvicorn may wait without end for connections that a killed client never closed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Uvicorn's event loop; from now on the process ends soon after its parent, and not at the terminal's Ctrl-C.

    The run still needs it then, to say that it was interrupted: without a server it would wait for a minute and more.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent-watch", daemon=True).start()
    return asyncio.new_event_loop()


def _end_with(parent: int) -> None:
    # A process whose parent is gone is given another one.
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
