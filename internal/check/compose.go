package check

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Compose is the part of a compose file, or of the output of `docker compose config`, that is
// judged. If Err is set, the file can't be read.
type Compose struct {
	File     string
	Err      string
	Services []Service // by name
}

// A Service is one service of the file. Fields that the file does not set are zero.
type Service struct {
	Name       string
	Image      string
	Built      bool
	Ports      []Port // published
	Restart    string
	LogSize    string // max-size, or the name of another log driver
	Health     bool
	Grace      time.Duration
	Cores      float64
	Memory     int64
	ReadOnly   bool
	Production bool // of notesd alone: whether its environment asks for production
	MaxWorkers int
	Heap       int64 // bytes of GOMEMLIMIT or MAX_OLD_SPACE_SIZE; 0: none
	Drain      time.Duration
}

// A Port is a port that the machine publishes. Host is "" for any address.
type Port struct{ Host, Published string }

// local reports whether the port can be reached from the machine alone.
func (p Port) local() bool {
	a, err := netip.ParseAddr(p.Host)
	return err == nil && a.IsLoopback()
}

func (p Port) String() string { return cmp.Or(p.Host, "0.0.0.0") + ":" + p.Published }

// kind returns what a service runs: notesd, postgres, pooler, redis, or "" for anything else.
func (s Service) kind() string {
	image, _, _ := strings.Cut(s.Image[strings.LastIndex(s.Image, "/")+1:], ":")
	switch {
	case image == "notesd", image == "" && s.Name == "notesd":
		return "notesd"
	case image == "postgres":
		return "postgres"
	case image == "pgbouncer":
		return "pooler"
	case image == "redis", image == "valkey":
		return "redis"
	}
	return ""
}

// composeYAML is the structure of the file.
type composeYAML struct {
	Services map[string]serviceYAML
}

type serviceYAML struct {
	Image           string
	Build           yaml.Node
	Ports           []portYAML
	Restart         string
	StopGracePeriod string   `yaml:"stop_grace_period"`
	Profiles        []string `yaml:"profiles"`
	ReadOnly        bool     `yaml:"read_only"`
	Environment     environmentYAML
	CPUs            string
	MemLimit        string `yaml:"mem_limit"`
	Healthcheck     *struct{ Disable bool }
	Logging         *struct {
		Driver  string
		Options map[string]string
	}
	Deploy struct {
		Resources struct {
			Limits struct{ CPUs, Memory string }
		}
	}
}

// environmentYAML is a map in the file, or a list of NAME=value.
type environmentYAML map[string]string

func (e *environmentYAML) UnmarshalYAML(n *yaml.Node) error {
	var list []string
	if n.Decode(&list) != nil {
		return n.Decode((*map[string]string)(e))
	}
	*e = environmentYAML{}
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		(*e)[name] = value
	}
	return nil
}

// portYAML is [HOST:][PUBLISHED:]TARGET[/PROTOCOL] in the file, or a map.
type portYAML Port

func (p *portYAML) UnmarshalYAML(n *yaml.Node) error {
	var text string
	if n.Decode(&text) != nil {
		var long struct {
			HostIP    string `yaml:"host_ip"`
			Published string
		}
		err := n.Decode(&long)
		*p = portYAML{long.HostIP, long.Published}
		return err
	}
	text, _, _ = strings.Cut(text, "/")
	parts := strings.Split(text, ":")
	if len(parts) == 1 {
		*p = portYAML{Published: "a random port"}
		return nil
	}
	p.Published = parts[len(parts)-2]
	p.Host = strings.Trim(strings.Join(parts[:len(parts)-2], ":"), "[]")
	return nil
}

var variable = regexp.MustCompile(`\$(?:\$|\{(\w+)(?::?([-?+])([^}]*))?\}|(\w+))`)

// interpolate replaces variables by their values, as compose does. A variable that must be set and
// is not becomes empty.
func interpolate(text string, values map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(match string) string {
		m := variable.FindStringSubmatch(match)
		value := values[cmp.Or(m[1], m[4])]
		switch {
		case match == "$$":
			return "$"
		case m[2] == "-":
			return cmp.Or(value, m[3])
		case m[2] == "+" && value != "":
			return m[3]
		}
		return value
	})
}

