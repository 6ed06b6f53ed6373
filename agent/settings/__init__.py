"""Configuration files to settings: our TOML with drop-ins, or the pin sets of an existing nova.conf."""
