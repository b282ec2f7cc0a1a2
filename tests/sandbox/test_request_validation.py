"""Request validation; test_app.py tests it over HTTP."""

from __future__ import annotations

import runpy
import sys
from importlib import resources

import pytest


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error names what to install."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(ImportError, match=r"sinch-qn\[sandbox\]"):
        runpy.run_path(str(resources.files("sinch_qn.sandbox").joinpath("request_validation.py")))
