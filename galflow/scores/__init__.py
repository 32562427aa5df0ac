"""What models' numbers mean: scores of chunks, their calibration, likelihoods, and distributions that merge."""
