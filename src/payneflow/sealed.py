"""The checksum at the end of a page, and what it says of itself: whether it is whole, and what it was made of."""

import hashlib
import re
from pathlib import Path

from payneflow.errors import PayneflowError

_SEAL = b"<!-- SHA-256 of all before this: "
_END = b" -->\n"


def sealed(content: bytes) -> bytes:
    """A page with its checksum."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode() + _END


def read_digests(path: Path) -> dict[str, str]:
    """By the name of what a page was made of, its digest: of `<meta name="payneflow-NAME" content="...">`.

    Raises PayneflowError where the page is not whole.
    """
    body, seal, rest = path.read_bytes().rpartition(_SEAL)
    if not seal or rest != hashlib.sha256(body).hexdigest().encode() + _END:
        raise PayneflowError(f"{path}: not a whole page of payneflow. Make it again.")
    found = dict(re.findall(rb'<meta name="payneflow-(networks|grid|label_errors|fits)" content="(\w*)">', body))
    return {key.decode(): value.decode() for key, value in found.items() if value}
