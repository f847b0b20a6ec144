// Package apidoctest holds requests and answers to the OpenAPI document.
package apidoctest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/klauspost/compress/zstd"

	"notesd/server/apidoc"
)

// An Exchange is a request and its answer. The request's body must be in RequestBody, unless
// ContentLength is negative: then it is not known. All cookies must be in the request's header.
type Exchange struct {
	Request     *http.Request
	RequestBody []byte
	Status      int
	Header      http.Header
	Body        []byte
}

// Check says how the exchange differs from the document. A request is held to the document only if
// it was accepted, since tests send wrong ones as well. A path that is not in the document is not
// checked: that routes and document agree is a test of its own.
func Check(x Exchange) error {
	d, err := documents()
	if err != nil {
		return err
	}
	in := d.answers.find(x.Request)
	if in == nil {
		return nil
	}
	if err := checkAnswer(in, x); err != nil {
		return fmt.Errorf("answer %d: %w", x.Status, err)
	}
	if x.Status < http.StatusMultipleChoices {
		if err := checkRequest(d.requests.find(x.Request), x); err != nil {
			return fmt.Errorf("request, which was accepted: %w", err)
		}
	}
	return nil
}

// checksEach is how many exchanges with one status of an operation CheckSome checks: a check takes
// milliseconds, since the library compiles the schema each time.
const checksEach = 100

var checked sync.Map // *atomic.Int64 by method, path and status

// CheckAnswer is Check for a client: r is the request as it was given to http.Client.Do with the jar,
// and body the whole body of the answer. Of each kind of exchange it checks the first ones alone.
func CheckAnswer(r *http.Request, jar http.CookieJar, answer *http.Response, body []byte) error {
	d, err := documents()
	if err != nil {
		return err
	}
	in := d.answers.find(r)
	if in == nil {
		return nil
	}
	n, _ := checked.LoadOrStore(fmt.Sprintf("%s %s %d", r.Method, in.Route.Path, answer.StatusCode), new(atomic.Int64))
	if n.(*atomic.Int64).Add(1) > checksEach {
		return nil
	}
	x := Exchange{Request: r.Clone(context.Background()), Status: answer.StatusCode, Header: answer.Header, Body: body}
	for _, cookie := range jar.Cookies(r.URL) {
		x.Request.AddCookie(cookie)
	}
	switch {
	case r.GetBody != nil:
		sent, err := r.GetBody()
		if err != nil {
			return err
		}
		if x.RequestBody, err = io.ReadAll(sent); err != nil {
			return err
		}
	case r.Body != nil:
		x.Request.ContentLength = -1
	}
	return Check(x)
}

// The library knows no type of a page's files. What is in them is not checked.
func init() {
	for _, kind := range []string{"application/openmetrics-text", "image/png", "image/svg+xml", "text/css", "text/html",
		"text/javascript"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
}

// documents are the document as requests and answers are held to it.
var documents = sync.OnceValues(func() (d struct{ requests, answers *document }, err error) {
	if d.requests, err = load(withoutLenient); err != nil {
		return d, err
	}
	d.answers, err = load(closed)
	return d, err
})

// withoutLenient takes out parameters whose other values count as the default.
func withoutLenient(object map[string]any) {
	if all, ok := object["parameters"].([]any); ok {
		object["parameters"] = slices.DeleteFunc(all,
			func(p any) bool { return p.(map[string]any)["x-lenient"] == true })
	}
}

// closed makes a schema refuse members that it does not name. The document itself is open: what is
// added to an answer breaks no client.
func closed(object map[string]any) {
	_, names := object["properties"].(map[string]any)
	if _, says := object["additionalProperties"]; names && object["type"] == "object" && !says {
		object["additionalProperties"] = false
	}
}

// A document is the OpenAPI document, loaded.
type document struct {
	*openapi3.T
	paths []string
}

func load(change func(object map[string]any)) (*document, error) {
	var tree any
	if err := json.Unmarshal(apidoc.Document(), &tree); err != nil {
		return nil, err
	}
	walk(tree, change)
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	t, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	return &document{t, slices.Sorted(maps.Keys(t.Paths.Map()))}, t.Validate(context.Background())
}

// walk calls change for every object of a tree.
func walk(tree any, change func(object map[string]any)) {
	switch v := tree.(type) {
	case map[string]any:
		change(v)
		for _, child := range v {
			walk(child, change)
		}
	case []any:
		for _, child := range v {
			walk(child, change)
		}
	}
}

// Operations returns the operations of the document as "GET /api/notes/{id}", with the names of the
// security schemes that each one needs.
func Operations() (map[string][]string, error) {
	d, err := documents()
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for path, item := range d.answers.Paths.Map() {
		for method, operation := range item.Operations() {
			security := d.answers.Security
			if operation.Security != nil {
				security = *operation.Security
			}
			schemes := []string{}
			for _, alternative := range security {
				schemes = append(schemes, slices.Collect(maps.Keys(alternative))...)
			}
			all[method+" "+path] = schemes
		}
	}
	return all, nil
}

// find returns what the document says of a request; nil: nothing. Paths match as the server matches
// them: in any case and with one slash at the end. HEAD is answered as GET is.
func (d *document) find(r *http.Request) *openapi3filter.RequestValidationInput {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, path := range d.paths {
		parameters, ok := match(path, r.URL.EscapedPath())
		operation := d.Paths.Value(path).GetOperation(method)
		if !ok || operation == nil {
			continue
		}
		return &openapi3filter.RequestValidationInput{
			Request: r, PathParams: parameters, QueryParams: r.URL.Query(),
			Route: &routers.Route{Spec: d.T, Path: path, PathItem: d.Paths.Value(path), Method: method,
				Operation: operation},
			Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: authenticated},
		}
	}
	return nil
}

