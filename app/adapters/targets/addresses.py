"""Which addresses a target's name may lead to: public ones, and those of the networks that its tenant names. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GIVEN_OUT = IPv6Network("2000::/3")
"""The only part of IPv6 that public hosts have addresses from; ``is_global`` takes much of the rest for public."""

_NAT64 = IPv6Network("64:ff9b::/96")

_NOT_PUBLIC: tuple[Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # protocols' own, and one cloud's metadata service
    IPv4Network("192.88.99.0/24"),  # the nearest 6to4 relay, whoever runs it
    IPv4Network("168.63.129.16/32"),  # public by its number, and one cloud's inside service
    IPv6Network("3fff::/20"),  # for examples
)
"""What ``is_global`` takes for public in some versions of Python, or always, and is not."""


def is_permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether ``address``, and every IPv4 address that it stands for on some gateway, is public or allowed."""
    return all(
        _is_public(one) or any(one.version == network.version and one in network for network in allowed)
        for one in _meanings(address)
    )


def _meanings(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]  # the operating system connects to this one, and to no other
    embedded = [address.sixtofour] if address.sixtofour is not None else [*(address.teredo or ())]
    if address in _NAT64:
        embedded.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [address, *embedded]


def _is_public(address: Address) -> bool:
    if any(address.version == network.version and address in network for network in _NOT_PUBLIC):
        return False
    if isinstance(address, IPv6Address):
        if address not in _GIVEN_OUT:
            return address in _NAT64
        if address.sixtofour is not None:
            return True  # what it stands for decides; versions of Python differ about the rest of it
    return address.is_global and not address.is_multicast
