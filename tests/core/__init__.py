"""The client and what it stands on."""
