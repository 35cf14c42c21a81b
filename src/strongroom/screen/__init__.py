"""Screening: what does not belong into an image file, and where exactly it stands."""
