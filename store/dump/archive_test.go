package dump_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"notesd/store/dump"
)

// pack is a backup of the lines.
func pack(t interface{ Fatal(...any) }, lines ...string) []byte {
	var out bytes.Buffer
	w, err := dump.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if err := w.Line([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// longest is what the lines of these tests have at most.
const longest = 4 << 20

// unpack reads a backup to its end.
func unpack(in io.Reader) (lines []string, err error) { return unpackWithin(in, longest) }

func unpackWithin(in io.Reader, longest int) (lines []string, err error) {
	r, err := dump.NewReader(in, longest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

// What is read is what was written, and the same lines are the same bytes.
func TestReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.StringMatching(`[^\n]*`)).Draw(t, "lines")
		file := pack(t, want...)
		have, err := unpack(bytes.NewReader(file))
		if err != nil || !slices.Equal(have, want) {
			t.Fatalf("read %q, %v, want %q", have, err, want)
		}
		if !bytes.Equal(file, pack(t, want...)) {
			t.Fatal("written twice, it is not the same")
		}
	})
}

// many is a file of several blocks, one of them a line that is longer than a block.
func many(t testing.TB) []byte {
	var lines []string
	source := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("%d %x", i, source.Uint64()))
	}
	var long strings.Builder
	for long.Len() < 3<<20 {
		fmt.Fprintf(&long, "%x", source.Uint32()&0xff)
	}
	return pack(t, append(lines, long.String(), "last")...)
}

// A file that breaks off is refused wherever that is, and its reader says where.
func TestTruncated(t *testing.T) {
	file := many(t)
	places := []int{0, 1, 15, 16, 17, 20, 24, 25, len(file) - 1, len(file) - 32, len(file) - 33, len(file) - 36, len(file) - 37}
	for n := 1000; n < len(file); n += 20_011 {
		places = append(places, n)
	}
	for _, n := range places {
		_, err := unpack(bytes.NewReader(file[:n]))
		if !errors.Is(err, dump.ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("breaks off at byte %d", n)) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(file), err)
		}
	}
	if _, err := unpack(bytes.NewReader(append(slices.Clone(file), 0))); !errors.Is(err, dump.ErrDamaged) {
		t.Errorf("with a byte at its end: %v", err)
	}
}

// A bit that has turned over is noticed wherever it is.
func TestFlipped(t *testing.T) {
	flip := func(file []byte, at int, bit byte) {
		t.Helper()
		file[at] ^= bit
		defer func() { file[at] ^= bit }()
		if _, err := unpack(bytes.NewReader(file)); !errors.Is(err, dump.ErrDamaged) {
			t.Fatalf("bit %#x of byte %d of %d: %v", bit, at, len(file), err)
		}
	}
	small := pack(t, "one", "two")
	for at := range small {
		for bit := range 8 {
			flip(small, at, 1<<bit)
		}
	}
	large := many(t)
	for at := 0; at < len(large); at += 49_999 {
		flip(large, at, 1<<rand.IntN(8))
	}
}

// framed is a backup of one block, whose frame says of itself what it likes.
func framed(frame []byte) []byte {
	file := []byte("notesd backup 1\n")
	file = binary.BigEndian.AppendUint32(file, uint32(len(frame)))
	file = binary.BigEndian.AppendUint32(file, crc32.Checksum(frame, crc32.MakeTable(crc32.Castagnoli)))
	file = append(append(file, frame...), 0, 0, 0, 0)
	sum := sha256.Sum256(file)
	return append(file, sum[:]...)
}

