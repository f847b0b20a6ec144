// Package apidoc has the description of the HTTP API: an OpenAPI 3.1 document, and a page to read it
// in a browser.
package apidoc

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"
)

// source is the document as people write it.
//
//go:embed openapi.yaml
var source []byte

// shared is the member of the source that holds what several operations use. It is not part of the
// document.
const shared = "x-shared"

// Document returns the OpenAPI document as JSON. Members are in the order of the source. The caller
// must not change it.
var Document = sync.OnceValue(func() []byte {
	var root yaml.Node
	err := yaml.Unmarshal(source, &root)
	if err == nil {
		var text []byte
		if text, err = appendJSON(nil, &root); err == nil {
			return text
		}
	}
	panic(err) // the source is part of the program, and a test reads it
})

// appendJSON appends n to dst as JSON. Other than encoding/json it keeps the order of members.
func appendJSON(dst []byte, n *yaml.Node) (_ []byte, err error) {
	switch n.Kind {
	case yaml.DocumentNode:
		return appendJSON(dst, n.Content[0])
	case yaml.AliasNode:
		return appendJSON(dst, n.Alias)
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, item := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendJSON(dst, item); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.MappingNode:
		return appendObject(dst, n)
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	return append(dst, text...), nil
}

func appendObject(dst []byte, n *yaml.Node) (_ []byte, err error) {
	dst = append(dst, '{')
	for i, m := range members(n) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(strconv.AppendQuote(dst, m.name), ':') // names are printable ASCII
		if dst, err = appendJSON(dst, m.value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

type member struct {
	name  string
	value *yaml.Node
}

// members returns the members of a mapping, and after them those of the mappings that it merges. Of
// two with one name the first counts.
func members(n *yaml.Node) (all []member) {
	seen := map[string]bool{shared: true}
	var add func(n *yaml.Node)
	add = func(n *yaml.Node) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var merged []*yaml.Node
		switch n.Kind {
		case yaml.SequenceNode:
			merged = n.Content
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				name, value := n.Content[i], n.Content[i+1]
				switch {
				case name.Tag == "!!merge":
					merged = append(merged, value)
				case !seen[name.Value]:
					seen[name.Value] = true
					all = append(all, member{name.Value, value})
				}
			}
		}
		for _, m := range merged {
			add(m)
		}
	}
	add(n)
	return all
}
