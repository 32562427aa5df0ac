"""One reader of headers in NumPy's format at a time.

numpy reads the header of an array by ast.literal_eval. Python 3.11 counts the depth of a syntax tree in one number for
all threads: where the garbage collector, which may run in the midst of it, lets another thread parse too, both raise
SystemError (cpython issue 106905).
"""

from __future__ import annotations

import threading

PARSING = threading.Lock()
"""Held while an array's header is read."""
