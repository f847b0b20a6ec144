package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"notesd/server/apidoc"

	"github.com/google/go-cmp/cmp"
)

var updateDoc = flag.Bool("update", false, "write the answers in docs/API.md anew")

const apiPage = "../docs/API.md"

// docs/API.md has a row and an example for each route, and neither for anything else. The rows are made from the
// OpenAPI document. The examples are sent one after another; what comes back is what the page says. After a change:
//
//	go test ./server -run TestAPIDocument -update
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(apiPage)
	if err != nil {
		t.Fatal(err)
	}
	paths := readOperations(t)
	page := tableMark.ReplaceAllStringFunc(string(text), func(table string) string {
		m := tableMark.FindStringSubmatch(table)
		words := strings.Fields(m[3])
		if m[2] == "parameters" {
			return m[1] + parameterTable(paths[words[1]][strings.ToLower(words[0])]) + "\n<!-- end -->"
		}
		return m[1] + routeTable(paths, words) + "\n<!-- end -->"
	})
	var routes []string
	for _, route := range contract(t) {
		routes = append(routes, route.Method+" "+route.Path)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^` ]*)` \\|").FindAllStringSubmatch(page, -1) {
		rows = append(rows, row[1])
	}
	sameRoutes(t, "rows", rows, routes)
	s := onSQLite(t, func(cfg *Config, _ *Deps) { cfg.AdminToken = "ADMIN_TOKEN" })
	d := &document{t: t, c: s.visitor(), names: map[string]string{}}
	got := regexp.MustCompile("(?ms)^```http\n(.*?)^```$").ReplaceAllStringFunc(page, func(block string) string {
		return "```http\n" + d.answer(strings.TrimSuffix(strings.TrimPrefix(block, "```http\n"), "```")) + "```"
	})
	slices.Sort(d.asked)
	sameRoutes(t, "examples", slices.Compact(d.asked), routes)
	if got == string(text) {
		return
	}
	if !*updateDoc {
		t.Errorf("%s shows other answers (-page +server); go test ./server -run TestAPIDocument -update writes them:\n%s", apiPage, cmp.Diff(string(text), got))
	} else if err := os.WriteFile(apiPage, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tableMark is a table of docs/API.md that is made from the OpenAPI document: of the routes that have one of the tags, or
// of the parameters of a route.
var tableMark = regexp.MustCompile(`(?s)(<!-- (routes|parameters): ([^,]+), written by -update -->\n\n).*?<!-- end -->`)

// An operation is what the OpenAPI document says of a route.
type operation struct {
	Tags                 []string
	Summary, Description string
	Parameters           []struct {
		Name, In, Description string
		Schema                struct {
			Enum                        []string
			Minimum, Maximum, MaxLength int
			Default                     any
		}
	}
	RequestBody struct {
		Content map[string]struct {
			Schema struct{ Properties map[string]any }
		}
	}
	Responses map[string]struct {
		Ref         string `json:"$ref"` // to what is shared
		Description string
	}
}

// readOperations returns the operations of the OpenAPI document by path and method.
func readOperations(t *testing.T) map[string]map[string]operation {
	t.Helper()
	var document struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(apidoc.Document(), &document); err != nil {
		t.Fatal(err)
	}
	return document.Paths
}

// parameterTable returns a table of what an operation takes in its query.
func parameterTable(o operation) string {
	var table strings.Builder
	table.WriteString("| Parameter | Is |\n|---|---|\n")
	for _, p := range o.Parameters {
		if p.In != "query" {
			continue
		}
		row := []string{strings.TrimSuffix(strings.Join(strings.Fields(p.Description), " "), ".")}
		if values := p.Schema.Enum; len(values) > 1 {
			row = append(row, "`"+strings.Join(values, "`, `")+"`")
		}
		if p.Schema.MaxLength > 0 {
			row = append(row, fmt.Sprint("up to ", p.Schema.MaxLength, " characters"))
		}
		if p.Schema.Maximum > 0 {
			row = append(row, fmt.Sprint(p.Schema.Minimum, " to ", p.Schema.Maximum))
		}
		if p.Schema.Default != nil {
			row = append(row, fmt.Sprintf("default `%v`", p.Schema.Default))
		}
		fmt.Fprintf(&table, "| `%s` | %s |\n", p.Name, strings.ReplaceAll(strings.Join(row, "; "), "|", "`, `"))
	}
	return table.String()
}

// everyRoutes are the failures that the page explains once.
var everyRoutes = strings.NewReplacer("`Malformed JSON` · ", "", " · `Malformed JSON`", "", " · as with every route", "",
	"`Authentication required` · ", "", " · `Cross-origin request refused`", "", " · `Another user is signed in`", "",
	"\n", " ", "`Malformed JSON`", "")

// routeTable returns a table of the routes that have one of the tags in the OpenAPI document.
func routeTable(paths map[string]map[string]operation, tags []string) string {
	var table strings.Builder
	table.WriteString("| Route | Does | Failures |\n|---|---|---|\n")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		for _, method := range slices.Sorted(maps.Keys(paths[path])) {
			o := paths[path][method]
			if !slices.Contains(tags, o.Tags[0]) {
				continue
			}
			var failures []string
			for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
				response := o.Responses[status]
				own := strings.TrimSpace(everyRoutes.Replace(response.Description))
				if strings.HasSuffix(response.Ref, "/OtherUser") {
					continue
				}
				if status >= "400" && own != "" || slices.Contains([]string{"404", "412", "507"}, status) {
					failures = append(failures, strings.TrimSpace(status+" "+own))
				}
			}
			takes := slices.Sorted(maps.Keys(o.RequestBody.Content["application/json"].Schema.Properties))
			for _, p := range o.Parameters {
				if p.In == "query" {
					takes = append(takes, p.Name)
				}
			}
			does := strings.Join(strings.Fields(o.Summary+". "+o.Description), " ")
			if len(takes) > 0 {
				does += " Takes `" + strings.Join(takes, "`, `") + "`."
			}
			fmt.Fprintf(&table, "| `%s %s` | %s | %s |\n", strings.ToUpper(method),
				pathParameter.ReplaceAllString(path, ":$1"), does, strings.Join(failures, "; "))
		}
	}
	return table.String()
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func sameRoutes(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s of %s (-routes +page):\n%s", what, apiPage, diff)
	}
}

