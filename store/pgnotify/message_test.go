package pgnotify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What is said is what is heard.
func TestMessage(t *testing.T) {
	for _, m := range []message{
		{Kind: heartbeatMessage, From: "a", At: 7},
		{Kind: byeMessage, From: "a"},
		{Kind: changesMessage, From: "a", Changes: map[string][]string{"ada": {"1", "2"}, "b\"\n<ü": {""}}},
		{Kind: invalidateAllMessage, From: "a"},
		{Kind: revokedMessage, From: "a", ID: "1", Key: "k"},
		{Kind: revokedMessage, From: "a", ID: "1", User: "u"},
		{Kind: ackMessage, From: "a", ID: "1"},
	} {
		got, err := parseMessage(m.String())
		if diff := cmp.Diff(m, got); diff != "" || err != nil {
			t.Errorf("parseMessage(%s) = %v, -want +got\n%s", m, err, diff)
		}
	}
}

// What isn't understood is an error; what a newer binary adds to a message is not.
func TestMessageRefused(t *testing.T) {
	for _, text := range []string{
		"", "x", "null", "[]", "{}", `{"kind":"beat"}`, `{"from":"a"}`, `{"kind":"later","from":"a"}`, `{"kind":7,"from":"a"}`,
		`{"kind":"changes","from":"a"}`, `{"kind":"changes","from":"a","changes":{}}`, `{"kind":"changes","from":"a","changes":{"b":"c"}}`,
		`{"kind":"revoked","from":"a","id":"1"}`, `{"kind":"revoked","from":"a","key":"k"}`, `{"kind":"ack","from":"a"}`,
		`{"kind":"bye","from":"a"} {}`,
	} {
		if m, err := parseMessage(text); err == nil {
			t.Errorf("parseMessage(%s) = %v, want an error", text, m)
		}
	}
	if m, err := parseMessage(`{"kind":"bye","from":"a","added":[1]}`); err != nil || m.Kind != byeMessage {
		t.Errorf("a member that was added: %v, %v", m, err)
	}
}

// Whatever the changes, each is named in messages that PostgreSQL takes, or
// everything is to be forgotten.
func TestEncodeChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(0, 60, -1)
		owners := rapid.SliceOfN(id, 1, 5).Draw(t, "owners")
		changes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Change {
			return Change{rapid.SampledFrom(owners).Draw(t, "owner"), id.Draw(t, "note"),
				rapid.Int64Range(1, 1<<52).Draw(t, "seq"), rapid.Int64Range(0, 1<<52).Draw(t, "revision")}
		}), 1, 300).Draw(t, "changes")
		var heard []Change
		for _, text := range encodeChanges("me", changes) {
			m, err := parseMessage(text)
			if err != nil || m.Kind != changesMessage || len(text) > maxMessage {
				t.Fatalf("%d bytes that begin %.200s: %v", len(text), text, err)
			}
			heard = append(heard, m.changes()...)
		}
		if diff := cmp.Diff(sorted(changes), sorted(heard)); diff != "" {
			t.Errorf("-said +heard\n%s", diff)
		}
	})
}

