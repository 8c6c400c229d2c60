// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ERC1271Wallet: the smallest smart wallet that can pay by signature.
/// @notice Its owner's key signs; the wallet answers for it by ERC-1271. `setBroken` makes it answer "invalid"
/// from then on, for tests in which a signature is good when checked and bad when the payment is collected.
contract ERC1271Wallet {
    bytes4 private constant VALID = 0x1626ba7e;
    bytes4 private constant INVALID = 0xffffffff;

    // The test chain fills it by name in its genesis block.
    address public owner;
    bool public broken;

    constructor(address owner_) {
        owner = owner_;
    }

    receive() external payable {}

    /// @dev The signature must be 65 bytes r, s, v, made by the owner over the digest itself.
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (broken || signature.length != 65) return INVALID;
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        address signer = ecrecover(digest, v, r, s);
        return signer != address(0) && signer == owner ? VALID : INVALID;
    }

    function setBroken(bool broken_) external {
        require(msg.sender == owner, "ERC1271Wallet: caller is not the owner");
        broken = broken_;
    }

    function execute(address to, uint256 value, bytes calldata data) external returns (bytes memory) {
        require(msg.sender == owner, "ERC1271Wallet: caller is not the owner");
        (bool ok, bytes memory answer) = to.call{value: value}(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }
}
