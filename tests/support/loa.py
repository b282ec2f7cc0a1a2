"""A Letter of Authorization of each kind, as models and as JSON."""

from __future__ import annotations

from typing import Any

import attrs

from sinch_qn.models import Address, AuthorizedPerson, DirectLoaInfo, ResellerLoaInfo

PERSON = AuthorizedPerson(first_name="Jane", last_name="Doe", email="jane@example.com")
ADDRESS = Address(
    building_number="1",
    street="Main Street",
    city="Washington",
    state="DC",
    postal_code="20001",
    country="US",
)
DIRECT = DirectLoaInfo(authorised_person=PERSON, address=ADDRESS, current_voice_carrier="Verizon")
RESELLER = ResellerLoaInfo(
    business_name="Sinch AB",
    authorised_person=PERSON,
    address=ADDRESS,
    current_voice_carrier="Verizon",
)
DIRECT_JSON = {
    "authorisedPerson": {"firstName": "Jane", "lastName": "Doe", "email": "jane@example.com"},
    "address": {
        "buildingNumber": "1",
        "street": "Main Street",
        "city": "Washington",
        "state": "DC",
        "postalCode": "20001",
        "country": "US",
    },
    "currentVoiceCarrier": "Verizon",
}


def marked(mark: str) -> DirectLoaInfo:
    """Return a letter each of whose texts is its own, such as `city@MARK.example`."""

    def texts(kind: type[attrs.AttrsInstance]) -> dict[str, Any]:
        return {field.name: f"{field.name}@{mark}.example" for field in attrs.fields(kind)}

    return DirectLoaInfo(
        authorised_person=AuthorizedPerson(**texts(AuthorizedPerson)),
        address=Address(**texts(Address)),
        current_voice_carrier=f"current_voice_carrier@{mark}.example",
    )
