package cli

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/store/storetest"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// mark is in every secret below. Nothing may show it.
const mark = "hunter2"

// adminToken is an administrators' token that may be sent, and must not come back.
const adminToken = "a-token-" + mark

// long is a secret of production with the mark in it.
const long = mark + "-0123456789abcdefghijklmnopqrstuvwxyz"

// Whatever is wrong with a setting that holds a secret, and whichever way what it leads to fails, the secret is in no
// log, no error, no report of notesd check, no page and no incident file.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	refused := "127.0.0.1:1"
	broken := []string{ // passwords that end a URL's user early
		"pa@" + mark + "/x", "pa@" + mark + "?x", "pa@" + mark + "#x", "pa/" + mark, "pa?" + mark, "pa#" + mark,
		"12/" + mark, "12#" + mark, "pa@x/" + mark + "@y", "%zz" + mark, "[" + mark, mark + " x",
	}
	postgres, err := url.Parse(storetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	good := postgres.String()
	locked := *postgres
	locked.User = url.UserPassword(testserver.Locked, mark)
	missing := locked
	missing.User, missing.Path = url.UserPassword("notes", mark), "/missing"
	redis := strings.TrimPrefix(testserver.Redis(t), "redis://")
	redisHost, _, _ := strings.Cut(redis, "/")
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }))
	t.Cleanup(hook.Close)

	type row struct {
		name    string
		environ []string
		until   string // the server serves, and logs this; "": it ends by itself
	}
	rows := []row{
		{name: "database password refused", environ: []string{"DATABASE_URL=" + locked.String()}},
		{name: "database password apart refused", environ: []string{"DATABASE_URL=" + strings.Replace(locked.String(), ":"+mark, "", 1), "DATABASE_PASSWORD=" + mark}},
		{name: "database missing", environ: []string{"DATABASE_URL=" + missing.String()}},
		{name: "database out of reach", environ: []string{"DATABASE_URL=postgres://u:" + mark + "@" + refused + "/x"}, until: "incident file written"},
		{name: "database unknown host", environ: []string{"DATABASE_URL=postgres://u:" + mark + "@no.such.host.invalid/x"}, until: "dependency is down"},
		{name: "TLS wanted", environ: []string{"DATABASE_URL=" + locked.String() + "&sslmode=require"}, until: "dependency is down"},
		{name: "retired setting", environ: []string{"DATABASE_READ_URL=" + locked.String()}, until: "DATABASE_READ_URL is ignored"},
		{name: "channel out of reach", environ: []string{"DATABASE_URL=" + good, "DATABASE_CHANNEL_URL=postgres://u:" + mark + "@" + refused + "/x"}, until: "channel to the other replicas is broken"},
		{name: "channel refuses", environ: []string{"DATABASE_URL=" + good, "DATABASE_CHANNEL_URL=" + locked.String()}, until: "channel to the other replicas is broken"},
		{name: "Redis out of reach", environ: []string{"REDIS_URL=redis://:" + mark + "@" + refused}, until: "incident file written"},
		{name: "Redis wants no password", environ: []string{"REDIS_URL=redis://:" + mark + "@" + redis}},
		{name: "Redis knows no such user", environ: []string{"REDIS_URL=redis://" + mark + ":" + mark + "@" + redis}},
		{name: "Redis without TLS", environ: []string{"REDIS_URL=rediss://:" + mark + "@" + redis}, until: "dependency is down"},
		{name: "Sentinels out of reach", environ: []string{"REDIS_URL=redis://:" + mark + "@main", "REDIS_SENTINELS=" + refused}, until: "dependency is down"},
		{name: "no Sentinel", environ: []string{"REDIS_URL=redis://:" + mark + "@main", "REDIS_SENTINELS=" + redisHost}, until: "dependency is down"},
		{name: "webhook out of reach", environ: []string{"ALERT_WEBHOOK_URL=http://" + refused + "/" + mark, "REDIS_URL=redis://" + refused}, until: "alert not delivered"},
		{name: "webhook answers 418", environ: []string{"ALERT_WEBHOOK_URL=" + hook.URL + "/" + mark, "REDIS_URL=redis://" + refused}, until: "alert not delivered"},
		{name: "webhook broken", environ: []string{"ALERT_WEBHOOK_URL=http://%zz" + mark}},
		{name: "session secret", environ: []string{"SESSION_SECRET=" + mark + ",old"}, until: "Listening"},
		{name: "session secret short", environ: []string{"APP_ENV=production", "SESSION_SECRET=" + mark}},
		{name: "session secrets empty", environ: []string{"SESSION_SECRET=" + mark + ",,"}},
		{name: "token with a blank", environ: []string{"ADMIN_TOKEN=" + mark + " x"}},
		{name: "secrets are equal", environ: []string{"APP_ENV=production", "SESSION_SECRET=" + long, "ADMIN_TOKEN=" + long, "CORS_ORIGIN=https://a.example"}},
		{name: "password without a user", environ: []string{"DATABASE_URL=postgres://db/x", "DATABASE_PASSWORD=" + mark}},
		{name: "password for SQLite", environ: []string{"DATABASE_PASSWORD=" + mark}},
		{name: "two passwords", environ: []string{"DATABASE_URL=postgres://u:" + mark + "1@db/x", "DATABASE_PASSWORD=" + mark}},
		{name: "password in a query", environ: []string{"DATABASE_URL=postgres://u@" + refused + "/x?password=" + mark}, until: "dependency is down"},
		{name: "wrong parameter", environ: []string{"DATABASE_URL=postgres://u@" + refused + "/x?sslmode=" + mark}},
		{name: "SQLite with parameters", environ: []string{"DATABASE_URL=sqlite:notes.db?key=" + mark}},
		{name: "wrong scheme", environ: []string{"DATABASE_URL=postgre://u:" + mark + "@db/x"}},
		{name: "scheme without slashes", environ: []string{"DATABASE_URL=postgres:u:" + mark + "@db/x"}},
		{name: "no scheme", environ: []string{"DATABASE_URL=//u:" + mark + "@db/x"}},
	}
	for _, password := range broken {
		for _, name := range []string{"DATABASE_URL", "DATABASE_CHANNEL_URL"} {
			rows = append(rows, row{name: name + " " + password, environ: []string{"DATABASE_URL=" + good, name + "=postgres://u:" + password + "@" + refused + "/x"}})
		}
		rows = append(rows, row{name: "REDIS_URL " + password, environ: []string{"REDIS_URL=redis://:" + password + "@" + refused + "/0"}})
	}
	parent := t.TempDir()
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(parent, strconv.Itoa(i)) // not named after the test: that has the secret in it
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			environ := append([]string{"DATA_DIR=" + dir, "BACKEND_PORT=0", "LOG_LEVEL=debug", "ADMIN_TOKEN=" + adminToken}, row.environ...)
			var shown testkit.LogBuffer
			serveUntil(t, &shown, environ, row.until)
			if err := Check(t.Context(), Process{Environ: environ, Out: &shown}, []string{"-json", "-measure=1ms"}); err != nil {
				fmt.Fprintln(&shown, err)
			}
			readIncidents(t, &shown, dir)
			if text := shown.String(); strings.Contains(text, mark) {
				at := strings.Index(text, mark)
				t.Errorf("the secret is shown: …%s…", text[max(0, at-200):min(len(text), at+200)])
			}
		})
	}
}

