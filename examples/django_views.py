"""Django views over the API: one key per process, one client per request.

    pip install sinch-qn django
    SINCH_PROJECT_ID=… SINCH_KEY_ID=… SINCH_KEY_SECRET=… python django_views.py runserver

    curl localhost:8000/numbers/+12025550134

A client belongs to an event loop. Under WSGI each request starts one, so each request has a client
of its own; the `OAuth2` is the process's and keeps the token for all. The views work under ASGI,
too. For a project of yours take `AUTH`, the views and their URLs. There is no login: add your own.
"""

from __future__ import annotations

import asyncio
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from sinch_qn import (
    InvalidRequestError,
    NotFoundError,
    OAuth2,
    QualifiedNumber,
    QualifiedNumbersClient,
    SinchError,
    to_dict,
)

AUTH = OAuth2.from_env()


async def look_up(phone_number: str) -> QualifiedNumber:
    """Return a number as Sinch has it."""
    async with QualifiedNumbersClient.from_env(auth=AUTH, timeout=10) as client:
        return await client.get_number(phone_number)


def show(_: HttpRequest, phone_number: str) -> JsonResponse:
    """Show a number: a view without `async`, as most of a project's are."""
    try:
        return JsonResponse(to_dict(asyncio.run(look_up(phone_number))))
    except SinchError as error:
        return failed(error)


async def show_async(_: HttpRequest, phone_number: str) -> JsonResponse:
    """Show a number: an asynchronous view."""
    try:
        return JsonResponse(to_dict(await look_up(phone_number)))
    except SinchError as error:
        return failed(error)


def failed(error: SinchError) -> JsonResponse:
    """Respond with the kind of the error; its text names operation and masked number."""
    status = 503
    if isinstance(error, InvalidRequestError):
        status = 422
    elif isinstance(error, NotFoundError):
        status = 404
    return JsonResponse({"detail": str(error), "outcome": error.outcome.value}, status=status)


urlpatterns = [
    path("numbers/<str:phone_number>", show),
    path("async/numbers/<str:phone_number>", show_async),
]

if not settings.configured:  # in a project of yours: its settings
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "testserver"])
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
