"""``config.toml`` -> one frozen tree. Nobody else reads settings or the environment."""

from strongroom.config.home import CONFIG_NAME, Home, config_is_missing, environment
from strongroom.config.reading import is_loopback, load, parse
from strongroom.config.sections import (
    Config,
    DicomSection,
    HttpsSection,
    JwtSection,
    KeysSection,
    LimitsSection,
    OidcSection,
    PeopleSection,
    ScreeningSection,
    SessionsSection,
    UnsafePlaintext,
)
from strongroom.config.words import in_toml

__all__ = [
    "CONFIG_NAME",
    "Config",
    "DicomSection",
    "Home",
    "HttpsSection",
    "JwtSection",
    "KeysSection",
    "LimitsSection",
    "OidcSection",
    "ScreeningSection",
    "PeopleSection",
    "SessionsSection",
    "UnsafePlaintext",
    "config_is_missing",
    "environment",
    "in_toml",
    "is_loopback",
    "load",
    "parse",
]
