package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// BenchmarkWritesTogether is notes made, and changed, by 64 who write at once,
// for five people, and by one alone, without HTTP. Beside the time it reports
// what a write costs in CPU time here, and in the processes of PostgreSQL.
// "PostgreSQL on disk" waits for the disk, the other's commits don't.
func BenchmarkWritesTogether(b *testing.B) {
	for _, engine := range []struct {
		name string
		url  func(testing.TB) string
	}{
		{"SQLite", storetest.EmptySQLite},
		{"PostgreSQL", storetest.Postgres},
		{"PostgreSQL on disk", func(t testing.TB) string { return testserver.NewPostgres(t).URL() }},
	} {
		b.Run(engine.name, func(b *testing.B) {
			s := storetest.Open(b, engine.url(b))
			for _, writers := range []int{1, 64} {
				b.Run(fmt.Sprintf("creates by %d", writers), func(b *testing.B) { benchmarkCreates(b, s, writers) })
				b.Run(fmt.Sprintf("patches by %d", writers), func(b *testing.B) { benchmarkPatches(b, s, writers) })
			}
		})
	}
}

// ordinary is a note as people have many.
var ordinary = notes.NewNote{Title: "A title", Content: strings.Repeat("Lorem ipsum. ", 80), Tags: []string{"one", "two"}}

func benchmarkCreates(b *testing.B, s *store.Store, writers int) {
	owners := []string{newOwner(b, s), newOwner(b, s), newOwner(b, s), newOwner(b, s), newOwner(b, s)}
	writeTogether(b, s, writers, func(writer int, i int64) error {
		in := ordinary
		in.IdempotencyKey, in.BodyHash = strconv.FormatInt(i, 10), []byte("hash")
		_, err := s.CreateNote(b.Context(), owners[writer%len(owners)], in)
		return err
	})
}

func benchmarkPatches(b *testing.B, s *store.Store, writers int) {
	owners := []string{newOwner(b, s), newOwner(b, s), newOwner(b, s), newOwner(b, s), newOwner(b, s)}
	made := make([]notes.Note, writers)
	for i := range made {
		made[i] = newNote(b, s, owners[i%len(owners)], ordinary)
	}
	writeTogether(b, s, writers, func(writer int, i int64) error {
		content := fmt.Sprint(ordinary.Content, i)
		_, err := s.PatchNote(b.Context(), made[writer].UserID, made[writer].ID, notes.Patch{Content: &content})
		return err
	})
}

// writeTogether has so many writers call write, b.N times in all, and reports
// what that costs.
func writeTogether(b *testing.B, s *store.Store, writers int, write func(writer int, i int64) error) {
	var writes atomic.Int64
	var all sync.WaitGroup
	took := make([][]time.Duration, writers)
	ourTime, theirTime := cpuTime(b), serverTime(b, s)
	b.ResetTimer()
	for writer := range writers {
		all.Go(func() {
			for i := writes.Add(1); i <= int64(b.N); i = writes.Add(1) {
				began := time.Now()
				if err := write(writer, i); err != nil {
					b.Error(err)
					return
				}
				took[writer] = append(took[writer], time.Since(began))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	ourTime, theirTime = cpuTime(b)-ourTime, serverTime(b, s)-theirTime
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	reportQuantiles(b, took)
	b.ReportMetric(float64(ourTime.Microseconds())/float64(b.N), "cpu-µs/op")
	if s.Engine() == "PostgreSQL" {
		b.ReportMetric(float64(theirTime.Microseconds())/float64(b.N), "server-µs/op")
	}
}

// reportQuantiles reports how long each of something took.
func reportQuantiles(b *testing.B, took [][]time.Duration) {
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// serverTime is what the processes of a PostgreSQL server have used.
func serverTime(b *testing.B, s *store.Store) (total time.Duration) {
	if s.Engine() != "PostgreSQL" {
		return 0
	}
	var pids []int
	if err := s.DB().Raw("SELECT pid FROM pg_stat_activity").Scan(&pids).Error; err != nil {
		b.Fatal(err)
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended since
		}
		if err != nil {
			b.Fatal(err)
		}
		_, fields, _ := strings.Cut(string(stat), ") ")
		for _, ticks := range strings.Fields(fields)[11:13] { // user's and system's, a hundred a second
			n, err := strconv.Atoi(ticks)
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return total
}
