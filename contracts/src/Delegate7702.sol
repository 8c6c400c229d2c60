// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Delegate7702: code that a plain account may delegate to (EIP-7702) and still pay by signature.
/// @notice A token that sees code at the payer asks ERC-1271 instead of recovering the key. Running in the
/// account's own context, this answers yes to raw signatures of the account's own key, and holds no state.
contract Delegate7702 {
    bytes4 private constant VALID = 0x1626ba7e;
    bytes4 private constant INVALID = 0xffffffff;

    receive() external payable {}

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return INVALID;
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        address signer = ecrecover(digest, v, r, s);
        return signer != address(0) && signer == address(this) ? VALID : INVALID;
    }
}
