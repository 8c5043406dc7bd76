// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {AssetRegistry} from "../src/AssetRegistry.sol";
import {Membership} from "../src/Membership.sol";
import {AssetRecord, Statements} from "../src/Statements.sol";
import {World} from "./World.sol";

contract AssetRegistryTest is World {
    function correction(uint32 version) private pure returns (AssetRecord memory r) {
        r = record();
        r.assetVersion = version;
        r.recordsRoot = keccak256(abi.encode("records", version));
    }

    function correct(AssetRecord memory r) private {
        from(DEPARTMENT);
        assets.correct(r);
    }

    function usable() private view {
        assets.requireUsable(assetId(), 1, id(DEPARTMENT));
    }

    // --- Registering -----------------------------------------------------------------------------------------------------------

    function test_register_keepsHolderVersionSourceAndHeight() public {
        emits(address(assets));
        emit AssetRegistry.AssetRegistered(assetId(), id(DEPARTMENT), record());
        register();
        same(assets.assetWord(assetId()), (uint256(1) << 144) | block.number, "word");
        same(assets.recordHash(assetId(), 1), Statements.hash(record()), "record");
        same(assets.sourceOf("income"), assetId(), "source");
        same(assets.idOf(id(DEPARTMENT), "people"), assetId(), "id");
        usable();
    }

    function test_register_ofTheSameRecordAgainChangesNothing() public {
        register();
        uint256 before = assets.assetWord(assetId());
        next();
        register();
        same(assets.assetWord(assetId()), before, "word");
    }

    function test_register_failsIfTheNameIsTakenByAnotherRecord() public {
        register();
        AssetRecord memory r = record();
        r.rowCount += 1;
        fails(AssetRegistry.AssetKnown.selector, assetId());
        from(DEPARTMENT);
        assets.register(r);
    }

    function test_register_failsIfTheSenderIsNobodysKey() public {
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        assets.register(record());
    }

    function test_register_failsIfSentWithAKeyOfAnotherPurpose() public {
        fails(Membership.NotMemberKey.selector, keyAddress(DEPARTMENT, STATEMENT));
        vm.prank(keyAddress(DEPARTMENT, STATEMENT));
        assets.register(record());
    }

    function test_register_failsIfTheSendersKeyEnded() public {
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(DEPARTMENT, TRANSACTION)), "lost")));
        fails(Membership.NotMemberKey.selector, keyAddress(DEPARTMENT, TRANSACTION));
        register();
    }

    function test_register_failsIfTheHolderIsAnother() public {
        fails(AssetRegistry.NotHolder.selector, id(BANK), id(DEPARTMENT));
        from(BANK);
        assets.register(record());
    }

    function test_register_failsIfSuspended() public {
        suspend(DEPARTMENT);
        fails(Membership.NotActive.selector, id(DEPARTMENT));
        register();
    }

    function test_register_failsIfTheRoleHoldsNoData() public {
        AssetRecord memory r = record();
        r.holder = id(NOTARY);
        fails(Membership.WrongRole.selector, id(NOTARY), 7);
        from(NOTARY);
        assets.register(r);
    }

    function test_register_failsIfClosedToNewBusiness() public {
        closeToNewBusiness(address(assets));
        fails(Membership.ContractIsClosed.selector);
        register();
    }

    function test_register_failsIfAFieldIsOutOfRange() public {
        AssetRecord memory r = record();
        r.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        from(DEPARTMENT);
        assets.register(r);

        r = record();
        r.name = 0;
        fails(AssetRegistry.NameMissing.selector);
        from(DEPARTMENT);
        assets.register(r);

        r = record();
        r.grade = 0;
        fails(AssetRegistry.WrongGrade.selector, uint256(0));
        from(DEPARTMENT);
        assets.register(r);

        r.grade = 6;
        fails(AssetRegistry.WrongGrade.selector, 6);
        from(DEPARTMENT);
        assets.register(r);

        r = record();
        r.assetVersion = 2;
        fails(AssetRegistry.WrongAssetVersion.selector, 1, 2);
        from(DEPARTMENT);
        assets.register(r);
    }

    function test_register_failsIfAnotherIsTheDataItemsSource() public {
        register();
        AssetRecord memory r = record();
        r.holder = id(TAX_OFFICE);
        fails(AssetRegistry.DataItemTaken.selector, bytes32("income"), assetId());
        from(TAX_OFFICE);
        assets.register(r);
    }

    function test_register_ofDerivedAssetsClaimsNoSource() public {
        AssetRecord memory r = record();
        r.dataItem = 0;
        from(DEPARTMENT);
        assets.register(r);
        r.holder = id(TAX_OFFICE);
        from(TAX_OFFICE);
        assets.register(r);
        same(assets.sourceOf(0), 0, "no source of nothing");
    }

    function test_register_failsIfAParentIsUnknown() public {
        register();
        AssetRecord memory r = record();
        (r.name, r.dataItem) = ("derived", 0);
        r.parents = new bytes32[](2);
        (r.parents[0], r.parents[1]) = (assetId(), keccak256("nothing"));
        fails(AssetRegistry.UnknownAsset.selector, keccak256("nothing"));
        from(DEPARTMENT);
        assets.register(r);
        r.parents[1] = assetId();
        from(DEPARTMENT);
        assets.register(r);
    }

    // --- Correcting and cancelling ---------------------------------------------------------------------------------------------

    function test_correct_keepsEveryVersion() public {
        register();
        uint256 registeredAt = block.number;
        next();
        emits(address(assets));
        emit AssetRegistry.AssetCorrected(assetId(), id(DEPARTMENT), correction(2));
        correct(correction(2));
        uint256 packed = assets.assetWord(assetId());
        same(at(packed, 0), registeredAt, "registered at");
        same(at(packed, 48), block.number, "corrected at");
        same(packed >> 144, 2, "latest version");
        same(assets.recordHash(assetId(), 1), Statements.hash(record()), "version 1");
        same(assets.recordHash(assetId(), 2), Statements.hash(correction(2)), "version 2");
        next();
        correct(correction(2));
        same(assets.assetWord(assetId()), packed, "repeating changes nothing");
    }

    function test_correct_failsIfTheVersionIsNotTheNext() public {
        fails(AssetRegistry.UnknownAsset.selector, assetId());
        correct(correction(2));
        register();
        fails(AssetRegistry.WrongAssetVersion.selector, 2, 3);
        correct(correction(3));
        fails(AssetRegistry.WrongAssetVersion.selector, 2, 1);
        correct(correction(1));
    }

    function test_correct_failsIfTheHolderIsAnotherOrSuspended() public {
        register();
        fails(AssetRegistry.NotHolder.selector, id(BANK), id(DEPARTMENT));
        from(BANK);
        assets.correct(correction(2));
        suspend(DEPARTMENT);
        fails(Membership.NotActive.selector, id(DEPARTMENT));
        correct(correction(2));
    }

    function test_correct_failsIfItSlipsOntoAnothersDataItem() public {
        register();
        AssetRecord memory r = record();
        (r.holder, r.dataItem) = (id(TAX_OFFICE), "tax");
        from(TAX_OFFICE);
        assets.register(r);
        (r.dataItem, r.assetVersion) = ("income", 2);
        fails(AssetRegistry.DataItemTaken.selector, bytes32("income"), assetId());
        from(TAX_OFFICE);
        assets.correct(r);
    }

    function test_correct_failsIfClosedToNewBusiness() public {
        register();
        closeToNewBusiness(address(assets));
        fails(Membership.ContractIsClosed.selector);
        correct(correction(2));
    }

    function test_cancel_isForGood() public {
        register();
        next();
        emits(address(assets));
        emit AssetRegistry.AssetCancelled(assetId(), "error");
        from(DEPARTMENT);
        assets.cancel(assetId(), "error");
        uint256 packed = assets.assetWord(assetId());
        same(at(packed, 96), block.number, "cancelled at");
        next();
        from(DEPARTMENT);
        assets.cancel(assetId(), "again");
        same(assets.assetWord(assetId()), packed, "repeating changes nothing");
        fails(AssetRegistry.AssetGone.selector, assetId());
        correct(correction(2));
        fails(AssetRegistry.AssetGone.selector, assetId());
        usable();
        register();
        fails(AssetRegistry.AssetGone.selector, assetId());
        usable();
    }

    function test_cancel_failsIfTheAssetIsAnothersOrUnknown() public {
        fails(AssetRegistry.NotHolder.selector, id(DEPARTMENT), bytes32(0));
        from(DEPARTMENT);
        assets.cancel(assetId(), "error");
        register();
        fails(AssetRegistry.NotHolder.selector, id(BANK), id(DEPARTMENT));
        from(BANK);
        assets.cancel(assetId(), "spite");
    }

    // --- Sources of data items -------------------------------------------------------------------------------------------------

    function assignment(bytes32 dataItem, bytes32 to) private view returns (bytes memory) {
        bytes memory data = abi.encodeCall(assets.assignSource, (dataItem, to, "responsible office"));
        return abi.encodeCall(directory.actOn, (address(assets), data));
    }

    /// @dev The tax office's asset on the item that `register` uses.
    function taxRecord() private pure returns (AssetRecord memory r) {
        r = record();
        r.holder = id(TAX_OFFICE);
    }

    function taxAsset() private view returns (bytes32) {
        return assets.idOf(id(TAX_OFFICE), "people");
    }

    function test_cancel_freesTheDataItem() public {
        register();
        from(DEPARTMENT);
        assets.cancel(assetId(), "error");
        same(assets.sourceOf("income"), 0, "free");
        from(TAX_OFFICE);
        assets.register(taxRecord());
        same(assets.sourceOf("income"), taxAsset(), "the next source");
    }

    /// @dev One asset corrected again and again must not collect items.
    function test_correct_toAnotherItemFreesTheOneBefore() public {
        register();
        AssetRecord memory r = correction(2);
        r.dataItem = "housing";
        correct(r);
        same(assets.sourceOf("income"), 0, "free");
        same(assets.sourceOf("housing"), assetId(), "taken");
        r = correction(3);
        r.dataItem = 0;
        correct(r);
        same(assets.sourceOf("housing"), 0, "free too");
    }

    /// @dev A member takes an item before the responsible office uses it; two governors give it to the office's asset.
    function test_assignSource_takesASquattedItemFromItsSquatterForGood() public {
        register();
        fails(AssetRegistry.DataItemTaken.selector, bytes32("income"), assetId());
        from(TAX_OFFICE);
        assets.register(taxRecord());
        emits(address(assets));
        emit AssetRegistry.SourceAssigned("income", taxAsset(), "responsible office");
        govern(assignment("income", taxAsset()));
        fails(AssetRegistry.DataItemTaken.selector, bytes32("income"), taxAsset());
        correct(correction(2));
        from(DEPARTMENT);
        assets.cancel(assetId(), "squatted");
        same(assets.sourceOf("income"), taxAsset(), "a cancellation frees nothing that is another's");
        from(TAX_OFFICE);
        assets.register(taxRecord());
        same(assets.sourceOf("income"), taxAsset(), "the office's");
    }

    function test_assignSource_reservesAnItemBeforeItsFirstUse() public {
        govern(assignment("income", taxAsset()));
        fails(AssetRegistry.DataItemTaken.selector, bytes32("income"), taxAsset());
        register();
        from(TAX_OFFICE);
        assets.register(taxRecord());
        govern(assignment("income", assetId()));
        fails(AssetRegistry.DataItemTaken.selector, bytes32("income"), assetId());
        from(TAX_OFFICE);
        AssetRecord memory r = taxRecord();
        r.assetVersion = 2;
        assets.correct(r);
    }

    function test_assignSource_failsWithoutAnItemForACancelledAssetOrNotByTwoGovernors() public {
        fails(AssetRegistry.DataItemMissing.selector);
        govern(assignment(0, assetId()));
        register();
        from(DEPARTMENT);
        assets.cancel(assetId(), "error");
        fails(AssetRegistry.AssetGone.selector, assetId());
        govern(assignment("income", assetId()));
        bytes32 to = taxAsset();
        fails(Membership.OnlyGovernors.selector, keyAddress(SUPERVISOR, TRANSACTION));
        from(SUPERVISOR);
        assets.assignSource("income", to, "spite");
    }

    // --- Holds -----------------------------------------------------------------------------------------------------------------

    function test_hold_stopsNewRightsUntilReleased() public {
        register();
        emits(address(assets));
        emit AssetRegistry.AssetHeld(assetId(), "dispute");
        from(SUPERVISOR);
        assets.hold(assetId(), "dispute");
        uint256 heldAt = block.number;
        fails(AssetRegistry.AssetOnHold.selector, assetId());
        usable();
        next();
        from(SUPERVISOR);
        assets.hold(assetId(), "again");
        same(assets.holdWord(assetId()), (uint256(1) << 96) | heldAt, "repeating changes nothing");
        emits(address(assets));
        emit AssetRegistry.AssetReleased(assetId());
        from(SUPERVISOR);
        assets.release(assetId());
        uint256 releasedAt = block.number;
        usable();
        next();
        from(SUPERVISOR);
        assets.release(assetId());
        same(assets.holdWord(assetId()), (releasedAt << 48) | heldAt, "repeating changes nothing");
        from(SUPERVISOR);
        assets.hold(assetId(), "second");
        uint256 heights = (releasedAt << 208) | (releasedAt << 48) | block.number;
        same(assets.holdWord(assetId()), (uint256(1) << 96) | heights, "second hold");
        same(assets.earlierHoldWord(assetId(), releasedAt), (releasedAt << 48) | heldAt, "first hold");
        next();
        from(SUPERVISOR);
        assets.release(assetId());
        same(
            assets.holdWord(assetId()),
            (heights & ~(uint256(type(uint48).max) << 48)) | (block.number << 48),
            "second release"
        );
    }

    function test_hold_failsIfTheSenderIsNoActiveSupervisor() public {
        register();
        fails(Membership.WrongRole.selector, id(DEPARTMENT), 8);
        from(DEPARTMENT);
        assets.hold(assetId(), "dispute");
        fails(Membership.WrongRole.selector, id(DEPARTMENT), 8);
        from(DEPARTMENT);
        assets.release(assetId());
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        from(BANK);
        assets.hold(assetId(), "dispute");
        fails(Membership.NotActive.selector, id(BANK));
        from(BANK);
        assets.release(assetId());
    }

    function test_hold_failsIfTheAssetIsUnknown() public {
        fails(AssetRegistry.UnknownAsset.selector, keccak256("nothing"));
        from(SUPERVISOR);
        assets.hold(keccak256("nothing"), "dispute");
    }

    // --- Use -------------------------------------------------------------------------------------------------------------------

    function test_requireUsable_failsIfAssetVersionOrOwnerIsAnother() public {
        fails(AssetRegistry.UnknownAsset.selector, assetId());
        usable();
        register();
        fails(AssetRegistry.UnknownAsset.selector, assetId());
        assets.requireUsable(assetId(), 2, id(DEPARTMENT));
        fails(AssetRegistry.UnknownAsset.selector, assetId());
        assets.requireUsable(assetId(), 0, id(DEPARTMENT));
        fails(AssetRegistry.NotHolder.selector, id(BANK), id(DEPARTMENT));
        assets.requireUsable(assetId(), 1, id(BANK));
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    /// @dev Corrections, holds and releases at random heights against a model of plain variables.
    function test_words_keepEveryHeightAndTheVersion(uint32[6] memory waits, uint8 kinds) public {
        register();
        uint256 registeredAt = block.number;
        uint256 correctedAt;
        uint256 heldAt;
        uint256 releasedAt;
        uint32 version = 1;
        uint256 validFrom;
        uint256 before;
        bool held;
        for (uint256 i = 0; i < waits.length; ++i) {
            vm.roll(block.number + 1 + waits[i]);
            if ((kinds >> i) & 1 == 1) {
                correct(correction(++version));
                correctedAt = block.number;
            } else if (held) {
                from(SUPERVISOR);
                assets.release(assetId());
                (held, releasedAt) = (false, block.number);
            } else {
                before = assets.holdWord(assetId());
                from(SUPERVISOR);
                assets.hold(assetId(), "dispute");
                (held, heldAt, validFrom) = (true, block.number, releasedAt);
                same(assets.earlierHoldWord(assetId(), releasedAt), before, "hold before");
            }
        }
        uint256 expected = (uint256(version) << 144) | (correctedAt << 48) | registeredAt;
        same(assets.assetWord(assetId()), expected, "asset");
        expected = (validFrom << 208) | (held ? uint256(1) << 96 : 0) | (releasedAt << 48) | heldAt;
        same(assets.holdWord(assetId()), expected, "hold");
    }

    /// @dev Neither a longer name nor a shifted holder gives the same asset.
    function test_idOf_differsForDifferentAssets(bytes18 holder, bytes32 name, bytes18 otherHolder, bytes32 otherName)
        public
        view
    {
        bool equal = holder == otherHolder && name == otherName;
        holds((assets.idOf(holder, name) == assets.idOf(otherHolder, otherName)) == equal, "id");
    }
}
