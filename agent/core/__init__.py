"""Values without I/O: what a host is, what is asked, what was decided, and their JSON."""
