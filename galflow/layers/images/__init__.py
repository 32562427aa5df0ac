"""Networks from images and to images; how a telescope sees light; vector quantisation."""
