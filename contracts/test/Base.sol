// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @dev The cheat codes these tests use, as forge offers them.
interface Vm {
    function addr(uint256 privateKey) external pure returns (address);
    function assertEq(bytes calldata left, bytes calldata right, string calldata what) external pure;
    function assertEq(uint256 left, uint256 right, string calldata what) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata what) external pure;
    function assertTrue(bool condition, string calldata what) external pure;
    function assume(bool condition) external pure;
    function chainId(uint256 newChainId) external;
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function etch(address target, bytes calldata code) external;
    function expectEmit(address emitter) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function getNonce(address account) external view returns (uint64);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytesArray(string calldata json, string calldata key) external pure returns (bytes[] memory);
    function parseJsonStringArray(string calldata json, string calldata key) external pure returns (string[] memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function pauseGasMetering() external;
    function prank(address sender) external;
    function readFile(string calldata path) external view returns (string memory);
    function resumeGasMetering() external;
    function revertToState(uint256 snapshot) external returns (bool done);
    function roll(uint256 height) external;
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function snapshotState() external returns (uint256 snapshot);
    function warp(uint256 time) external;
}

/// @title What every test has
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @dev Actions from which on a random run must have reached what it is for; one that was cut short to show a failure need not.
    uint256 internal constant WHOLE_RUN = 50;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    /// @dev forge asks an invariant test for these.
    address[] private _targets;

    FuzzSelector[] private _selectors;

    function targetSelectors() external view returns (FuzzSelector[] memory) {
        return _selectors;
    }

    function targetContracts() external view returns (address[] memory) {
        return _targets;
    }

    /// @dev An invariant run calls these functions of the handler and nothing else.
    function _target(address handler, bytes4[] memory selectors) internal {
        _targets.push(handler);
        _selectors.push(FuzzSelector(handler, selectors));
    }

    function same(uint256 left, uint256 right, string memory what) internal pure {
        vm.assertEq(left, right, what);
    }

    function same(bytes32 left, bytes32 right, string memory what) internal pure {
        vm.assertEq(left, right, what);
    }

    function holds(bool condition, string memory what) internal pure {
        vm.assertTrue(condition, what);
    }

    /// @dev The next call must revert with exactly this error and these arguments.
    function fails(bytes4 selector) internal {
        vm.expectRevert(abi.encodePacked(selector));
    }

    function fails(bytes4 selector, bytes32 first) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first));
    }

    function fails(bytes4 selector, bytes32 first, bytes32 second) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first, second));
    }

    function fails(bytes4 selector, bytes32 first, uint256 second) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first, second));
    }

    function fails(bytes4 selector, uint256 first) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first));
    }

    function fails(bytes4 selector, uint256 first, uint256 second) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first, second));
    }

    function fails(bytes4 selector, address first) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first));
    }

    function fails(bytes4 selector, address first, bytes32 second) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first, second));
    }

    function fails(bytes4 selector, address first, address second) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, first, second));
    }

    /// @dev The next call must revert with this error, whatever its arguments: a signature over something else recovers to an address
    /// that nobody chose.
    function failsSomehow(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }

    /// @dev The next call of `emitter` emits exactly the event that the test emits after this.
    function emits(address emitter) internal {
        vm.expectEmit(emitter);
    }

    /// @dev Whether the call succeeds; for handlers, where a refusal is one of the answers looked for.
    function succeeds(address target, bytes memory data) internal returns (bool done) {
        (done,) = target.call(data);
    }

    function word(uint256 value) internal pure returns (bytes32) {
        return bytes32(value);
    }

    function word(address value) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(value)));
    }

    function at(uint256 packed, uint256 shift) internal pure returns (uint256) {
        return (packed >> shift) & ((1 << 48) - 1);
    }

    /// @dev `value` folded into the closed range.
    function fold(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    function next() internal {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + 1);
    }
}
