"""What several suites need: archives in temporary directories, a private PostgreSQL, sample files, bytes on a wire."""
