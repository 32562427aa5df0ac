"""Surveys that never were: a field's galaxies drawn from a trained model, as a chosen telescope would see them."""
