package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const newSecret = "openssl rand -hex 32"

// secret returns the judgement of a secret that is generated for notesd itself.
func secret(name string, names []string, of func(Settings) Secret) func(Facts) opinion {
	fix := name + "=$(" + newSecret + ")"
	return func(f Facts) opinion {
		if o, found := f.mistakes(fix, names...); found {
			return o
		}
		switch of(f.Settings) {
		case Weak:
			return warn(fix, "%s is a placeholder or shorter than 32 characters; production refuses it", name)
		case None:
			return notApplicable("%s is not set: fine in development", name)
		}
		if f.Settings.SameSecret {
			return warn(fix, "two secrets are the same: who learns one has both")
		}
		return ok("%s is long and no placeholder", name)
	}
}

// sessionSecret also says what the secrets of one-time codes, which SESSION_SECRET encrypts, need of
// it.
func sessionSecret(f Facts) opinion {
	o := secret("SESSION_SECRET", secretSettings, func(s Settings) Secret { return s.SessionSecret })(f)
	switch db := f.Database; {
	case o.verdict != OK || db == nil:
	case db.LostTOTP > 0:
		return warn("SESSION_SECRET=new,old with the one before, or notesd user reset for who has no recovery code",
			"%d people's TOTP secrets need a secret that is not listed", db.LostTOTP)
	case db.OlderTOTP > 0:
		return warn("a restart, which encrypts them anew, before the older secret is taken away",
			"%d people's TOTP secrets still need an older secret", db.OlderTOTP)
	}
	return o
}

func databasePassword(f Facts) opinion {
	if o, found := f.mistakes("DATABASE_PASSWORD=$("+newSecret+"), and ALTER ROLE … PASSWORD",
		databaseSettings...); found {
		return o
	}
	return f.password("the database's password", "DATABASE_PASSWORD=$("+newSecret+"), and ALTER ROLE … PASSWORD",
		f.Settings.Postgres, f.Settings.DatabasePassword)
}

func redisPassword(f Facts) opinion {
	if o, found := f.mistakes("REDIS_URL=redis://:$("+newSecret+")@…, and requirepass", redisSettings...); found {
		return o
	}
	return f.password("Redis's password", "REDIS_URL=redis://:$("+newSecret+")@…, and requirepass", f.Settings.Redis,
		f.Settings.RedisPassword)
}

// password judges a password that another program asks for.
func (f Facts) password(what, fix string, used bool, p Secret) opinion {
	trouble := map[Secret]string{None: "there is none",
		Weak: "it is a placeholder, a word everybody knows, or short"}[p]
	switch {
	case !used:
		return notApplicable("not used")
	case trouble == "":
		return ok("%s is long and no placeholder", what)
	case f.Settings.Production:
		return fail(fix, "%s: %s", what, trouble)
	}
	return notApplicable("%s: %s; fine in development", what, trouble)
}

func cors(f Facts) opinion {
	if o, found := f.mistakes("CORS_ORIGIN=https://notes.example.com", corsSettings...); found {
		return o
	}
	if other := f.Settings.OtherSites; len(other) > 0 {
		return fail("one site for both, like https://app.example.com and https://api.example.com, or let the front "+
			"end's own server pass /api on",
			"cookies can't work for %s: that is another site than the server's", strings.Join(other, ", "))
	}
	return ok("front ends: %s", strings.Join(f.Settings.CORSOrigins, ", "))
}

func tls(f Facts) opinion {
	s := f.Settings
	if !s.Production {
		return notApplicable("development")
	}
	for _, origin := range s.CORSOrigins {
		if strings.HasPrefix(origin, "http://") {
			return fail("CORS_ORIGIN="+strings.Replace(origin, "http://", "https://", 1),
				"%s is not HTTPS: sessions would travel in the clear", origin)
		}
	}
	switch {
	case len(s.TrustedProxies) == 0:
		return fail("TRUSTED_PROXIES=the address of a proxy that ends TLS (compose.prod.yaml has one)",
			"no TLS: nobody is trusted to say that a request came by HTTPS")
	case slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Bits() == 0 }):
		return fail("TRUSTED_PROXIES=the proxy's own address", "TRUSTED_PROXIES believes everybody's X-Forwarded-For")
	case s.Host == "" && !f.Machine.InContainer &&
		!slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() }):
		return warn("HOST=127.0.0.1", "the proxy is on this machine, and everybody can go past it")
	}
	return ok("HTTPS is a proxy's, at %s", strings.Trim(fmt.Sprint(s.TrustedProxies), "[]"))
}

func envFiles(f Facts) opinion {
	switch {
	case len(f.Files.Committed) > 0:
		return fail("git rm --cached it, a line in .gitignore, and new secrets: git keeps the old ones",
			"git has secrets: %s",
			strings.Join(f.Files.Committed, ", "))
	case !f.Files.Git:
		return notApplicable("no git repository here")
	}
	return ok("git has no file with secrets")
}

func fileModes(f Facts) opinion {
	if open := f.Files.Open; len(open) > 0 {
		o := warn("chmod go= "+strings.Join(open, " "), "others can read %s", strings.Join(open, ", "))
		if f.Settings.Production {
			o.verdict = Fail
		}
		return o
	}
	return ok("others read neither secrets nor the data directory")
}

func user(f Facts) opinion {
	switch {
	case !f.Machine.Root:
		return ok("not root")
	case f.Settings.Production:
		return warn("User= in systemd, user: in compose; the image has one", "run by root")
	}
	return notApplicable("run by root; fine in development")
}
