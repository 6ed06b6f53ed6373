"""The scheduler's HTTP API: documents in, documents out, a token with every call."""
