package store

import "context"

const MaxBatchMutations = maxBatchMutations

// OneCommitter lets s commit the mutations of all owners in common batches. No mutation may have
// been submitted yet.
func OneCommitter(s *Store) { s.committers = s.committers[:1] }

// Waiting is how many mutations wait for the next batch of s, which has one committer.
func Waiting(s *Store) int {
	c := s.committers[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Apart reports whether a transaction of owner's own is under way.
func Apart(s *Store, owner string) bool {
	c := s.committerOf(owner)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, exclusive := c.exclusive[owner]
	return exclusive
}

// SubmitPanic submits a write of owner's that panics with v.
func SubmitPanic(ctx context.Context, s *Store, owner string, v any) error {
	m := newMutation(ctx, owner, "", 0)
	m.change = func(*batch, *countersRow) (noteRow, error) { panic(v) }
	return s.submit(m)
}
