"""Records a real network's header and storage proofs into this folder: ``python tests/data/kcn/record.py one|four``.

``round.json`` is a header as ``kaia_getBlockByNumber`` told it of a block whose first proposer was late; no command makes a proposer late.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from chain.crypto import address_of, new_private_key
from chain.deploy import Governor, deploy
from chain.engine.network import Network
from chain.ledger.abi import contract_abi  # noqa: F401  (fails early when the contracts are not compiled)
from chain.proofs import mapping_slot
from chain.rpc import Rpc
from chain.statements import Role
from contracts import artifact

MEMBERS = ("11440703QL00000178", "11440703QL00000258", "11440703QL00000338")


def main(kind: str) -> None:
    from registry.uscc import with_check_character

    names = {"one": ["operator"], "four": ["operator", "supervisor", "bank", "department"]}[kind]
    members = [with_check_character(each[:17]) for each in MEMBERS]
    with tempfile.TemporaryDirectory() as directory:
        network = Network.create(Path(directory) / "network", names)
        try:
            network.start()
            governors = [
                Governor(member, f"governor {n}", Role.OPERATOR, address_of(new_private_key()), address_of(new_private_key()))
                for n, member in enumerate(members)
            ]
            deployment = deploy(network.rpc_urls[0], new_private_key(), governors)
            rpc = Rpc(network.rpc_urls[:1])
            height = int(rpc.call("eth_blockNumber"), 16)
            address = deployment.contracts["MemberDirectory"]
            base = artifact("MemberDirectory").storage["members"]
            known = mapping_slot(members[0].encode(), base)
            absent = mapping_slot(b"nobody", base)
            slots = ["0x" + each.hex() for each in (known, absent)]
            record = {
                "chainId": network.chain_id,
                "genesisHash": network.genesis_hash,
                "validators": network.addresses,
                "header": rpc.call("kaia_getBlockByNumber", hex(height), False),
                "contract": address,
                "member": members[0],
                "proof": rpc.call("eth_getProof", address, slots, hex(height)),
            }
            Path(__file__).with_name(f"{kind}.json").write_text(json.dumps(record, indent=1) + "\n")
        finally:
            network.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
