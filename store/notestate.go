package store

import (
	"cmp"
	"slices"

	"notesd/notes"
)

// noteState is a note of a batch: as it was stored, and as the batch's mutations have made it.
type noteState struct {
	old      *noteRow // nil: it did not exist
	row      *noteRow // nil: it is deleted
	deletion int64    // the number of that change
	partial  bool     // the content has not been read
	touched  bool     // a mutation concerns it

	replaced []*versionRow // the versions that the batch has replaced, the oldest first
}

// apply sets the note to row, as its owner's next change, which m makes at when. The version that
// this replaces is kept. If row equals the note already, apply does nothing.
func (state *noteState) apply(m *mutation, row noteRow, when int64, counters *countersRow) (noteRow, error) {
	if row.sameAs(state.row) {
		return *state.row, nil
	}
	row.Bytes = row.size() + growth(row.Title, notes.Fold(row.Title))
	// The folded copy of an unchanged content is not read.
	if row.Content == state.row.Content {
		old := state.row // an older binary may have stored Bytes without tagCost
		row.Bytes = max(0, row.Bytes+old.Bytes-old.size()-growth(old.Title, notes.Fold(old.Title)))
	} else {
		row.Bytes += growth(row.Content, row.ContentFolded)
	}
	if err := counters.add(0, row.Bytes-state.row.Bytes); err != nil {
		return noteRow{}, err
	}
	version := state.row.replaced(when, m.keeps(state.row, &row))
	state.replaced = append(state.replaced, version)
	counters.growHistory(version.cost())
	row.Revision, row.UpdatedAt, row.ChangeSeq = row.Revision+1, when, counters.ChangeSeq
	row.Author, row.AuthorRevision = m.author, row.Revision
	state.row = &row
	return row, nil
}

// changed reports whether the note differs from the stored one.
func (state *noteState) changed() bool {
	return state.old == nil && state.row != nil || state.old != nil && state.row == nil ||
		state.old != nil && state.old.Revision != state.row.Revision
}

func (state *noteState) key() int64 { return cmp.Or(state.old, state.row).Key }

// tagsChanged reports whether the tags of a stored note have changed.
func (state *noteState) tagsChanged() bool { return !slices.Equal(state.old.Tags, state.row.Tags) }

// contentChanged reports whether the content of a stored note has changed.
func (state *noteState) contentChanged() bool { return state.old.Content != state.row.Content }

// newContent returns the content to store, or nil if it stays.
func (state *noteState) newContent() *string {
	if !state.contentChanged() {
		return nil
	}
	return &state.row.Content
}

// newTitle returns the title to store, or nil if it stays.
func (state *noteState) newTitle() *string {
	if state.old.Title == state.row.Title {
		return nil
	}
	return &state.row.Title
}

// newTitleFolded returns the folded title to store, or nil if it stays.
func (state *noteState) newTitleFolded() *string {
	if state.newTitle() == nil {
		return nil
	}
	return &state.row.TitleFolded
}

func rowsOf(states []*noteState) []*noteRow {
	rows := make([]*noteRow, len(states))
	for i, state := range states {
		rows[i] = state.row
	}
	return rows
}

func filter(states []*noteState, is func(*noteState) bool) (found []*noteState) {
	for _, state := range states {
		if is(state) {
			found = append(found, state)
		}
	}
	return found
}
