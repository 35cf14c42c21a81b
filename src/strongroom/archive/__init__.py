"""The domain: what an archive is, with no protocol, no SQL and no file path in it."""
