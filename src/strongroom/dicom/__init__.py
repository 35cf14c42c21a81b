"""Data sets as bytes: dictionary, bounded scanning, Part 10 headers, character sets, DICOM JSON, encoding."""
