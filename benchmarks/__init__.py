"""Measurements of galflow against what the same work costs bare. They print ratios and assert nothing."""
