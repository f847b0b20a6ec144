package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"notesd/config"
	"notesd/internal/logging"
	"notesd/store"
	"notesd/store/dump"
	"notesd/store/engine"
)

// Backup runs `notesd backup …`.
func Backup(ctx context.Context, p Process, args []string) error {
	flags := p.newFlags("notesd backup FILE\nnotesd backup -dir DIR [-keep N]\nnotesd backup -verify FILE\n" +
		"Saves the database, also while it is served. FILE - is standard output.")
	dir := flags.String("dir", "",
		"write to a file in this `directory` that is named after the time; the directory is made if need be")
	keep := flags.Int("keep", 0, "of the directory's backups keep the newest so many once there is another; 0: all")
	verify := flags.String("verify", "", "read this backup to its end, and change nothing")
	args, err := flags.parse(args)
	if err != nil {
		return err
	}
	ways := len(args)
	for _, name := range []string{*dir, *verify} {
		if name != "" {
			ways++
		}
	}
	switch {
	case ways != 1, *keep < 0, *keep > 0 && *dir == "":
		return fmt.Errorf("backup FILE, backup -dir DIR [-keep N] or backup -verify FILE? %w", errUsage)
	case *verify != "":
		cfg, _ := config.Inspect(p.Environ) // only the bound on the size of a note is needed
		return p.verifyBackup(cfg, *verify)
	}
	cfg, err := config.Load(p.Environ)
	if err != nil {
		return err
	}
	switch {
	case *dir != "":
		return p.backupInto(ctx, cfg, *dir, *keep)
	case args[0] == "-":
		_, _, err := writeBackup(ctx, cfg, p.Out, new(meter))
		return err
	default:
		f, err := dump.Create(args[0])
		if err != nil {
			return err
		}
		return p.backupTo(ctx, cfg, f)
	}
}

// backupInto adds a backup to a directory of backups. Once the new one is verified, it removes the
// oldest.
func (p Process) backupInto(ctx context.Context, cfg config.Config, dir string, keep int) error {
	f, err := dump.CreateIn(dir, time.Now())
	if err != nil {
		return err
	}
	if err := p.backupTo(ctx, cfg, f); err != nil || keep == 0 {
		return err
	}
	removed, err := dump.Prune(dir, keep)
	for _, name := range removed {
		fmt.Fprintf(p.Out, "removed %s\n", filepath.Join(dir, name))
	}
	return err
}

// backupTo writes a backup to f, verifies it, and gives it its name. On an error it leaves no file.
func (p Process) backupTo(ctx context.Context, cfg config.Config, f *dump.File) error {
	m := startMeter()
	taken, longest, err := writeBackup(ctx, cfg, f, m)
	took := m.stop()
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = readBackup(f, longest, dump.Check)
	}
	if err != nil {
		return errors.Join(err, f.Discard())
	}
	if err := f.Finish(); err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s: %s, %s\n", f.Path(), contents(taken), m.rate(taken, took))
	return nil
}

// writeBackup writes the database that cfg names to out, and returns the length of the longest
// line.
func writeBackup(
	ctx context.Context, cfg config.Config, out io.Writer, m *meter,
) (taken dump.Backup, longest int, err error) {
	w, err := dump.NewWriter(out)
	if err != nil {
		return dump.Backup{}, 0, err
	}
	head := true
	taken, err = dump.Dump(ctx, cfg.DatabaseURL.Reveal(), func(line []byte) error {
		m.bytes.Add(int64(len(line)))
		if err := w.Line(line); err != nil || !head {
			return err
		}
		head = false
		return w.Flush() // the bytes after the head are the same for the same data
	})
	if err != nil {
		return taken, 0, namePlace(cfg, err)
	}
	return taken, w.Longest(), w.Close()
}

// maxNote returns a bound on the line of a note that came in a body of BODY_PARSER_LIMIT. Each
// character takes at most twice as many bytes in a backup as in a body; the rest of the row is
// short.
func maxNote(cfg config.Config) int { return int(2*cfg.BodyLimit) + 1<<20 }

