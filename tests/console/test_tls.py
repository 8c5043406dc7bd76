"""A console served with the node's own certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest

from tests.support.console_network import running_node

pytestmark = pytest.mark.system


def test_a_console_is_served_over_tls_with_cookies_bound_to_its_host(tmp_path: Path) -> None:
    with running_node(tmp_path, plain_http=False) as node:
        trusted = ssl.create_default_context(cafile=str(node.organisation.certificate))
        trusted.check_hostname = False
        with httpx.Client(verify=trusted) as browser:
            answer = browser.get(node.url + "/login")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-qiaolian-visitor-")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
