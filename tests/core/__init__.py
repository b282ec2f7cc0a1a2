"""Tests of the client and the layers below it."""
