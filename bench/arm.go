package bench

import (
	"fmt"
	"net/url"
	"runtime"
	"strings"
)

// An Arm is one way to run the server, set against others.
type Arm struct {
	Name     string   `json:"name"`
	About    string   `json:"about"`
	Settings []string `json:"settings,omitempty"`
}

// arms are the ways to run the server.
func arms() []Arm {
	return []Arm{
		{"sharded", "the server as it comes: a shard a core", []string{"CLUSTER_MODE=true"}},
		{"single", "one shard on one core", []string{"CLUSTER_MODE=false"}},
		unbounded(),
	}
}

// unbounded is as near to no admission as the settings come: what runs at once
// is bounded by the database's connections alone, as behind plain net/http
// with a connection pool, and everything else is taken in and waits.
func unbounded() Arm {
	const connections = 90                                                                                                        // together: PostgreSQL comes with room for 100
	settings := []string{"CLUSTER_MODE=true", fmt.Sprintf("WORKERS_PER_SHARD=%d", min(64, max(1, connections/runtime.NumCPU()))), // 64: the most a shard takes
		"QUEUE_LENGTH=1000000", "QUEUE_TIMEOUT=1m", "REQUEST_TIMEOUT=1h"}
	return Arm{"unbounded", "no admission, as near as the settings come: every request is taken in and waits up to a " +
		"minute, and as many run at once as the database has connections (" + strings.Join(settings, " ") + ")", settings}
}

// given is the arm of a server that runs already.
func given(target string) Arm { return Arm{Name: "target", About: "the server at " + target} }

// onCores is the server on n of the machine's cores.
func onCores(n int) Arm {
	return Arm{count(n, "core"), fmt.Sprintf("a pool of %s with GOMAXPROCS=%d", count(n, "shard"), n),
		[]string{"CLUSTER_MODE=true", fmt.Sprintf("MAX_WORKERS=%d", n)}}
}

// armNamed finds an arm.
func armNamed(name string) (Arm, error) {
	var names []string
	for _, a := range arms() {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Arm{}, fmt.Errorf("no arm %q: %s", name, strings.Join(names, ", "))
}

// withoutSecrets is a setting, or an argument of the command line that holds
// one, fit to be shown: passwords in URLs and whatever is a secret by its name
// are not.
func withoutSecrets(text string) string {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return text
	}
	if strings.HasPrefix(name, "-") { // -set=NAME=VALUE, and -url
		return name + "=" + withoutSecrets(value)
	}
	for _, word := range []string{"SECRET", "PASSWORD", "TOKEN", "WEBHOOK"} {
		if strings.Contains(strings.ToUpper(text), word) {
			return name + "=REDACTED"
		}
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		return name + "=" + u.Redacted()
	}
	return text
}