func sorted(changes []Change) []Change {
	return slices.SortedFunc(slices.Values(changes), func(a, b Change) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

func TestEncodeChangesEdges(t *testing.T) {
	many := make([]Change, maxAnnounced+1)
	for i := range many {
		many[i] = Change{Owner: "ada", Note: fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", i)}
	}
	long := strings.Repeat("x", maxMessage-len(splitOne(t, Change{Owner: "ada", Note: ""})))
	for _, test := range []struct {
		name    string
		changes []Change
		kind    messageKind
		most    int
	}{
		{"one", many[:1], changesMessage, 1},
		{"the longest", []Change{{Owner: "ada", Note: long}}, changesMessage, 1},
		{"a byte too long", []Change{{Owner: "ada", Note: long + "x"}}, invalidateAllMessage, 1},
		{"one of two too long", []Change{{Owner: "ada", Note: "1"}, {Owner: "ada", Note: long + "x"}}, invalidateAllMessage, 1},
		{"the most", many[:maxAnnounced], changesMessage, 8},
		{"one too many", many, invalidateAllMessage, 1},
	} {
		said := encodeChanges("me", test.changes)
		if len(said) > test.most {
			t.Errorf("%s: %d messages, want %d at most", test.name, len(said), test.most)
		}
		for _, text := range said {
			if m, err := parseMessage(text); err != nil || m.Kind != test.kind || len(text) > maxMessage {
				t.Errorf("%s: %d bytes of kind %q, %v; want kind %q", test.name, len(text), m.Kind, err, test.kind)
			}
		}
	}
}

func splitOne(t *testing.T, c Change) string {
	t.Helper()
	said, ok := splitChanges("me", []Change{c})
	if !ok || len(said) != 1 {
		t.Fatalf("splitChanges(%v) = %q, %v", c, said, ok)
	}
	return said[0]
}

// A message of the release before has no numbers, and the numbers of a later
// one may be other than ours: then they are not known.
func TestChangesWithoutNumbers(t *testing.T) {
	for _, numbers := range []string{
		"", `,"numbers":{}`, `,"numbers":{"ada":[]}`, `,"numbers":{"ada":[[1,2],[3,4]]}`, `,"numbers":{"ada":[[-1,2]]}`,
		`,"numbers":{"ada":[[1,-2]]}`, `,"numbers":{"grace":[[1,2]]}`,
	} {
		m, err := parseMessage(`{"kind":"changes","from":"a","changes":{"ada":["1"]}` + numbers + `}`)
		if got := m.changes(); err != nil || !slices.Equal(got, []Change{{Owner: "ada", Note: "1"}}) {
			t.Errorf("%s: %v, %v", numbers, got, err)
		}
	}
	m, err := parseMessage(`{"kind":"changes","from":"a","changes":{"ada":["1"]},"numbers":{"ada":[[7,3,"later"]]}}`)
	if want := []Change{{"ada", "1", 7, 3}}; err != nil || !slices.Equal(m.changes(), want) {
		t.Errorf("more numbers: %v, %v", m.changes(), err)
	}
}

// The number that the database inserts is the change's, whatever the names.
func TestSplitAtSeq(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringN(0, 60, -1), rapid.SampledFrom([]string{"[[0,1]]", "[[0,", `"numbers":[[0,`}))
		want := Change{name.Draw(t, "owner"), name.Draw(t, "note"), rapid.Int64Range(1, 1<<60).Draw(t, "seq"), 1}
		unknown := want
		unknown.Seq = 0
		before, after, ok := splitAtSeq(encodeChanges("me", []Change{unknown})[0])
		m, err := parseMessage(before + fmt.Sprint(want.Seq) + after)
		if !ok || err != nil || !slices.Equal(m.changes(), []Change{want}) {
			t.Errorf("%s, %s = %v, %v, %v", before, after, m, ok, err)
		}
	})
	if _, _, ok := splitAtSeq(message{Kind: invalidateAllMessage, From: "me"}.String()); ok {
		t.Error("a message without changes has a number to insert")
	}
}

// Nothing that anybody may put into the channel does harm, and what is
// understood is understood again.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		`{"kind":"beat","from":"a","at":7}`, `{"kind":"changes","from":"a","changes":{"b":["c"]}}`,
		`{"kind":"changes","from":"a","changes":{"b":["c"]},"numbers":{"b":[[1,2]]}}`,
		`{"kind":"revoked","from":"a","id":"1","key":"k"}`, `{"kind":"ack","from":"a","id":"1"}`, `{"kind":"x"}`, "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMessage(text)
		if err != nil {
			return
		}
		again, err := parseMessage(m.String())
		if diff := cmp.Diff(sorted(m.changes()), sorted(again.changes())); err != nil || diff != "" || m.Kind != again.Kind {
			t.Errorf("parseMessage(%q) = %v, and of its own text %v, %v", text, m, again, err)
		}
	})
}
