"""Training: the one loop for every model, its checkpoints, and trained models on the store."""
