package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// rawServer answers every connection with text, whatever it is asked, and closes it.
func rawServer(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}()
	return ln.Addr().String()
}

var getHealth = []byte("GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")

func TestWireReads(t *testing.T) {
	const refusal = `{"success":false,"error":"Server is busy","reason":"queue_full","retryAfter":2}`
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(refusal), refusal)
	for name, test := range map[string]struct {
		text    string
		want    answer
		wantErr error
		keep    bool
	}{
		"length":   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", answer{200, -1, ""}, nil, true},
		"any case": {"HTTP/1.1 200 OK\r\ncontent-LENGTH:2\r\n\r\nok", answer{200, -1, ""}, nil, true},
		"closes": {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", answer{200, -1, ""},
			nil, false},
		"until closed": {"HTTP/1.1 200 OK\r\n\r\nok and more", answer{200, -1, ""}, nil, false},
		"chunked": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", answer{200, -1,
			""}, nil, true},
		"no body": {"HTTP/1.1 304 Not Modified\r\n\r\n", answer{304, -1, ""}, nil, true},
		"continues": {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
			answer{204, -1, ""}, nil, true},
		"refusal": {fmt.Sprintf("HTTP/1.1 503 X\r\nRetry-After: 2\r\nContent-Length: %d\r\n\r\n%s", len(refusal),
			refusal),
			answer{503, 2 * time.Second, "queue_full"}, nil, true},
		"chunked refusal": {"HTTP/1.1 429 X\r\nRetry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
			answer{429, time.Second, "queue_full"}, nil, true},
		"without a word": {"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", answer{503, -1, ""}, nil, true},
		"Retry-After is a date": {"HTTP/1.1 503 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: " +
			"0\r\n\r\n",
			answer{503, -1, ""}, nil, true},
		"long": {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 1<<20, strings.Repeat("x", 1<<20)),
			answer{200, -1, ""}, nil, true},
		"long failure": {fmt.Sprintf("HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n%s", 1<<17,
			strings.Repeat("x", 1<<17)),
			answer{500, -1, ""}, nil, true},
		"cut":       {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", answer{200, -1, ""}, io.EOF, false},
		"cut, long": {"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nok", answer{200, -1, ""}, io.EOF, false},
		"cut, chunked": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", answer{200, -1, ""},
			io.ErrUnexpectedEOF, false},
		"nothing":    {"", answer{}, io.EOF, false},
		"not HTTP":   {"SSH-2.0-OpenSSH_9.2p1\r\n", answer{}, errNotHTTP, false},
		"no status":  {"HTTP/1.1 abc OK\r\n\r\n", answer{}, errNotHTTP, false},
		"no colon":   {"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n", answer{}, errNotHTTP, false},
		"bad length": {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", answer{}, errNotHTTP, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{addr: rawServer(t, test.text)}
			defer w.close()
			got, err := w.exchange(getHealth)
			if got != test.want || !errors.Is(err, test.wantErr) {
				t.Errorf("exchange() = %+v, %v, want %+v, %v", got, err, test.want, test.wantErr)
			}
			if keep := w.conn != nil; keep != test.keep {
				t.Errorf("connection kept: %v, want %v", keep, test.keep)
			}
		})
	}
}

// Answers of every shape, one after the other on one connection, against net/http's server.
func TestWireKeepsAlive(t *testing.T) {
	conns := map[string]bool{}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true
		switch r.URL.Path {
		case "/long":
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(bytes.Repeat([]byte{'x'}, 100_000))
		case "/chunked":
			for range 3 {
				_, _ = w.Write(bytes.Repeat([]byte{'x'}, 100_000))
				w.(http.Flusher).Flush()
			}
		case "/refused":
			w.Header().Set("Retry-After", "1")
			http.Error(w, `{"reason":"overload"}`, http.StatusServiceUnavailable)
		}
	}))
	defer site.Close()
	w := &wire{addr: site.Listener.Addr().String()}
	defer w.close()
	for range 3 {
		for path, want := range map[string]answer{"/": {200, -1, ""}, "/long": {200, -1, ""}, "/chunked": {200, -1, ""},
			"/refused": {503, time.Second, "overload"}} {
			got, err := w.exchange([]byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"))
			if err != nil || got != want {
				t.Errorf("GET %s = %+v, %v, want %+v", path, got, err, want)
			}
		}
	}
	if len(conns) != 1 {
		t.Errorf("%d connections, want 1", len(conns))
	}
}

