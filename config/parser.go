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

// A parser is a type of value: a description for mistakes and documentation, and a function that
// stores the value. The function never gets an empty text. It reports whether the text is allowed.
type parser struct {
	allowed string
	read    func(text string) bool
}

// boolean is strict, because the old server took "yes", "on" and "TRUE" for false.
func boolean(to *bool) parser {
	return parser{"one of true, false, 1, 0", func(text string) bool {
		*to = text == "true" || text == "1"
		return *to || text == "false" || text == "0"
	}}
}

// oneOf passes the name that it finds to set.
func oneOf(set func(string), names ...string) parser {
	return parser{"one of " + strings.Join(names, ", "), func(text string) bool {
		set(text)
		return slices.Contains(names, text)
	}}
}

// integer is an integer.
func integer(to *int, minimum, maximum int) parser {
	return parser{fmt.Sprintf("a whole number from %d to %d", minimum, maximum), func(text string) bool {
		n, err := strconv.Atoi(text)
		*to = n
		return err == nil && n >= minimum && n <= maximum
	}}
}

// times is an integer that counts units of time.
func times(to *time.Duration, unit time.Duration, minimum, maximum int) parser {
	var n int
	k := integer(&n, minimum, maximum)
	return parser{k.allowed, func(text string) bool {
		ok := k.read(text)
		*to = time.Duration(n) * unit
		return ok
	}}
}

// duration is a number with a unit of time.
func duration(to *time.Duration, minimum, maximum time.Duration) parser {
	allowed := fmt.Sprintf("a duration from %s to %s, such as 500ms, 10s or 1m30s", brief(minimum), brief(maximum))
	return parser{allowed, func(text string) bool {
		d, err := time.ParseDuration(text)
		*to = d
		return err == nil && d >= minimum && d <= maximum
	}}
}

// durationOrMillis is a duration, or an integer number of milliseconds as in the old server.
func durationOrMillis(to *time.Duration, minimum, maximum time.Duration) parser {
	k := duration(to, minimum, maximum)
	return parser{k.allowed + ", or whole milliseconds", func(text string) bool {
		if _, err := strconv.Atoi(text); err == nil {
			text += "ms"
		}
		return k.read(text)
	}}
}

// brief formats a duration without the zero minutes and seconds that String adds.
func brief(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-len("0s")]
		}
	}
	return s
}

// sizes are the units of sizes, in bytes.
var sizes = map[string]float64{
	"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30,
	"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var (
	expressSize = regexp.MustCompile(`^(\d+(?:\.\d+)?) *(b|kb|mb|gb)?$`)
	goSize      = regexp.MustCompile(`^(\d+)(B|KiB|MiB|GiB|TiB)?$`)
)

// bytesOf parses a number of bytes that has the given form. A number above a petabyte is refused.
func bytesOf(form *regexp.Regexp, text string) (int64, bool) {
	m := form.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(m[1], 64) // exact to 8 PiB
	n *= sizes[m[2]]
	return int64(min(n, 1<<50)), err == nil && n <= 1<<50
}

// bodyLimit is a size as Express writes it: its units are powers of 1024, in either case.
func bodyLimit(to *int64) parser {
	const least, most = 1 << 10, 1 << 30
	return parser{"a size from 1kb to 1gb, such as 10mb, 512kb or 1048576", func(text string) bool {
		n, ok := bytesOf(expressSize, strings.ToLower(text))
		*to = n
		return ok && n >= least && n <= most
	}}
}

// noLimit is Go's value for a memory limit that is off.
const noLimit = math.MaxInt64

// memLimit is a size in the form of Go's own GOMEMLIMIT. Below 16 MiB the program would only
// collect garbage.
func memLimit(to *int64) parser {
	return parser{"off, or a size from 16MiB, such as 512MiB or 2GiB", func(text string) bool {
		if text == "off" {
			*to = noLimit
			return true
		}
		n, ok := bytesOf(goSize, text)
		*to = n
		return ok && n >= minMemory
	}}
}

// secret is any text. Strict secrets (see the func strong) are for production.
func secret(to *Secret) parser {
	return parser{"text", func(text string) bool { *to = Secret(text); return true }}
}

// token is a secret that is sent in a header.
func token(to *Secret, strict *bool) parser {
	const allowed = "a token of visible ASCII, in production of at least 32 characters, not always the same " +
		"ones, and no placeholder"
	return parser{allowed, func(text string) bool {
		*to = Secret(text)
		return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) &&
			(!*strict || strong(text))
	}}
}

// secrets is a comma-separated list of secrets.
func secrets(to *[]Secret, strict *bool) parser {
	const allowed = "a comma list of secrets, in production each of at least 32 characters, not always the same " +
		"ones, and no placeholder"
	return parser{allowed, func(text string) bool {
		return list(text, to, func(s string) (Secret, bool) { return Secret(s), s != "" && (!*strict || strong(s)) })
	}}
}

