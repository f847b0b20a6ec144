package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

// representation is the version of the JSON encoding of a note. It must change with Note, so
// that no cache mixes two encodings.
const representation = "1"

// etag returns the strong validator of n: the note's id, its revision, and the representation. The
// compression handler adds a suffix for the content coding.
func etag(n notes.Note) string {
	return `"` + n.ID + "." + strconv.FormatInt(n.Revision, 10) + "." + representation + `"`
}

// errListCondition means that a create has a condition on the list, which has no version to compare
// with.
var errListCondition = router.NewError(http.StatusPreconditionFailed,
	"A new note has no version: send it without If-Match and If-None-Match")

// hasListCondition reports whether a create has a condition on the list, which is its target. Such
// a condition cannot be checked in the create's transaction. It is not ignored either: a method
// whose condition is false must not be performed.
func hasListCondition(h http.Header) bool {
	match, some := h["If-Match"]
	return some && !slices.Contains(slices.Collect(router.Tags(match)), "*") || h["If-None-Match"] != nil
}

// preconditions returns the request's preconditions on note id, in the order of RFC 9110, 13.2.2.
func preconditions(h http.Header, id string) []store.Precondition {
	var all []store.Precondition
	if values, ok := h["If-Match"]; ok {
		allowed, any := tagRevisions(values, id)
		holds := func(revision int64, _ time.Time) bool { return any || slices.Contains(allowed, revision) }
		all = append(all, store.Precondition{Holds: holds, NamesRevision: !any})
	} else if date, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil {
		holds := func(_ int64, updatedAt time.Time) bool { return !updatedAt.Truncate(time.Second).After(date) }
		all = append(all, store.Precondition{Holds: holds})
	}
	if values, ok := h["If-None-Match"]; ok {
		refused, any := tagRevisions(values, id)
		holds := func(revision int64, _ time.Time) bool { return !any && !slices.Contains(refused, revision) }
		all = append(all, store.Precondition{Holds: holds})
	}
	return all
}

// tagRevisions returns the revisions of note id that the tags of a list header name. any means that
// "*" is among the tags. Tags of other notes and of other representations name no revision.
//
// A weak tag counts as a strong one, for If-Match as well, although RFC 9110, 13.1.1 makes it match
// nothing. nginx, for example, makes the tag of a response weak when it compresses it, and a client
// can only send back the tag that it got. No write is lost by this, because a weak tag still names
// one revision.
func tagRevisions(values []string, id string) (revisions []int64, any bool) {
	for tag := range router.Tags(values) {
		if tag == "*" {
			return nil, true
		}
		if revision, ok := tagRevision(tag, id); ok {
			revisions = append(revisions, revision)
		}
	}
	return revisions, false
}

// tagRevision returns the revision that a tag names, if it is a tag of note id.
func tagRevision(tag, id string) (int64, bool) {
	plain, ok := router.PlainTag(tag)
	if !ok {
		return 0, false
	}
	rest, ok := strings.CutPrefix(plain, id+".")
	if !ok {
		return 0, false
	}
	rest, ok = strings.CutSuffix(rest, "."+representation)
	if !ok {
		return 0, false
	}
	revision, err := strconv.ParseInt(rest, 10, 64)
	return revision, err == nil && strconv.FormatInt(revision, 10) == rest
}
