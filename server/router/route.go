package router

import (
	"fmt"
	"net/http"
	"strings"

	"notesd/pool"
)

// A Route is one row of a door's table of routes.
type Route struct {
	// Method is the HTTP method. HEAD works for every GET route.
	Method string
	// Path is the path in lower case, such as /api/notes/:id. A part that begins with a colon is a
	// parameter (see Context.Param). The path is also the route's name in logs and metrics.
	Path string
	// Class is the admission class of the route's requests.
	Class Class
	// ClassOf returns the class of one request, if it is not Class. It may be nil.
	ClassOf func(r *http.Request) Class
	// Auth says who may send requests to the route.
	Auth Auth
	// Tokens says which app tokens may send requests to the route. Others get a 403.
	Tokens Tokens
	// Handle handles one request. It runs with a permit, unless Class is Free. Its error becomes an
	// error response: see Error.
	Handle func(c *Context) error
	// Fast finds the response in the memory of the process, without a query. It may be nil. Only a
	// GET route with at most one parameter, at the end of its path, may have it.
	Fast Fast
	// WriteError writes an error response in the format of the door: its Content-Type, with
	// Context.SetHeader, and its body, with Context.SetBuffer. The router has set the status and the
	// other headers by then. nil: the response is JSON, in the API's envelope.
	WriteError func(c *Context, status int, message string)
	// SmallBody: the body is at most 16 KiB long, however long other bodies may be.
	SmallBody bool
	// EndsSessions: the route ends every session that the request brings. So a request with the
	// sessions of two users is handled, as one without a user.
	EndsSessions bool
	// Quiet: machines request the route all the time, so its log lines are debug lines.
	Quiet bool

	index int // the route's place in Router.Routes
}

// A Class is the kind of work that a route's requests are. The pool admits requests by their class.
type Class uint8

// The classes. Every route names one.
const (
	// Free requests need no permit. They are answered while the pool is full, and are never
	// limited. So their work must be short.
	Free     Class = iota + 1
	Read           // a user waits for the response
	Write          // a user waits for the response
	Search         // scans a user's notes
	Bulk           // export, import, long lists
	Password       // hashing, which takes much CPU and memory
)

var poolClasses = [...]pool.Class{Read: pool.Read, Write: pool.Write, Search: pool.Search, Bulk: pool.Bulk,
	Password: pool.Password}

func (c Class) String() string {
	if c == Free {
		return "free"
	}
	return poolClasses[c].String()
}

// Auth says who may send requests to a route.
type Auth uint8

// The values of Auth.
const (
	Anyone   Auth = iota // the request may belong to a user, or to none
	SignedIn             // the request must belong to a user; others get a 401
	Admin                // the request must have the administrator token, and belongs to no user
)

func (a Auth) String() string { return [...]string{"anyone", "signed in", "admin"}[a] }

// Tokens says which app tokens may send requests to a route.
type Tokens uint8

// The values of Tokens.
const (
	NoToken    Tokens = iota // the route is for sessions alone
	ReadToken                // any token
	WriteToken               // a token that may write
)

func (t Tokens) String() string { return [...]string{"none", "read", "write"}[t] }

// check returns an error if the route contradicts itself.
func (route *Route) check() error {
	fault := ""
	switch {
	case route.Class < Free || int(route.Class) >= len(poolClasses):
		fault = "has no class"
	case route.Handle == nil:
		fault = "has no handler"
	case route.Auth == SignedIn && route.Class == Free:
		fault = "is free, so its user is not known"
	case route.Tokens != NoToken && route.Class == Free:
		fault = "is free, so its token is not known"
	case route.Path != strings.ToLower(route.Path):
		fault = "is not in lower case"
	case route.Fast != nil && route.Method != http.MethodGet:
		fault = "is fast and no GET"
	default:
		return nil
	}
	return fmt.Errorf("route %s %s %s", route.Method, route.Path, fault)
}

// pooled reports whether the route's requests need a permit.
func (route *Route) pooled() bool { return route.Class != Free }

// admissionClass returns the class of r in the pool.
func (route *Route) admissionClass(r *http.Request) pool.Class {
	if route.ClassOf != nil {
		return poolClasses[route.ClassOf(r)]
	}
	return poolClasses[route.Class]
}

// prepare copies the doors' routes and checks them.
func prepare(doors [][]Route) ([]*Route, error) {
	var routes []*Route
	for _, door := range doors {
		for _, route := range door {
			if err := route.check(); err != nil {
				return nil, err
			}
			route.index = len(routes)
			routes = append(routes, &route)
		}
	}
	return routes, nil
}
