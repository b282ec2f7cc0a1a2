"""The commands, one module a noun: each reads options, makes one call, and prints."""
