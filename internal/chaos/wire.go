package main

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"
)

// wire is the line between gateway and database: it can hang and be slow. What is in it then is not lost, as with a stopped server.
type wire struct {
	url         string
	network, to string
	hang        atomic.Bool
	delay       atomic.Int64 // ns, before what the database says is passed on
}

func newWire(database string) (*wire, error) {
	u, err := url.Parse(database)
	if err != nil {
		return nil, err
	}
	w := &wire{network: "tcp", to: u.Host}
	q := u.Query()
	if dir := q.Get("host"); dir != "" { // a socket in the file system
		w.network, w.to = "unix", filepath.Join(dir, ".s.PGSQL.5432")
		q.Del("host")
		u.RawQuery = q.Encode()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u.Host = l.Addr().String()
	w.url = u.String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w, nil
}

func (w *wire) carry(c net.Conn) {
	defer func() { _ = c.Close() }()
	d, err := net.Dial(w.network, w.to)
	if err != nil {
		return
	}
	defer func() { _ = d.Close() }()
	go func() {
		w.pass(d, c, false)
		_ = d.Close()
	}()
	w.pass(c, d, true)
}

// pass copies one way, as late as it was told to.
func (w *wire) pass(to io.Writer, from io.Reader, late bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		for w.hang.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if late {
			time.Sleep(time.Duration(w.delay.Load()))
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