// document sends the examples of the page.
type document struct {
	t     *testing.T
	c     *client
	names map[string]string // of ids, in the order in which they appear
	asked []string          // routes

	secret string // of the authenticator app
	codes  int    // how many codes were sent: each is of the step after the last
}

var (
	idPattern     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	secretPattern = regexp.MustCompile(`[A-Z2-7]{32}`)
	volatile      = []struct {
		pattern *regexp.Regexp
		shown   string
	}{
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "2026-01-02T03:04:05.678Z"},
		{regexp.MustCompile(`"requestId":"[0-9a-f]+"`), `"requestId":"…"`},
		{regexp.MustCompile(`"nextCursor":"[^"]+"`), `"nextCursor":"…"`},
		{regexp.MustCompile(`notesd_[a-z2-7]{32}`), "notesd_…"},
		{regexp.MustCompile(`"id":"[0-9a-f]{32}"`), `"id":"SESSION"`},
		{regexp.MustCompile(`cursor=[\w-]+`), "cursor=…"},
		{regexp.MustCompile(`(?m)^(Set-Cookie: \w+)=[^;]+`), "$1=…"},
		{regexp.MustCompile(`Expires=[^;]+`), "Expires=…"},
		{regexp.MustCompile(`(?m)^ETag: "[\w-]{22}"`), `ETag: "…"`},
		{regexp.MustCompile(`"qrCode":"(?:[^"\\]|\\.)*"`), `"qrCode":"<svg …"`},
		{secretPattern, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"},
		{regexp.MustCompile(`[A-Z2-7]{4}(-[A-Z2-7]{4}){3}`), "ABCD-EFGH-IJKL-MNOP"},
	}
	modelPattern = regexp.MustCompile(`"model":"[^"]*"`)
	number       = regexp.MustCompile(`\d+(\.\d+)?(e[+-]?\d+)?`)
)

