"""Prefect flows: the story of a run, nouns and verbs, no arithmetic. And the command line that starts them."""
