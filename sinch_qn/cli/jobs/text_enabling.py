"""What `sinch-qn text-enable` and `text-enable-toll-free` do: one order each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sinch_qn.cli.client import with_client
from sinch_qn.cli.messages import print_message
from sinch_qn.cli.options import summarize_numbers
from sinch_qn.cli.output import Lines
from sinch_qn.cli.resources import show_order
from sinch_qn.models import TextEnableNumbersRequest, TextEnableTollFreeNumbersRequest
from sinch_qn.preflight import PlannedOrder

_LOA_SENT: Final = (
    "The Letter of Authorization is sent by email; the order continues once it is signed."
)


def order_sms(request: TextEnableNumbersRequest, *, as_json: bool) -> None:
    """Place the order, and print its id."""
    order_id = with_client(lambda client: client.text_enable_numbers(request))
    with Lines("ORDER", as_json=as_json) as lines:
        lines.add({"hostingOrderId": order_id}, order_id)
    if request.blanket_loa_info is None:
        print_message(_LOA_SENT)


def order_toll_free_sms(request: TextEnableTollFreeNumbersRequest, *, as_json: bool) -> None:
    """Place the order, and print it."""
    order = with_client(lambda client: client.text_enable_toll_free_numbers(request))
    show_order(order, as_json=as_json)
    print_message(_LOA_SENT)


def show_planned_orders(orders: Sequence[PlannedOrder], *, as_json: bool) -> None:
    """Print how the numbers are split into orders."""
    with Lines("ORDER", "COMMAND", "NUMBERS", "SUCH AS", as_json=as_json) as lines:
        for nth, order in enumerate(orders, 1):
            command_name = "text-enable-toll-free" if order.toll_free else "text-enable"
            record = {
                "order": nth,
                "command": command_name,
                "regionCode": order.region,
                "phoneNumbers": list(order.numbers),
            }
            lines.add(record, nth, command_name, str(order), summarize_numbers(order.numbers))
