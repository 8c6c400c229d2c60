package devchain

import (
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"p402.io/p402/contracts"
)

// The evidence of a payment: AuthorizationUsed(payer, nonce) and Transfer(payer, payee, value), in this order.
func checkEvidence(t *testing.T, receipt *types.Receipt, a authorization) {
	t.Helper()
	if receipt.Status != types.ReceiptStatusSuccessful || len(receipt.Logs) != 2 {
		t.Fatalf("status %d with %d logs", receipt.Status, len(receipt.Logs))
	}
	used, moved := receipt.Logs[0], receipt.Logs[1]
	if used.Topics[0] != contracts.USDC.Event("AuthorizationUsed") ||
		common.BytesToAddress(used.Topics[1][:]) != a.payer || used.Topics[2] != a.nonce {
		t.Errorf("first log is not the authorization's: %v", used)
	}
	if moved.Topics[0] != contracts.USDC.Event("Transfer") || common.BytesToAddress(moved.Topics[1][:]) != a.payer ||
		common.BytesToAddress(moved.Topics[2][:]) != a.to || new(big.Int).SetBytes(moved.Data).Int64() != a.value {
		t.Errorf("second log is not the transfer: %v", moved)
	}
}

func TestTransferWithAuthorization(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	payer := Lookup("payer-1")
	seller := Lookup("seller").Address
	for i, form := range []func(authorization, []byte) []byte{
		func(a authorization, s []byte) []byte { return a.vrsForm(t, transferVRS, s) },
		func(a authorization, s []byte) []byte { return a.bytesForm(t, transferBytes, s) },
	} {
		a := r.authorize(payer.Address, byte(i+1))
		data := form(a, sign(privateKey("payer-1"), a.digest(transferType)))
		checkEvidence(t, r.settle("settler", USDCAddress, data), a)
		if got := r.balance(seller); got != int64(i+1)*10_000 {
			t.Errorf("seller holds %d", got)
		}
		if !r.call(USDCAddress, contracts.USDC, "authorizationState(address,bytes32)", a.payer, a.nonce)[0].(bool) {
			t.Error("nonce is not marked used")
		}
		if got := r.refusal("settler", USDCAddress, data); got != "FiatTokenV2: authorization is used or canceled" {
			t.Errorf("replay: %q", got)
		}
		if receipt := r.settle("settler", USDCAddress, data); receipt.Status != types.ReceiptStatusFailed || len(receipt.Logs) != 0 {
			t.Errorf("replayed transaction: status %d, %d logs", receipt.Status, len(receipt.Logs))
		}
	}
	if got := r.balance(payer.Address); got != 10_000_000_000-20_000 {
		t.Errorf("payer holds %d", got)
	}
}

// Each row is a reason for which the deployed USDC refuses, with its text, in both signature forms.
func TestAuthorizationRefused(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	payer := Lookup("payer-1")
	key := privateKey("payer-1")
	halfOrder := new(big.Int).Rsh(crypto.S256().Params().N, 1)
	now := r.Head().Time.Unix()
	plain := func(a authorization) []byte { return sign(key, a.digest(transferType)) }
	for _, tc := range []struct {
		name   string
		change func(*authorization)
		sign   func(authorization) []byte
		want   string
	}{
		{"window not open: validAfter is exclusive", func(a *authorization) { a.validAfter = now }, plain,
			"FiatTokenV2: authorization is not yet valid"},
		{"window shut: validBefore is exclusive", func(a *authorization) { a.validBefore = now }, plain,
			"FiatTokenV2: authorization is expired"},
		{"more than the payer holds", func(a *authorization) { a.value = 10_000_000_001 }, plain,
			"ERC20: transfer amount exceeds balance"},
		{"payee is the zero address", func(a *authorization) { a.to = common.Address{} }, plain,
			"ERC20: transfer to the zero address"},
		{"signed by another key", nil, func(a authorization) []byte { return sign(privateKey("payer-2"), a.digest(transferType)) },
			"FiatTokenV2: invalid signature"},
		{"signed for receiveWithAuthorization", nil, func(a authorization) []byte { return sign(key, a.digest(receiveType)) },
			"FiatTokenV2: invalid signature"},
		{"the other signature of the same message, with a high s", nil, func(a authorization) []byte {
			signature := plain(a)
			s := new(big.Int).Sub(crypto.S256().Params().N, new(big.Int).SetBytes(signature[32:64]))
			if s.Cmp(halfOrder) <= 0 {
				t.Fatal("s is not high")
			}
			copy(signature[32:64], common.BigToHash(s).Bytes())
			signature[64] = 27 + 28 - signature[64]
			return signature
		}, "ECRecover: invalid signature 's' value"},
		{"v as a parity bit", nil, func(a authorization) []byte {
			signature := plain(a)
			signature[64] -= 27
			return signature
		}, "ECRecover: invalid signature 'v' value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := r.authorize(payer.Address, 1)
			if tc.change != nil {
				tc.change(&a)
			}
			signature := tc.sign(a)
			for _, data := range [][]byte{a.vrsForm(t, transferVRS, signature), a.bytesForm(t, transferBytes, signature)} {
				if got := r.refusal("settler", USDCAddress, data); got != tc.want {
					t.Errorf("refusal %q, want %q", got, tc.want)
				}
			}
		})
	}
	a := r.authorize(payer.Address, 1)
	for _, signature := range [][]byte{{}, plain(a)[:64], append(plain(a), 0)} {
		got := r.refusal("settler", USDCAddress, a.bytesForm(t, transferBytes, signature))
		if want := "ECRecover: invalid signature length"; got != want {
			t.Errorf("signature of %d bytes: %q, want %q", len(signature), got, want)
		}
	}
	poor := r.authorize(Lookup("poor").Address, 1)
	data := poor.vrsForm(t, transferVRS, sign(privateKey("poor"), poor.digest(transferType)))
	if got := r.refusal("settler", USDCAddress, data); got != "ERC20: transfer amount exceeds balance" {
		t.Errorf("payer without money: %q", got)
	}
}