// interpolateNodes replaces variables in every scalar of a document.
func interpolateNodes(n *yaml.Node, values map[string]string) {
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$") {
		n.Value = interpolate(n.Value, values)
	}
	for _, child := range n.Content {
		interpolateNodes(child, values)
	}
}

// parseCompose reads a compose file in YAML or JSON, with values for its variables. Its errors
// don't quote the file, because it may hold passwords.
func parseCompose(text []byte, values map[string]string) ([]Service, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, errors.New("it is not YAML")
	}
	interpolateNodes(&document, values)
	var file composeYAML
	if err := document.Decode(&file); err != nil {
		return nil, errors.New("it has something else where services, their ports, limits or environment belong")
	}
	var services []Service
	for name, y := range file.Services {
		if len(y.Profiles) > 0 && y.Restart == "no" {
			continue // it runs once, on request
		}
		services = append(services, y.service(name))
	}
	if len(services) == 0 {
		return nil, errors.New("it has no services")
	}
	slices.SortFunc(services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return services, nil
}

func (y serviceYAML) service(name string) Service {
	limits := y.Deploy.Resources.Limits
	s := Service{Name: name, Image: y.Image, Built: !y.Build.IsZero(), Restart: y.Restart, ReadOnly: y.ReadOnly,
		Health: y.Healthcheck != nil && !y.Healthcheck.Disable,
		Grace:  duration(y.StopGracePeriod, 10*time.Second), // compose's default
		Memory: bytesOf(cmp.Or(limits.Memory, y.MemLimit))}
	s.Cores, _ = strconv.ParseFloat(cmp.Or(limits.CPUs, y.CPUs), 64)
	for _, p := range y.Ports {
		s.Ports = append(s.Ports, Port(p))
	}
	if y.Logging != nil {
		s.LogSize = cmp.Or(y.Logging.Options["max-size"], strings.TrimPrefix(y.Logging.Driver, "json-file"))
	}
	if s.kind() == "notesd" {
		s.Health = y.Healthcheck == nil || s.Health // the image has a health check
		s.readEnvironment(y.Environment)
	}
	return s
}

// readEnvironment reads the variables that are compared with the container's limits.
func (s *Service) readEnvironment(environ map[string]string) {
	// The image's default is production.
	s.Production = cmp.Or(environ["APP_ENV"], environ["NODE_ENV"], "production") == "production"
	s.MaxWorkers, _ = strconv.Atoi(environ["MAX_WORKERS"])
	s.Heap = bytesOf(environ["GOMEMLIMIT"])
	if mb, err := strconv.Atoi(environ["MAX_OLD_SPACE_SIZE"]); s.Heap == 0 && err == nil && mb > 0 && mb < 1<<24 {
		s.Heap = int64(mb) << 20
	}
	delay := time.Duration(0)
	if s.Production {
		delay = 5 * time.Second
	}
	s.Drain = duration(environ["SHUTDOWN_DELAY"], delay) + duration(environ["SHUTDOWN_TIMEOUT"], 10*time.Second)
}

// duration parses a duration. It returns otherwise if there is none.
func duration(text string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(text); err == nil {
		return d
	}
	return otherwise
}

var byteCount = regexp.MustCompile(`^(\d{1,15})(?:\.\d+)? ?([kmgt]?)(?:i?b)?$`)

// bytesOf parses 512M, 512MiB or 536870912. It returns 0 for anything else.
func bytesOf(text string) int64 {
	m := byteCount.FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[m[2]]
	if n > 1<<60>>shift {
		return 0
	}
	return n << shift
}

// of returns the services that run a kind of program.
func (c *Compose) of(kind string) (found []Service) {
	for _, s := range c.Services {
		if s.kind() == kind {
			found = append(found, s)
		}
	}
	return found
}

// production reports whether the file is for production: notesd runs in production in it.
func (c *Compose) production() bool {
	return slices.ContainsFunc(c.of("notesd"), func(s Service) bool { return s.Production })
}

