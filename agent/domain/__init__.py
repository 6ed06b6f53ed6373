"""libvirt domain XML, tree in, tree out: render a placement, parse one back.  Pure (lxml)."""
