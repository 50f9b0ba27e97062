"""The service is asked over real sockets of this machine."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/client" in item.path.as_posix():
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1"]))
