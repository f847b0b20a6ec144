package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"notesd/internal/heavy"
	"notesd/merge"
	"notesd/notes"
)

// ErrConflict: a patch and the changes since its base can't be merged. It is always a
// *ConflictError.
var ErrConflict = errors.New("conflicts with changes made meanwhile")

// A ConflictError is an ErrConflict with what the client needs to show and to mend the conflict.
type ConflictError struct {
	Current notes.Note
	// Parts are the merged content in the order of the text, with its clashes. Nil: the base is not
	// known any more, or the merged note would break a rule or be longer than Base.MaxContent.
	Parts []merge.Part
}

func (e *ConflictError) Error() string { return ErrConflict.Error() }
func (e *ConflictError) Unwrap() error { return ErrConflict }

// MergeNote is PatchNote for a patch that was made on base. If the note has changed since then, both
// changes are merged (see package merge), and onto is the revision that the patch was merged into.
// It is 0 if base was the current revision. Errors, besides those of PatchNote: ErrConflict, and
// nothing was changed.
func (s *Store) MergeNote(
	ctx context.Context, owner, id string, p notes.Patch, base notes.Base, preconditions ...Precondition,
) (n notes.Note, onto int64, err error) {
	if err := p.Check(); err != nil {
		return notes.Note{}, 0, err
	}
	var from *notes.Note
	patch, revision := p, base.Revision
	for {
		stale := false
		isBase := Precondition{NamesRevision: true, Holds: func(current int64, _ time.Time) bool {
			stale = current != revision
			return !stale
		}}
		n, err := s.patchNote(ctx, owner, id, patch, onto > 0, append(slices.Clone(preconditions), isBase))
		changed, ok := errors.AsType[*ChangedError](err)
		if !ok || !stale {
			return n, onto, err
		}
		// Each round means that another write of the note was committed, so there is progress.
		if from == nil {
			if from, err = s.baseOf(ctx, changed.Current, p, base); err != nil {
				return notes.Note{}, 0, fmt.Errorf("merge note %s: %w", id, err)
			}
		}
		patch, err = merged(ctx, *from, changed.Current, p)
		if err == nil && base.MaxContent > 0 && patch.Content != nil && int64(len(*patch.Content)) > base.MaxContent {
			err = &ConflictError{Current: changed.Current} // no client could send the note back
		}
		if err != nil {
			return notes.Note{}, 0, fmt.Errorf("merge note %s: %w", id, err)
		}
		revision, onto = changed.Current.Revision, changed.Current.Revision
	}
}

// baseOf returns the note as it was at the base's revision: as the store has it, or else as the
// client says, if that has what p changes.
func (s *Store) baseOf(ctx context.Context, current notes.Note, p notes.Patch, base notes.Base) (*notes.Note, error) {
	if base.Revision < current.Revision {
		was, err := s.Version(ctx, current.UserID, current.ID, base.Revision)
		if !errors.Is(err, ErrVersionGone) {
			return &was.Note, err
		}
	}
	if base.Content == nil && (p.Content != nil || base.Title == nil && base.Tags == nil) {
		return nil, &ConflictError{Current: current}
	}
	n := current
	assign(&n.Title, base.Title)
	assign(&n.Content, base.Content)
	n.Tags = nil // without the base's tags none was removed
	assign(&n.Tags, base.Tags)
	return &n, nil
}

// merged returns the patch that leads from current to the merge of current and of p, both of which
// were made on base.
func merged(ctx context.Context, base, current notes.Note, p notes.Patch) (notes.Patch, error) {
	mergeValue(&p.Title, base.Title, current.Title)
	mergeValue(&p.Pinned, base.Pinned, current.Pinned)
	mergeValue(&p.Favorite, base.Favorite, current.Favorite)
	mergeValue(&p.Archived, base.Archived, current.Archived)
	mergeValue(&p.Markdown, base.Markdown, current.Markdown)
	mergeValue(&p.Trashed, base.Trashed, current.Trashed)
	if p.SetColor && equal(p.Color, base.Color) {
		p.Color = current.Color
	}
	if p.Tags != nil {
		p.Tags = new(merge.Tags(base.Tags, current.Tags, *p.Tags))
	}
	if p.Content != nil {
		r, err := mergedText(ctx, base.Content, current.Content, *p.Content)
		if err != nil {
			return p, err
		}
		if !r.Clean() {
			return p, &ConflictError{Current: current, Parts: r.Parts}
		}
		p.Content = new(r.Text())
	}
	if p.Check() != nil { // as a whole it has too many tags
		return p, &ConflictError{Current: current}
	}
	return p, nil
}

func mergeValue[T comparable](patch **T, base, current T) {
	if *patch != nil {
		*patch = new(merge.Value(base, current, **patch))
	}
}

// mergedText merges texts, with memory that reserve grants.
func mergedText(ctx context.Context, base, current, patch string) (r merge.Result, err error) {
	memory, result := merge.Memory(base, current, patch), int64(len(current)+len(patch))
	if err := reserve(ctx)(memory + result); err != nil {
		return merge.Result{}, err
	}
	heavy.If(memory == merge.MaxMemory, func() { r = merge.Text(base, current, patch) })
	return r, ctx.Err()
}