func TestReceiveWithAuthorizationIsThePayeesAlone(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	for i, form := range []func(authorization, []byte) []byte{
		func(a authorization, s []byte) []byte { return a.vrsForm(t, receiveVRS, s) },
		func(a authorization, s []byte) []byte { return a.bytesForm(t, receiveBytes, s) },
	} {
		a := r.authorize(Lookup("payer-2").Address, byte(i+1))
		data := form(a, sign(privateKey("payer-2"), a.digest(receiveType)))
		if got := r.refusal("settler", USDCAddress, data); got != "FiatTokenV2: caller must be the payee" {
			t.Errorf("sent by another: %q", got)
		}
		checkEvidence(t, r.settle("seller", USDCAddress, data), a)
	}
}

func TestCancelledAuthorizationIsNotCollected(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	key := privateKey("payer-3")
	for i, form := range []func(a authorization, s []byte) []byte{
		func(a authorization, s []byte) []byte {
			v, rr, ss := split(s)
			return pack(t, cancelVRS, a.payer, a.nonce, v, rr, ss)
		},
		func(a authorization, s []byte) []byte { return pack(t, cancelBytes, a.payer, a.nonce, s) },
	} {
		a := r.authorize(Lookup("payer-3").Address, byte(i+1))
		stranger := sign(privateKey("payer-4"), digest(cancelType, word(a.payer), a.nonce[:]))
		if got := r.refusal("settler", USDCAddress, form(a, stranger)); got != "FiatTokenV2: invalid signature" {
			t.Errorf("cancelled by a stranger: %q", got)
		}
		cancel := form(a, sign(key, digest(cancelType, word(a.payer), a.nonce[:])))
		receipt := r.settle("settler", USDCAddress, cancel)
		if len(receipt.Logs) != 1 || receipt.Logs[0].Topics[0] != contracts.USDC.Event("AuthorizationCanceled") {
			t.Fatalf("cancel: status %d, logs %v", receipt.Status, receipt.Logs)
		}
		const used = "FiatTokenV2: authorization is used or canceled"
		data := a.bytesForm(t, transferBytes, sign(key, a.digest(transferType)))
		if got := r.refusal("settler", USDCAddress, data); got != used {
			t.Errorf("transfer after cancel: %q", got)
		}
		if got := r.refusal("settler", USDCAddress, cancel); got != used {
			t.Errorf("second cancel: %q", got)
		}
	}
}

func TestA108_SmartWalletMayChangeItsMind(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	a := r.authorize(ERC1271WalletAddress, 1)
	signature := sign(privateKey("wallet-owner"), a.digest(transferType))
	// 65 bytes, so either form reaches the wallet: the payer's code decides, not the form.
	if got := r.refusal("settler", USDCAddress, a.vrsForm(t, transferVRS, signature)); got != "" {
		t.Errorf("owner's signature in three parts: %q", got)
	}
	data := a.bytesForm(t, transferBytes, signature)
	checkEvidence(t, r.settle("settler", USDCAddress, data), a)

	b := r.authorize(ERC1271WalletAddress, 2)
	stranger := b.bytesForm(t, transferBytes, sign(privateKey("payer-1"), b.digest(transferType)))
	if got := r.refusal("settler", USDCAddress, stranger); got != "FiatTokenV2: invalid signature" {
		t.Errorf("a stranger's signature: %q", got)
	}
	good := b.bytesForm(t, transferBytes, sign(privateKey("wallet-owner"), b.digest(transferType)))
	if got := r.refusal("settler", USDCAddress, good); got != "" {
		t.Fatalf("owner's signature: %q", got)
	}
	breakIt, err := contracts.ERC1271Wallet.Pack("setBroken(bool)", true)
	r.must(err)
	r.settle("wallet-owner", ERC1271WalletAddress, breakIt)
	if receipt := r.settle("settler", USDCAddress, good); receipt.Status != types.ReceiptStatusFailed {
		t.Error("a signature the wallet has disowned was collected")
	}
}

