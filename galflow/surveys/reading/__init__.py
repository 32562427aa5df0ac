"""What surveys share: FITS, WCS, tables, names, planes, PSF, sky background, detection, objects across tiles."""
