"""The HTTPS shell: DICOMweb (PS3.18) on an open archive. No sockets and no SQL: requests in, responses out."""
