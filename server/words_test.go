package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestWordsList: q finds notes whose words are anywhere, the best first, and says where they are.
func TestWordsList(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		s.someone().make(map[string]any{"title": "café of another"})
		c.make(
			map[string]any{"title": "old", "content": "in a café", "tags": []string{"travel"}},
			map[string]any{"title": "pinned", "content": "cafeteria", "isPinned": true},
			map[string]any{"title": "Café", "content": "Straße", "tags": []string{"Łódź"}},
			map[string]any{"title": "archived-café", "isArchived": true},
			map[string]any{"title": "new", "content": strings.Repeat("x ", 40_000) + "cafe"},
		)
		for _, test := range []struct{ query, want string }{
			{"q=cafe", "Café new old pinned"},
			{"q=cafe&sortBy=title&order=asc", "pinned Café new old"},
			{"q=strasse+cafe+lodz", "Café"},
			{"q=cafe+-tag:travel+-strasse", "new pinned"},
			{"q=cafe&tags=travel", "old"},
			{"q=cafe&search=teria", "pinned"},
			{"q=cafe+is:archived", "archived-café"},
			{"q=cafe&archived=true", "archived-café"},
			{"q=cafe&trashed=true", ""},
			{"q=is:nonsense", ""},
			{"q=%22", ""},
			{"q=%20", "pinned new Café old"}, // as without it
		} {
			if got := c.get("/api/notes?" + test.query).titles(); got != test.want {
				t.Errorf("%s finds %q, want %q", test.query, got, test.want)
			}
		}
		if got := strings.Join(c.pages("/api/notes?q=cafe&limit=2", func(int) {}), " "); got != "Café new old pinned" {
			t.Errorf("pages have %q", got)
		}
		var list struct {
			Data []struct {
				Title string
				Match struct {
					Title, Content [][2]int
					Tags           [][][2]int
					Excerpt        struct {
						Text  string
						Start int
					}
				}
			}
			Ignored []string
		}
		c.get("/api/notes?q=" + url.QueryEscape("cafe lodz")).want(http.StatusOK).decode(&list)
		if got, want := fmt.Sprint(list.Data), "[{Café {[[0 4]] [] [[[0 4]]] {Straße 0}}}]"; got != want {
			t.Errorf("the match is %s, want %s", got, want)
		}
		c.get("/api/notes?limit=1&q=" + url.QueryEscape("cafe "+strings.Repeat("c ", 31)+`tag:x "a b"`)).want(http.StatusOK).decode(&list)
		if want := []string{"tag:x", `"a b"`}; !slices.Equal(list.Ignored, want) {
			t.Errorf("ignored is %q, want %q", list.Ignored, want)
		}
		for _, hostile := range []string{strings.Repeat("tag:x ", 160), strings.Repeat("-", 1000), strings.Repeat(`"`, 999), "a", strings.Repeat("a", 1000)} {
			c.get("/api/notes?limit=3&q=" + url.QueryEscape(hostile)).want(http.StatusOK)
		}
		for _, long := range []string{strings.Repeat("a", 10<<10), strings.Repeat("tag:x ", 1000), strings.Repeat(`-"`, 501)} {
			c.get("/api/notes?q="+url.QueryEscape(long)).fails(http.StatusBadRequest, "Search text too long")
		}
	})
}

// TestSuggest: what is typed is completed to titles, tags and words of one's own notes.
func TestSuggest(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		s.someone().make(map[string]any{"title": "shop of another"})
		ids := c.make(
			map[string]any{"title": "Shopping", "content": "a ship, shops", "tags": []string{"Shop", "home"}},
			map[string]any{"title": "b", "content": "shops and workshops", "tags": []string{"my shop"}},
			map[string]any{"title": "archived shop", "isArchived": true},
		)
		title := fmt.Sprintf(`[{"id":%q,"title":"Shopping"}]`, ids["Shopping"])
		for query, want := range map[string]string{
			"cheap%20SH%C3%B2p": `{"titles":` + title + `,"tags":["my shop","Shop"],"words":["shops","Shopping"]}`,
			"shopping":          `{"titles":` + title + `,"tags":[],"words":["Shopping"]}`,
			"shop%20":           `{"titles":[],"tags":[],"words":[]}`,
			"tag:shop":          `{"titles":[],"tags":[],"words":[]}`,
			"":                  `{"titles":[],"tags":[],"words":[]}`,
		} {
			if r := c.get("/api/search/suggest?q=" + query).want(http.StatusOK); !strings.Contains(r.text, want) {
				t.Errorf("%s = %s, want %s", r.call, r.text, want)
			}
		}
		c.get("/api/search/suggest?q="+strings.Repeat("a", 1001)).fails(http.StatusBadRequest, "Search text too long")
		c.get("/api/search/suggest?q=%ff").fails(http.StatusBadRequest, "Invalid search: not valid UTF-8 text")
	})
}
