package pgnotify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const (
	// maxMessage is the maximum length of a notification in PostgreSQL: less than 8000 bytes.
	maxMessage = 7999

	// maxAnnounced is how many changes of one transaction are named. If there were more, reading
	// the message would cost all replicas more time than dropping their copies.
	maxAnnounced = 1000
)

// A messageKind is the kind of a message.
type messageKind string

const (
	heartbeatMessage     messageKind = "beat"    // heartbeat: the sender is present and listens
	byeMessage           messageKind = "bye"     // the sender stops listening
	changesMessage       messageKind = "changes" // the sender's transaction changed notes
	invalidateAllMessage messageKind = "forget"  // the sender can't or won't name its changes
	revokedMessage       messageKind = "revoked" // sessions have ended
	ackMessage           messageKind = "ack"     // the sender acknowledges a revocation
)

// A message is sent by one process to all that share its database, the sender included. It is JSON,
// so fields may be added. What an older binary must not miss gets a kind of its own: an unknown
// kind makes the older binary drop all copies.
type message struct {
	Kind messageKind `json:"kind"`
	From string      `json:"from"`
	// At is of a heartbeat: nanoseconds since its sender began.
	At      int64               `json:"at,omitempty"`
	Changes map[string][]string `json:"changes,omitempty"` // note ids by owner
	// Merges is of a heartbeat: its sender merges notes. A release that overwrites sends none.
	Merges bool `json:"merges,omitempty"`
	// Numbers has the number and the note's revision of each of Changes. A release before sends
	// none.
	Numbers map[string][]changeNumbers `json:"numbers,omitempty"`
	ID      string                     `json:"id,omitempty"` // of a revocation, and of its ack
	// Key is of the session that ended. If it is empty, all sessions of User have ended.
	Key  string `json:"key,omitempty"`
	User string `json:"user,omitempty"`
}

// changeNumbers are the Seq and the Revision of a Change.
type changeNumbers [2]int64

func (m message) String() string {
	text, _ := json.Marshal(m) // marshalling strings and numbers can't fail
	return string(text)
}

// parseMessage parses a notification. After an error the notification may have meant anything.
func parseMessage(text string) (message, error) {
	var m message
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return message{}, fmt.Errorf("not a message: %w", err)
	}
	if m.From == "" {
		return message{}, errors.New("a message from nobody")
	}
	complete := true
	switch m.Kind {
	case heartbeatMessage, byeMessage, invalidateAllMessage:
	case changesMessage:
		complete = len(m.Changes) > 0
	case revokedMessage:
		complete = m.ID != "" && m.Key+m.User != ""
	case ackMessage:
		complete = m.ID != ""
	default:
		return message{}, fmt.Errorf("a message of the unknown kind %q", m.Kind)
	}
	if !complete {
		return message{}, fmt.Errorf("an incomplete message of the kind %q", m.Kind)
	}
	return m, nil
}

// changes returns the changes that the message names.
func (m message) changes() (changes []Change) {
	for owner, notes := range m.Changes {
		numbers := m.Numbers[owner]
		for i, note := range notes {
			c := Change{Owner: owner, Note: note}
			if len(numbers) == len(notes) && numbers[i][0] > 0 && numbers[i][1] >= 0 {
				c.Seq, c.Revision = numbers[i][0], numbers[i][1]
			}
			changes = append(changes, c)
		}
	}
	return changes
}

// encodeChanges returns the payloads that announce one transaction's changes. It returns as many
// messages as they need, or a single one to forget everything if there are too many changes.
func encodeChanges(from string, changes []Change) []string {
	if len(changes) <= maxAnnounced {
		if payloads, ok := splitChanges(from, changes); ok {
			return payloads
		}
	}
	return []string{message{Kind: invalidateAllMessage, From: from}.String()}
}

// splitChanges names the changes in messages that are short enough. It fails if a single change is
// too long.
func splitChanges(from string, changes []Change) (payloads []string, ok bool) {
	notes, numbers := make(map[string][]string), make(map[string][]changeNumbers)
	for _, c := range changes {
		notes[c.Owner] = append(notes[c.Owner], c.Note)
		numbers[c.Owner] = append(numbers[c.Owner], changeNumbers{c.Seq, c.Revision})
	}
	text := message{Kind: changesMessage, From: from, Changes: notes, Numbers: numbers}.String()
	if len(text) <= maxMessage {
		return []string{text}, true
	}
	if len(changes) == 1 {
		return nil, false
	}
	half := len(changes) / 2
	first, ok := splitChanges(from, changes[:half])
	if !ok {
		return nil, false
	}
	rest, ok := splitChanges(from, changes[half:])
	return append(first, rest...), ok
}

// splitAtSeq splits the payload that announces a single change before and after its Seq, which the
// database is going to insert. Its numbers are the last member of the message.
func splitAtSeq(payload string) (before, after string, ok bool) {
	at := strings.LastIndex(payload, "[[")
	if at < 0 || !strings.HasPrefix(payload[at:], "[[0,") {
		return "", "", false
	}
	return payload[:at+len("[[")], payload[at+len("[[0"):], true
}
