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
	fmt.Fprintln(w, "METHOD\tPATH\tCLASS\tAUTH")
	for _, route := range contract(t) {
		class := route.Class.String()
		if route.ClassOf != nil {
			class += " or by request"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", route.Method, route.Path, class, route.Auth)
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
			route.Auth == router.SignedIn && !slices.Contains(schemes, "session") || route.Class == router.Free && slices.Contains(schemes, "session"); wrong {
			t.Errorf("the document has %s with the security %q, the route asks for %v", name, schemes, route.Auth)
		}
	}
	for name := range operations {
		t.Errorf("the document has %s, which is no route", name)
	}
}
