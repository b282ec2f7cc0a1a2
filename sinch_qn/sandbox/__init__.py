"""A fake Sinch for tests and demos: the API on a real socket, without real phones."""

from sinch_qn.sandbox.clock import Clock
from sinch_qn.sandbox.faults import Answer, Fault, Faults, Scripted
from sinch_qn.sandbox.hosting_orders import HostingOrders, Order
from sinch_qn.sandbox.imported_numbers import Imported, ImportedNumbers
from sinch_qn.sandbox.misbehaving_numbers import MisbehavingCampaign, MisbehavingNumber
from sinch_qn.sandbox.number_store import Number
from sinch_qn.sandbox.refusal import Refusal
from sinch_qn.sandbox.request_validation import Violation
from sinch_qn.sandbox.server import Sandbox
from sinch_qn.sandbox.settings import Settings
from sinch_qn.sandbox.state import Calls
from sinch_qn.sandbox.world import World

__all__ = [
    "Answer",
    "Calls",
    "Clock",
    "Fault",
    "Faults",
    "HostingOrders",
    "Imported",
    "ImportedNumbers",
    "MisbehavingCampaign",
    "MisbehavingNumber",
    "Number",
    "Order",
    "Refusal",
    "Sandbox",
    "Scripted",
    "Settings",
    "Violation",
    "World",
]
