"""Surveys and simulations, one file a kind, all behind the same interface (base.Survey)."""
