"""Who may be named (the identifiers of public collections, and pseudonyms for everyone else), and in which subsets."""

import hashlib
import re

SUBSETS = ("train", "validation", "test")
ALIASES = {"L097": "L096"}  # the paper's misprint
KNOWN = re.compile(r"[NCL]\d{3}|SIM\d{2,}|P[0-9a-f]{8}")


def pseudonym(identity: str) -> str:
    """P and 8 hex digits of a SHA-256: no identity in any output, the same one for the same patient."""
    return "P" + hashlib.sha256(f"low-dose CT patient {identity}".encode()).hexdigest()[:8]


def pseudonym_unless_known(name: str, public: bool = True) -> str:
    """``name`` if it is a pseudonym already or, with ``public``, an identifier of Mayo's, TCIA's or a simulated
    patient; else its own pseudonym."""
    return name if KNOWN.fullmatch(name) and (public or name.startswith("P")) else pseudonym(name)
