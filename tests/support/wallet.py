"""A wallet of our own in the browser (EIP-1193): it signs with a key that a test chooses."""

from __future__ import annotations

import json

from eth_account import Account
from playwright.sync_api import Page

from chain.core.crypto import address_of

WALLET = """
window.ethereum = {
  request: async ({ method, params }) => {
    if (method === "eth_requestAccounts") return [await window.walletAddress()];
    if (method === "eth_signTypedData_v4") return await window.walletSign(params[1]);
    throw new Error("unsupported");
  },
};
"""


def add_wallet(page: Page, key: bytes) -> None:
    """Give the page a wallet that holds a key."""
    page.expose_function("walletAddress", lambda: address_of(key))
    page.expose_function(
        "walletSign",
        lambda text: (
            "0x" + Account.sign_typed_data(key, full_message=json.loads(text)).signature.hex()
        ),
    )
    page.add_init_script(WALLET)
