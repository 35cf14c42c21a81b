"""What a running archive counts of itself, for whoever watches it: never a name, a UID or an address."""
