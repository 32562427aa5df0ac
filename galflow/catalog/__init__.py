"""The published catalogue: columns in one order, written as Parquet, FITS or HATS."""
