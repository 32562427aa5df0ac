"""From tiles and positions to Zarr, and from Zarr to batches."""
