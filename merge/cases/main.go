// Command cases prints random merges as JSON. The web app's own merge is held to them.
//
//	go run ./merge/cases SEED COUNT
package main

import (
	"encoding/json"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"

	"notesd/merge"
)

type mergeCase struct {
	Base   string       `json:"base"`
	Ours   string       `json:"ours"`
	Theirs string       `json:"theirs"`
	Parts  []merge.Part `json:"parts"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: cases SEED COUNT")
	}
	seed, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	random := &writer{rand.New(rand.NewPCG(seed, 0))}
	cases := make([]mergeCase, count)
	for i := range cases {
		base := random.lines(random.IntN(9))
		c := mergeCase{Base: random.join(base), Ours: random.join(random.edit(base)),
			Theirs: random.join(random.edit(base))}
		c.Parts = merge.Text(c.Base, c.Ours, c.Theirs).Parts
		cases[i] = c
	}
	if err := json.NewEncoder(os.Stdout).Encode(cases); err != nil {
		log.Fatal(err)
	}
}

// A writer writes and edits texts of few words, so that lines repeat and begin alike.
type writer struct{ *rand.Rand }

func (w *writer) word() string {
	words := []string{"milk", "bread", "tea", "milkshake", "and", "1", "😀", "two", "-"}
	return words[w.IntN(len(words))]
}

func (w *writer) line() string {
	if w.IntN(5) == 0 {
		return []string{"", "", "---", "```", "  "}[w.IntN(5)]
	}
	words := make([]string, 1+w.IntN(5))
	for i := range words {
		words[i] = w.word()
	}
	return strings.Join(words, " ")
}

func (w *writer) lines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = w.line()
	}
	return lines
}

// edit makes up to three edits: lines inserted, deleted, replaced, moved, typed on, or with another word.
func (w *writer) edit(lines []string) []string {
	lines = slices.Clone(lines)
	for range w.IntN(4) {
		if len(lines) == 0 {
			lines = w.lines(1 + w.IntN(2))
			continue
		}
		at := w.IntN(len(lines))
		switch w.IntN(6) {
		case 0:
			lines = slices.Insert(lines, w.IntN(len(lines)+1), w.lines(1+w.IntN(2))...)
		case 1:
			lines = slices.Delete(lines, at, min(len(lines), at+1+w.IntN(2)))
		case 2:
			lines[at] = w.line()
		case 3:
			moved := lines[at]
			lines = slices.Delete(lines, at, at+1)
			lines = slices.Insert(lines, w.IntN(len(lines)+1), moved)
		case 4:
			lines[at] += " " + w.word()
		case 5:
			words := strings.Split(lines[at], " ")
			words[w.IntN(len(words))] = w.word()
			lines[at] = strings.Join(words, " ")
		}
	}
	return lines
}

func (w *writer) join(lines []string) string {
	end := []string{"\n", "\n", "\n", "\r\n"}[w.IntN(4)]
	text := strings.Join(lines, end)
	if len(lines) > 0 && w.IntN(2) == 0 {
		text += end
	}
	return text
}
