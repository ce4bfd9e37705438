"""Addresses that two links have."""

from __future__ import annotations

from collections import defaultdict

from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.patient import LINKS, RECORDS, Patient
from hostinspect.topology import Link

_Segment = tuple[int, str]  # namespace, and the bridge or lower device in it


def _segments(patient: Patient) -> dict[_Segment, list[Link]]:
    """The links that are on one Ethernet: a bridge and the far ends of its ports, or what is above one device."""
    segments: dict[_Segment, list[Link]] = defaultdict(list)
    for link in patient.topology.links:
        if link.kind == "bridge":
            segments[link.netns, link.ifname].append(link)
        elif link.kind == "veth" and link.master:
            far = patient.places.link(link.peer)
            if far is not None and far.kind == "veth" and not far.master:
                segments[link.netns, link.master].append(far)
        elif link.kind == "macvlan" and link.lower is not None:
            segments[link.lower.netns, link.lower.ifname].append(link)
    return segments


def _named(patient: Patient, link: Link) -> str:
    return f"{link.ifname} in {patient.places.namespace_name(link.netns)}"


@check("address-used-twice", "error", needs=(*RECORDS, *LINKS), certain=True)
def address_used_twice(patient: Patient) -> Checked:
    """Two links on one network have the same address.

    Packets for it go to whichever answered the last ARP request: a service that is there every other minute.
    """
    for (_, name), links in _segments(patient).items():
        holders: dict[str, list[Link]] = defaultdict(list)
        for link in links:
            for address in link.addresses:
                if not address.startswith("fe80:"):
                    holders[address].append(link)
        for address, having in holders.items():
            if len(having) > 1:
                yield Found(
                    "address",
                    address,
                    f"{address} is had by {len(having)} links on {name}",
                    f"hostinspect whois {address}",
                    tuple(_named(patient, link) for link in having),
                )


@check("mac-used-twice", "error", needs=(*RECORDS, *LINKS), certain=True)
def mac_used_twice(patient: Patient) -> Checked:
    """Two links on one network have the same MAC.

    The bridge sends what is for it to whichever sent last. Containers with a fixed --mac-address, or copies of one
    machine, have that.
    """
    for (_, name), links in _segments(patient).items():
        holders: dict[str, list[Link]] = defaultdict(list)
        for link in links:
            if link.mac and link.mac != "00:00:00:00:00:00" and link.kind != "bridge":
                holders[link.mac].append(link)
        for mac, having in holders.items():
            if len(having) > 1:
                yield Found(
                    "mac",
                    mac,
                    f"{mac} is had by {len(having)} links on {name}",
                    f"hostinspect whois {mac}",
                    tuple(_named(patient, link) for link in having),
                )


@check("address-differs", "error", needs=(*RECORDS, *LINKS, "processes"))
def address_differs(patient: Patient) -> Checked:
    """A container's interface does not have the address that the engine gave it.

    Rules and names lead to the recorded one, where nobody answers. Somebody changed it in the container, which takes
    NET_ADMIN or the host's root.
    """
    for place in patient.attachments:
        for name in ("ip", "ip6"):
            field = f"endpoints[{place.endpoint.network}].{name}"
            for drift in place.container.drift:
                if drift.field == field:
                    yield Found(
                        "container",
                        place.container.name,
                        f"{place.endpoint.interface} of {place.container.name} has "
                        f"{drift.effective or 'no address'}, and {drift.recorded} by the record",
                        patient.docker(place.container, f"restart {word(place.container.name)}"),
                        (f"on network {place.endpoint.network}",),
                    )
