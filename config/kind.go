package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A kind is what may stand behind a variable: in words, for mistakes and documentation, and as the function that
// reads it into its place. The function is given no empty text, and reports whether the text is allowed.
type kind struct {
	allowed string
	read    func(text string) bool
}

// boolean is strict, since the old server took "yes", "on" and "TRUE" for false.
func boolean(to *bool) kind {
	return kind{"one of true, false, 1, 0", func(text string) bool {
		*to = text == "true" || text == "1"
		return *to || text == "false" || text == "0"
	}}
}

// oneOf hands the name it finds to set.
func oneOf(set func(string), names ...string) kind {
	return kind{"one of " + strings.Join(names, ", "), func(text string) bool {
		set(text)
		return slices.Contains(names, text)
	}}
}

// whole is a whole number.
func whole(to *int, least, most int) kind {
	return kind{fmt.Sprintf("a whole number from %d to %d", least, most), func(text string) bool {
		n, err := strconv.Atoi(text)
		*to = n
		return err == nil && n >= least && n <= most
	}}
}

// times is a whole number of a unit of time.
func times(to *time.Duration, unit time.Duration, least, most int) kind {
	var n int
	k := whole(&n, least, most)
	return kind{k.allowed, func(text string) bool {
		ok := k.read(text)
		*to = time.Duration(n) * unit
		return ok
	}}
}

// duration is a number with a unit of time.
func duration(to *time.Duration, least, most time.Duration) kind {
	allowed := fmt.Sprintf("a duration from %s to %s, such as 500ms, 10s or 1m30s", brief(least), brief(most))
	return kind{allowed, func(text string) bool {
		d, err := time.ParseDuration(text)
		*to = d
		return err == nil && d >= least && d <= most
	}}
}

// durationOrMillis is a duration, or a whole number of milliseconds as the old server had it.
func durationOrMillis(to *time.Duration, least, most time.Duration) kind {
	k := duration(to, least, most)
	return kind{k.allowed + ", or whole milliseconds", func(text string) bool {
		if _, err := strconv.Atoi(text); err == nil {
			text += "ms"
		}
		return k.read(text)
	}}
}

// brief writes a duration without the zero minutes and seconds that String adds.
func brief(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-len("0s")]
		}
	}
	return s
}

// sizes are the units of a number of bytes.
var sizes = map[string]float64{
	"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30,
	"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var (
	expressSize = regexp.MustCompile(`^(\d+(?:\.\d+)?) *(b|kb|mb|gb)?$`)
	goSize      = regexp.MustCompile(`^(\d+)(B|KiB|MiB|GiB|TiB)?$`)
)

// bytesOf reads a number of bytes in the given form. More than a petabyte is not a size.
func bytesOf(form *regexp.Regexp, text string) (int64, bool) {
	m := form.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(m[1], 64) // exact to 8 PiB
	n *= sizes[m[2]]
	return int64(min(n, 1<<50)), err == nil && n <= 1<<50
}

// bodyLimit is a size as Express writes it: units of 1024, in either case.
func bodyLimit(to *int64) kind {
	const least, most = 1 << 10, 1 << 30
	return kind{"a size from 1kb to 1gb, such as 10mb, 512kb or 1048576", func(text string) bool {
		n, ok := bytesOf(expressSize, strings.ToLower(text))
		*to = n
		return ok && n >= least && n <= most
	}}
}

// noLimit is what Go calls a memory limit that is off.
const noLimit = math.MaxInt64

// memLimit is a size as Go's own GOMEMLIMIT has it. Below 16 MiB the program would do nothing but collect garbage.
func memLimit(to *int64) kind {
	return kind{"off, or a size from 16MiB, such as 512MiB or 2GiB", func(text string) bool {
		if text == "off" {
			*to = noLimit
			return true
		}
		n, ok := bytesOf(goSize, text)
		*to = n
		return ok && n >= leastMemory
	}}
}

// secret is any text; strict secrets (see strong) are for production.
func secret(to *Secret) kind {
	return kind{"text", func(text string) bool { *to = Secret(text); return true }}
}

// token is a secret that travels in a header.
func token(to *Secret, strict *bool) kind {
	const allowed = "a token of visible ASCII, in production of at least 32 characters, not always the same ones, and no placeholder"
	return kind{allowed, func(text string) bool {
		*to = Secret(text)
		return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) && (!*strict || strong(text))
	}}
}

// secrets is a comma list of secrets.
func secrets(to *[]Secret, strict *bool) kind {
	const allowed = "a comma list of secrets, in production each of at least 32 characters, not always the same ones, and no placeholder"
	return kind{allowed, func(text string) bool {
		return list(text, to, func(s string) (Secret, bool) { return Secret(s), s != "" && (!*strict || strong(s)) })
	}}
}

// list reads a comma list, spaces around its members ignored, and reports whether each is allowed.
func list[T any](text string, to *[]T, read func(string) (T, bool)) bool {
	for s := range strings.SplitSeq(text, ",") {
		v, ok := read(strings.TrimSpace(s))
		if !ok {
			return false
		}
		*to = append(*to, v)
	}
	return true
}

