package store

import "fmt"

// trimHistory returns the statement that removes a user's oldest versions, so that those which stay
// count for at most as many bytes as asked. A delta's base is newer than the delta, so the base of
// what stays stays too. owner and target are the engine's placeholders.
func trimHistory(owner, target string) string {
	return fmt.Sprintf(`DELETE FROM note_versions WHERE (note_key, revision) IN (
		SELECT note_key, revision FROM (
			SELECT v.note_key, v.revision,
				sum(%[1]s) OVER (ORDER BY v.at DESC, v.note_key DESC, v.revision DESC) AS newer
			FROM notes AS n JOIN note_versions AS v ON v.note_key = n.key WHERE n.user_id = %[2]s
		) AS v WHERE newer > CAST(%[3]s AS bigint))`, costSQL, owner, target)
}

// countHistory returns the statement that counts a user's history. SQLite needs the owner twice.
func countHistory(owner string) string {
	return fmt.Sprintf(`UPDATE user_counters SET history_bytes = (
		SELECT coalesce(sum(%[1]s), 0) FROM notes AS n JOIN note_versions AS v ON v.note_key = n.key
		WHERE n.user_id = %[2]s) WHERE user_id = %[2]s`, costSQL, owner)
}

// These statements take the history of deleted notes off their owner's count, and come before the
// deletion. A binary that knows no versions deletes without them: then the count is too high until
// the next trim.
var (
	loseHistoryPostgres = fmt.Sprintf(loseHistoryFormat, "ANY ($1::bigint[])", "$2")
	loseHistory         = fmt.Sprintf(loseHistoryFormat, "?", "?")
)

const loseHistoryFormat = `UPDATE user_counters SET history_bytes = history_bytes - (
	SELECT coalesce(sum(` + costSQL + `), 0) FROM note_versions AS v WHERE v.note_key = %s) WHERE user_id = %s`

// losesHistory returns the keys of the deleted notes of an owner who has versions.
func (w writes) losesHistory(c *countersRow) (keys []int64) {
	if c.HistoryBytes == 0 {
		return nil
	}
	for _, state := range w.deleted {
		if state.old.UserID == c.UserID {
			keys = append(keys, state.old.Key)
		}
	}
	return keys
}
