"""One module a noun: its commands, each of which reads options, makes one call and prints."""
