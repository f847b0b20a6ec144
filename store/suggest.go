package store

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"notesd/internal/heavy"
	"notesd/notes"
	"notesd/notes/query"
	"notesd/store/engine"
	"notesd/store/trigram"
)

// Suggestions are what a user may be about to type.
type Suggestions struct {
	Titles []TitleSuggestion
	Tags   []string
	Words  []string
}

// A TitleSuggestion is a note by its title.
type TitleSuggestion struct{ ID, Title string }

// maxSuggestions is how many titles, tags and words are suggested.
const maxSuggestions = 8

// Suggest returns titles, tags and words of owner's notes in which a word begins with a prefix. So
// that it is quick, it reads few notes: those with the prefix in their title before others, and those
// that changed last. Without an index for the prefix it reads the first notes of the list. It
// suggests nothing of the archive, the trash and large notes.
func (s *Store) Suggest(ctx context.Context, owner string, prefix query.Prefix) (Suggestions, error) {
	found, err := s.suggest(s.db.Reader(ctx), owner, prefix)
	if err != nil {
		return found, fmt.Errorf("suggest: %w", engine.Translate(err))
	}
	return found, nil
}

func (s *Store) suggest(db *gorm.DB, owner string, prefix query.Prefix) (found Suggestions, err error) {
	var indexed candidates
	if words, _ := prefix.Query().Contained(); !trigram.NewQuery(words, nil).Empty() {
		if indexed, err = s.wordCandidates(db, owner, prefix.Query()); err != nil {
			return found, err
		}
	}
	var refs []Ref
	if indexed != nil {
		heap.Init(&indexed)
		refs = indexed.next(make(map[int64]bool))
	} else {
		const first = 100
		if refs, err = s.noteRefs(db, owner, notes.Query{Limit: first}); err != nil {
			return found, err
		}
		refs = refs[:batchLength(refs)]
	}
	rows, err := s.readForMatch(db, owner, refs, s.smallColumns())
	if err != nil {
		return found, err
	}
	tags, words := make(counts), make(counts)
	heavy.Do(func() {
		for _, ref := range refs {
			row, there := rows[ref.Key]
			if !there || row.IsArchived || row.IsTrashed {
				continue
			}
			inTitle := prefix.Complete(row.Title)
			if len(inTitle) > 0 && len(found.Titles) < maxSuggestions {
				found.Titles = append(found.Titles, TitleSuggestion{row.ID, row.Title})
			}
			words.add(append(inTitle, prefix.Complete(row.Content)...))
			for _, tag := range row.Tags {
				if len(prefix.Complete(tag)) > 0 {
					tags.add([]string{tag})
				}
			}
		}
	})
	found.Tags, found.Words = tags.most(), words.most()
	return found, nil
}

// counts says in how many notes each text is, by its folded form, and how it is written.
type counts map[string]*written

type written struct {
	text  string
	notes int
}

// add counts the texts of one note.
func (c counts) add(texts []string) {
	seen := map[string]bool{}
	for _, text := range texts {
		folded := notes.Fold(text)
		if seen[folded] {
			continue
		}
		seen[folded] = true
		if c[folded] == nil {
			c[folded] = &written{text: text}
		}
		c[folded].notes++
	}
}

// most returns the texts that are in the most notes.
func (c counts) most() []string {
	folded := make([]string, 0, len(c))
	for f := range c {
		folded = append(folded, f)
	}
	slices.SortFunc(folded, func(a, b string) int { return cmp.Or(c[b].notes-c[a].notes, cmp.Compare(a, b)) })
	texts := []string{}
	for _, f := range folded[:min(len(folded), maxSuggestions)] {
		texts = append(texts, c[f].text)
	}
	return texts
}