// A block that unpacks to more than any line may have, or says so, is refused before
// there is room for it, though all its checksums are right.
func TestBlockThatLies(t *testing.T) {
	const much = 64 << 20
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	honest := packer.EncodeAll(make([]byte, much), nil)
	var unsaid bytes.Buffer // a frame that does not say how much is in it
	packer.Reset(&unsaid)
	for range much >> 20 {
		if _, err := packer.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	one := packer.EncodeAll(make([]byte, longest), nil)
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x3f, 1, 0, 0} // one segment of 1008 MiB, and then nothing
	for _, test := range []struct {
		name string
		file []byte
		want error
	}{
		{"much", framed(honest), dump.ErrTooLong},
		{"much, unsaid", framed(unsaid.Bytes()), dump.ErrTooLong},
		{"many frames", framed(bytes.Repeat(one, 16)), dump.ErrTooLong},
		{"only says much", framed(claim), dump.ErrTooLong},
		{"much that is packed", framed(make([]byte, 9*longest)), dump.ErrTooLong},
		{"a length that is not there", []byte("notesd backup 1\n\x3f\xff\xff\xff\x00\x00\x00\x00"), dump.ErrDamaged},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := dump.NewReader(bytes.NewReader(test.file), longest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = r.Next()
			runtime.ReadMemStats(&after)
			if !errors.Is(err, test.want) {
				t.Errorf("read %d bytes: %v, want %v", len(test.file), err, test.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 8*longest {
				t.Errorf("reading %d bytes took %d MB of memory", len(test.file), took>>20)
			}
		})
	}
}

// A line may be as long as the reader was told, compressible or not, and no longer.
func TestLongestLine(t *testing.T) {
	random := make([]byte, longest)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(random)
	for _, line := range []string{strings.Repeat("x", longest), strings.ReplaceAll(string(random), "\n", "x")} {
		lines, err := unpackWithin(bytes.NewReader(pack(t, "first", line, "last")), longest)
		if err != nil || len(lines) != 3 || lines[1] != line {
			t.Errorf("a line of %d bytes: %d lines, %v", len(line), len(lines), err)
		}
		if _, err := unpackWithin(bytes.NewReader(pack(t, "first", line, "last")), longest-1); !errors.Is(err, dump.ErrTooLong) {
			t.Errorf("a line of one byte more: %v, want ErrTooLong", err)
		}
	}
	var short []string // they fill a block of lines to its end
	for range 2 << 20 / 8 {
		short = append(short, "1234567")
	}
	if lines, err := unpackWithin(bytes.NewReader(pack(t, short...)), 7); err != nil || len(lines) != len(short) {
		t.Errorf("short lines: %d, %v", len(lines), err)
	}
}

// A reader hands on what stops it, as it is.
func TestUnreadable(t *testing.T) {
	broken := errors.New("broken")
	file := many(t)
	_, err := unpack(io.MultiReader(bytes.NewReader(file[:5000]), failing{broken}))
	if !errors.Is(err, broken) || errors.Is(err, dump.ErrDamaged) {
		t.Errorf("a disk that fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A writer that has no room says so.
func TestUnwritable(t *testing.T) {
	full := errors.New("full")
	if _, err := dump.NewWriter(failing{full}); !errors.Is(err, full) {
		t.Errorf("NewWriter = %v", err)
	}
	w, err := dump.NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Line([]byte("a\nb")); err == nil {
		t.Error("took two lines for one")
	}
}

// Whatever a file holds, its reader returns, and takes it for whole only if a
// writer makes the same of its lines.
func FuzzReader(f *testing.F) {
	f.Add([]byte("notesd backup 1\n"))
	f.Add(pack(f, "a", "", "b"))
	f.Add(pack(f))
	f.Add(framed([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x3f, 1, 0, 0}))
	f.Fuzz(func(t *testing.T, file []byte) {
		lines, err := unpack(bytes.NewReader(file))
		if err != nil && !errors.Is(err, dump.ErrDamaged) && !errors.Is(err, dump.ErrTooLong) {
			t.Fatalf("%v", err)
		}
		if err != nil {
			return
		}
		again, err := unpack(bytes.NewReader(pack(t, lines...)))
		if err != nil || !slices.Equal(again, lines) {
			t.Fatalf("read %q, written and read again %q, %v", lines, again, err)
		}
	})
}

// A file has its name when it is whole and not before, and keeps no other's.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.backup")
	for range 2 { // the first is killed
		f, err := dump.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("begun, and longer than what comes"); err != nil {
			t.Fatal(err)
		}
		if _, err := dump.Create(path); err == nil || !strings.Contains(err.Error(), "another process writes") {
			t.Errorf("Create of one in the making = %v", err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("there is a file already: %v", err)
		}
	}
	f, err := dump.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("whole"); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if string(text) != "whole" || err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %q, %v, %v", text, err, info.Mode())
	}
	if _, err := dump.Create(path); !errors.Is(err, dump.ErrExists) {
		t.Errorf("Create of one that is there = %v, want ErrExists", err)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// The oldest backups go, and nothing else.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 5 {
		names = append(names, dump.Name(time.Date(2026, 1, 28+i, 3, 0, 0, 0, time.UTC)))
	}
	others := []string{"mine.backup", "notesd.backup.partial", "notesd-20200101T000000Z.backup.old"}
	for _, name := range append(others, names...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := dump.Prune(dir, 2)
	if err != nil || !slices.Equal(removed, names[:3]) {
		t.Errorf("Prune = %q, %v, want %q", removed, err, names[:3])
	}
	if removed, err := dump.Prune(dir, 2); err != nil || len(removed) > 0 {
		t.Errorf("Prune again = %q, %v", removed, err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 5 {
		t.Errorf("left: %v", left)
	}
}
