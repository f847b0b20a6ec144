package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"notesd/config"
	"notesd/internal/logging"
	"notesd/store"
	"notesd/store/engine"
)

const connectTime = 15 * time.Second // how long a command may take to reach the database

// withStore runs do with the database open and ready, or returns an error after connectTime.
func (p Process) withStore(
	ctx context.Context, create bool, do func(context.Context, config.Config, *store.Store) error,
) (err error) {
	cfg, db, made, err := p.openStore(ctx, create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if made != "" {
		fmt.Fprintf(p.Out, "made a new, empty database: %s\n", logging.Printable(made))
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return do(ctx, cfg, db)
}

// openStore opens the database that the settings name and waits until it is ready. If create is
// true, it makes a missing SQLite file. It returns the path of that file for the command to print,
// because a wrong path looks like lost data.
func (p Process) openStore(
	ctx context.Context, create bool,
) (cfg config.Config, db *store.Store, made string, err error) {
	cfg, err = config.Load(p.Environ)
	if err != nil {
		return cfg, nil, "", err
	}
	made = missingFile(cfg)
	if made != "" && !create {
		return cfg, nil, "", namePlace(cfg, fmt.Errorf("there is no database %s", made))
	}
	db, err = store.Open(ctx, store.Config{URL: cfg.DatabaseURL.Reveal(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return cfg, nil, "", namePlace(cfg, err)
	}
	waiting, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	if err := db.WaitReady(waiting); err != nil {
		return cfg, nil, "", errors.Join(err, db.Close())
	}
	return cfg, db, made, nil
}

// missingFile returns the path of the SQLite file that the settings name if the file is missing.
// Otherwise it returns "".
func missingFile(cfg config.Config) string {
	path := engine.FilePath(cfg.DatabaseURL.Reveal())
	if path == "" {
		return ""
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}

// namePlace adds the name of the setting that holds the path of a SQLite file to an error of that
// file.
func namePlace(cfg config.Config, err error) error {
	if err == nil || !engine.IsFile(cfg.DatabaseURL.Reveal()) || errors.Is(err, store.ErrSchema) {
		return err
	}
	name := "DATA_DIR"
	if slices.ContainsFunc(cfg.Changed(), func(s config.Setting) bool { return s.Name == "DATABASE_URL" }) {
		name = "DATABASE_URL"
	}
	return fmt.Errorf("%w (%s says where)", err, name)
}
