package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"
	"gopkg.in/yaml.v3"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/x402"
)

const (
	clientTimeout = 3 * time.Minute
	maxAnswer     = 32 << 20
)

// remote is a p402 server as these commands reach it.
type remote struct{ base, key string }

func (r remote) call(ctx context.Context, method, path string, body any, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(r.base, "/")+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	status, _, answer, err := send(req)
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s %s answered %d: %s", method, path, status, bytes.TrimSpace(answer))
	}
	return json.Unmarshal(answer, into)
}

func send(req *http.Request) (int, http.Header, []byte, error) {
	resp, err := (&http.Client{Timeout: clientTimeout}).Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, resp.Header, answer, errors.Join(err, resp.Body.Close())
}

// apply sends each workflow of a file to the server.
func apply(ctx context.Context, args []string) error {
	f := flags("apply", "p402 apply -f FILE creates or changes workflows. A changed price becomes a new version; open offers keep theirs.")
	file := f.String("f", "", "YAML file with a list under workflows:")
	server := f.String("server", "http://127.0.0.1:8402", "the gateway")
	key := f.String("key", os.Getenv("P402_KEY"), "a key with sell:write (or P402_KEY)")
	if err := f.Parse(args); err != nil {
		return err
	}
	raw, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	var doc struct {
		Workflows []map[string]any `yaml:"workflows"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	for _, w := range doc.Workflows {
		if price, ok := w["price"].(map[string]any); ok && price["amount_usd"] != nil {
			price["amount_usd"] = fmt.Sprint(price["amount_usd"]) // YAML reads 0.01 as a number; money goes as text
		}
		var out struct {
			WorkflowID string `json:"workflow_id"`
			State      string `json:"state"`
			PaidPath   string `json:"paid_path"`
		}
		if err := (remote{*server, *key}).call(ctx, http.MethodPost, "/api/v2/workflows", w, &out); err != nil {
			return fmt.Errorf("workflow %v: %w", w["workflow_id"], err)
		}
		fmt.Printf("%s  %s  %s%s\n", out.WorkflowID, out.State, strings.TrimRight(*server, "/"), out.PaidPath)
	}
	return nil
}

// pay buys one run, showing what it costs before it signs.
func pay(ctx context.Context, args []string) error {
	f := flags("pay", "p402 pay URL --key WALLETKEY asks a priced URL, shows its price, signs a payment and prints the answer.")
	key := f.String("key", os.Getenv("P402_WALLET_KEY"), "the paying wallet's private key (or P402_WALLET_KEY)")
	body := f.String("body", `{"messages":[{"role":"user","content":"hello"}]}`, "the request's JSON body")
	node := f.String("rpc", "", "the network's RPC address, needed for prices by use (upto): it tells whether Permit2 is approved")
	most := f.String("max", "1000000", "the most to pay, in atomic units (1000000 = 1 USDC)")
	target, err := parse(f, args)
	if err != nil {
		return err
	}
	if target == "" || *key == "" {
		f.Usage()
		return errors.New("a URL and a wallet key are needed")
	}
	offer, err := ask(ctx, target, *body)
	if err != nil {
		return err
	}
	amount, ok := new(big.Int).SetString(offer.Accepts[0].Amount, 10)
	limit, ok2 := new(big.Int).SetString(*most, 10)
	if !ok || !ok2 || amount.Cmp(limit) > 0 {
		return fmt.Errorf("the price, %s atomic units, is above --max", offer.Accepts[0].Amount)
	}
	fmt.Fprintf(os.Stderr, "paying %s atomic USDC on %s to %s\n", offer.Accepts[0].Amount, offer.Accepts[0].Network, offer.Accepts[0].PayTo)
	header, err := signOffer(ctx, *offer, *key, *node)
	if err != nil {
		return err
	}
	req, err := post(ctx, target, *body)
	if err != nil {
		return err
	}
	req.Header.Set(x402.HeaderPaymentSignature, header)
	status, headers, answer, err := send(req)
	if err != nil {
		return fmt.Errorf("the payment may be on its way; do not sign a new one before looking: %w", err)
	}
	var settled x402.SettlementResponse
	if text := headers.Get(x402.HeaderPaymentResponse); text != "" {
		if err := x402.DecodeHeader(text, &settled); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "settled %v · transaction %s · receipt %s\n", settled.Success, settled.Transaction, headers.Get("X-P402-Receipt-ID"))
	}
	fmt.Println(string(answer))
	if status >= 300 {
		return fmt.Errorf("the server answered %d", status)
	}
	return nil
}

// signOffer signs an offer's first way. Over Permit2 the chain has to be asked whether the wallet has approved it.
func signOffer(ctx context.Context, o x402.PaymentRequired, key, node string) (string, error) {
	if o.Accepts[0].Scheme != x402.SchemeUpto {
		return evm.SignPayment(o, 0, key, time.Now())
	}
	if node == "" {
		return "", errors.New("a price by use is paid over Permit2: name the network's RPC address with --rpc")
	}
	client, err := ethclient.DialContext(ctx, node)
	if err != nil {
		return "", fmt.Errorf("reach the RPC: %w", err)
	}
	defer client.Close()
	wallet, err := evm.WalletAddress(key)
	if err != nil {
		return "", err
	}
	amount, err := money.ParseUSDC(o.Accepts[0].Amount)
	if err != nil {
		return "", err
	}
	approve, err := evm.Approval(ctx, client, o.Accepts[0].Asset, wallet, amount)
	if err != nil {
		return "", err
	}
	return evm.SignPermit2(o, 0, key, time.Now(), approve)
}

// parse reads flags before and after one argument.
func parse(f *flag.FlagSet, args []string) (string, error) {
	if err := f.Parse(args); err != nil || f.NArg() == 0 {
		return "", err
	}
	word := f.Arg(0)
	if err := f.Parse(f.Args()[1:]); err != nil {
		return "", err
	}
	if f.NArg() > 0 {
		return "", fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return word, nil
}

func post(ctx context.Context, target, body string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

func ask(ctx context.Context, target, body string) (*x402.PaymentRequired, error) {
	req, err := post(ctx, target, body)
	if err != nil {
		return nil, err
	}
	status, headers, answer, err := send(req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusPaymentRequired {
		return nil, fmt.Errorf("expected 402, got %d: %s", status, bytes.TrimSpace(answer))
	}
	var offer x402.PaymentRequired
	if err := x402.DecodeHeader(headers.Get(x402.HeaderPaymentRequired), &offer); err != nil {
		return nil, err
	}
	if len(offer.Accepts) == 0 {
		return nil, errors.New("the offer names no way to pay")
	}
	return &offer, nil
}

// verify checks a receipt: by the published key alone, and with --rpc that the money moved.
func verify(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "ledger" {
		return verifyLedger(ctx, args[1:])
	}
	f := flags("verify", "p402 verify ledger checks the ledger itself (p402 verify ledger --help).\np402 verify FILE checks a receipt offline with published keys; --rpc also looks the transfer up on chain.\nKeys are published at /.well-known/p402-keys.json; save them once, from a place you trust.")
	keys := f.String("keys", "", "file or URL of the issuer's published keys")
	rpcURL := f.String("rpc", "", "JSON-RPC URL of the receipt's network")
	file, err := parse(f, args)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	set, err := readKeys(ctx, *keys)
	if err != nil {
		return err
	}
	r, err := settlement.VerifyReceipt(raw, set)
	if err != nil {
		return errors.New("INVALID: the signature does not match these facts")
	}
	fmt.Printf("valid   signature of %s over event %s, %s USDC from %s to %s\n", r.KeyID, r.EventID, r.AmountUSD, r.Payer, r.PayTo)
	if *rpcURL == "" {
		return nil
	}
	return checkTransfer(ctx, r, *rpcURL)
}

func readKeys(ctx context.Context, from string) (settlement.KeySet, error) {
	var set settlement.KeySet
	if from == "" {
		return set, errors.New("--keys is needed: the issuer's published keys, as a file or a URL")
	}
	raw, err := os.ReadFile(from)
	if strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://") {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, http.MethodGet, from, nil); err != nil {
			return set, err
		}
		_, _, raw, err = send(req)
	}
	if err != nil {
		return set, err
	}
	return set, json.Unmarshal(raw, &set)
}

func checkTransfer(ctx context.Context, r settlement.Receipt, rpcURL string) error {
	client, err := ethclient.DialContext(ctx, rpcURL)
	if err != nil {
		return err
	}
	receipt, err := client.TransactionReceipt(ctx, common.HexToHash(r.Transaction))
	if err != nil {
		return fmt.Errorf("INVALID on chain: transaction %s: %w", r.Transaction, err)
	}
	for _, l := range receipt.Logs {
		if l.Index == r.LogIndex && l.Address == common.HexToAddress(r.Asset) && len(l.Topics) == 3 && receipt.BlockHash == common.HexToHash(r.BlockHash) &&
			common.BytesToAddress(l.Topics[1].Bytes()) == common.HexToAddress(r.Payer) && common.BytesToAddress(l.Topics[2].Bytes()) == common.HexToAddress(r.PayTo) &&
			new(big.Int).SetBytes(l.Data).String() == r.AmountAtomic {
			fmt.Printf("valid   on chain: block %d, log %d\n", receipt.BlockNumber, l.Index)
			return nil
		}
	}
	return errors.New("INVALID on chain: the transaction does not hold this transfer")
}

// tail prints new events as they come.
func tail(ctx context.Context, args []string) error {
	f := flags("tail", "p402 tail follows the ledger: one line an event, until Ctrl-C.")
	server := f.String("server", "http://127.0.0.1:8402", "the gateway")
	key := f.String("key", os.Getenv("P402_KEY"), "a key with meter:read (or P402_KEY)")
	if err := f.Parse(args); err != nil {
		return err
	}
	seen := map[string]bool{}
	for first := true; ; first = false {
		var page struct {
			Data []struct {
				EventID  string `json:"event_id"`
				Time     string `json:"event_time"`
				State    string `json:"state"`
				Workflow string `json:"workflow_id"`
				Model    string `json:"model_requested"`
				Cost     string `json:"cost_usd"`
				Decision string `json:"governance_decision"`
			} `json:"data"`
		}
		if err := (remote{*server, *key}).call(ctx, http.MethodGet, "/api/v2/meter/events?limit=50", nil, &page); err != nil {
			return err
		}
		for i := len(page.Data) - 1; i >= 0; i-- {
			e := page.Data[i]
			if !seen[e.EventID] && e.State == "final" {
				seen[e.EventID] = true
				if !first || i < 10 {
					fmt.Printf("%s  %s  %-20s %-16s %14s  %s\n", e.Time, e.EventID, e.Workflow, e.Model, e.Cost, e.Decision)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}