// readBackup passes the lines of a backup, of at most longest bytes each, to the function lines.
func readBackup[T any](
	in io.Reader, longest int, lines func(next func() ([]byte, error)) (T, error),
) (result T, err error) {
	r, err := dump.NewReader(in, longest)
	if err == nil {
		defer r.Close()
		result, err = lines(r.Next)
	}
	switch {
	case errors.Is(err, dump.ErrTooLong):
		err = fmt.Errorf("%w: if you trust the file, set BODY_PARSER_LIMIT to that of the server that made it", err)
	case errors.Is(err, dump.ErrDamaged), errors.Is(err, dump.ErrNotBackup):
		err = &exitError{status: statusFindings, err: err}
	}
	return result, err
}

// verifyBackup reads a file as a restore does.
func (p Process) verifyBackup(cfg config.Config, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := readBackup(f, maxNote(cfg), dump.Check)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(p.Out, "%s: whole: %s\n", name, contents(b))
	return nil
}

// Restore runs `notesd restore FILE`. It reads the file twice: nothing is changed before the whole
// file has been verified.
func Restore(ctx context.Context, p Process, args []string) error {
	args, err := p.newFlags("notesd restore FILE\n" +
		"Puts a backup into the database of the settings, which must be empty.").parse(args)
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return fmt.Errorf("restore FILE? It goes into the database of the settings, which must be empty: %w", errUsage)
	}
	cfg, err := config.Load(p.Environ)
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := readBackup(f, maxNote(cfg), dump.Check); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	m := startMeter()
	done, err := readBackup(f, maxNote(cfg), func(next func() ([]byte, error)) (dump.Restored, error) {
		return dump.Restore(ctx, cfg.DatabaseURL.Reveal(), func() ([]byte, error) {
			line, err := next()
			m.bytes.Add(int64(len(line)))
			return line, err
		}, time.Now())
	})
	took := m.stop()
	if err != nil {
		return fmt.Errorf("nothing is restored: %w", err)
	}
	into := done.Engine
	if path := engine.FilePath(cfg.DatabaseURL.Reveal()); path != "" {
		into += " " + logging.Printable(path)
	}
	fmt.Fprintf(p.Out, "restored %s into %s, schema %d, %s\n",
		contents(done.Backup), into, done.Schema, m.rate(done.Backup, took))
	if err := indexRestored(ctx, cfg); err != nil {
		fmt.Fprintln(p.Out, "no search index yet, the server will make it:", err)
	}
	if len(done.Faults) == 0 {
		fmt.Fprintln(p.Out, "checked: every row is there, counters and change numbers fit")
		return nil
	}
	for _, fault := range done.Faults {
		fmt.Fprintln(p.Out, "doubtful:", fault)
	}
	return errors.New("restored as it was saved, but the data contradicts itself")
}

// contents describes for people what a backup contains.
func contents(b dump.Backup) string {
	return fmt.Sprintf("%s and %s of %s, schema %d, as of %s",
		count(b.Users, "account"), count(b.Notes, "note"), b.Engine, b.Schema,
		b.Taken.Format("2006-01-02 15:04:05 UTC"))
}

// A meter counts the bytes of a backup, and shows the count on a terminal.
type meter struct {
	bytes atomic.Int64
	began time.Time
	over  chan struct{}
	ended chan struct{}
}

func startMeter() *meter {
	m := &meter{began: time.Now(), over: make(chan struct{}), ended: make(chan struct{})}
	go m.show()
	return m
}

func (m *meter) show() {
	defer close(m.ended)
	if !isTerminal(os.Stderr) {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(os.Stderr, "\r%.1f MB", m.megabytes())
		case <-m.over:
			fmt.Fprint(os.Stderr, "\r\x1b[K")
			return
		}
	}
}

func (m *meter) megabytes() float64 { return float64(m.bytes.Load()) / 1e6 }

// stop ends the display and returns the time since the start.
func (m *meter) stop() time.Duration {
	took := time.Since(m.began)
	close(m.over)
	<-m.ended
	return took
}

// rate describes the speed of a backup for people.
func (m *meter) rate(b dump.Backup, took time.Duration) string {
	return fmt.Sprintf("%.1f MB of rows in %.1f s: %.1f MB/s, %.0f notes/s", m.megabytes(), took.Seconds(),
		m.megabytes()/took.Seconds(), float64(b.Notes)/took.Seconds())
}

// indexRestored makes the search indexes, which no backup has.
func indexRestored(ctx context.Context, cfg config.Config) error {
	db, err := store.Open(ctx, store.Config{URL: cfg.DatabaseURL.Reveal(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	err = db.WaitReady(waiting)
	if err == nil {
		err = db.IndexAll(ctx)
	}
	return errors.Join(err, db.Close())
}
