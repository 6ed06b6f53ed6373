"""Configuration files: /etc/cellwright, its drop-ins, and pin sets out of an existing nova.conf."""

from agent.settings.document import Effective, Host, Layer, Settings
from agent.settings.load import read_settings
from agent.settings.merge import merge
from agent.settings.nova import parse_nova_conf
from agent.settings.parse import parse_toml
from agent.settings.sets import apply_sets, limits

__all__ = [
    "Effective",
    "Host",
    "Layer",
    "Settings",
    "apply_sets",
    "limits",
    "merge",
    "parse_nova_conf",
    "parse_toml",
    "read_settings",
]
