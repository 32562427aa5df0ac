"""The report as a folder of pages: their templates, styles and scripts, and the files of data that the scripts read."""
