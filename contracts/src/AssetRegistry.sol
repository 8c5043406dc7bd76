// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {AssetRecord, Statements} from "./Statements.sol";
import {Intervals} from "./Intervals.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title Data assets and their rights
/// @notice An asset is named by its holder and a name; each version is an `AssetRecord` whose struct hash is stored. A data item has one
/// authoritative source: the first asset that registers it. An asset is the source of one data item at a time; cancelling it, or correcting it
/// to another item, frees the item. Two governors may assign an item, also before its first use: whoever took it first need not be the office
/// that is responsible for it.
/// - `_assets[id]` = registeredAt:48 | correctedAt:48 (latest) | cancelledAt:48 | latestVersion:32.
/// - `_holds[id]` = heldAt:48 | releasedAt:48 | held:1 (at bit 96) | validFrom:48 (at bit 208); the supervisor's latest stop in a dispute.
/// - `_earlierHolds[id][validFrom]` = the word of the hold before (`Intervals`).
contract AssetRegistry is Membership {
    using Statements for AssetRecord;
    using Intervals for uint256;

    uint256 private constant HELD = 1 << 96;

    mapping(bytes32 assetId => uint256) private _assets;
    mapping(bytes32 assetId => uint256) private _holds;
    mapping(bytes32 versionKey => bytes32 recordHash) private _versions;
    mapping(bytes32 dataItem => bytes32 assetId) private _sources;
    mapping(bytes32 assetId => bytes18) private _holders;
    mapping(bytes32 assetId => mapping(uint256 releasedAt => uint256 word)) private _earlierHolds;
    /// @dev The data item whose source the asset is.
    mapping(bytes32 assetId => bytes32) private _dataItems;

    event AssetRegistered(bytes32 indexed assetId, bytes18 indexed holder, AssetRecord record);
    event AssetCorrected(bytes32 indexed assetId, bytes18 indexed holder, AssetRecord record);
    event AssetCancelled(bytes32 indexed assetId, bytes32 reason);
    event AssetHeld(bytes32 indexed assetId, bytes32 reason);
    event AssetReleased(bytes32 indexed assetId);
    event SourceAssigned(bytes32 indexed dataItem, bytes32 indexed assetId, bytes32 reason);

    error NotHolder(bytes18 sender, bytes18 holder);
    error AssetKnown(bytes32 assetId);
    error UnknownAsset(bytes32 assetId);
    error AssetGone(bytes32 assetId);
    error AssetOnHold(bytes32 assetId);
    error WrongAssetVersion(uint32 expected, uint32 given);
    error WrongGrade(uint8 grade);
    error DataItemTaken(bytes32 dataItem, bytes32 assetId);
    error NameMissing();
    error DataItemMissing();

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    constructor(MemberDirectory directory_) Membership(directory_) {}

    /// @notice The id of an asset.
    /// @param holder The code of the member that holds the asset.
    /// @param name The asset's name.
    /// @return The hash of holder and name.
    function idOf(bytes18 holder, bytes32 name) public pure returns (bytes32) {
        return keccak256(abi.encode(holder, name));
    }

    /// @notice The key of an asset version.
    /// @param assetId The asset's id (`idOf`).
    /// @param version The version, from 1.
    /// @return The hash of id and version.
    function versionKey(bytes32 assetId, uint32 version) public pure returns (bytes32) {
        return keccak256(abi.encode(assetId, version));
    }

    /// @notice Registers version 1. Repeating the same record changes nothing.
    /// @param record The signed asset version: rights, grade, roots, row count.
    /// @custom:emits AssetRegistered
    /// @custom:reverts AssetKnown, ContractIsClosed, DataItemTaken, NameMissing, NotActive, NotHolder, NotMemberKey, UnknownAsset,
    /// WrongAssetVersion, WrongGrade, WrongRole, WrongVersion
    function register(AssetRecord calldata record) external {
        bytes32 assetId = _checked(record);
        if (_assets[assetId] != 0) {
            require(_versions[versionKey(assetId, 1)] == record.hash(), AssetKnown(assetId));
            return;
        }
        require(record.assetVersion == 1, WrongAssetVersion(1, record.assetVersion));
        _requireRole(record.holder, DEPARTMENT | BANK | OPERATOR);
        _requireSource(record.dataItem, assetId);

        _setSource(record.dataItem, assetId);
        _assets[assetId] = (uint256(1) << 144) | block.number;
        _holders[assetId] = record.holder;
        _versions[versionKey(assetId, 1)] = record.hash();
        emit AssetRegistered(assetId, record.holder, record);
    }

    /// @notice Registers the next version.
    /// @param record The signed asset version: rights, grade, roots, row count.
    /// @custom:emits AssetCorrected
    /// @custom:reverts AssetGone, ContractIsClosed, DataItemTaken, NameMissing, NotActive, NotHolder, NotMemberKey, UnknownAsset,
    /// WrongAssetVersion, WrongGrade, WrongVersion
    function correct(AssetRecord calldata record) external {
        bytes32 assetId = _checked(record);
        uint256 word = _assets[assetId];
        require(word != 0, UnknownAsset(assetId));
        require(_at(word, 96) == 0, AssetGone(assetId));
        uint32 latest = uint32(word >> 144);
        if (record.assetVersion == latest && _versions[versionKey(assetId, latest)] == record.hash()) return;
        require(record.assetVersion == latest + 1, WrongAssetVersion(latest + 1, record.assetVersion));
        _requireSource(record.dataItem, assetId);

        _setSource(record.dataItem, assetId);
        _assets[assetId] = _at(word, 0) | (block.number << 48) | (uint256(record.assetVersion) << 144);
        _versions[versionKey(assetId, record.assetVersion)] = record.hash();
        emit AssetCorrected(assetId, record.holder, record);
    }

    /// @notice Cancels the sender's asset for good. Repeating it changes nothing.
    /// @param assetId The asset's id (`idOf`).
    /// @param reason The reason code.
    /// @custom:emits AssetCancelled
    /// @custom:reverts NotActive, NotHolder, NotMemberKey
    function cancel(bytes32 assetId, bytes32 reason) external {
        bytes18 sender = _activeSender();
        require(_holders[assetId] == sender, NotHolder(sender, _holders[assetId]));
        uint256 word = _assets[assetId];
        if (_at(word, 96) != 0) return;

        _assets[assetId] = _stamp(word, 96);
        _setSource(0, assetId);
        emit AssetCancelled(assetId, reason);
    }

    /// @notice Stops new rights to an asset in dispute. Repeating it changes nothing.
    /// @param assetId The asset's id (`idOf`).
    /// @param reason The reason code.
    /// @custom:emits AssetHeld
    /// @custom:reverts NotActive, NotMemberKey, UnknownAsset, WrongRole
    function hold(bytes32 assetId, bytes32 reason) external {
        _requireRole(_activeSender(), SUPERVISOR);
        require(_assets[assetId] != 0, UnknownAsset(assetId));
        uint256 word = _holds[assetId];
        if (word & HELD != 0) return;

        _holds[assetId] = word.begun(0, _earlierHolds[assetId]) | HELD;
        emit AssetHeld(assetId, reason);
    }

    /// @notice Ends a hold. Without one it changes nothing.
    /// @param assetId The asset's id (`idOf`).
    /// @custom:emits AssetReleased
    /// @custom:reverts NotActive, NotMemberKey, WrongRole
    function release(bytes32 assetId) external {
        _requireRole(_activeSender(), SUPERVISOR);
        uint256 word = _holds[assetId];
        if (word & HELD == 0) return;

        _holds[assetId] = word.ended(0) & ~HELD;
        emit AssetReleased(assetId);
    }

    /// @notice Makes an asset the source of a data item, by two governors. An asset that is not registered yet has the item reserved for it;
    /// the asset that was the source before cannot take the item back.
    /// @param dataItem The data item's name.
    /// @param assetId The asset's id (`idOf`).
    /// @param reason The reason code.
    /// @custom:emits SourceAssigned
    /// @custom:reverts AssetGone, DataItemMissing, OnlyGovernors
    function assignSource(bytes32 dataItem, bytes32 assetId, bytes32 reason) external {
        _requireGovernors();
        require(dataItem != 0, DataItemMissing());
        require(_at(_assets[assetId], 96) == 0, AssetGone(assetId));
        bytes32 before = _sources[dataItem];
        if (before != assetId && _dataItems[before] == dataItem) _dataItems[before] = 0;
        _sources[dataItem] = assetId;
        emit SourceAssigned(dataItem, assetId, reason);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    /// @notice Reverts unless a right to this version may be given: registered, neither cancelled nor held, by this owner.
    /// @param assetId The asset's id (`idOf`).
    /// @param version The version, from 1.
    /// @param owner The code of the member that must hold the asset.
    /// @custom:reverts AssetGone, AssetOnHold, NotHolder, UnknownAsset
    function requireUsable(bytes32 assetId, uint32 version, bytes18 owner) external view {
        uint256 word = _assets[assetId];
        require(word != 0 && _versions[versionKey(assetId, version)] != 0, UnknownAsset(assetId));
        require(_at(word, 96) == 0, AssetGone(assetId));
        require(_holds[assetId] & HELD == 0, AssetOnHold(assetId));
        require(_holders[assetId] == owner, NotHolder(owner, _holders[assetId]));
    }

    /// @notice The record of an asset, packed.
    /// @param assetId The asset's id (`idOf`).
    /// @return The storage value; zero if the asset is unknown.
    function assetWord(bytes32 assetId) external view returns (uint256) {
        return _assets[assetId];
    }

    /// @notice The record of a hold, packed.
    /// @param assetId The asset's id (`idOf`).
    /// @return The storage value; zero if there was never a hold.
    function holdWord(bytes32 assetId) external view returns (uint256) {
        return _holds[assetId];
    }

    /// @notice The word of the hold that was released at that height, once another has followed; zero otherwise.
    /// @param assetId The asset's id (`idOf`).
    /// @param releasedAt The height at which the earlier hold was released.
    /// @return The storage value; zero if there is none.
    function earlierHoldWord(bytes32 assetId, uint256 releasedAt) external view returns (uint256) {
        return _earlierHolds[assetId][releasedAt];
    }

    /// @notice The hash of a registered asset version.
    /// @param assetId The asset's id (`idOf`).
    /// @param version The version, from 1.
    /// @return The hash; zero if the version is not registered.
    function recordHash(bytes32 assetId, uint32 version) external view returns (bytes32) {
        return _versions[versionKey(assetId, version)];
    }

    /// @notice The one source of a data item.
    /// @param dataItem The data item's name.
    /// @return The asset's id; zero if there is none.
    function sourceOf(bytes32 dataItem) external view returns (bytes32) {
        return _sources[dataItem];
    }

    function _checked(AssetRecord calldata record) private view returns (bytes32 assetId) {
        _requireOpen();
        bytes18 sender = _activeSender();
        require(record.version == 1, WrongVersion(record.version));
        require(record.holder == sender, NotHolder(sender, record.holder));
        require(record.name != 0, NameMissing());
        require(record.grade >= 1 && record.grade <= 5, WrongGrade(record.grade));
        for (uint256 i = 0; i < record.parents.length; ++i) {
            require(_assets[record.parents[i]] != 0, UnknownAsset(record.parents[i]));
        }
        assetId = idOf(record.holder, record.name);
    }

    /// @dev A data item is free or this asset's own; a correction may not slip onto another's.
    function _requireSource(bytes32 dataItem, bytes32 assetId) private view {
        bytes32 taken = _sources[dataItem];
        require(dataItem == 0 || taken == 0 || taken == assetId, DataItemTaken(dataItem, taken));
    }

    /// @dev Frees the item whose source the asset was.
    function _setSource(bytes32 dataItem, bytes32 assetId) private {
        bytes32 before = _dataItems[assetId];
        if (before == dataItem) return;
        if (before != 0) _sources[before] = 0;
        if (dataItem != 0) _sources[dataItem] = assetId;
        _dataItems[assetId] = dataItem;
    }
}
// slither-disable-end incorrect-equality
