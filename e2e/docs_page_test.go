package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// The page of the API shows every operation of the document, with its answers, under a policy that
// lets it load and ask nothing but this server. A request can be tried there.
func TestDocsPage(t *testing.T) {
	t.Parallel()
	in := newTab(t)
	p := start(t)
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Tags        []string
			Responses   map[string]any
		}
	}
	p.visitor().get("/api/openapi.json").want(http.StatusOK).decode(&document)

	in.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(p.url+"/api/docs"), chromedp.WaitVisible(".opblock-summary-control"))
	operations := 0
	for path, item := range document.Paths {
		for method, o := range item {
			operations++
			id := fmt.Sprintf("operations-%s-%s", o.Tags[0], o.OperationID)
			open := "#" + id + " .opblock-summary-control"
			in.do(chromedp.Click(open))
			answers := fmt.Sprintf(`document.querySelectorAll("#%s .responses-table .response").length`, id)
			shown := 0
			for deadline := time.Now().Add(patience); shown != len(o.Responses) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				shown = find(in, chromedp.Evaluate[int](answers))
			}
			if shown != len(o.Responses) {
				t.Errorf("%s %s is shown with %d answers, want %d", method, path, shown, len(o.Responses))
			}
			in.do(chromedp.Click(open)) // all of them open are slow
		}
	}
	if shown := find(in, chromedp.Evaluate[int](`document.querySelectorAll(".opblock").length`)); shown != operations || operations < 30 {
		t.Errorf("the page shows %d operations, want the document's %d", shown, operations)
	}
	in.do(chromedp.Click("#operations-health-health .opblock-summary-control"), chromedp.Click("#operations-health-health .try-out__btn"), chromedp.WaitVisible("#operations-health-health .execute"),
		chromedp.Click("#operations-health-health .execute"), chromedp.WaitVisible("#operations-health-health .live-responses-table"))
	in.await("#operations-health-health .live-responses-table", "API is healthy")
	in.calm(p.url)
}
