package apidoc

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"sync"
)

// policy is the Content-Security-Policy of the page. Swagger UI has its pictures in data URLs.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// page has the page, and Swagger UI as swagger-ui/vendor took it from the npm registry.
//
//go:embed page swagger-ui/*.gz
var page embed.FS

// A File is one of the files of the documentation.
type File struct {
	Path        string // where it is served
	ContentType string
	// Policy is the file's own Content-Security-Policy; empty: it needs none.
	Policy string
	// Plain and Gzip return the content, as it is and compressed. The caller must not change it.
	Plain, Gzip func() []byte
	// ETag returns the strong validator of the plain content.
	ETag func() string
}

// Files returns the files: the document, the page, and what the page loads.
func Files() []File {
	const script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	html := plainFile("/api/docs", "text/html; charset=utf-8", embedded("page/index.html"))
	html.Policy = policy
	return []File{
		plainFile("/api/openapi.json", "application/json; charset=utf-8", Document),
		html,
		plainFile("/api/docs/docs.js", script, embedded("page/docs.js")),
		gzipFile("/api/docs/swagger-ui-bundle.js", script, embedded("swagger-ui/swagger-ui-bundle.js.gz")),
		gzipFile("/api/docs/swagger-ui.css", style, embedded("swagger-ui/swagger-ui.css.gz")),
	}
}

func embedded(name string) func() []byte {
	return func() []byte {
		text, err := page.ReadFile(name)
		if err != nil {
			panic(err) // a test reads every file
		}
		return text
	}
}

func plainFile(path, contentType string, plain func() []byte) File {
	return file(path, contentType, plain, sync.OnceValue(func() []byte {
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, _ = w.Write(plain()) // a buffer takes everything
		_ = w.Close()
		return packed.Bytes()
	}))
}

func gzipFile(path, contentType string, packed func() []byte) File {
	return file(path, contentType, sync.OnceValue(func() []byte {
		r, err := gzip.NewReader(bytes.NewReader(packed()))
		if err != nil {
			panic(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			panic(err)
		}
		return plain
	}), packed)
}

func file(path, contentType string, plain, packed func() []byte) File {
	return File{Path: path, ContentType: contentType, Plain: plain, Gzip: packed, ETag: sync.OnceValue(func() string {
		sum := sha256.Sum256(packed())
		return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	})}
}
