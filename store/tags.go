package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"notesd/notes"
	"notesd/store/engine"
)

// A TagCount says how many notes have a tag. Notes in the trash do not count.
type TagCount struct {
	Tag          string
	Notes        int64 // without archived notes
	WithArchived int64
}

// Tags returns the tags of owner's notes that are not in the trash. They are in the order of their
// names, in which the case of letters matters last.
func (s *Store) Tags(ctx context.Context, owner string) ([]TagCount, error) {
	counts := []TagCount{}
	err := s.db.Reader(ctx).Raw(`SELECT tag, count(DISTINCT CASE WHEN NOT is_archived THEN key END) AS notes,
		count(DISTINCT key) AS with_archived
		FROM notes JOIN note_tags ON note_key = key WHERE user_id = ? AND NOT is_trashed GROUP BY tag`, owner).
		Scan(&counts).Error
	if err != nil {
		return nil, fmt.Errorf("count tags: %w", engine.Translate(err))
	}
	folded := make(map[string]string, len(counts))
	for _, c := range counts {
		folded[c.Tag] = notes.Fold(c.Tag)
	}
	slices.SortFunc(counts, func(a, b TagCount) int {
		return cmp.Or(strings.Compare(folded[a.Tag], folded[b.Tag]), strings.Compare(a.Tag, b.Tag))
	})
	return counts, nil
}
