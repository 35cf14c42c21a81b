"""Strongroom: an archive for medical images that cannot be left open."""

__version__ = "0.1.0"
