package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// A Share is the share of the load that one kind of work has.
type Share struct {
	Work   string  `json:"work"`
	Weight float64 `json:"weight"`
}

// A Work is a mix of kinds of work, with the name by which it was requested.
type Work struct {
	Name   string  `json:"name"`
	Shares []Share `json:"shares"`
}

// kinds maps the kinds of work to the functions that return the requests of one user.
var kinds = map[string]func(host string, p User) []Request{
	"health":  func(host string, _ User) []Request { return []Request{Get(host, "/api/health", "")} },
	"sign-in": func(host string, p User) []Request { return []Request{signIn(host, p)} },
	"read":    ReadNotes,
	"list":    func(host string, p User) []Request { return []Request{Get(host, "/api/notes?limit=50", p.Cookie)} },
	"write":   func(host string, p User) []Request { return []Request{writeNote(host, p)} },
	"search":  searchNotes,
}

// Everyday is what users do all day: the work "mix".
const Everyday = "read=70,list=20,write=10"

const workHelp = "health, sign-in, read, list, write, search, mix (" + Everyday +
	") or shares of your own like read=90,search=10"

// ParseWork parses the value of -work.
func ParseWork(text string) (Work, error) {
	shares := text
	if text == "mix" {
		shares = Everyday
	}
	w := Work{Name: text}
	if !strings.Contains(shares, "=") {
		shares += "=1"
	}
	for part := range strings.SplitSeq(shares, ",") {
		name, weight, _ := strings.Cut(part, "=")
		if kinds[name] == nil {
			return Work{}, fmt.Errorf("no work %q: %s", name, workHelp)
		}
		n, err := parseShare(weight)
		if err != nil {
			return Work{}, fmt.Errorf("%s=%s: %w", name, weight, err)
		}
		w.Shares = append(w.Shares, Share{name, n})
	}
	return w, nil
}

func parseShare(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0 && n <= 1e6) {
		return 0, errors.New("a share is a number above 0")
	}
	return n, nil
}

// An Injection is a path that gets a share of all requests, beside the work.
type Injection struct {
	Path  string  `json:"path"`
	Share float64 `json:"share"` // of all requests, above 0 and below 1
}

// parseInjection parses the value of -inject.
func parseInjection(text string) (*Injection, error) {
	path, share, ok := strings.Cut(text, "=")
	n, err := strconv.ParseFloat(share, 64)
	if !ok || err != nil || !(n > 0 && n < 1) || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n") {
		return nil, fmt.Errorf("%q is not PATH=SHARE, like /api/fault/panic=0.1", text)
	}
	return &Injection{path, n}, nil
}

// A Request is ready to be sent.
type Request struct {
	raw []byte
	row int // the row of the tally in which it is counted
}

// A Plan is a weighted set of requests from which a load chooses.
type Plan struct {
	rows    []string // names of the rows of the tally
	choices []choice
	total   float64
}

type choice struct {
	upTo     float64 // sum of the weights up to this choice
	requests []Request
}

// Add gives requests a share of the load. They are counted in the row of that name.
func (p *Plan) Add(row string, weight float64, requests []Request) {
	i := slices.Index(p.rows, row)
	if i < 0 {
		i = len(p.rows)
		p.rows = append(p.rows, row)
	}
	counted := make([]Request, len(requests))
	for n, r := range requests {
		counted[n] = Request{r.raw, i}
	}
	p.total += weight
	p.choices = append(p.choices, choice{p.total, counted})
}

// next chooses a request at random.
func (p *Plan) next(random *rand.Rand) Request {
	at := random.Float64() * p.total
	for _, c := range p.choices {
		if at < c.upTo {
			return c.requests[random.IntN(len(c.requests))]
		}
	}
	last := p.choices[len(p.choices)-1].requests
	return last[random.IntN(len(last))]
}

// planFor returns the plan of users who all do the same work. Requests are counted by kind.
func planFor(host string, people []User, work Work, injected *Injection) *Plan {
	p := &Plan{}
	p.addWork(host, people, work, 1, func(kind string) string { return kind })
	if injected != nil {
		weight := p.total * injected.Share / (1 - injected.Share)
		p.Add(injected.Path, weight, []Request{Get(host, injected.Path, people[0].Cookie)})
	}
	return p
}

// addWork gives the work of users a share of the load. The function row returns the name of the row
// for each kind.
func (p *Plan) addWork(host string, people []User, work Work, weight float64, row func(kind string) string) {
	whole := 0.0
	for _, s := range work.Shares {
		whole += s.Weight
	}
	for _, s := range work.Shares {
		var requests []Request
		for _, who := range people {
			requests = append(requests, kinds[s.Work](host, who)...)
		}
		p.Add(row(s.Work), weight*s.Weight/whole, requests)
	}
}

// Get returns a GET request. An empty cookie means none.
func Get(host, path, cookie string) Request {
	return Request{raw: rawRequest("GET", host, path, cookie, "")}
}

// Post returns a POST request with a JSON body.
func Post(host, path, cookie, body string) Request {
	return Request{raw: rawRequest("POST", host, path, cookie, body)}
}

// ReadNotes returns a request for each of a user's notes.
func ReadNotes(host string, p User) (all []Request) {
	for _, id := range p.Notes {
		all = append(all, Get(host, "/api/notes/"+id, p.Cookie))
	}
	return all
}

func searchNotes(host string, p User) (all []Request) {
	for _, word := range vocabulary {
		all = append(all, Get(host, "/api/notes?limit=50&search="+word, p.Cookie))
	}
	return all
}

func writeNote(host string, p User) Request {
	return Post(host, "/api/notes", p.Cookie, noteJSON("Under load", 0))
}

func signIn(host string, p User) Request {
	return Post(host, "/api/auth/login", "", credentialsJSON(p.Email))
}

// rawRequest returns a request in the form in which it is sent.
func rawRequest(method, host, path, cookie, body string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: notesd-bench\r\n", method, path, host)
	if cookie != "" {
		fmt.Fprintf(&b, "Cookie: %s\r\n", cookie)
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.WriteString(body)
	return []byte(b.String())
}
