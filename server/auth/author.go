package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"notesd/notes"
)

// Author returns the author of the changes that a request makes: the session that it brings, under
// the name of its program. The id tells sessions apart and reveals nothing of the token.
func Author(r *http.Request) notes.Author {
	token, _ := tokenOf(r)
	if token == "" {
		return notes.Author{}
	}
	sum := sha256.Sum256([]byte("author " + token))
	return notes.Author{Kind: notes.KindSession, Name: programName(r.UserAgent()), ID: hex.EncodeToString(sum[:8])}
}

// browsers are the marks of browsers in the User-Agent header, and their names. Most browsers bear
// the marks of those below them as well.
var browsers = [...]struct{ mark, name string }{
	{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"},
	{"FxiOS/", "Firefox"},
	{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
}

// systems are likewise the marks of operating systems.
var systems = [...]struct{ mark, name string }{
	{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"},
	{"Mac OS X", "macOS"}, {"Linux", "Linux"},
}

// programName returns a readable name for the program that a User-Agent header names, such as
// "Firefox on Linux". It returns "" for an empty header.
func programName(userAgent string) string {
	name := ""
	for _, b := range browsers {
		if strings.Contains(userAgent, b.mark) {
			name = b.name
			break
		}
	}
	if name == "" { // no browser: "curl/8.5.0"
		name, _, _ = strings.Cut(userAgent, "/")
		name, _, _ = strings.Cut(name, " ")
		return name
	}
	for _, s := range systems {
		if strings.Contains(userAgent, s.mark) {
			return name + " on " + s.name
		}
	}
	return name
}
