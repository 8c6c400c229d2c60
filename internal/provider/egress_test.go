package provider

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestA45_AddressesAreJudgedByWhatTheyReach(t *testing.T) {
	t.Parallel()
	const public, private, refused = "public", "private", "refused"
	cases := map[string]string{
		"8.8.8.8": public, "1.1.1.1": public, "172.32.0.1": public, "100.128.0.1": public, "2606:4700::1111": public,
		"::ffff:8.8.8.8": public, "64:ff9b::808:808": public,
		"127.0.0.1": private, "127.9.9.9": private, "::1": private, "::ffff:127.0.0.1": private, "10.1.2.3": private,
		"172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "100.64.0.1": private,
		"100.127.255.255": private, "fd00::1": private, "fc00::1": private, "::ffff:10.0.0.1": private,
		"0.0.0.0": refused, "::": refused, "0.1.2.3": refused, "169.254.169.254": refused, "::ffff:169.254.169.254": refused,
		"169.254.0.1": refused, "fe80::1": refused, "fe80::1%lo": refused, "fd00:ec2::254": refused,
		"fd20:ce::254": refused, "100.100.100.200": refused, "192.0.0.192": refused, "224.0.0.1": refused,
		"255.255.255.255": refused, "240.0.0.1": refused, "ff02::1": refused, "64:ff9b::7f00:1": refused,
		"64:ff9b::a9fe:a9fe": refused, "2002:7f00:1::": refused, "2001::1": refused, "::127.0.0.1": refused,
		"198.18.0.1": refused, "5f00::1": refused,
	}
	for text, want := range cases {
		addr := netip.MustParseAddr(text)
		for name, e := range map[string]Egress{"strict": {}, "private allowed": {AllowPrivate: true}, "private only": {OnlyPrivate: true}} {
			allowed := want == public && !e.OnlyPrivate || want == private && (e.AllowPrivate || e.OnlyPrivate)
			err := e.Check(addr)
			if allowed != (err == nil) || err != nil && !errors.Is(err, ErrBlocked) {
				t.Errorf("%s, %s: %v", text, name, err)
			}
		}
	}
	if err := (Egress{AllowPrivate: true}).Check(netip.Addr{}); err == nil {
		t.Error("no address at all was allowed")
	}
}

func TestO14_BaseURLsThatCannotBeRight(t *testing.T) {
	t.Parallel()
	cases := []struct {
		url     string
		strict  bool // accepted when private addresses are refused
		private bool // accepted when they are allowed
	}{
		{"https://api.example.com/v1", true, true},
		{"https://api.example.com:8443/v1/", true, true},
		{"http://api.example.com/v1", false, true}, // dials private addresses only
		{"http://localhost:11434/v1", false, true},
		{"http://8.8.8.8/v1", false, false},
		{"https://127.0.0.1/v1", false, true},
		{"https://[::ffff:127.0.0.1]/v1", false, true},
		{"https://169.254.169.254/latest", false, false},
		{"https://[fd00:ec2::254]/v1", false, false},
		{"unix:///var/run/docker.sock", false, false},
		{"file:///etc/passwd", false, false},
		{"ftp://example.com", false, false},
		{"https://user:pass@example.com/v1", false, false},
		{"https://example.com/v1?key=1", false, false},
		{"https://example.com/v1#x", false, false},
		{"https:///v1", false, false},
		{"https:example.com", false, false},
		{"example.com/v1", false, false},
		{"", false, false},
	}
	for _, c := range cases {
		_, err := Egress{}.CheckURL(c.url)
		if (err == nil) != c.strict {
			t.Errorf("%q strict: %v", c.url, err)
		}
		_, err = Egress{AllowPrivate: true}.CheckURL(c.url)
		if (err == nil) != c.private {
			t.Errorf("%q private allowed: %v", c.url, err)
		}
	}
	if _, err := (Egress{}).CheckURL("https://user:canary@exa mple/%zz"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("the error repeats the url: %v", err)
	}
}

// listen counts connections on loopback.
func listen(t *testing.T) (port string, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = c.Close() // the count is all that matters
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, accepted
}

func TestA45_DialIsRefusedBeforeConnect(t *testing.T) {
	t.Parallel()
	port, accepted := listen(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, host := range []string{"127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "0.0.0.0"} {
		_, err := Egress{}.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := (Egress{AllowPrivate: true}).DialContext(ctx, "unix", "/tmp/x"); !errors.Is(err, ErrBlocked) {
		t.Errorf("unix socket: %v", err)
	}
	if n := accepted.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
	c, err := Egress{AllowPrivate: true}.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// flippingResolver answers each question for an IPv4 address with the next of addrs, the last one for ever.
func flippingResolver(t *testing.T, addrs ...[4]byte) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, asked := make([]byte, 1500), 0
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			reply, isA := dnsReply(buf[:n], addrs[min(asked, len(addrs)-1)])
			if isA {
				asked++
			}
			_, _ = pc.WriteTo(reply, from) // a lost answer fails the test by itself
		}
	}()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// dnsReply answers an A question with addr and any other with no records (RFC 1035, section 4).
func dnsReply(query []byte, addr [4]byte) (reply []byte, isA bool) {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end++
	isA = binary.BigEndian.Uint16(query[end:]) == 1
	reply = append(reply, query[:end+4]...)
	reply[2], reply[3] = 0x81, 0x80          // response, recursion available, no error
	binary.BigEndian.PutUint16(reply[6:], 0) // answers
	binary.BigEndian.PutUint32(reply[8:], 0) // authority, additional
	if isA {
		binary.BigEndian.PutUint16(reply[6:], 1)
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		reply = append(reply, addr[:]...)
	}
	return reply, isA
}

func TestA47_RebindingIsJudgedAtEachDial(t *testing.T) {
	t.Parallel()
	port, accepted := listen(t)
	// Checked once by name, the vendor looks public; the address the socket would reach afterwards is not.
	e := Egress{Resolver: flippingResolver(t, [4]byte{93, 184, 216, 34}, [4]byte{127, 0, 0, 1})}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addrs, err := e.Resolver.LookupNetIP(ctx, "ip4", "vendor.example")
	if err != nil || e.Check(addrs[0]) != nil {
		t.Fatalf("first answer: %v, %v", addrs, err)
	}
	if _, err := e.DialContext(ctx, "tcp", "vendor.example:"+port); !errors.Is(err, ErrBlocked) {
		t.Fatalf("second answer: %v", err)
	}
	if n := accepted.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
}

func TestA45_NameOfMetadataIsRefusedEvenWhenPrivateIsAllowed(t *testing.T) {
	t.Parallel()
	e := Egress{AllowPrivate: true, Resolver: flippingResolver(t, [4]byte{169, 254, 169, 254})}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := e.DialContext(ctx, "tcp", "metadata.vendor.example:80"); !errors.Is(err, ErrBlocked) {
		t.Fatal(err)
	}
}

func TestA45_GuardTakesAwayEveryWayAround(t *testing.T) {
	t.Parallel()
	tr := http.DefaultTransport.(*http.Transport).Clone()
	if err := (Egress{}).Guard(tr); err != nil {
		t.Fatal(err)
	}
	if tr.Proxy != nil || tr.DialTLSContext != nil {
		t.Fatal("a proxy or dialer is left")
	}
	if _, err := tr.DialContext(context.Background(), "tcp", "127.0.0.1:1"); !errors.Is(err, ErrBlocked) {
		t.Fatal(err)
	}
}
