package store

import (
	"fmt"
	"math/rand/v2"
)

const (
	// maxKept is how many tombstones, and how many idempotency keys, a user has at most. The
	// oldest are removed first. So no user can fill the disk by creating and deleting notes for
	// ever.
	maxKept = 10_000

	// trimEvery is the mean number of tombstones or keys that one trim is for. A trim has to count
	// to find the oldest, so not every mutation makes one. The choice is random, or a user could
	// have the trims made at the wrong moments.
	trimEvery = 1024
)

// A trim removes a user's rows in excess of maxKept.
type trim struct{ owner, table, column string }

func trimTombstones(owner string) trim { return trim{owner, "tombstones", "change_seq"} }

func trimKeys(owner string) trim { return trim{owner, "idempotency_keys", "created_at"} }

// trims decides at random whether a mutation that adds a tombstone or a key also trims.
func (s *Store) trims() bool { return rand.N(s.trimEvery) == 0 }

// statement returns the SQL of a trim. owner and limit are the engine's placeholders for the owner
// and for maxKept.
func (t trim) statement(owner, limit string) string {
	return fmt.Sprintf(`DELETE FROM %[1]s WHERE user_id = %[3]s AND %[2]s <= (
		SELECT %[2]s FROM %[1]s WHERE user_id = %[3]s ORDER BY %[2]s DESC LIMIT 1 OFFSET %[4]s)`,
		t.table, t.column, owner, limit)
}
