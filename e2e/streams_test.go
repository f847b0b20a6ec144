package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/bench"
	"notesd/internal/testserver"
)

const (
	streamsPerUser = 32                    // as many as the server allows
	changeEvery    = 50 * time.Millisecond // of the one writer
)

// Streams of events on two replicas, half on each: what each takes, and how long after its answer a
// change, which goes to one of the replicas, has reached all streams of its user.
func TestStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory, of 2000 streams or more")
	}
	streams := numberOf(t, "STREAMS", 2000)
	proof := newProof(t, "streams", "STREAMS="+strconv.Itoa(streams))
	url, redis := testserver.EmptyPostgres(t), testserver.Redis(t)
	var replicas []*process
	for range 2 {
		p := newUnraced(t, "LOG_LEVEL=error", "DATABASE_URL="+url, "REDIS_URL="+redis, secret, "RATE_LIMIT_MAX_REQUESTS=0",
			"GOMEMLIMIT=460MiB", "ADMIN_TOKEN="+adminToken)
		p.start()
		p.awaitReady()
		replicas = append(replicas, p)
	}
	users, err := bench.AddUsers(t.Context(), replicas[0].visitor().url, (streams+streamsPerUser-1)/streamsPerUser, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	before := settled(t, replicas)
	heard := make([]*hearing, len(users))
	for i := range users {
		heard[i] = &hearing{at: map[int64][]time.Time{}}
	}
	for i := range streams {
		conn, in := openStream(t, replicas[i%2], users[i/streamsPerUser].Cookie, i)
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		readers.Go(func() { heard[i/streamsPerUser].read(in) })
	}
	opened := settled(t, replicas)
	var each []string
	var most int64
	for i := range replicas {
		bytes := (opened[i] - before[i]) / int64(streams/2)
		most = max(most, bytes)
		each = append(each, fmt.Sprintf("%.1f KB", float64(bytes)/(1<<10)))
	}

	type change struct {
		user     int
		revision int64
		at       time.Time
	}
	var changes []change
	writers := []*bench.Client{bench.NewClient(replicas[0].visitor().url), bench.NewClient(replicas[1].visitor().url)}
	for i := range max(100, min(1000, streams/10)) {
		user := i % len(users)
		var answer struct{ Data struct{ Revision int64 } }
		body := fmt.Sprintf(`{"title":"title %d"}`, i)
		_, err := writers[i%2].Call(ctx, http.MethodPatch, "/api/notes/"+users[user].Notes[0], users[user].Cookie, body, &answer)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, change{user, answer.Data.Revision, time.Now()})
		time.Sleep(changeEvery)
	}
	time.Sleep(time.Second)
	var took []time.Duration
	missed := 0
	for _, c := range changes {
		h := heard[c.user]
		h.mu.Lock()
		for _, at := range h.at[c.revision] {
			took = append(took, max(0, at.Sub(c.at)))
		}
		missed += min(streamsPerUser, streams-c.user*streamsPerUser) - len(h.at[c.revision])
		h.mu.Unlock()
	}
	if len(took) == 0 {
		t.Fatal("no stream has heard of any change")
	}
	slices.Sort(took)
	median, p99 := took[len(took)/2], took[len(took)*99/100]
	proof.Promise("memory of a stream, on each replica", "≤ 25 KB", strings.Join(each, ", "), most <= 25<<10)
	proof.Promise("median from a change's response to its event", "≤ 100 ms", milli(median), median <= 100*time.Millisecond)
	proof.Promise("p99", "≤ 500 ms", milli(p99), p99 <= 500*time.Millisecond)
	proof.Promise("events that were missed", "0", fmt.Sprintf("%d of %d", missed, missed+len(took)), missed == 0)
	proof.Notes = append(proof.Notes, fmt.Sprintf("%d streams, %d a user, half on each of two replicas with a bound of 512 MiB: "+
		"%d MB and %d MB resident. %d changes, one every %v.", streams, streamsPerUser, opened[0]>>20, opened[1]>>20, len(changes),
		changeEvery))
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

func milli(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// settled returns the memory of the processes, in bytes, once the garbage of what they did is gone.
func settled(t *testing.T, processes []*process) (resident []int64) {
	t.Helper()
	for _, p := range processes {
		collections := func() (n int64) {
			admin := p.administrator()
			for line := range strings.Lines(string(admin.get("/metrics").text)) {
				if value, ok := strings.CutPrefix(line, "go_gc_duration_seconds_count "); ok {
					n, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				}
			}
			return n
		}
		for until := collections() + 3; collections() < until; {
		}
		time.Sleep(2 * time.Second) // the freed memory goes back to the kernel
		bytes, err := bench.ResidentBytes(p.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		resident = append(resident, bytes)
	}
	return resident
}

// A hearing has the times at which the streams of a user heard of each change, by the note's revision.
type hearing struct {
	mu sync.Mutex
	at map[int64][]time.Time
}

// openStream opens a stream, and returns it behind its first event.
func openStream(t *testing.T, p *process, cookie string, i int) (net.Conn, *bufio.Reader) {
	t.Helper()
	addr := netip.MustParseAddrPort(p.addr())
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 0))}
	conn, err := dialer.DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatalf("stream %d: %v", i, err)
	}
	fmt.Fprintf(conn, "GET /api/events HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", p.addr(), cookie)
	in := bufio.NewReaderSize(conn, 1<<10)
	for line := ""; !strings.HasPrefix(line, "data: "); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatalf("stream %d: %q, %v", i, line, err)
		}
	}
	return conn, in
}

// read reads a stream to its end.
func (h *hearing) read(in *bufio.Reader) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if _, digits, ok := strings.Cut(line, `"revision":`); ok {
			now := time.Now()
			revision, _ := strconv.ParseInt(strings.TrimRight(digits, "}\n"), 10, 64)
			h.mu.Lock()
			h.at[revision] = append(h.at[revision], now)
			h.mu.Unlock()
		}
	}
}
