"""The exposure auditor: what a DICOM or DICOMweb server lets a stranger do. It knows nothing of the archive."""
