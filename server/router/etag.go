package router

import (
	"iter"
	"strings"
)

// etagSuffixes are what compression adds to an ETag: that of our handler, and that of Apache's
// mod_deflate (-gzip) and mod_brotli (-br).
var etagSuffixes = []string{"-gzip", "-zstd", "-br"}

// MatchingTag returns the tag in a list of If-None-Match values that names tag, in any content
// coding (weak comparison, RFC 9110, 13.1.2).
func MatchingTag(values []string, tag string) (string, bool) {
	for seen := range Tags(values) {
		if seen == "*" {
			return tag, true
		}
		if plain, ok := PlainTag(seen); ok && plain == strings.Trim(tag, `"`) {
			return strings.TrimPrefix(seen, "W/"), true
		}
	}
	return "", false
}

// PlainTag returns the opaque part of a weak or strong entity tag, without its quotes and without
// the suffix of a content coding. ok is false if tag is no entity tag.
func PlainTag(tag string) (plain string, ok bool) {
	tag = strings.TrimPrefix(tag, "W/")
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return "", false
	}
	plain = tag[1 : len(tag)-1]
	for _, coding := range etagSuffixes {
		if rest, ok := strings.CutSuffix(plain, coding); ok {
			return rest, true
		}
	}
	return plain, true
}

// Tags yields the entity tags of a list header such as If-Match, and all other text between its
// commas. A comma inside quotes is part of the tag.
func Tags(values []string) iter.Seq[string] {
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
