"""What ``serve`` runs: the DICOM and HTTPS services, the check, the digests, and the processes each of them has."""
