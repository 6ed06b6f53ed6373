"""The schema's history, one migration a file, each with the data it must carry over."""