// lacking lists the services for which good is false.
func (c *Compose) lacking(good func(Service) bool) string {
	var names []string
	for _, s := range c.Services {
		if !good(s) {
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}

// noCompose says why no compose file is judged. It returns nil if there is one to judge.
func (f Facts) noCompose() *opinion {
	switch {
	case f.Compose == nil:
		return new(notApplicable("no compose file here: -compose FILE names one"))
	case f.Compose.Err != "":
		return new(unknown("-compose FILE", "%s: %s", f.Compose.File, f.Compose.Err))
	}
	return nil
}

// everyService returns the judgement of a property that every service of a production compose file
// must have.
func everyService(what, fix string, good func(Service) bool) func(Facts) opinion {
	return func(f Facts) opinion {
		if o := f.noCompose(); o != nil {
			return *o
		}
		lacking := f.Compose.lacking(good)
		switch {
		case lacking == "":
			return ok("%s: each of %s has %s", f.Compose.File, count(len(f.Compose.Services), "service"), what)
		case !f.Compose.production():
			return notApplicable("%s is for development; without %s: %s", f.Compose.File, what, lacking)
		}
		return fail(fix+" for "+lacking, "%s: without %s: %s", f.Compose.File, what, lacking)
	}
}

// pinned reports whether the image of a service stays the same.
func pinned(s Service) bool {
	if s.Built || strings.Contains(s.Image, "@sha256:") {
		return true
	}
	_, tag, _ := strings.Cut(s.Image[strings.LastIndex(s.Image, "/")+1:], ":")
	return tag != "" && tag != "latest"
}

// published judges which ports can be reached from outside.
func published(f Facts) opinion {
	if o := f.noCompose(); o != nil {
		return *o
	}
	var open []string
	for _, s := range f.Compose.Services {
		kind := s.kind()
		if kind == "" || kind == "notesd" && !s.Production {
			continue
		}
		for _, p := range s.Ports {
			if !p.local() {
				open = append(open, fmt.Sprintf("%s on %s", s.Name, p))
			}
		}
	}
	if len(open) > 0 {
		return fail("remove their ports:, or bind them to 127.0.0.1", "%s publishes %s", f.Compose.File,
			strings.Join(open, ", "))
	}
	return ok("%s publishes no database, no Redis and no notesd past its proxy", f.Compose.File)
}

// grace judges whether a container has enough time to drain.
func grace(f Facts) opinion {
	if o := f.noCompose(); o != nil {
		return *o
	}
	for _, s := range f.Compose.of("notesd") {
		if s.Grace <= s.Drain {
			return fail(fmt.Sprintf("stop_grace_period: %v", s.Drain+15*time.Second),
				"%s is killed after %v, and SHUTDOWN_DELAY and SHUTDOWN_TIMEOUT are %v", s.Name, s.Grace, s.Drain)
		}
	}
	return ok("%s waits longer than the drain takes", f.Compose.File)
}

// containerFits compares the containers' limits with notesd's settings and with the machine.
func containerFits(f Facts) opinion {
	if o := f.noCompose(); o != nil {
		return *o
	}
	var memory int64
	for _, s := range f.Compose.Services {
		memory += s.Memory
		if most := f.Machine.Cores; !f.Machine.InContainer && most > 0 && s.Cores > float64(most) {
			return warn(fmt.Sprintf("cpus: %d (NOTESD_CPUS for notesd)", most), "%s may use %g cores, and there are %d",
				s.Name, s.Cores, most)
		}
	}
	if most := f.Machine.Memory; !f.Machine.InContainer && most > 0 && memory > most {
		return warn("lower memory: limits (NOTESD_MEMORY for notesd)", "together they may use %s, and there are %s",
			size(memory), size(most))
	}
	for _, s := range f.Compose.of("notesd") {
		switch {
		case s.Memory > 0 && s.Heap > s.Memory:
			return fail(fmt.Sprintf("GOMEMLIMIT=%dMiB, or unset it", s.Memory/10*9>>20),
				"%s: the heap's limit of %s is above the container's %s",
				s.Name, size(s.Heap), size(s.Memory))
		case s.Cores > 0 && float64(s.MaxWorkers) > max(1, s.Cores):
			return warn(fmt.Sprintf("MAX_WORKERS=%d, or unset it", max(1, int(s.Cores))),
				"%s: MAX_WORKERS=%d, and the container may use %g cores",
				s.Name, s.MaxWorkers, s.Cores)
		case s.MaxWorkers > 0 && float64(s.MaxWorkers)*2 <= s.Cores:
			return warn("unset MAX_WORKERS, or lower NOTESD_CPUS", "%s: %g cores, of which MAX_WORKERS=%d uses fewer",
				s.Name, s.Cores, s.MaxWorkers)
		}
	}
	return ok("%s: limits fit the settings and the machine", f.Compose.File)
}
