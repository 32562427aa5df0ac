"""Python imports this at its start where this folder is on PYTHONPATH: the process's clock is wrong by some days."""

import datetime
import os

import time_machine

_DAYS = datetime.timedelta(days=float(os.environ["WRONG_CLOCK_DAYS"]))
time_machine.travel(datetime.datetime.now(datetime.UTC) + _DAYS, tick=True).start()
