"""Tests of text-enabling."""
