"""The version, known without reading the installed metadata."""

__version__ = "0.1.0"
