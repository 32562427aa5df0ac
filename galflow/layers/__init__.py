"""Networks and invertible maps, without a loss: what the models are built from."""
