"""Hosting orders, imported numbers and callbacks: `client.hosting_orders.get(…)` and so on."""

from sinch_qn.resources.callback_configuration import CallbackConfigurationResource
from sinch_qn.resources.hosting_orders import HostingOrdersResource, OrderProgress
from sinch_qn.resources.imported_numbers import ImportedNumbersResource

__all__ = [
    "CallbackConfigurationResource",
    "HostingOrdersResource",
    "ImportedNumbersResource",
    "OrderProgress",
]
