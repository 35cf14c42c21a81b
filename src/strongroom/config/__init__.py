"""``config.toml`` -> one frozen tree. Nobody else reads settings or the environment."""

from strongroom.config.home import Home, config_is_missing, environment
from strongroom.config.reading import is_loopback, load, parse
from strongroom.config.sections import (
    Config,
    DicomSection,
    HttpsSection,
    JwtSection,
    LimitsSection,
    ScreeningSection,
    UnsafePlaintext,
)

__all__ = [
    "Config",
    "DicomSection",
    "Home",
    "HttpsSection",
    "JwtSection",
    "LimitsSection",
    "ScreeningSection",
    "UnsafePlaintext",
    "config_is_missing",
    "environment",
    "is_loopback",
    "load",
    "parse",
]
