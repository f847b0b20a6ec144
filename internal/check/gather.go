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

// Config says where to look. It holds secrets; what Gather returns doesn't.
type Config struct {
	Version  string
	Settings Settings
	Replicas int

	Database    func(context.Context) (Database, error) // nil: there is none to ask
	RedisURL    string                                  // "": there is none to ask
	RedisWrites func(context.Context) error             // has Redis take what the server writes to it
	AdminToken  string
	Server      string // its address
	ServerGiven bool   // somebody named it
	Measure     time.Duration

	Dir         string // where compose files and env files are
	Compose     string // a file, - for In; "": the one in Dir
	In          io.Reader
	Environ     []string          // for the compose file's variables
	Placeholder func(string) bool // a text that stands where a secret belongs
}

// askTime is how long each of the others may take to answer.
const askTime = 5 * time.Second

// Gather looks at everything, once.
func Gather(ctx context.Context, c Config) Facts {
	f := Facts{Version: c.Version, Settings: c.Settings, Replicas: max(1, c.Replicas),
		Machine: readMachine(os.DirFS("/"), c.Settings.DataDir), Files: readFiles(ctx, c)}
	f.Compose = readCompose(c)
	if c.Database != nil {
		f.Database = askDatabase(ctx, c.Database)
	}
	if c.RedisURL != "" {
		f.Redis = askRedis(ctx, c.RedisURL)
	}
	if c.RedisWrites != nil && f.Redis != nil && f.Redis.Err == "" {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if err := c.RedisWrites(ctx); err != nil {
			f.Redis.Refuses = oneLine(err)
		}
	}
	f.Server = askServer(ctx, c)
	return f
}

func askDatabase(ctx context.Context, ask func(context.Context) (Database, error)) *Database {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	db, err := ask(ctx)
	if err != nil {
		db.Err = oneLine(err)
	}
	return &db
}

// oneLine writes an error in one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// mostCompose bounds what is read of a compose file.
const mostCompose = 4 << 20

// readCompose reads the compose file named, or one that is there; nil: there is none.
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
	text, err := io.ReadAll(io.LimitReader(in, mostCompose))
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
