"""The code desk: web pages where people ask for the call to their phone and type what they hear.

Installed with `sinch-qn[desk]`. `create_app` makes the application, to serve or to mount.
"""

from sinch_qn.desk.app import create_app as create_app

__all__ = ("create_app",)
