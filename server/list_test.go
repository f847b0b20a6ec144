package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// titles are those of a list, in its order.
func (r reply) titles() string {
	r.t.Helper()
	var titles []string
	for _, n := range r.want(http.StatusOK).notes() {
		titles = append(titles, n.Title)
	}
	return strings.Join(titles, " ")
}

// make creates notes one after another, a millisecond apart, so that dates order them.
func (c *client) make(notes ...map[string]any) map[string]string {
	c.t.Helper()
	ids := map[string]string{}
	for _, note := range notes {
		if _, ok := note["content"]; !ok {
			note["content"] = ""
		}
		made := c.create(note)
		ids[made.Title] = made.ID
		time.Sleep(time.Until(time.Time(made.CreatedAt).Add(2 * time.Millisecond)))
	}
	return ids
}

// TestList checks which notes each query finds, and in which order.
func TestList(t *testing.T) {
	t.Parallel()
	const all = "pinned-favorite favorite pinned alpha delta beta" // not in trash, not archived, by updatedAt
	tests := []struct{ name, query, want string }{
		{"all", "", all},
		{"archived", "?archived=true", "archived-pinned archived"},
		{"archived TRUE", "?archived=TRUE", all},
		{"archived 1", "?archived=1", all},
		{"archived false", "?archived=false", all},
		{"archived twice", "?archived=true&archived=false", "archived-pinned archived"},
		{"trash, its pins and archive ignored", "?trashed=true", "trashed-archived trashed-pinned trashed"},
		{"trash of the archive", "?trashed=true&archived=true", "trashed-archived trashed-pinned trashed"},
		{"trashed True", "?trashed=True", all},
		{"empty pairs", "?&&=&=x&", all},
		{"unknown parameter", "?color=red&page=2", all},
		{"oldest first", "?order=asc", "pinned-favorite favorite pinned beta delta alpha"},
		{"order ASC is desc", "?order=ASC", all},
		{"order nonsense", "?order=upwards", all},
		{"by creation", "?sortBy=createdAt", "pinned-favorite favorite pinned delta beta alpha"},
		{"by creation, oldest first", "?sortBy=createdAt&order=asc", "pinned-favorite favorite pinned alpha beta delta"},
		{"by title", "?sortBy=title", "pinned-favorite favorite pinned delta beta alpha"},
		{"by title, upwards", "?sortBy=title&order=asc", "pinned-favorite favorite pinned alpha beta delta"},
		{"by nonsense", "?sortBy=content&order=asc", "pinned-favorite favorite pinned beta delta alpha"},
		{"by SQL", "?sortBy=title;DROP%20TABLE%20notes", all},
		{"trash by title", "?trashed=true&sortBy=title&order=asc", "trashed trashed-archived trashed-pinned"},
		{"archive by title", "?archived=true&sortBy=title&order=asc", "archived-pinned archived"},
		{"search in titles", "?search=ta", "delta beta"},
		{"search in contents", "?search=needle", "pinned alpha"},
		{"search in any case", "?search=NEEDLE", "pinned alpha"},
		{"search in the archive", "?search=ARCH&archived=true", "archived-pinned archived"},
		{"search in trash", "?search=pin&trashed=true", "trashed-pinned"},
		{"search for nothing", "?search=", all},
		{"search for what isn't there", "?search=zebra", ""},
		{"search for a blank", "?search=%20", "alpha"},
		{"search does not look into tags", "?search=red", ""},
		{"tag", "?tags=red", "favorite alpha delta"},
		{"any of two tags", "?tags=red,blue", "favorite alpha delta beta"},
		{"tags trimmed, empties dropped", "?tags=%20red%20,,%20", "favorite alpha delta"},
		{"tag exactly", "?tags=re", ""},
		{"tag in its case", "?tags=RED", ""},
		{"no tags", "?tags=", all},
		{"only commas", "?tags=,%20,", all},
		{"tag with a percent sign", "?tags=%25", ""},
		{"tags twice", "?tags=red&tags=blue", "favorite alpha delta beta"},
		{"tag and search", "?tags=red&search=needle", "alpha"},
		{"tag, sorted", "?tags=red,blue&sortBy=title&order=asc", "favorite alpha beta delta"},
		{"tag in trash", "?tags=red&trashed=true", "trashed"},
	}
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		s.someone().make(map[string]any{"title": "another's", "content": "needle", "tags": []string{"red"}})
		ids := c.make(
			map[string]any{"title": "trashed", "tags": []string{"red"}},
			map[string]any{"title": "trashed-pinned", "isPinned": true, "isFavorite": true},
			map[string]any{"title": "trashed-archived", "isArchived": true},
			map[string]any{"title": "archived", "isArchived": true},
			map[string]any{"title": "archived-pinned", "isArchived": true, "isPinned": true},
			map[string]any{"title": "alpha", "content": "a Needle in hay", "tags": []string{"red", "blue"}},
			map[string]any{"title": "pinned", "content": "needles", "isPinned": true},
			map[string]any{"title": "favorite", "isFavorite": true, "tags": []string{"red"}},
			map[string]any{"title": "pinned-favorite", "isPinned": true, "isFavorite": true},
			map[string]any{"title": "beta", "tags": []string{"blue"}},
			map[string]any{"title": "delta", "tags": []string{"green", "red"}},
		)
		for _, title := range []string{"trashed", "trashed-pinned", "trashed-archived"} {
			c.patch("/api/notes/"+ids[title]+"/trash", nil).want(http.StatusOK)
		}
		for _, path := range []string{ids["beta"], ids["delta"], ids["alpha"] + "/archive", ids["alpha"] + "/archive"} {
			time.Sleep(2 * time.Millisecond) // alpha, the oldest, is the last that was changed
			c.patch("/api/notes/"+path, `{"color":"red"}`).want(http.StatusOK)
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				want := tt.want
				if r := c.in(t).get("/api/notes" + tt.query); r.titles() != want {
					t.Errorf("%s finds %q, want %q", r.call, r.titles(), want)
				}
			})
		}
		if r := s.someone().get("/api/notes").want(http.StatusOK); r.text != `{"success":true,"data":[]}`+"\n" {
			t.Errorf("%s = %q, want an empty list", r.call, r.text)
		}
		if r := c.get("/api/notes"); r.keys() != "data,success" {
			t.Errorf("%s has members %s, want data,success", r.call, r.keys())
		}
	})
}

