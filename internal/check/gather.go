package check

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config says where Gather looks. It holds secrets; the Facts that Gather returns don't.
type Config struct {
	Version  string
	Settings Settings
	Replicas int

	Database    func(context.Context) (Database, error) // asks the database; nil: there is none
	RedisURL    string                                  // "": there is no Redis
	RedisWrites func(context.Context) error             // checks that Redis accepts the server's writes
	AdminToken  string
	Server      string // the server's address
	ServerGiven bool   // the address was given explicitly
	Measure     time.Duration

	Dir         string // the directory of compose files and env files
	Compose     string // a file, or - for In; "": the file in Dir
	In          io.Reader
	Environ     []string          // the variables of the compose file
	Placeholder func(string) bool // reports whether a text is a placeholder for a secret
}

// askTime is how long each of the database, Redis and the server may take to answer.
const askTime = 5 * time.Second

// Gather collects all Facts, once.
func Gather(ctx context.Context, c Config) Facts {
	f := Facts{Version: c.Version, Settings: c.Settings, Replicas: max(1, c.Replicas),
		Machine: readMachine(os.DirFS("/"), c.Settings.DataDir), Files: readFiles(ctx, c)}
	f.Compose = readCompose(c)
	if c.Database != nil {
		f.Database = inspectDatabase(ctx, c.Database)
	}
	if c.RedisURL != "" {
		f.Redis = inspectRedis(ctx, c.RedisURL)
	}
	if c.RedisWrites != nil && f.Redis != nil && f.Redis.Err == "" {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if err := c.RedisWrites(ctx); err != nil {
			f.Redis.Refuses = oneLine(err)
		}
	}
	f.Server = inspectServer(ctx, c)
	return f
}

func inspectDatabase(ctx context.Context, ask func(context.Context) (Database, error)) *Database {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	db, err := ask(ctx)
	if err != nil {
		db.Err = oneLine(err)
	}
	return &db
}

// oneLine formats an error in one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// maxCompose bounds how much of a compose file is read, in bytes.
const maxCompose = 4 << 20

// readCompose reads the compose file that is named, or one that is found. It returns nil if there
// is none.
func readCompose(c Config) *Compose {
	if c.Compose == "-" {
		return composeFrom("the compose file", c.In, c.Environ)
	}
	name := c.Compose
	if name == "" {
		name = "compose.yaml"
		if c.Settings.Production {
			name = "compose.prod.yaml"
		}
	}
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(c.Dir, name)
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && c.Compose == "" {
		return nil
	}
	if err != nil {
		return &Compose{File: name, Err: cmp.Or(errors.Unwrap(err), err).Error()}
	}
	defer file.Close()
	return composeFrom(name, file, c.Environ)
}

func composeFrom(name string, in io.Reader, environ []string) *Compose {
	text, err := io.ReadAll(io.LimitReader(in, maxCompose))
	if err != nil {
		return &Compose{File: name, Err: oneLine(err)}
	}
	values := map[string]string{}
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		values[variable] = value
	}
	services, err := parseCompose(text, values)
	if err != nil {
		return &Compose{File: name, Err: oneLine(err)}
	}
	return &Compose{File: name, Services: services}
}
