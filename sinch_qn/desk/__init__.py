"""The code desk: web pages where people ask for the call to their phone and type what they hear.

Installed with `sinch-qn[desk]`. `create_app` makes the application, to serve or to mount;
`serve_desk` serves it on a port of its own.
"""

from sinch_qn.desk.app import create_app as create_app
from sinch_qn.desk.link_files import link_lines as link_lines
from sinch_qn.desk.links import Links as Links
from sinch_qn.desk.server import ServedDesk as ServedDesk
from sinch_qn.desk.server import last_served_url as last_served_url
from sinch_qn.desk.server import listen as listen
from sinch_qn.desk.server import serve_desk as serve_desk
from sinch_qn.desk.server import signing_secret as signing_secret
from sinch_qn.desk.sessions import Sessions as Sessions
from sinch_qn.desk.tokens import Token as Token
from sinch_qn.desk.tokens import Tokens as Tokens

__all__ = (
    "Links",
    "ServedDesk",
    "Sessions",
    "Token",
    "Tokens",
    "create_app",
    "last_served_url",
    "link_lines",
    "listen",
    "serve_desk",
    "signing_secret",
)
