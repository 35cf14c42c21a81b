"""What TLS a port speaks: versions, suites, certificates, asked with messages of our own."""
