package server

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
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