// serveUntil runs the server until it has logged a text, and shows what it prints and its pages. Without a text the
// server must end by itself.
func serveUntil(t *testing.T, shown *testkit.LogBuffer, environ []string, until string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, Process{Environ: environ, Out: shown}, nil) }()
	if until != "" {
		said := awaitLine(t, shown, ended, "Listening on (http://\\S+)")
		awaitLine(t, shown, ended, until)
		for _, path := range []string{"/", "/status", "/api/runtime?minute=true", "/api/metrics", "/metrics", "/api/health/ready", "/api/notes"} {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, said[1]+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Authorization": {"Bearer " + adminToken}, "Accept": {"text/html"}}
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(shown, answer.Body); err != nil {
				t.Error(err)
			}
			answer.Body.Close()
		}
		stop()
	}
	select {
	case err := <-ended:
		if (err == nil) != (until != "") {
			t.Errorf("Serve() = %v", err)
		}
		fmt.Fprintln(shown, err)
	case <-time.After(time.Minute):
		t.Fatal("the server goes on")
	}
}

// readIncidents shows what is in the incident files of a data directory.
func readIncidents(t *testing.T, shown *testkit.LogBuffer, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "incidents", "*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		archive, err := zip.OpenReader(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.File {
			in, err := file.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(shown, in); err != nil {
				t.Error(err)
			}
			in.Close()
		}
		archive.Close()
	}
}

// awaitLine returns the match of a regular expression in out once there is one.
func awaitLine(t *testing.T, out *testkit.LogBuffer, ended <-chan error, want string) []string {
	t.Helper()
	expr := regexp.MustCompile(want)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if m := expr.FindStringSubmatch(out.String()); m != nil {
			return m
		}
		select {
		case err := <-ended:
			t.Fatalf("the server ended (%v) before it said %q:\n%s", err, want, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server did not say %q:\n%s", want, out.String())
		}
	}
}
