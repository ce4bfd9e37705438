"""What an nf_tables rule has loaded into its registers, which both spellings of a rule must follow.

Registers are written 1 to 4 (16 bytes each) or 8 to 23 (4 bytes each, over the same memory); here always as the
second (linux/netfilter/nf_tables.h, enum nft_registers).
"""

from __future__ import annotations

from msgspec import Struct

from hostinspect.kernel.nftables.messages import Attributes, number

LL_HEADER, NETWORK_HEADER, TRANSPORT_HEADER = 0, 1, 2  # enum nft_payload_bases
CMP_EQ, CMP_NEQ, CMP_LT, CMP_LTE, CMP_GT, CMP_GTE = range(6)  # enum nft_cmp_ops
VERDICT = 0  # NFT_REG_VERDICT


class Loaded(Struct, frozen=True):
    """A value in a register and where it came from."""

    source: str  # the expression that loaded it: payload, meta, ct, fib, immediate, …
    key: int = 0  # of meta, ct and fib; the base of a payload
    offset: int = 0  # bytes, of a payload
    length: int = 0  # bytes
    direction: int | None = None  # of ct: 0 original, 1 reply
    value: bytes = b""  # of an immediate
    mask: bytes | None = None  # what a bitwise expression left of it
    xor: bytes = b""


def register(raw: bytes) -> int:
    """A register attribute as one of the 4-byte registers."""
    index = number(raw)
    return 8 + 4 * (index - 1) if 1 <= index <= 4 else index


def payload(a: Attributes) -> Loaded:
    """NFTA_PAYLOAD_*: DREG 1, BASE 2, OFFSET 3, LEN 4. KeyError where it writes to the packet."""
    return Loaded("payload", key=number(a[2]), offset=number(a[3]), length=number(a[4]))
