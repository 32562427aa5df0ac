"""All that a machine with one GPU is asked, in one call of at most eight minutes; see benchmarks/README.md."""
