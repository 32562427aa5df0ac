"""Drawn galaxies: profiles, planted anomalies, empty sky."""
