"""What a DICOM server does with associations, services, queries and a synthetic object."""
