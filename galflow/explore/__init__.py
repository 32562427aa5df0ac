"""Every row of a published catalogue, to be sorted, searched, looked at and taken along: queries and a web service."""
