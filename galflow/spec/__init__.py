"""What a person writes in YAML or the form: every part of a specification, and its schema."""
