// Package web is the door for browsers: the web app at /, which talks to the API alone. Its files
// are bundled from src into dist, which is part of the program.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"

	"notesd/server/router"
)

//go:generate go run ./generate

// files has the bundled app, and what is served while it is turned off.
//
//go:embed dist off
var files embed.FS

// policy is the Content-Security-Policy of the app's pages. Images of other servers are allowed
// here; the app leaves them out until the user asks for them. The names of the Trusted Types
// policies are those that the app and DOMPurify make.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: https:; " +
	"media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify notesd"

// forever lets caches keep a file whose name has a hash of its content.
const forever = "public, max-age=31536000, immutable"

var contentTypes = map[string]string{
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".txt":         "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json",
}

// Routes returns the routes of the web app or, if on is false, those that are left without it.
func Routes(on bool) []router.Route {
	route := func(path string, handle func(*router.Context) error) router.Route {
		return router.Route{Method: http.MethodGet, Path: path, Class: router.Free, Handle: handle, Quiet: true}
	}
	if !on {
		front := file("off/front.html")
		front.Policy = "" // the default one
		return []router.Route{route("/", page(front)), route("/sw.js", file("off/sw.js").Send)}
	}
	app := page(file("dist/index.html"))
	return []router.Route{
		route("/", app),
		route("/n/:id", func(c *router.Context) error {
			if id := c.Param("id"); id == "" || strings.Contains(id, "/") { // the last parameter is all that follows
				return c.NoRoute()
			}
			return app(c)
		}),
		route("/assets/:name", asset()),
		route("/sw.js", file("dist/sw.js").Send),
		route("/manifest.webmanifest", file("dist/manifest.webmanifest").Send),
		route("/icon.svg", file("dist/icon.svg").Send),
		route("/icon-192.png", file("dist/icon-192.png").Send),
		route("/icon-512.png", file("dist/icon-512.png").Send),
		route("/licenses", file("dist/licenses.txt").Send),
	}
}

// page returns a handler that sends a page to browsers. For all other clients the route does not
// exist.
func page(f router.File) func(*router.Context) error {
	return func(c *router.Context) error {
		c.Header().Add("Vary", "Accept")
		if !prefersHTML(c.Request().Header) {
			return c.NoRoute()
		}
		return f.Send(c)
	}
}

// asset returns a handler for the files whose names have a hash of their content.
func asset() func(*router.Context) error {
	entries, err := files.ReadDir("dist/assets")
	if err != nil {
		panic(err) // dist is part of the program
	}
	assets := map[string]router.File{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".gz"); ok {
			f := file("dist/assets/" + name)
			f.CacheControl = forever
			assets[name] = f
		}
	}
	return func(c *router.Context) error {
		f, ok := assets[c.Param("name")]
		if !ok {
			return c.NoRoute()
		}
		return f.Send(c)
	}
}

// file returns an embedded file. Those of dist are kept compressed, pictures as they are.
func file(name string) router.File {
	f := router.File{ContentType: contentTypes[path.Ext(name)]}
	switch packed := embedded(name + ".gz"); {
	case packed != nil:
		f.Gzip = func() []byte { return packed }
		f.Zstd = func() []byte { return embedded(name + ".zst") }
		f.Plain = sync.OnceValue(func() []byte { return unpacked(packed) })
	default:
		f.Plain = func() []byte { return embedded(name) }
	}
	f.ETag = sync.OnceValue(func() string {
		sum := sha256.Sum256(f.Plain())
		return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	})
	if strings.HasSuffix(name, ".html") || strings.HasSuffix(name, "sw.js") {
		f.Policy = policy // a worker has that of its script
	}
	return f
}

// embedded returns the content of an embedded file, or nil if there is none.
func embedded(name string) []byte {
	text, err := files.ReadFile(name)
	if err != nil {
		return nil
	}
	return text
}

func unpacked(packed []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err) // dist is part of the program, and a test reads every file
	}
	text, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return text
}
