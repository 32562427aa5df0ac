"""Model families, one file each. They import torch and galflow.errors, nothing else: no survey, no disk, no Zarr."""