// list parses a comma-separated list, ignores spaces around its members, and reports whether each
// member is allowed.
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

// host is the address to listen on. The word "all" means every address of the machine, which is ""
// to package net.
func host(to *string) parser {
	return parser{"an IP address, a host name, or all", func(text string) bool {
		*to = text
		if text == "all" {
			*to = ""
		}
		return isHost(text)
	}}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// isHost reports whether s is an IP address (without brackets or a zone) or could be a host name.
func isHost(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" || hostName.MatchString(s)
}

// hosts is a comma-separated list of host names.
func hosts(to *[]string) parser {
	const allowed = "a comma list of host names without scheme and port, such as notes.example.com"
	return parser{allowed, func(text string) bool {
		return list(text, to, func(s string) (string, bool) { return strings.ToLower(s), hostName.MatchString(s) })
	}}
}

// origins is a comma-separated list of origins, in the form that browsers send as Origin.
func origins(to *[]string) parser {
	const allowed = "a comma list of http:// or https:// origins with a host and maybe a port, without path, slash or *"
	return parser{allowed, func(text string) bool { return list(text, to, origin) }}
}

// origin writes an origin as browsers do: in lower case and without the default port.
func origin(text string) (string, bool) {
	text = strings.ToLower(text)
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || text != u.Scheme+"://"+u.Host ||
		!isHost(u.Hostname()) {
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

// proxies is a comma-separated list of networks.
func proxies(to *[]netip.Prefix) parser {
	const allowed = "a comma list of networks or addresses, such as 10.0.0.0/8, fd00::/8 or 192.0.2.7"
	return parser{allowed, func(text string) bool { return list(text, to, network) }}
}

// network parses a network. An address is the network that contains only itself.
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

// webhook is a URL to which alerts are posted.
func webhook(to *Secret) parser {
	return parser{"a http:// or https:// URL", func(text string) bool {
		u, err := url.Parse(text)
		*to = Secret(text)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
	}}
}

var redisPath = regexp.MustCompile(`^(/\d*)?$`)

// redis is the URL of a Redis server. The path is the number of the database.
func redis(to *Secret, strict *bool) parser {
	const allowed = "a redis:// or rediss:// URL such as redis://:password@host:6379/0" + inURL +
		", in production without placeholder"
	return parser{allowed, func(text string) bool {
		u, err := url.Parse(text)
		*to = Secret(text)
		return err == nil && !BrokenPassword(text) && (u.Scheme == "redis" || u.Scheme == "rediss") &&
			u.Hostname() != "" &&
			redisPath.MatchString(u.Path) && !(*strict && placeholder(password(u)))
	}}
}

// addresses is a list of servers, each with host and port.
func addresses(to *[]string) parser {
	const allowed = "a comma list of hosts with ports, such as 10.0.0.5:26379,10.0.0.6:26379"
	return parser{allowed, func(text string) bool { return list(text, to, address) }}
}

func address(text string) (string, bool) {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return "", false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return text, err == nil && n > 0
}

// inURL says how special characters of a password are written in a URL.
const inURL = " (a password's @ / ? # are written %40 %2F %3F %23)"

// BrokenPassword reports whether the password of a URL probably contains a character that ends the
// password when the URL is parsed. The rest of it would be taken for a host, a path or a parameter,
// and would be logged as such.
func BrokenPassword(rawURL string) bool {
	_, rest, _ := strings.Cut(rawURL, "://")
	end := strings.IndexAny(rest, "/?#")
	return end >= 0 && strings.ContainsAny(rest[end:], "@#")
}

// database is the URL of a PostgreSQL database, or the path of a SQLite file.
func database(to *Secret) parser {
	const allowed = "a postgres:// URL with a host" + inURL +
		", or the path of a SQLite file (file: or sqlite: may stand before it)"
	server := postgresURL(to)
	return parser{allowed, func(text string) bool {
		if isPostgres(text) {
			return server.read(text)
		}
		*to = Secret(text)
		path := strings.TrimPrefix(strings.TrimPrefix(text, "file:"), "sqlite:")
		return strings.Trim(path, "/") != "" && (len(path) < len(text) || !brokenURL.MatchString(text))
	}}
}

// brokenURL matches the beginning of a text that is a URL with a mistake and not a path. As a path
// it would name a new, empty file, and the file name may contain a password.
var brokenURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:|//.*@`)

// postgresURL is the URL of a PostgreSQL database.
func postgresURL(to *Secret) parser {
	return parser{"a postgres:// URL with a host" + inURL, func(text string) bool {
		u, err := url.Parse(text)
		*to = Secret(text)
		return isPostgres(text) && err == nil && !BrokenPassword(text) && (u.Host != "" || u.Query().Has("host"))
	}}
}

// isPostgres reports whether a database URL is of PostgreSQL.
func isPostgres(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// password returns the password of a URL. It returns "" if there is none.
func password(u *url.URL) string {
	p, _ := u.User.Password()
	return p
}
