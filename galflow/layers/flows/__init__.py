"""Invertible maps with their log-determinants, and the networks inside them."""
