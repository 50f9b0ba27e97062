"""Addresses of inputs and results: paths of this machine, and stores that fsspec knows."""

from __future__ import annotations

import re
from pathlib import Path

from promptseg.errors import JobError

# The stores that may be named, and the package that serves each. None fetches from the web, and
# none asks a host that an address names: who sends a job must not choose whom a worker talks to.
PACKAGES = {
    "memory": "fsspec",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "oci": "ocifs",
    "oss": "ossfs",
}
LOCAL = ("file", "local")
WEB = ("http", "https", "ftp", "ftps", "sftp")
KEYS_HINT = "Give keys as the store's own package takes them, such as by AWS_SECRET_ACCESS_KEY"


def protocol_of(address: str | Path) -> str | None:
    """Return the store that an address is in, None for a path of this machine.

    Raises:
        JobError: it is in no store that is known, or it has a key in it, which it would carry into
            lists and logs.
    """
    protocol, sign, rest = str(address).partition("://")
    if not sign or protocol in LOCAL:
        return None
    if protocol.lower() in WEB:
        raise JobError(
            f"nothing is fetched by `{protocol.lower()}`",
            hint="Download the images, or put them into a store such as s3",
        )
    if protocol not in PACKAGES or "::" in rest:
        what = f"{protocol:.20}" if protocol in PACKAGES else f"{protocol:.20}://"
        raise JobError(
            f"`{what}` is no kind of store that is known",
            hint=f"Known are {', '.join(PACKAGES)}, and paths of this machine",
        )
    host = rest.partition("/")[0]
    if ("@" in host and ":" in host) or re.search(r"\?[^/]*=", rest):
        raise JobError(f"an address of `{protocol}` with a key in it is not taken", hint=KEYS_HINT)
    return protocol


def local_path(address: str | Path) -> Path:
    """Return the path of an address that is in no store."""
    if isinstance(address, Path):
        return address
    protocol, sign, rest = address.partition("://")
    return Path(rest if sign and protocol in LOCAL else address)


def joined(folder: str, name: str) -> str:
    """Name a file in a folder, which both may be in a store."""
    if not folder:
        return name
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"
