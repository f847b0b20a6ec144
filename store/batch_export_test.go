package store

import "context"

// Waiting is how many edits wait for the next batch of s.
func Waiting(s *Store) int {
	s.committer.mu.Lock()
	defer s.committer.mu.Unlock()
	return len(s.committer.waiting)
}

// Apart is how many edits wait for the end of a transaction of their owner's own.
func Apart(s *Store, owner string) (waiting int, apart bool) {
	s.committer.mu.Lock()
	defer s.committer.mu.Unlock()
	edits, apart := s.committer.apart[owner]
	return len(edits), apart
}

// SubmitPanic submits a write of owner's that panics with v.
func SubmitPanic(ctx context.Context, s *Store, owner string, v any) error {
	e := newEdit(ctx, owner, "", 0)
	e.change = func(*batch, *countersRow) (noteRow, error) { panic(v) }
	return s.submit(e)
}
