"""`client.callback_configuration`: the secret that signs a project's callbacks."""

from __future__ import annotations

from sinch_qn._checks import check_hmac_secret
from sinch_qn._operations import GET_CALLBACK_CONFIGURATION, UPDATE_CALLBACK_CONFIGURATION
from sinch_qn._pipeline import Pipeline
from sinch_qn.models import CallbackConfiguration, UpdateCallbackConfigurationRequest
from sinch_qn.retry import RetryRule


class CallbackConfigurationResource:
    """The secret that signs a project's callbacks; check them with `webhooks.parse`.

    Addresses are per order or number: `callback_url` in their requests. The secret is in no repr,
    log or error of this library.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def get(
        self, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> CallbackConfiguration:
        """Return the configuration; `hmac_secret` is None or empty if none was set.

        Raises `BadRequestError`, `NotFoundError` (the project). (getCallbackConfiguration)
        """
        return await self._pipeline.call(GET_CALLBACK_CONFIGURATION, timeout=timeout, retry=retry)

    async def update(
        self, hmac_secret: str, *, timeout: float | None = None, retry: RetryRule | None = None
    ) -> CallbackConfiguration:
        """Replace the secret, of at least one character; callbacks on their way have the old one.

        Idempotent: setting the same secret again changes nothing. Raises `InvalidRequestError`,
        `BadRequestError`, `NotFoundError` (the project). (updateCallbackConfiguration)
        """
        body = UpdateCallbackConfigurationRequest(hmac_secret=check_hmac_secret(hmac_secret))
        return await self._pipeline.call(
            UPDATE_CALLBACK_CONFIGURATION, body=body, timeout=timeout, retry=retry
        )
