"""What a run is, and what of it is left to do: check and plan."""
