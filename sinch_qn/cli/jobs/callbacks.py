"""What `sinch-qn callbacks` does."""

from __future__ import annotations

from sinch_qn.cli.client import with_client
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.output import Lines


def show_callbacks(*, show_secret: bool, as_json: bool) -> None:
    """Print whether there is a secret; the secret itself only if that is asked for."""
    configuration = with_client(lambda client: client.callback_configuration.get())
    secret, project_id = configuration.hmac_secret or "", configuration.project_id or ""
    shown = secret if show_secret else ("set" if secret else "none")
    record = {"projectId": project_id, "hmacSecretIsSet": bool(secret)}
    with Lines("PROJECT", "SECRET", as_json=as_json) as lines:
        lines.add(record | ({"hmacSecret": secret} if show_secret else {}), project_id, shown)


def set_callback_secret(secret: str) -> None:
    """Replace the secret."""
    with_client(lambda client: client.callback_configuration.update(secret))
    print_message("The secret is set. Callbacks that are on their way have the old one.")
