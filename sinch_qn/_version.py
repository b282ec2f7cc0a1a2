"""The version, in its only place: the distribution reads it from here."""

__version__ = "0.1.0"
