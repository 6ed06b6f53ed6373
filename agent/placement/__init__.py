"""One host: which cells, which pCPUs, which pages.  Pure arithmetic."""
