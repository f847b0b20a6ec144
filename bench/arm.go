package bench

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"notesd/bench/format"
)

// An Arm is one way to run the server, which is compared with other ways.
type Arm struct {
	Name     string   `json:"name"`
	About    string   `json:"about"`
	Settings []string `json:"settings,omitempty"`
}

// arms returns all ways to run the server.
func arms() []Arm {
	return []Arm{
		{Name: "sharded", About: "the server as it comes: a shard a core", Settings: []string{"CLUSTER_MODE=true"}},
		{Name: "single", About: "one shard on one core", Settings: []string{"CLUSTER_MODE=false"}},
		{Name: "unbounded", About: "no admission: every handler begins at once, as behind plain net/http, " +
			"and waits for the database's connections", Settings: []string{"CLUSTER_MODE=true", "FAULT_ADMISSION=off"}},
	}
}

// checkFaults returns an error if the options need a program with fault routes and this program has
// none.
func checkFaults(o Options, hasFaults bool) error {
	needed := ""
	if o.scenario.faults {
		needed = "the scenario " + o.scenario.name
	}
	for _, a := range o.Arms {
		if slices.ContainsFunc(a.Settings, func(set string) bool { return strings.HasPrefix(set, "FAULT_") }) {
			needed = "the arm " + a.Name
		}
	}
	if needed == "" || hasFaults {
		return nil
	}
	return fmt.Errorf("%s needs a notesd with routes that fail on purpose (make prove NAME=%s makes one): %w",
		needed, o.scenario.name, ErrUsage)
}

// given returns the arm of a server that is already running.
func given(target string) Arm { return Arm{Name: "target", About: "the server at " + target} }

// onCores returns the arm of a server on n of the machine's cores.
func onCores(n int) Arm {
	return Arm{Name: format.Count(n, "core"), About: fmt.Sprintf("a pool of %s with GOMAXPROCS=%d",
		format.Count(n, "shard"), n),
		Settings: []string{"CLUSTER_MODE=true", fmt.Sprintf("MAX_WORKERS=%d", n)}}
}

// armNamed returns the arm with a name.
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

// withoutSecrets returns a setting, or a command-line argument with a setting, in a form that may
// be shown. It leaves out passwords in URLs, and the values of settings whose names say that they
// are secret.
func withoutSecrets(text string) string {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return text
	}
	if strings.HasPrefix(name, "-") { // the flag -set=NAME=VALUE, and the flag -url
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
