"""The same facts as text tables, SVG and HTML."""
