"""Prefect tasks: each fans one verb of the library out over Dask, and keeps receipts and progress.

A task is a stage of a run, tens per run, never one per tile: the server takes in some thirty task runs a second, a Dask
scheduler hundreds of futures.
"""
