"""The host's daemon: what it reports, what it is told, how it makes it so and keeps it so."""
