package store

import "context"

const MaxBatchMutations = maxBatchMutations

// Waiting is how many mutations wait for the next batch of s.
func Waiting(s *Store) int {
	s.committer.mu.Lock()
	defer s.committer.mu.Unlock()
	return len(s.committer.waiting)
}

// Apart reports whether a transaction of owner's own is under way.
func Apart(s *Store, owner string) bool {
	s.committer.mu.Lock()
	defer s.committer.mu.Unlock()
	_, exclusive := s.committer.exclusive[owner]
	return exclusive
}

// SubmitPanic submits a write of owner's that panics with v.
func SubmitPanic(ctx context.Context, s *Store, owner string, v any) error {
	m := newMutation(ctx, owner, "", 0)
	m.change = func(*batch, *countersRow) (noteRow, error) { panic(v) }
	return s.submit(m)
}
