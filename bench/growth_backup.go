package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A copying is what one `notesd backup` or `notesd restore` took.
type copying struct {
	took   time.Duration
	memory int64 // bytes resident at most
}

// backups saves each database while its server runs, and restores it into a new SQLite database.
func (s *session) backups(ctx context.Context, root string, all []*grown) error {
	t := Table{Title: "Backups", Head: []string{"", "database", "backup", "file", "memory", "restored into SQLite", "memory"}}
	for _, d := range all {
		s.progress.say("backup of " + d.name())
		file := filepath.Join(root, "one.backup")
		saved, err := d.copying(ctx, d.dir, d.settings, "backup", file)
		if err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		into := filepath.Join(root, "restored")
		restored, err := d.copying(ctx, into, nil, "restore", file)
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, []string{d.name(), megabytes(d.size), saved.took.Round(10 * time.Millisecond).String(), megabytes(info.Size()),
			megabytes(saved.memory), restored.took.Round(10 * time.Millisecond).String(), megabytes(restored.memory)})
		if err := os.RemoveAll(into); err != nil {
			return err
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	s.Tables = append(s.Tables, t)
	return nil
}

// copying runs a command of notesd on a file, with a server's settings and directory.
func (d *grown) copying(ctx context.Context, dir string, settings []string, command, file string) (copying, error) {
	cmd := exec.CommandContext(ctx, d.Notesd, command, file)
	cmd.Env = environment(dir, settings)
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
		case <-time.After(10 * time.Millisecond): // what Wait says of memory counts this process's too, which it began as
			if peak, err := peakRSS(cmd.Process.Pid); err == nil {
				c.memory = peak
			}
		}
	}
}