// host is where to listen; "all" is every address of the machine, which is "" to package net.
func host(to *string) kind {
	return kind{"an IP address, a host name, or all", func(text string) bool {
		*to = text
		if text == "all" {
			*to = ""
		}
		return isHost(text)
	}}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// isHost reports whether s is an IP address (no brackets, no zone) or could be a host's name.
func isHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || hostName.MatchString(s)
}

// hosts is a comma list of host names.
func hosts(to *[]string) kind {
	const allowed = "a comma list of host names without scheme and port, such as notes.example.com"
	return kind{allowed, func(text string) bool {
		return list(text, to, func(s string) (string, bool) { return strings.ToLower(s), hostName.MatchString(s) })
	}}
}

// origins is a comma list of what browsers send as Origin.
func origins(to *[]string) kind {
	const allowed = "a comma list of http:// or https:// origins with a host and maybe a port, without path, slash or *"
	return kind{allowed, func(text string) bool { return list(text, to, origin) }}
}

// origin writes an origin as browsers do: in lower case and without a port that goes without saying.
func origin(text string) (string, bool) {
	text = strings.ToLower(text)
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || text != u.Scheme+"://"+u.Host || !isHost(u.Hostname()) {
		return "", false
	}
	if !strings.HasSuffix(u.Host, ":"+u.Port()) {
		return text, u.Port() == ""
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 || u.Port()[0] == '0' {
		return "", false
	}
	return strings.TrimSuffix(text, map[string]string{"http": ":80", "https": ":443"}[u.Scheme]), true
}

// proxies is a comma list of networks.
func proxies(to *[]netip.Prefix) kind {
	const allowed = "a comma list of networks or addresses, such as 10.0.0.0/8, fd00::/8 or 192.0.2.7"
	return kind{allowed, func(text string) bool { return list(text, to, network) }}
}

// network reads a network, or an address as the network that is only itself.
func network(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), !p.Addr().Is4In6()
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

// webhook is an address to POST to.
func webhook(to *Secret) kind {
	return kind{"a http:// or https:// URL", func(text string) bool {
		u, err := url.Parse(text)
		*to = Secret(text)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
	}}
}

var redisPath = regexp.MustCompile(`^(/\d*)?$`)

// redis is a Redis server; the path is the number of its database.
func redis(to *Secret, strict *bool) kind {
	const allowed = "a redis:// or rediss:// URL such as redis://:password@host:6379/0" + inURL + ", in production without placeholder"
	return kind{allowed, func(text string) bool {
		u, err := url.Parse(text)
		*to = Secret(text)
		return err == nil && !BrokenPassword(text) && (u.Scheme == "redis" || u.Scheme == "rediss") && u.Hostname() != "" &&
			redisPath.MatchString(u.Path) && !(*strict && placeholder(password(u)))
	}}
}

// addresses are servers' hosts and ports.
func addresses(to *[]string) kind {
	const allowed = "a comma list of hosts with ports, such as 10.0.0.5:26379,10.0.0.6:26379"
	return kind{allowed, func(text string) bool { return list(text, to, address) }}
}

func address(text string) (string, bool) {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return "", false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return text, err == nil && n > 0
}

// inURL says how a URL holds a password with special characters.
const inURL = " (a password's @ / ? # are written %40 %2F %3F %23)"

// BrokenPassword reports whether the password of a URL probably holds a character that ends the password for those who
// read the URL. What follows would be taken for a host, a path or a parameter, and be logged as such.
func BrokenPassword(rawURL string) bool {
	_, rest, _ := strings.Cut(rawURL, "://")
	end := strings.IndexAny(rest, "/?#")
	return end >= 0 && strings.ContainsAny(rest[end:], "@#")
}

// database is PostgreSQL by URL, or the path of a SQLite file.
func database(to *Secret) kind {
	const allowed = "a postgres:// URL with a host" + inURL + ", or the path of a SQLite file (file: or sqlite: may stand before it)"
	server := postgresURL(to)
	return kind{allowed, func(text string) bool {
		if isPostgres(text) {
			return server.read(text)
		}
		*to = Secret(text)
		path := strings.TrimPrefix(strings.TrimPrefix(text, "file:"), "sqlite:")
		return strings.Trim(path, "/") != "" && (len(path) < len(text) || !brokenURL.MatchString(text))
	}}
}

// brokenURL is the beginning of what is a URL with a mistake in it rather than a path. As a path it would name a new,
// empty file, and may put a password into the name.
var brokenURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:|//.*@`)

// postgresURL is PostgreSQL alone.
func postgresURL(to *Secret) kind {
	return kind{"a postgres:// URL with a host" + inURL, func(text string) bool {
		u, err := url.Parse(text)
		*to = Secret(text)
		return isPostgres(text) && err == nil && !BrokenPassword(text) && (u.Host != "" || u.Query().Has("host"))
	}}
}

// isPostgres reports whether a database's URL leads to PostgreSQL.
func isPostgres(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// password returns the password of a URL, "" when it has none.
func password(u *url.URL) string {
	p, _ := u.User.Password()
	return p
}
