// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MemberDirectory} from "../src/MemberDirectory.sol";
import {Membership} from "../src/Membership.sol";
import "../src/Statements.sol";
import {Base} from "./Base.sol";

/// @dev A contract like ours, whose digests can be read.
contract Digester is Membership {
    constructor() Membership(MemberDirectory(address(0))) {}

    function digest(bytes32 structHash) external view returns (bytes32) {
        return _hashTypedDataV4(structHash);
    }
}

/// @title Statements hash as the nodes hash them
/// @notice The vectors are written by `python tests/contracts/statement_vectors.py`: each type's statements, ABI-encoded, with the hash and
/// digest that the nodes' own code makes of them.
contract StatementsTest is Base {
    string private _json;

    function setUp() public {
        _json = vm.readFile("test/vectors/statements.json");
    }

    function test_hash_equalsTheNodesForEveryType() public view {
        string[] memory names = vm.parseJsonStringArray(_json, ".types");
        same(names.length, 29, "types");
        for (uint256 i = 0; i < names.length; ++i) {
            bytes[] memory encoded = vm.parseJsonBytesArray(_json, string.concat(".", names[i], ".encoded"));
            bytes32[] memory hashes = vm.parseJsonBytes32Array(_json, string.concat(".", names[i], ".structHashes"));
            holds(encoded.length >= 5 && encoded.length == hashes.length, names[i]);
            for (uint256 j = 0; j < encoded.length; ++j) {
                same(hashOf(names[i], encoded[j]), hashes[j], names[i]);
            }
        }
    }

    function test_digest_equalsTheNodesUnderTheSameDomain() public {
        address at = vm.parseJsonAddress(_json, ".domain.verifyingContract");
        vm.etch(at, address(new Digester()).code);
        vm.chainId(vm.parseJsonUint(_json, ".domain.chainId"));
        string[] memory names = vm.parseJsonStringArray(_json, ".types");
        uint256 signed = 0;
        for (uint256 i = 0; i < names.length; ++i) {
            bytes32[] memory hashes = vm.parseJsonBytes32Array(_json, string.concat(".", names[i], ".structHashes"));
            bytes32[] memory digests = vm.parseJsonBytes32Array(_json, string.concat(".", names[i], ".digests"));
            if (digests.length == 0) continue;
            ++signed;
            for (uint256 j = 0; j < hashes.length; ++j) {
                same(Digester(at).digest(hashes[j]), digests[j], names[i]);
            }
        }
        same(signed, 23, "signed types");
    }

    function hashOf(string memory name, bytes memory encoded) private pure returns (bytes32) {
        bytes32 wanted = keccak256(bytes(name));
        if (wanted == keccak256("Share")) return Statements.hash(abi.decode(encoded, (Share)));
        if (wanted == keccak256("AssetRecord")) return Statements.hash(abi.decode(encoded, (AssetRecord)));
        if (wanted == keccak256("GrantTerms")) return Statements.hash(abi.decode(encoded, (GrantTerms)));
        if (wanted == keccak256("DealTerms")) return Statements.hash(abi.decode(encoded, (DealTerms)));
        if (wanted == keccak256("Approval")) return Statements.hash(abi.decode(encoded, (Approval)));
        if (wanted == keccak256("ApprovalWithdrawal")) {
            return Statements.hash(abi.decode(encoded, (ApprovalWithdrawal)));
        }
        if (wanted == keccak256("SubjectKeyCertificate")) {
            return Statements.hash(abi.decode(encoded, (SubjectKeyCertificate)));
        }
        if (wanted == keccak256("GrantDecision")) return Statements.hash(abi.decode(encoded, (GrantDecision)));
        if (wanted == keccak256("GrantRevocation")) return Statements.hash(abi.decode(encoded, (GrantRevocation)));
        if (wanted == keccak256("Agreement")) return Statements.hash(abi.decode(encoded, (Agreement)));
        if (wanted == keccak256("DepositConfirmation")) {
            return Statements.hash(abi.decode(encoded, (DepositConfirmation)));
        }
        if (wanted == keccak256("UsageRequest")) return Statements.hash(abi.decode(encoded, (UsageRequest)));
        if (wanted == keccak256("UsageReceipt")) return Statements.hash(abi.decode(encoded, (UsageReceipt)));
        if (wanted == keccak256("ReceiptVoid")) return Statements.hash(abi.decode(encoded, (ReceiptVoid)));
        if (wanted == keccak256("RequestWithdrawal")) {
            return Statements.hash(abi.decode(encoded, (RequestWithdrawal)));
        }
        if (wanted == keccak256("Voucher")) return Statements.hash(abi.decode(encoded, (Voucher)));
        if (wanted == keccak256("LaneTotal")) return Statements.hash(abi.decode(encoded, (LaneTotal)));
        if (wanted == keccak256("FinalSettlement")) return Statements.hash(abi.decode(encoded, (FinalSettlement)));
        if (wanted == keccak256("LogPosition")) return Statements.hash(abi.decode(encoded, (LogPosition)));
        if (wanted == keccak256("Ruling")) return Statements.hash(abi.decode(encoded, (Ruling)));
        if (wanted == keccak256("Consent")) return Statements.hash(abi.decode(encoded, (Consent)));
        if (wanted == keccak256("ConsentRegistration")) {
            return Statements.hash(abi.decode(encoded, (ConsentRegistration)));
        }
        if (wanted == keccak256("ConsentWithdrawal")) return Statements.hash(abi.decode(encoded, (ConsentWithdrawal)));
        if (wanted == keccak256("CreditQuery")) return Statements.hash(abi.decode(encoded, (CreditQuery)));
        if (wanted == keccak256("CreditDispute")) return Statements.hash(abi.decode(encoded, (CreditDispute)));
        if (wanted == keccak256("CreditRepair")) return Statements.hash(abi.decode(encoded, (CreditRepair)));
        if (wanted == keccak256("TitleStatement")) return Statements.hash(abi.decode(encoded, (TitleStatement)));
        if (wanted == keccak256("DealStep")) return Statements.hash(abi.decode(encoded, (DealStep)));
        if (wanted == keccak256("UnitHold")) return Statements.hash(abi.decode(encoded, (UnitHold)));
        revert(string.concat("no such type here: ", name));
    }
}
