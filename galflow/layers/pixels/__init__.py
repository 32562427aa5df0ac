"""Causal networks over pixels or codes, and the distributions of one pixel."""
