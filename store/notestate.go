package store

import (
	"cmp"
	"slices"

	"notesd/notes"
)

// noteState is a note as it was stored and as it is by now.
type noteState struct {
	old     *noteRow // nil: it was not there
	row     *noteRow // nil: it is not there any more
	partial bool     // the content has not been read
	touched bool     // there is an edit of it
}

// become makes the note what row is, as its owner's next change at when. If that
// is what it is already it does nothing.
func (state *noteState) become(row noteRow, when int64, counters *countersRow) (noteRow, error) {
	if row.sameAs(state.row) {
		return *state.row, nil
	}
	row.Bytes = row.size() + growth(row.Title, notes.Fold(row.Title))
	if row.Content == state.row.Content { // whose folded copy is not read
		old := state.row // an older binary has not counted tagCost for it
		row.Bytes = max(0, row.Bytes+old.Bytes-old.size()-growth(old.Title, notes.Fold(old.Title)))
	} else {
		row.Bytes += growth(row.Content, row.ContentFolded)
	}
	if err := counters.add(0, row.Bytes-state.row.Bytes); err != nil {
		return noteRow{}, err
	}
	row.Revision, row.UpdatedAt, row.ChangeSeq = row.Revision+1, when, counters.ChangeSeq
	state.row = &row
	return row, nil
}

// changed reports whether the note is another than was stored.
func (state *noteState) changed() bool {
	return state.old == nil && state.row != nil || state.old != nil && state.row == nil ||
		state.old != nil && state.old.Revision != state.row.Revision
}

func (state *noteState) key() int64 { return cmp.Or(state.old, state.row).Key }

// retagged reports whether a note that was stored has other tags now.
func (state *noteState) retagged() bool { return !slices.Equal(state.old.Tags, state.row.Tags) }

// rewritten reports whether a note that was stored has another content now.
func (state *noteState) rewritten() bool { return state.old.Content != state.row.Content }

// newContent is the content that is to be stored, or nil if it stays.
func (state *noteState) newContent() *string {
	if !state.rewritten() {
		return nil
	}
	return &state.row.Content
}

// newTitle is the title that is to be stored, or nil if it stays.
func (state *noteState) newTitle() *string {
	if state.old.Title == state.row.Title {
		return nil
	}
	return &state.row.Title
}

// newTitleFolded is newTitle, folded.
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
