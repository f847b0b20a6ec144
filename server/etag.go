package server

import (
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"notesd/notes"
	"notesd/store"
)

// representation counts the ways a note has been written as JSON. A change to
// noteJSON moves it, so that no cache mixes two of them.
const representation = "1"

// etag is the strong validator of n: which note, which revision, which
// representation. The compressing layer adds a suffix for the content coding.
func etag(n notes.Note) string {
	return `"` + n.ID + "." + strconv.FormatInt(n.Revision, 10) + "." + representation + `"`
}

// codings are the suffixes that an ETag gets with a content coding: from our own
// compressing layer, and from Apache's mod_deflate and mod_brotli (-br).
var codings = []string{"-gzip", "-zstd", "-br"}

// errListCondition: the list has no version that a create could be compared with.
var errListCondition = errors.New("condition on the list of notes")

// hasListCondition tells whether a create has a condition that is about the list, its target. Such a
// condition cannot be judged in the create's transaction. It is not ignored either: a method whose
// condition is false must not be performed.
func hasListCondition(h http.Header) bool {
	match, some := h["If-Match"]
	return some && !slices.Contains(slices.Collect(tags(match)), "*") || h["If-None-Match"] != nil
}

// preconditions are those that the request makes of note id, in the order of RFC 9110, 13.2.2.
func preconditions(x *exchange, id string) []store.Precondition {
	h := x.Request().Header
	var all []store.Precondition
	if values, ok := h["If-Match"]; ok {
		allowed, any := tagRevisions(values, id)
		all = append(all, func(revision int64, _ time.Time) bool { return any || slices.Contains(allowed, revision) })
	} else if date, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil {
		all = append(all, func(_ int64, updatedAt time.Time) bool { return !updatedAt.Truncate(time.Second).After(date) })
	}
	if values, ok := h["If-None-Match"]; ok {
		refused, any := tagRevisions(values, id)
		all = append(all, func(revision int64, _ time.Time) bool { return !any && !slices.Contains(refused, revision) })
	}
	return all
}

// tagRevisions are the revisions of note id that the tags of a list header name; any: "*" is among them.
// Tags of other notes and of other representations name none.
//
// A weak tag counts as the strong one, for If-Match too, although RFC 9110, 13.1.1 has it match nothing: nginx,
// for one, makes the tag of what it compresses weak, and a client can only send back what it was given. No save is
// lost by it, as the tag names one revision all the same.
func tagRevisions(values []string, id string) (revisions []int64, any bool) {
	for tag := range tags(values) {
		if tag == "*" {
			return nil, true
		}
		if revision, ok := tagRevision(tag, id); ok {
			revisions = append(revisions, revision)
		}
	}
	return revisions, false
}

// tagRevision is the revision that a tag names, if it is one of note id's.
func tagRevision(tag, id string) (int64, bool) {
	plain, ok := plainTag(tag)
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

// matchingTag finds the tag in a list of If-None-Match values that names tag,
// in any content coding (weak comparison, RFC 9110, 13.1.2).
func matchingTag(values []string, tag string) (string, bool) {
	for seen := range tags(values) {
		if seen == "*" {
			return tag, true
		}
		if plain, ok := plainTag(seen); ok && plain == strings.Trim(tag, `"`) {
			return strings.TrimPrefix(seen, "W/"), true
		}
	}
	return "", false
}

// plainTag is the opaque part of a tag, weak or strong, without the content coding's suffix.
func plainTag(tag string) (string, bool) {
	tag = strings.TrimPrefix(tag, "W/")
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return "", false
	}
	plain := tag[1 : len(tag)-1]
	for _, coding := range codings {
		if rest, ok := strings.CutSuffix(plain, coding); ok {
			return rest, true
		}
	}
	return plain, true
}

// tags yields the entity tags of a list header, and whatever else is between its
// commas. A comma inside quotes is a part of the tag.
func tags(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range values {
			for begin, i, quoted := 0, 0, false; i <= len(value); i++ {
				switch {
				case i == len(value) || value[i] == ',' && !quoted:
					if !yield(strings.TrimSpace(value[begin:i])) {
						return
					}
					begin = i + 1
				case value[i] == '"':
					quoted = !quoted
				}
			}
		}
	}
}