// shownHeaders are the response headers that docs/API.md shows.
var shownHeaders = []string{"Set-Cookie", "Location", "ETag", "Link"}

// answer sends an example's request and returns the example with what came back.
func (d *document) answer(example string) string {
	request, _, _ := strings.Cut(example, "HTTP/1.1")
	sent := request
	for id, name := range d.names {
		sent = strings.ReplaceAll(sent, name, id)
	}
	if strings.Contains(sent, `"CODE"`) {
		sent = strings.ReplaceAll(sent, "CODE", totpCode(d.t, d.secret, time.Now().Add(time.Duration(d.codes-1)*30*time.Second)))
		d.codes++
	}
	head, body, _ := strings.Cut(sent, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	var headers []string
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		headers = append(headers, name, value)
	}
	var content any
	if body = strings.TrimSpace(body); body != "" {
		content = body
	}
	var r reply
	if query, is := strings.CutPrefix(path, "/api/events"); is { // it has no end
		stream := d.c.stream(query, headers...)
		r = reply{t: d.t, call: method + " " + path, status: http.StatusOK, header: stream.header,
			text: stream.raw() + "\n" + stream.raw()}
		stream.close()
	} else {
		r = d.c.request(method, path, content, headers...)
	}
	if secret := secretPattern.FindString(r.text); secret != "" {
		d.secret = secret
	}
	asked := r.header.Get("X-Request-Id")
	if asked == "" {
		d.t.Fatalf("%s has no request id", r.call)
	}
	d.asked = append(d.asked, method+" "+d.route(path))

	var out strings.Builder
	out.WriteString(fmt.Sprintf("HTTP/1.1 %d %s\n", r.status, http.StatusText(r.status)))
	shown := shownHeaders
	if !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		shown = append([]string{"Content-Type"}, shown...)
	}
	for _, name := range shown {
		for _, value := range r.header.Values(name) {
			out.WriteString(name + ": " + value + "\n")
		}
	}
	return strings.TrimRight(request, "\n") + "\n\n" + d.plain(out.String()) + "\n" + d.shorten(path, r) + "\n"
}

// route is the pattern that path is of.
func (d *document) route(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	if parameter, ok := map[string]string{"n": ":id", "assets": ":name"}[parts[1]]; ok {
		parts[2] = parameter
	}
	if len(parts) > 3 && parts[2] == "notes" {
		parts[3] = ":id"
		if len(parts) > 5 && parts[4] == "versions" {
			parts[5] = ":revision"
		}
	}
	if len(parts) > 4 && slices.Contains([]string{"sessions", "tokens", "users"}, parts[3]) {
		parts[4] = ":id"
	}
	return strings.Join(parts, "/")
}

// plain is text with what differs from run to run replaced.
func (d *document) plain(text string) string {
	text = idPattern.ReplaceAllStringFunc(text, func(id string) string {
		if d.names[id] == "" {
			d.names[id] = []string{"USER", "APPTOKEN", "NOTE", "OTHER", "THIRD"}[len(d.names)]
		}
		return d.names[id]
	})
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.shown)
	}
	return text
}

// shorten is an answer's body if it is JSON, or the beginning of a long one. What is measured is N.
func (d *document) shorten(path string, r reply) string {
	most := 400
	body := d.plain(strings.TrimSpace(r.text))
	if measured := []string{"/api/metrics", "/metrics", "/api/runtime", "/api/health/ready", "/readyz"}; r.status == http.StatusOK &&
		slices.ContainsFunc(measured, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
		body, most = number.ReplaceAllString(modelPattern.ReplaceAllString(body, `"model":"…"`), "N"), 100 // what follows depends on who asked before
	}
	if r.header.Get("Content-Type") == "text/event-stream" {
		return body
	}
	if !strings.HasPrefix(body, "{") {
		return "…"
	}
	if runes := []rune(body); len(runes) > most {
		body = string(runes[:most]) + "…"
	}
	return body
}