// Search means what it says: no pattern, no case, any script, the same on both engines.
func TestSearch(t *testing.T) {
	t.Parallel()
	texts := []string{"100% sure", "100 percent", "snake_case", "snakeXcase", `back\slash`, "it's", `say "hi"`, "Größe STRASSE",
		"ΣΊΣΥΦΟΣ", "Привет Мир", "İstanbul", "東京タワー", "cafe\u0301", "👩‍👩‍👧 family", "a*b?[c]", "tab\there", "'; DROP TABLE notes; --"}
	tests := []struct{ name, search, want string }{
		{"percent", "100%", "100% sure"},
		{"percent alone", "%", "100% sure"},
		{"underscore", "snake_", "snake_case"},
		{"underscore alone", "_", "snake_case"},
		{"backslash", `\`, `back\slash`},
		{"escaped percent", `\%`, ""},
		{"apostrophe", "'S", "it's"},
		{"quotes", `"HI"`, `say "hi"`},
		{"German", "grösse", "Größe STRASSE"},
		{"sharp s", "straße", "Größe STRASSE"},
		{"Greek in lower case", "σίσυφος", "ΣΊΣΥΦΟΣ"},
		{"Greek, another sigma", "σίσυφοσ", "ΣΊΣΥΦΟΣ"},
		{"Cyrillic", "привет МИР", "Привет Мир"},
		{"two characters of Japanese", "京タ", "東京タワー"},
		{"one character", "塔", ""},
		{"composed, stored decomposed", "CAFÉ", "cafe\u0301"},
		{"part of an emoji", "👧", "👩‍👩‍👧 family"},
		{"glob", "A*B?[C]", "a*b?[c]"},
		{"tab", "tab\tHERE", "tab\there"},
		{"SQL", "'; drop table", "'; DROP TABLE notes; --"},
		{"longer than any", strings.Repeat("x", 1000), ""},
	}
	eachSite(t, func(t *testing.T, s *site) {
		inTitles, inContents := s.someone(), s.someone()
		for _, text := range texts {
			inTitles.create(map[string]any{"title": text, "content": "-"})
			inContents.create(map[string]any{"title": "-", "content": text})
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				query := "/api/notes?search=" + url.QueryEscape(tt.search)
				for _, n := range inTitles.in(t).get(query).want(http.StatusOK).notes() {
					if n.Title != tt.want {
						t.Errorf("search %q finds title %q, want %q", tt.search, n.Title, tt.want)
					}
				}
				var found []string
				for _, n := range inContents.in(t).get(query).want(http.StatusOK).notes() {
					found = append(found, n.Content)
				}
				if got := strings.Join(found, "|"); got != tt.want {
					t.Errorf("search %q finds contents %q, want %q", tt.search, got, tt.want)
				}
			})
		}
	})
}

// A query that is not escaped as it should be means what it says, as it did with the old server.
func TestSearchAsTyped(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	c.make(map[string]any{"title": "100%"}, map[string]any{"title": "a;b"}, map[string]any{"title": "50%growth and more"},
		map[string]any{"title": "x=y"}, map[string]any{"title": "1+1"})
	tests := []struct{ name, query, want string }{
		{"percent sign", "search=100%", "100%"},
		{"half an escape", "search=50%g", "50%growth and more"},
		{"semicolon", "search=a;b", "a;b"},
		{"equals sign", "search=x=y", "x=y"},
		{"plus is a blank", "search=1+1", ""},
		{"plus escaped", "search=1%2B1", "1+1"},
		{"half an escape with a blank", "search=50%growth+and", "50%growth and more"},
		{"in a page", "search=100%&limit=1", "100%"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r := c.in(t).get("/api/notes?" + tt.query); r.titles() != tt.want {
				t.Errorf("%s finds %q, want %q", r.call, r.titles(), tt.want)
			}
		})
	}
}

// Titles order without regard to case, by code point else, and equal ones by id.
func TestTitleOrder(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for _, title := range []string{"b", "A", "a", "B", "Z", "é", "10", "9", "_", "Я", "я"} {
			c.create(map[string]any{"title": title, "content": ""})
		}
		const want = "10 9 _ A a b B Z é Я я"
		if got := c.get("/api/notes?sortBy=title&order=asc").titles(); got != want {
			t.Errorf("titles upwards %q, want %q", got, want)
		}
		down := strings.Fields(want)
		slices.Reverse(down)
		if got := c.get("/api/notes?sortBy=title").titles(); got != strings.Join(down, " ") {
			t.Errorf("titles downwards %q, want %q", got, down)
		}
	})
}

func TestListRefused(t *testing.T) {
	t.Parallel()
	const limit, cursor = "Invalid limit: a whole number from 1 to 500", "Invalid cursor: start again from the first page"
	const search = "Invalid search: not valid UTF-8 text"
	s := onSQLite(t)
	c, stranger := s.someone(), s.someone()
	for _, c := range []*client{c, stranger} {
		for i := range 3 {
			c.create(map[string]any{"title": fmt.Sprint("note ", i), "content": "x", "tags": []string{"x"}})
		}
	}
	next := c.get("/api/notes?limit=1&search=n&tags=x").want(http.StatusOK).page().NextCursor
	tests := []struct{ name, query, text string }{
		{"limit 0", "limit=0", limit},
		{"limit -1", "limit=-1", limit},
		{"limit 501", "limit=501", limit},
		{"limit huge", "limit=99999999999999999999", limit},
		{"limit a fraction", "limit=1.5", limit},
		{"limit hexadecimal", "limit=0x10", limit},
		{"limit a word", "limit=all", limit},
		{"limit empty", "limit=", limit},
		{"limit with a blank", "limit=%201", limit},
		{"cursor without a limit", "cursor=" + next, "Invalid cursor: it needs the limit of the page it came with"},
		{"cursor empty and without a limit", "cursor=", "Invalid cursor: it needs the limit of the page it came with"},
		{"cursor empty", "limit=1&cursor=", cursor},
		{"cursor nonsense", "limit=1&cursor=abc", cursor},
		{"cursor no base64", "limit=1&cursor=%25%25", cursor},
		{"cursor cut", "limit=1&search=n&tags=x&cursor=" + next[:len(next)-2], cursor},
		{"cursor changed", "limit=1&search=n&tags=x&cursor=" + flipped(next), cursor},
		{"cursor, no search", "limit=1&tags=x&cursor=" + next, cursor},
		{"cursor, another search", "limit=1&search=no&tags=x&cursor=" + next, cursor},
		{"cursor, no tags", "limit=1&search=n&cursor=" + next, cursor},
		{"cursor, more tags", "limit=1&search=n&tags=x,y&cursor=" + next, cursor},
		{"cursor, other order", "limit=1&search=n&tags=x&order=asc&cursor=" + next, cursor},
		{"cursor, other sort", "limit=1&search=n&tags=x&sortBy=title&cursor=" + next, cursor},
		{"cursor, archive", "limit=1&search=n&tags=x&archived=true&cursor=" + next, cursor},
		{"cursor, trash", "limit=1&search=n&tags=x&trashed=true&cursor=" + next, cursor},
		{"search with NUL", "search=%00", search},
		{"search with invalid UTF-8", "search=%ff", search},
		{"tags with invalid UTF-8", "tags=a,%ff", search},
		{"search of 1001 characters", "search=" + strings.Repeat("%C3%A4", 1001), "Search text too long"},
		{"words of 1001 characters", "q=" + strings.Repeat("%C3%A4", 1001), "Search text too long"},
		{"words with NUL", "q=%00", search},
		{"cursor, words", "limit=1&search=n&tags=x&q=n&cursor=" + next, cursor},
		{"101 tags", "tags=" + strings.Repeat("a,", 101), "Too many tags"},
		{"101 tags in three", "tags=" + strings.Repeat("a,", 50) + "&tags=" + strings.Repeat("%20b,", 50) + "&tags=c", "Too many tags"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.in(t).get("/api/notes?"+tt.query).fails(http.StatusBadRequest, tt.text)
		})
	}
	t.Run("another's cursor", func(t *testing.T) {
		stranger.in(t).get("/api/notes?limit=1&search=n&tags=x&cursor="+next).fails(http.StatusBadRequest, cursor)
	})
	t.Run("as long as may be", func(t *testing.T) {
		r := c.in(t).get("/api/notes?search=" + strings.Repeat("%C3%A4", 1000)).want(http.StatusOK)
		if got := r.titles(); got != "" {
			t.Errorf("%s finds %q, want nothing", r.call, got)
		}
		r = c.in(t).get("/api/notes?tags=" + strings.Repeat("a,,", 99) + "x").want(http.StatusOK)
		if got := r.titles(); got != "note 2 note 1 note 0" {
			t.Errorf("%s finds %q, want all", r.call, got)
		}
	})
	t.Run("the same in other words", func(t *testing.T) {
		r := c.in(t).get("/API/notes/?tags=%20x,&limit=500&order=desc&sortBy=updatedAt&archived=no&search=n&cursor=" + next)
		if got := r.titles(); got != "note 1 note 0" {
			t.Errorf("%s finds %q, want the rest", r.call, got)
		}
	})
}

// flipped is a cursor with one bit changed.
func flipped(cursor string) string {
	changed := []byte(cursor)
	changed[len(changed)/2] ^= 1
	return string(changed)
}

type page struct {
	Success    bool
	Data       []noteJSON
	NextCursor string
}

func (r reply) page() (p page) {
	r.t.Helper()
	r.want(http.StatusOK).decode(&p)
	return p
}

// pages walks all pages from path by their Link headers and returns the titles of each.
func (c *client) pages(path string, between func(read int)) (titles []string) {
	c.t.Helper()
	for path != "" {
		r := c.get(path)
		p := r.page()
		for _, n := range p.Data {
			titles = append(titles, n.Title)
		}
		path = ""
		if link := r.header.Get("Link"); link != "" {
			rest, ok := strings.CutSuffix(link, `>; rel="next"`)
			target, err := url.Parse(strings.TrimPrefix(rest, "<"))
			if !ok || err != nil || target.Path != "/api/notes" || target.Query().Get("cursor") != p.NextCursor {
				c.t.Fatalf("%s has Link %q and nextCursor %q", r.call, link, p.NextCursor)
			}
			path = target.String()
		} else if p.NextCursor != "" {
			c.t.Fatalf("%s has nextCursor %q but no Link", r.call, p.NextCursor)
		}
		if between != nil {
			between(len(titles))
		}
		if len(titles) > 10_000 {
			c.t.Fatal("pages without end")
		}
	}
	return titles
}

// The pages of a list, one after another, are the list.
func TestPages(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for i := range 13 {
			id := c.create(map[string]any{"title": fmt.Sprint("note", i%7), "content": "x & y?", "isPinned": i%3 == 0,
				"isFavorite": i%4 == 0, "isArchived": i > 10, "tags": []string{fmt.Sprint("tag", i%2), "a&b c"}}).ID
			if i%4 == 3 {
				c.patch("/api/notes/"+id+"/trash", nil).want(http.StatusOK)
			}
		}
		for _, query := range []string{"", "order=asc", "sortBy=createdAt", "sortBy=createdAt&order=asc", "sortBy=title",
			"sortBy=title&order=asc", "archived=true", "trashed=true", "trashed=true&order=asc", "trashed=true&sortBy=title&order=asc",
			"search=NOTE1", "search=x&search=y", "search=x+%26+y%3F", "tags=tag1", "tags=a%26b+c,none&sortBy=title"} {
			all := c.get("/api/notes?" + query).want(http.StatusOK)
			var want []string
			for _, n := range all.notes() {
				want = append(want, n.Title)
			}
			if len(want) == 0 {
				t.Fatalf("%s finds nothing: no test", all.call)
			}
			for _, limit := range []int{1, len(want) - 1, len(want), 500} {
				if limit < 1 {
					continue
				}
				got := c.pages(fmt.Sprintf("/api/notes?%s&limit=%d", query, limit), nil)
				if !slices.Equal(got, want) {
					t.Errorf("%s in pages of %d: %q, want %q", all.call, limit, got, want)
				}
			}
		}
		r := c.get("/api/notes?limit=500")
		if r.header.Get("Link") != "" || r.keys() != "data,success" {
			t.Errorf("the last page has Link %q and members %s, want none and data,success", r.header.Get("Link"), r.keys())
		}
	})
}

// While notes are changed, made, trashed and deleted, no page repeats what an
// earlier one showed in its place, and what stays where it is is shown once.
func TestPagesWhileNotesChange(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query string }{
		{"by creation", "sortBy=createdAt"},
		{"by creation upwards", "sortBy=createdAt&order=asc"},
		{"by title", "sortBy=title&order=asc"},
		{"by change", ""},
	}
	eachSite(t, func(t *testing.T, s *site) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := s.someone().in(t)
				var ids []string
				for i := range 15 {
					ids = append(ids, c.create(map[string]any{"title": fmt.Sprintf("steady%02d", i), "content": ""}).ID)
				}
				turn := 0
				got := c.pages("/api/notes?limit=4&"+tt.query, func(int) {
					turn++
					c.create(map[string]any{"title": fmt.Sprintf("new%02d", turn), "content": ""})
					moved := ids[(turn*7)%len(ids)]
					if tt.query == "" { // by change: one that is changed goes to the front, where no later page is
						moved = ids[len(ids)-1]
					}
					c.patch("/api/notes/"+moved, map[string]any{"content": fmt.Sprint(turn)}).want(http.StatusOK)
				})
				seen := map[string]int{}
				for _, title := range got {
					seen[title]++
				}
				for title, n := range seen {
					if n > 1 {
						t.Errorf("%s is shown %d times in %q", title, n, got)
					}
				}
				for i := range ids {
					if title := fmt.Sprintf("steady%02d", i); seen[title] != 1 {
						t.Errorf("%s is shown %d times, want once", title, seen[title])
					}
				}
			})
		}
	})
}

// The place where a page ended holds even when the note that was there is gone.
func TestPageAfterDeletedNote(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		for i := range 6 {
			c.create(map[string]any{"title": fmt.Sprint("n", i), "content": ""})
		}
		first := c.get("/api/notes?limit=2").page()
		c.delete("/api/notes/" + first.Data[1].ID).want(http.StatusOK)
		c.delete("/api/notes/" + first.Data[0].ID).want(http.StatusOK)
		if got := c.get("/api/notes?limit=2&cursor=" + first.NextCursor).titles(); got != "n3 n2" {
			t.Errorf("second page %q, want n3 n2", got)
		}
	})
}

// A note's tags keep the blanks around them, and are found by what they are.
func TestListTagsWithBlanks(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		c.make(map[string]any{"title": "plain", "tags": []string{"x"}}, map[string]any{"title": "before", "tags": []string{" x"}},
			map[string]any{"title": "around", "tags": []string{"\u00a0x y\t"}})
		for _, tt := range []struct{ tags, want string }{
			{" x", "before plain"},
			{"x", "plain"},
			{"\u00a0x y\t", "around"},
			{"y, x", "before plain"},
			{" ", "around before plain"},
		} {
			if got := c.get("/api/notes?tags=" + url.QueryEscape(tt.tags)).titles(); got != tt.want {
				t.Errorf("tags %q: %s, want %s", tt.tags, got, tt.want)
			}
		}
	})
}