// A connection that is lost is opened again.
func TestWireOpensAgain(t *testing.T) {
	w := &wire{addr: rawServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")}
	defer w.close()
	if _, err := w.exchange(getHealth); err != nil {
		t.Fatal(err)
	}
	if _, err := w.exchange(getHealth); err == nil { // the server has closed it
		t.Error("an exchange on a closed connection = nil, want an error: nothing is sent twice")
	}
	if got, err := w.exchange(getHealth); err != nil || !got.good() {
		t.Errorf("the next exchange = %+v, %v, want 200", got, err)
	}
}

func TestSourceAddress(t *testing.T) {
	seen := map[string]bool{}
	for i := range 20_000 {
		from := ClientAddress(netip.MustParseAddr("127.0.0.1"), i)
		if !from.IP.IsLoopback() || seen[from.IP.String()] {
			t.Fatalf("ClientAddress(%d) = %v: not loopback, or seen before", i, from.IP)
		}
		seen[from.IP.String()] = true
	}
	for _, elsewhere := range []string{"::1", "192.0.2.1"} {
		if from := ClientAddress(netip.MustParseAddr(elsewhere), 1); from != nil {
			t.Errorf("ClientAddress for %s = %v, want none", elsewhere, from)
		}
	}
	addrs := make(chan string, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { addrs <- r.RemoteAddr }))
	defer site.Close()
	w := &wire{addr: site.Listener.Addr().String(), from: ClientAddress(netip.MustParseAddr("127.0.0.1"), 7)}
	defer w.close()
	if _, err := w.exchange(getHealth); err != nil {
		t.Fatal(err)
	}
	if got := <-addrs; !strings.HasPrefix(got, "127.1.0.8:") {
		t.Errorf("the server saw %s, want 127.1.0.8", got)
	}
}

// FuzzReadHead: whatever a server sends, reading it ends, and what is read makes sense.
func FuzzReadHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\nA:b\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := readHead(bufio.NewReader(bytes.NewReader(text)))
		if err == nil && (h.status < 100 || h.status > 999 || h.length < -1) {
			t.Errorf("readHead(%q) = %+v", text, h)
		}
	})
}

// cpuEach reports the CPU time of an operation, which other processes hardly change.
func cpuEach(b *testing.B) (end func()) {
	began := CPUTime()
	return func() { b.ReportMetric(float64(CPUTime()-began)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkClients compares what a request costs the generator: the wire, net/http's reader on a
// connection of ours, and net/http's client. The server is the same, in another goroutine, and
// answers from memory.
func BenchmarkClients(b *testing.B) {
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n" +
		"X-Request-Id: 0123456789abcdef\r\nContent-Security-Policy: default-src 'self'\r\n" +
		"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: private, no-cache\r\n" +
		"Date: Mon, 23 Nov 2026 19:00:00 GMT\r\nContent-Length: 2\r\n\r\nok")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 4096)
				for {
					if _, err := conn.Read(buffer); err != nil {
						return
					}
					_, _ = conn.Write(response)
				}
			}()
		}
	}()
	addr := ln.Addr().String()

	b.Run("wire", func(b *testing.B) {
		w := &wire{addr: addr}
		defer w.close()
		b.ReportAllocs()
		defer cpuEach(b)()
		for b.Loop() {
			if a, err := w.exchange(getHealth); err != nil || !a.good() {
				b.Fatal(a, err)
			}
		}
	})
	b.Run("ReadResponse", func(b *testing.B) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		b.ReportAllocs()
		defer cpuEach(b)()
		for b.Loop() {
			_, _ = conn.Write(getHealth)
			a, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
		}
	})
	b.Run("Client", func(b *testing.B) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		client := http.Client{Transport: transport}
		b.ReportAllocs()
		defer cpuEach(b)()
		for b.Loop() {
			a, err := client.Get("http://" + addr + "/api/health")
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, a.Body)
			_ = a.Body.Close()
		}
	})
}
