package evm

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/crypto"
)

// Type strings of EIP-712 and EIP-3009.
const (
	domainType   = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
	transferType = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)

// Domain is a token's EIP-712 domain.
type Domain struct {
	Name     string
	Version  string
	ChainID  *big.Int
	Contract common.Address
}

// Separator is the hash of the domain.
func (d Domain) Separator() common.Hash {
	return hashWords(crypto.Keccak256([]byte(domainType)), crypto.Keccak256([]byte(d.Name)), crypto.Keccak256([]byte(d.Version)),
		uint256(d.ChainID), address(d.Contract))
}

// Transfer is the message of TransferWithAuthorization (EIP-3009).
type Transfer struct {
	From, To                       common.Address
	Value, ValidAfter, ValidBefore *big.Int
	Nonce                          common.Hash
}

// StructHash is the hash of the message.
func (m Transfer) StructHash() common.Hash {
	return hashWords(crypto.Keccak256([]byte(transferType)), address(m.From), address(m.To), uint256(m.Value), uint256(m.ValidAfter),
		uint256(m.ValidBefore), m.Nonce.Bytes())
}

// Digest is what the payer signs.
func Digest(d Domain, structHash common.Hash) common.Hash {
	return crypto.Keccak256Hash([]byte{0x19, 0x01}, d.Separator().Bytes(), structHash.Bytes())
}

func hashWords(words ...[]byte) common.Hash { return crypto.Keccak256Hash(words...) }

func uint256(n *big.Int) []byte { return math.U256Bytes(new(big.Int).Set(n)) }

func address(a common.Address) []byte { return common.LeftPadBytes(a.Bytes(), 32) }

// recoverSigner finds who signed a digest. Refused are lengths other than 65, v other than 0, 1, 27, 28, and a high s,
// which the token refuses too. The returned signature has v as 27 or 28.
func recoverSigner(digest common.Hash, signature []byte) (common.Address, []byte, bool) {
	if len(signature) != crypto.SignatureLength {
		return common.Address{}, nil, false
	}
	sig := append([]byte(nil), signature...)
	if sig[64] >= 27 {
		sig[64] -= 27
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:64])
	if !crypto.ValidateSignatureValues(sig[64], r, s, true) {
		return common.Address{}, nil, false
	}
	key, err := crypto.SigToPub(digest.Bytes(), sig)
	if err != nil {
		return common.Address{}, nil, false
	}
	sig[64] += 27
	return crypto.PubkeyToAddress(*key), sig, true
}

// nonceBit is where Permit2 keeps a nonce: the bit of the word nonceBitmap(owner, word) says that it is used.
func nonceBit(nonce *big.Int) (word *big.Int, bit uint) {
	return new(big.Int).Rsh(nonce, 8), uint(new(big.Int).And(nonce, big.NewInt(255)).Uint64())
}
