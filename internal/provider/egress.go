package provider

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Egress decides which addresses may be dialled. It looks at the address a socket is about to connect to, after all
// name resolution, so neither a name, nor an odd spelling of an address, nor a resolver that changes its answer
// gets around it. The zero value allows public unicast addresses only.
type Egress struct {
	// AllowPrivate also admits loopback, private, shared (RFC 6598) and unique local addresses, for vendors in one's own
	// network. Link-local and metadata addresses are refused even so: nothing that sells models lives there.
	AllowPrivate bool
	// OnlyPrivate admits nothing else: for plain HTTP, which must not leave the network.
	OnlyPrivate bool
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
	// Timeout bounds one dial, with its name lookup; 0 leaves it to the context.
	Timeout time.Duration
}

// DialContext dials like net.Dialer, refusing addresses Check refuses. Its errors then match ErrBlocked.
// Only TCP is dialled: a unix socket is a way around the guard.
func (e Egress) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: e.Timeout, Resolver: e.Resolver, ControlContext: e.control}
	switch network {
	case "tcp", "tcp4", "tcp6":
		return d.DialContext(ctx, network, address)
	}
	return nil, fmt.Errorf("dial %s: %w", network, ErrBlocked)
}

// control runs between the making of a socket and its connect; address is an IP address and port by then.
func (e Egress) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %s: not an address: %w", network, ErrBlocked)
	}
	return e.Check(to.Addr())
}

// Check is nil if addr may be dialled; otherwise it matches ErrBlocked.
func (e Egress) Check(addr netip.Addr) error {
	class := classify(addr)
	switch {
	case class == addressPublic && !e.OnlyPrivate, class == addressPrivate && (e.AllowPrivate || e.OnlyPrivate):
		return nil
	case class == addressPublic:
		return fmt.Errorf("public address over plain http: %w", ErrBlocked)
	}
	return fmt.Errorf("private or reserved address: %w", ErrBlocked)
}

// CheckURL refuses, before anything is dialled, a base URL that could never be right: not http or https, with
// credentials, query or fragment, without a host, plain http without AllowPrivate, or a literal address Check
// refuses. A name is judged when it is dialled.
func (e Egress) CheckURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse base url: not a url") // the parser's error quotes the input, which may hold a password
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("base url: scheme must be https: %w", ErrBlocked)
	case u.Scheme == "http" && !e.AllowPrivate && !e.OnlyPrivate:
		return nil, fmt.Errorf("base url: plain http needs private addresses to be allowed: %w", ErrBlocked)
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("base url: no host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("base url: must not carry credentials, query or fragment")
	}
	if addr, err := netip.ParseAddr(strings.TrimSuffix(u.Hostname(), ".")); err == nil {
		e.OnlyPrivate = e.OnlyPrivate || u.Scheme == "http"
		if err := e.Check(addr); err != nil {
			return nil, fmt.Errorf("base url: %w", err)
		}
	}
	return u, nil
}

// Guard makes a transport dial through e and nothing else: no proxy from the environment, no dialer of its own.
// It refuses a transport that does not verify certificates.
func (e Egress) Guard(t *http.Transport) error {
	if t.TLSClientConfig != nil && t.TLSClientConfig.InsecureSkipVerify {
		return fmt.Errorf("transport does not verify certificates")
	}
	t.Proxy = nil
	//lint:ignore SA1019 a transport that was handed in may carry them, and they would go around the guard
	t.DialTLSContext, t.DialTLS, t.Dial = nil, nil, nil
	t.DialContext = e.DialContext
	return nil
}

type addressClass uint8

const (
	addressRefused addressClass = iota
	addressPrivate
	addressPublic
)

// classify puts an address in its class. Forms that carry an IPv4 address inside an IPv6 one are judged by the
// address inside, as a router on the way may unwrap them.
func classify(addr netip.Addr) addressClass {
	addr = addr.Unmap().WithZone("")
	for _, p := range refusedRanges() {
		if p.Contains(addr) {
			return addressRefused
		}
	}
	if inner, ok := embedded(addr); ok {
		if classify(inner) == addressPublic {
			return addressPublic
		}
		return addressRefused
	}
	switch {
	case !addr.IsValid(), addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast():
		return addressRefused
	case addr.IsLoopback(), addr.IsPrivate(), sharedRange().Contains(addr):
		return addressPrivate
	case addr.Is6() && !globalUnicast().Contains(addr):
		return addressRefused
	}
	return addressPublic
}

// embedded is the IPv4 address inside a NAT64 (RFC 6052) or 6to4 (RFC 3056) address.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

func sharedRange() netip.Prefix   { return netip.MustParsePrefix("100.64.0.0/10") } // RFC 6598
func globalUnicast() netip.Prefix { return netip.MustParsePrefix("2000::/3") }      // the only space IANA has given out

// refusedRanges are refused whatever is allowed: the special-purpose registries of RFC 6890, and cloud metadata
// services that live inside otherwise private space.
func refusedRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),          // this network
		netip.MustParsePrefix("169.254.0.0/16"),     // link-local; metadata of AWS, GCP, Azure
		netip.MustParsePrefix("100.100.100.200/32"), // metadata of Alibaba Cloud
		netip.MustParsePrefix("192.0.0.0/24"),       // IETF protocol assignments; metadata of Oracle Cloud
		netip.MustParsePrefix("192.0.2.0/24"),       // documentation
		netip.MustParsePrefix("192.88.99.0/24"),     // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),      // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"),    // documentation
		netip.MustParsePrefix("203.0.113.0/24"),     // documentation
		netip.MustParsePrefix("240.0.0.0/4"),        // reserved, broadcast
		netip.MustParsePrefix("fd00:ec2::/32"),      // metadata of AWS over IPv6
		netip.MustParsePrefix("fd20:ce::/32"),       // metadata of GCP over IPv6
		netip.MustParsePrefix("2001::/23"),          // IETF protocol assignments, Teredo
		netip.MustParsePrefix("2001:db8::/32"),      // documentation
		netip.MustParsePrefix("64:ff9b:1::/48"),     // local-use NAT64
	}
}
