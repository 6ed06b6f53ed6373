"""libvirt domain XML: a placement into it, out of it, and what a domain claims.  Pure; only lxml."""
