"""What a web server shows: products, DICOMweb services, files, headers."""
