"""The DICOM network shell: sockets, TLS and threads around the sans-IO rooms ``ul`` and ``dimse``."""
