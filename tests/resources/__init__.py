"""Tests of `sinch_qn.resources`."""
