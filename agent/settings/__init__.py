"""Configuration files: /etc/cellwright, its drop-ins, and pin sets out of an existing nova.conf."""
