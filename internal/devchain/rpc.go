package devchain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/rpc"
)

const (
	// A request's and a batch's limits are those go-ethereum's own HTTP endpoint has by default.
	maxRequestBytes  = 5 << 20
	maxBatchItems    = 1000
	maxBatchResponse = 25_000_000

	readHeaderTimeout = 10 * time.Second
	closeGrace        = time.Second // for requests that are being answered when the chain closes
)

// rpcServer is the JSON-RPC over HTTP.
type rpcServer struct {
	url    string
	rpc    *rpc.Server
	http   *http.Server
	served chan error // the end of Serve
}

// serve opens the RPC. It is the last step of a start, so that nobody sees a chain that is still being replayed.
func (c *Chain) serve(ctx context.Context) error {
	handler, err := c.rpcHandler()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := &rpcServer{
		url:    "http://" + listener.Addr().String(),
		rpc:    handler,
		http:   &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout},
		served: make(chan error, 1),
	}
	go func() { s.served <- s.http.Serve(listener) }()
	c.endpoint = s
	return nil
}

// rpcHandler serves what a public node serves. Modules that steer the node, or write files where the caller says
// (admin, debug, miner), are left out.
func (c *Chain) rpcHandler() (*rpc.Server, error) {
	served := []string{"eth", "net", "txpool"}
	server := rpc.NewServer()
	server.SetBatchLimits(maxBatchItems, maxBatchResponse)
	server.SetHTTPBodyLimit(maxRequestBytes)
	apis := append(c.backend.APIs(),
		rpc.API{Namespace: "eth", Service: filters.NewFilterAPI(filters.NewFilterSystem(c.backend.APIBackend, filters.Config{}))})
	for _, api := range apis {
		if api.Authenticated || !slices.Contains(served, api.Namespace) {
			continue
		}
		if err := server.RegisterName(api.Namespace, api.Service); err != nil {
			return nil, fmt.Errorf("register rpc module %s: %w", api.Namespace, err)
		}
	}
	if err := server.RegisterName("web3", web3{}); err != nil {
		return nil, fmt.Errorf("register rpc module web3: %w", err)
	}
	return server, nil
}

// close lets open requests finish for a moment, then cuts them, and waits for the end of serving.
func (s *rpcServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.rpc.Stop()
	if end := <-s.served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// web3 is the RPC module of that name.
type web3 struct{}

// ClientVersion is web3_clientVersion: whoever asks learns that the chain is no public one.
func (web3) ClientVersion() string {
	return clientName + "/v1/" + runtime.GOOS + "-" + runtime.GOARCH + "/" + runtime.Version()
}

// Sha3 is web3_sha3: the Keccak-256 of the input.
func (web3) Sha3(input hexutil.Bytes) hexutil.Bytes { return crypto.Keccak256(input) }
