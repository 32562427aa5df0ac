"""Measurements on cutouts in flux: Sersic profiles and shapes, the same way for a survey and for a simulation."""
