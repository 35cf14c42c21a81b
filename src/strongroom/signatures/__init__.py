"""Digital signatures in data sets (DICOM PS3.15 annex C): what they cover, whether they hold, whose they are."""