// delegate makes an account carry code by EIP-7702; the zero address takes it away again.
func (r rig) delegate(name string, code common.Address) {
	r.Helper()
	key := privateKey(name)
	address := crypto.PubkeyToAddress(key.PublicKey)
	nonce, err := r.client.PendingNonceAt(r.Context(), address)
	r.must(err)
	id := uint256.NewInt(ChainID)
	signed, err := types.SignSetCode(key, types.SetCodeAuthorization{ChainID: *id, Address: code, Nonce: nonce + 1})
	r.must(err)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(ChainID)), &types.SetCodeTx{
		ChainID: id, Nonce: nonce, To: address, Gas: 200_000,
		GasFeeCap: uint256.NewInt(5e9), GasTipCap: uint256.NewInt(1e7), AuthList: []types.SetCodeAuthorization{signed},
	})
	r.must(r.client.SendTransaction(r.Context(), tx))
	r.mine(1)
}

func TestA110_DelegatedAccountIsAskedByERC1271(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	payer := common.HexToAddress(Lookup("payer-5").Address)
	r.delegate("payer-5", common.HexToAddress(Delegate7702Address))
	code, err := r.client.CodeAt(t.Context(), payer, nil)
	r.must(err)
	if want := append([]byte{0xef, 0x01, 0x00}, common.HexToAddress(Delegate7702Address).Bytes()...); string(code) != string(want) {
		t.Fatalf("code %x, want the delegation %x", code, want)
	}
	a := r.authorize(payer.Hex(), 1)
	signature := sign(privateKey("payer-5"), a.digest(transferType))
	checkEvidence(t, r.settle("settler", USDCAddress, a.bytesForm(t, transferBytes, signature)), a)

	// Delegated to code that knows no ERC-1271, the very key's signature is refused: no way back to ecrecover.
	r.delegate("payer-5", common.HexToAddress(Multicall3Address))
	b := r.authorize(payer.Hex(), 2)
	signature = sign(privateKey("payer-5"), b.digest(transferType))
	for _, data := range [][]byte{b.bytesForm(t, transferBytes, signature), b.vrsForm(t, transferVRS, signature)} {
		if got := r.refusal("settler", USDCAddress, data); got != "FiatTokenV2: invalid signature" {
			t.Errorf("delegate without ERC-1271: %q", got)
		}
	}
	r.delegate("payer-5", common.Address{})
	checkEvidence(t, r.settle("settler", USDCAddress, b.vrsForm(t, transferVRS, signature)), b)
}

func TestPermitAndTransferFrom(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	owner, spender := common.HexToAddress(Lookup("payer-6").Address), common.HexToAddress(Lookup("seller").Address)
	deadline := r.Head().Time.Unix() + 600
	const permitType = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
	signature := sign(privateKey("payer-6"), digest(permitType, word(owner), word(spender), word(int64(700)), word(int64(0)), word(deadline)))
	v, rr, ss := split(signature)
	const permit = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
	data := pack(t, permit, owner, spender, big.NewInt(700), big.NewInt(deadline), v, rr, ss)
	if receipt := r.settle("settler", USDCAddress, data); receipt.Status != types.ReceiptStatusSuccessful {
		t.Fatal("permit failed")
	}
	if got := r.refusal("settler", USDCAddress, data); got != "EIP2612: invalid signature" {
		t.Errorf("permit again: %q", got)
	}
	const transferFrom = "transferFrom(address,address,uint256)"
	if got := r.refusal("seller", USDCAddress, pack(t, transferFrom, owner, spender, big.NewInt(701))); got != "ERC20: transfer amount exceeds allowance" {
		t.Errorf("above the allowance: %q", got)
	}
	r.settle("seller", USDCAddress, pack(t, transferFrom, owner, spender, big.NewInt(700)))
	if got := r.balance(spender.Hex()); got != 700 {
		t.Errorf("spender holds %d", got)
	}
}

