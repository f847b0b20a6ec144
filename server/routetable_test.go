package server

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"notesd/server/apidoc/apidoctest"
	"notesd/server/router"
)

var updateRoutes = flag.Bool("update-routes", false, "write routes.txt")

// routes.txt has all routes of all doors on one page. After a change:
//
//	go test ./server -run TestRouteTable -update-routes
func TestRouteTable(t *testing.T) {
	const page = "routes.txt"
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "METHOD\tPATH\tCLASS\tAUTH\tTOKENS")
	for _, route := range contract(t) {
		class := route.Class.String()
		if route.ClassOf != nil {
			class += " or by request"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", route.Method, route.Path, class, route.Auth, route.Tokens)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if *updateRoutes {
		if err := os.WriteFile(page, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("the routes are not those of %s (-page +routes); -update-routes writes it:\n%s", page, diff)
	}
}

// App tokens reach the notes, and of the account no more than who and how much it is.
func TestTokenRoutes(t *testing.T) {
	t.Parallel()
	reached := []string{"GET /api/auth/me", "GET /api/auth/me/usage"}
	for _, route := range contract(t) {
		name := route.Method + " " + route.Path
		of := regexp.MustCompile("^/api/(notes|tags|search|changes|events)(/|$)").MatchString(route.Path)
		want := router.NoToken
		switch {
		case (of || slices.Contains(reached, name)) && route.Method == "GET":
			want = router.ReadToken
		case of:
			want = router.WriteToken
		}
		if route.Tokens != want {
			t.Errorf("%s is for the tokens %v, want %v", name, route.Tokens, want)
		}
	}
}

// The OpenAPI document has an operation for each route, with what the route asks for, and no other.
func TestOpenAPIRoutes(t *testing.T) {
	t.Parallel()
	operations, err := apidoctest.Operations()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range contract(t) {
		name := route.Method + " " + regexp.MustCompile(`:(\w+)`).ReplaceAllString(route.Path, "{$1}")
		schemes, ok := operations[name]
		if !ok {
			t.Errorf("the document has no %s", name)
		}
		delete(operations, name)
		if wrong := slices.Contains(schemes, "administrator") != (route.Auth == router.Admin) ||
			route.Auth == router.SignedIn && !slices.Contains(schemes, "session") || route.Class == router.Free && slices.Contains(schemes, "session") ||
			slices.Contains(schemes, "token") != (route.Tokens != router.NoToken) || slices.Contains(schemes, "basic") != (route.Tokens != router.NoToken); wrong {
			t.Errorf("the document has %s with the security %q, the route asks for %v", name, schemes, route.Auth)
		}
	}
	for name := range operations {
		t.Errorf("the document has %s, which is no route", name)
	}
}
