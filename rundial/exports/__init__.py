"""Everything of runs as files: tables, media and artifacts, or one page to look at."""
