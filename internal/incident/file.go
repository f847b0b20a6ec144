package incident

import (
	"archive/zip"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	keepFiles = 10
	maxTotal  = 128 << 20
	minFree   = 128 << 20 // bytes on the disk

	// These constants bound the parts in bytes, before compression.
	maxTrace      = 32 << 20
	maxGoroutines = 4 << 20
	maxHeap       = 4 << 20
	maxText       = 1 << 20 // the history, and the state

	maxFile = maxTrace + maxGoroutines + maxHeap + 2*maxText + 64<<10
)

// A file is named incident-TIME-REASON.zip.
const (
	filePrefix   = "incident-"
	fileSuffix   = ".zip"
	fileTime     = "20060102T150405.000Z"
	partialFiles = "partial-*"
)

// File is one file of evidence.
type File struct {
	Name   string
	Reason string
	Time   time.Time // the time of the trigger
	Bytes  int64
}

// prepare makes the directory if it is missing, and checks that files can be written to it. It
// removes files that a killed process has left incomplete.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(dir, partialFiles))
	if err != nil {
		return err
	}
	for _, name := range left {
		_ = os.Remove(name)
	}
	f, err := os.CreateTemp(dir, partialFiles)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// files returns the incident files in the directory, the newest first. A file with another name is
// not ours and is ignored.
func files(dir string) []File {
	entries, _ := os.ReadDir(dir)
	all := []File{}
	for _, e := range entries {
		text, isOurs := strings.CutPrefix(strings.TrimSuffix(e.Name(), fileSuffix), filePrefix)
		stamp, reason, _ := strings.Cut(text, "-")
		at, err := time.Parse(fileTime, stamp)
		info, gone := e.Info()
		if isOurs && err == nil && gone == nil && strings.HasSuffix(e.Name(), fileSuffix) {
			all = append(all, File{e.Name(), reason, at, info.Size()})
		}
	}
	slices.Reverse(all) // they were in the order of their names, which is the order of time
	return all
}

// makeRoom deletes the oldest files until one more may be written.
func makeRoom(dir string) error {
	var errs []error
	total := int64(maxFile)
	for i, f := range files(dir) {
		if total += f.Bytes; i+1 >= keepFiles || total > maxTotal {
			errs = append(errs, os.Remove(filepath.Join(dir, f.Name)))
		}
	}
	return errors.Join(errs...)
}

// enoughDisk returns an error if the disk has less free than minFree.
func enoughDisk(dir string) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := uint64(disk.Bavail) * uint64(disk.Bsize); free < minFree {
		return fmt.Errorf("the disk has %d bytes left, and less than %d is for notes alone", free, minFree)
	}
	return nil
}

// save writes the file. It first writes under another name, so that the file appears complete.
func (r *Recorder) save(t trouble, state any) (file File, err error) {
	if err := errors.Join(enoughDisk(r.cfg.Dir), makeRoom(r.cfg.Dir)); err != nil {
		return File{}, err
	}
	f, err := os.CreateTemp(r.cfg.Dir, partialFiles) // mode 0600
	if err != nil {
		return File{}, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	err = r.writeParts(f, t, state)
	info, statErr := f.Stat()
	if err := errors.Join(err, statErr, f.Sync(), f.Close()); err != nil {
		return File{}, err
	}
	name := filePrefix + t.at.UTC().Format(fileTime) + "-" + t.reason + fileSuffix
	if err := os.Rename(f.Name(), filepath.Join(r.cfg.Dir, name)); err != nil {
		return File{}, err
	}
	return File{name, t.reason, t.at, info.Size()}, nil
}

// A part is one file inside the archive.
type part struct {
	name  string
	limit int64 // bytes; the rest is cut off
	write func(io.Writer) error
}

// partReport says what became of a part.
type partReport struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Cut   bool   `json:"cut,omitempty"`
	Error string `json:"error,omitempty"`
}

// writeParts writes the archive. The part that changes fastest comes first. The last part is
// incident.json, which describes the others.
func (r *Recorder) writeParts(to io.Writer, t trouble, state any) error {
	history, suppressed := r.seen()
	archive := zip.NewWriter(to)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed) // saves CPU time on a busy server
	})
	var reports []partReport
	for _, p := range []part{
		{"trace.out", maxTrace, r.flightRecorder.writeTo},
		{"goroutines.txt", maxGoroutines, func(w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 1) }},
		{"heap.pb.gz", maxHeap, func(w io.Writer) error { return pprof.Lookup("heap").WriteTo(w, 0) }},
		{"history.json", maxText, asJSON(history)},
	} {
		report, err := writePart(archive, p, t.at)
		if err != nil {
			return err
		}
		reports = append(reports, report)
	}
	host, _ := os.Hostname()
	_, err := writePart(archive, part{"incident.json", maxText, asJSON(struct {
		Reason     string       `json:"reason"`
		Detail     string       `json:"detail"`
		Time       time.Time    `json:"time"`
		Host       string       `json:"host"`
		Suppressed uint64       `json:"suppressedTriggers"` // since the start: another file was too recent
		Parts      []partReport `json:"parts"`
		Runtime    any          `json:"runtime"`
	}{t.reason, t.detail, t.at.UTC(), host, suppressed, reports, state})}, t.at)
	return errors.Join(err, archive.Close())
}

func asJSON(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
}

// writePart writes a part up to its limit. A failure to make the part is reported in the
// partReport; the error is a failure to write the archive.
func writePart(archive *zip.Writer, p part, at time.Time) (partReport, error) {
	header := &zip.FileHeader{Name: p.name, Method: zip.Deflate, Modified: at.UTC()}
	header.SetMode(0o600)
	w, err := archive.CreateHeader(header)
	if err != nil {
		return partReport{}, err
	}
	bounded := &boundedWriter{to: w, left: p.limit}
	failure := p.write(bounded)
	report := partReport{Name: p.name, Bytes: p.limit - bounded.left, Cut: bounded.cut}
	if failure != nil && !bounded.cut {
		report.Error = failure.Error()
	}
	return report, bounded.err
}

var errCut = errors.New("cut off: too long")

// boundedWriter writes up to its limit, and then fails.
type boundedWriter struct {
	to   io.Writer
	left int64
	cut  bool
	err  error // the error of to
}

func (b *boundedWriter) Write(p []byte) (n int, err error) {
	fits := p[:min(int64(len(p)), b.left)]
	n, err = b.to.Write(fits)
	b.left -= int64(n)
	if err != nil {
		b.err = err
		return n, err
	}
	if n < len(p) {
		b.cut = true
		return n, errCut
	}
	return n, nil
}
