"""Bulk runs."""
