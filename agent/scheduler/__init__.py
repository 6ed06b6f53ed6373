"""Many hosts: host table, filters, weighers, selection, and the store and API at the edge."""