func TestOwnerCanCauseFaults(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	payer := Lookup("payer-4").Address
	a := r.authorize(payer, 1)
	data := a.vrsForm(t, transferVRS, sign(privateKey("payer-4"), a.digest(transferType)))
	for _, tc := range []struct {
		name, want  string
		fault, undo []byte
	}{
		{"paused", "Pausable: paused", pack(t, "pause()"), pack(t, "unpause()")},
		{"payer blacklisted", "Blacklistable: account is blacklisted",
			pack(t, "blacklist(address)", a.payer), pack(t, "unBlacklist(address)", a.payer)},
		{"payee blacklisted", "Blacklistable: account is blacklisted",
			pack(t, "blacklist(address)", a.to), pack(t, "unBlacklist(address)", a.to)},
	} {
		if got := r.refusal("payer-4", USDCAddress, tc.fault); got != "Ownable: caller is not the owner" {
			t.Errorf("%s by anybody: %q", tc.name, got)
		}
		r.settle("deployer", USDCAddress, tc.fault)
		if got := r.refusal("settler", USDCAddress, data); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		r.settle("deployer", USDCAddress, tc.undo)
	}
	r.settle("deployer", USDCAddress, pack(t, "mint(address,uint256)", common.HexToAddress(Lookup("poor").Address), big.NewInt(5)))
	if got := r.balance(Lookup("poor").Address); got != 5 {
		t.Errorf("minted: %d", got)
	}
	checkEvidence(t, r.settle("settler", USDCAddress, data), a)
}

func TestMulticall3(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	type call struct {
		Target   common.Address
		CallData []byte
	}
	type call3 struct {
		Target       common.Address
		AllowFailure bool
		CallData     []byte
	}
	usdc := common.HexToAddress(USDCAddress)
	payer := common.HexToAddress(Lookup("payer-1").Address)
	good := pack(t, "balanceOf(address)", payer)
	bad := pack(t, "transfer(address,uint256)", payer, big.NewInt(1)) // the multicall holds nothing
	eth, err := contracts.Multicall3.Pack("getEthBalance(address)", payer)
	r.must(err)

	multicall := common.HexToAddress(Multicall3Address)
	const aggregate3, tryAggregate = "aggregate3((address,bool,bytes)[])", "tryAggregate(bool,(address,bytes)[])"
	out := r.call(Multicall3Address, contracts.Multicall3, aggregate3,
		[]call3{{usdc, false, good}, {usdc, true, bad}, {multicall, false, eth}})
	results := out[0].([]struct {
		Success    bool   `json:"success"`
		ReturnData []byte `json:"returnData"`
	})
	if len(results) != 3 || !results[0].Success || results[1].Success || !results[2].Success {
		t.Fatalf("aggregate3: %v", results)
	}
	if got := new(big.Int).SetBytes(results[0].ReturnData).Int64(); got != 10_000_000_000 {
		t.Errorf("balance through aggregate3: %d", got)
	}
	if got := new(big.Int).SetBytes(results[2].ReturnData); got.Cmp(big.NewInt(1e18)) <= 0 {
		t.Errorf("ETH balance through aggregate3: %s", got)
	}
	out = r.call(Multicall3Address, contracts.Multicall3, tryAggregate, false, []call{{usdc, bad}, {usdc, good}})
	if got := len(out[0].([]struct {
		Success    bool   `json:"success"`
		ReturnData []byte `json:"returnData"`
	})); got != 2 {
		t.Errorf("tryAggregate: %d results", got)
	}
	for signature, args := range map[string][]any{
		aggregate3:                     {[]call3{{usdc, false, bad}}},
		tryAggregate:                   {true, []call{{usdc, bad}}},
		"aggregate((address,bytes)[])": {[]call{{usdc, bad}}},
	} {
		data, err := contracts.Multicall3.Pack(signature, args...)
		r.must(err)
		if got := r.refusal("settler", Multicall3Address, data); got != "Multicall3: call failed" {
			t.Errorf("%s: %q", signature, got)
		}
	}
	block := r.call(Multicall3Address, contracts.Multicall3, "aggregate((address,bytes)[])", []call{{usdc, good}})
	if block[0].(*big.Int).Uint64() != r.Head().Number {
		t.Errorf("aggregate says block %s, head is %d", block[0], r.Head().Number)
	}
}

func TestTransferIsFoundInLogs(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	a := r.authorize(Lookup("payer-1").Address, 9)
	receipt := r.settle("settler", USDCAddress, a.vrsForm(t, transferVRS, sign(privateKey("payer-1"), a.digest(transferType))))
	r.mine(5)
	logs, err := r.client.FilterLogs(t.Context(), ethereum.FilterQuery{
		FromBlock: big.NewInt(0), Addresses: []common.Address{common.HexToAddress(USDCAddress)},
		Topics: [][]common.Hash{{contracts.USDC.Event("AuthorizationUsed")}, nil, {a.nonce}},
	})
	r.must(err)
	if len(logs) != 1 || logs[0].TxHash != receipt.TxHash {
		t.Errorf("logs of the nonce: %v", logs)
	}
}
