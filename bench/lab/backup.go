package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"notesd/bench"
	"notesd/bench/format"
)

// A copying is the cost of one run of notesd backup or notesd restore.
type copying struct {
	took   time.Duration
	memory int64 // peak of the resident memory, in bytes
}

// backupTable backs up each database while its server runs, and restores the backup into a new
// SQLite database.
func backupTable(ctx context.Context, s *bench.Session, root string, all []*grownDatabase) (bench.Table, error) {
	t := bench.Table{Title: "Backups", Head: []string{"", "database", "backup", "file", "memory",
		"restored into SQLite", "memory"}}
	for _, d := range all {
		s.Progress.Say("backup of " + d.name())
		file := filepath.Join(root, "one.backup")
		saved, err := d.copying(ctx, d.dir, d.settings, "backup", file)
		if err != nil {
			return t, err
		}
		info, err := os.Stat(file)
		if err != nil {
			return t, err
		}
		into := filepath.Join(root, "restored")
		restored, err := d.copying(ctx, into, nil, "restore", file)
		if err != nil {
			return t, err
		}
		t.Rows = append(t.Rows, []string{d.name(), format.Megabytes(d.size),
			saved.took.Round(10 * time.Millisecond).String(), format.Megabytes(info.Size()),
			format.Megabytes(saved.memory), restored.took.Round(10 * time.Millisecond).String(),
			format.Megabytes(restored.memory)})
		if err := os.RemoveAll(into); err != nil {
			return t, err
		}
		if err := os.Remove(file); err != nil {
			return t, err
		}
	}
	return t, nil
}

// copying runs a command of notesd on a file, with a server's settings and directory.
func (d *grownDatabase) copying(
	ctx context.Context, dir string, settings []string, command, file string,
) (copying, error) {
	cmd := exec.CommandContext(ctx, d.Notesd, command, file)
	cmd.Env = bench.Environment(dir, settings)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return copying{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c := copying{}
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("notesd %s of %s: %w: %s", command, d.name(), err, &out)
			}
			c.took = time.Since(began)
			return c, err
		// The memory that Wait reports would include this process, as which the child began.
		case <-time.After(10 * time.Millisecond):
			if peak, err := bench.PeakRSS(cmd.Process.Pid); err == nil {
				c.memory = peak
			}
		}
	}
}