func match(template, path string) (parameters map[string]string, ok bool) {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	parameters = map[string]string{}
	for i, part := range want {
		name, isParameter := strings.CutPrefix(part, "{")
		switch {
		case isParameter && got[i] != "":
			value, err := url.PathUnescape(got[i])
			if err != nil {
				return nil, false
			}
			parameters[strings.TrimSuffix(name, "}")] = value
		case !strings.EqualFold(part, got[i]):
			return nil, false
		}
	}
	return parameters, true
}

// authenticated fails unless the request brings what a security scheme asks for.
func authenticated(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	r := in.RequestValidationInput.Request
	switch in.SecuritySchemeName {
	case "session":
		if len(r.CookiesNamed("sessionId"))+len(r.CookiesNamed("__Host-sessionId")) == 0 {
			return errors.New("no session cookie")
		}
		return nil
	case "administrator", "token", "basic":
		if r.Header.Get("Authorization") == "" {
			return errors.New("no Authorization")
		}
		return nil
	}
	return fmt.Errorf("unknown security scheme %s", in.SecuritySchemeName)
}

func checkRequest(in *openapi3filter.RequestValidationInput, x Exchange) error {
	in.Request = x.Request.Clone(context.Background())
	in.Request.Body, in.Request.GetBody = http.NoBody, nil
	if body := bytes.TrimPrefix(x.RequestBody, []byte("\ufeff")); len(body) > 0 {
		in.Request.Body = io.NopCloser(bytes.NewReader(body))
		// The document has one type of JSON alone: with the others, and without one, the body is the same.
		if kind, _, _ := mime.ParseMediaType(x.Request.Header.Get("Content-Type")); kind == "" ||
			strings.HasSuffix(kind, "+json") {
			in.Request.Header.Set("Content-Type", "application/json")
		}
	}
	in.Options.ExcludeRequestBody = x.Request.Header.Get("Content-Encoding") != "" || x.Request.ContentLength < 0 ||
		in.Route.Operation.RequestBody == nil
	return openapi3filter.ValidateRequest(context.Background(), in)
}

// everywhere are headers that any answer may have: those that the description of the document names,
// and those of HTTP itself.
var everywhere = []string{"Access-Control-Allow-Credentials", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers",
	"Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Security-Policy", "Content-Type",
	"Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Date", "Referrer-Policy",
	"Strict-Transport-Security", "Transfer-Encoding", "Vary", "X-Content-Type-Options", "X-Frame-Options"}

func checkAnswer(in *openapi3filter.RequestValidationInput, x Exchange) error {
	ref := in.Route.Operation.Responses.Status(x.Status)
	if ref == nil {
		return fmt.Errorf("%s %s has no such status", in.Route.Method, in.Route.Path)
	}
	for name := range x.Header {
		documented := slices.ContainsFunc(slices.Collect(maps.Keys(ref.Value.Headers)),
			func(h string) bool { return strings.EqualFold(h, name) })
		if !documented && !slices.Contains(everywhere, name) {
			return fmt.Errorf("header %s is not in the document", name)
		}
	}
	body, err := decoded(x)
	if err != nil {
		return err
	}
	if len(ref.Value.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("a body of %d bytes, want none", len(body))
	}
	// The library reads one JSON value and does not look for the end.
	if strings.HasPrefix(x.Header.Get("Content-Type"), "application/json") && len(body) > 0 && !json.Valid(body) {
		return errors.New("the body is not one JSON value")
	}
	in.Options.ExcludeResponseBody = x.Request.Method == http.MethodHead
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: x.Status, Header: x.Header, Options: in.Options,
		Body: io.NopCloser(bytes.NewReader(body))})
}

// decoded is the answer's body without its content coding.
func decoded(x Exchange) ([]byte, error) {
	if x.Request.Method == http.MethodHead {
		return nil, nil
	}
	switch coding := x.Header.Get("Content-Encoding"); coding {
	case "":
		return x.Body, nil
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(x.Body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case "zstd":
		r, err := zstd.NewReader(bytes.NewReader(x.Body))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	default:
		return nil, fmt.Errorf("coding %s", coding)
	}
}
