"""The command: one file a verb; each imports only what it needs."""
