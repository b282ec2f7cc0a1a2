"""Bulk voice-challenge runs: ring, collect the codes, verify, until every number is settled."""
