package store

import (
	"fmt"
	"math/rand/v2"
)

const (
	// mostKept is how many tombstones, and how many idempotency keys, a person
	// has at most. The oldest go first: nobody takes up the disk by making and
	// deleting notes for ever.
	mostKept = 10_000

	// trimEvery is how many tombstones or keys one trim is made for. To find the
	// oldest a trim has to count, so it is not made for each. Chance decides, or
	// somebody could have the trims made in the wrong moments.
	trimEvery = 1024
)

// A trim removes what a person has above mostKept.
type trim struct{ owner, table, column string }

func trimTombstones(owner string) trim { return trim{owner, "tombstones", "change_seq"} }

func trimKeys(owner string) trim { return trim{owner, "idempotency_keys", "created_at"} }

// trims decides whether an edit that adds a tombstone or a key is one that trims.
func (s *Store) trims() bool { return rand.N(s.trimEvery) == 0 }

// statement is for the owner and mostKept, in the engine's words for them.
func (t trim) statement(owner, most string) string {
	return fmt.Sprintf(`DELETE FROM %[1]s WHERE user_id = %[3]s AND %[2]s <= (
		SELECT %[2]s FROM %[1]s WHERE user_id = %[3]s ORDER BY %[2]s DESC LIMIT 1 OFFSET %[4]s)`,
		t.table, t.column, owner, most)
}
