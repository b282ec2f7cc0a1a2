"""Tests of README, docs and examples."""
