package pgnotify

import (
	"encoding/json"
	"errors"
	"fmt"
)

const (
	// longestMessage is what PostgreSQL takes in a notification: less than 8000 bytes.
	longestMessage = 7999

	// mostAnnounced is how many changes of one transaction are named. More
	// would make all replicas read for longer than it costs them to forget.
	mostAnnounced = 1000
)

// A messageKind is what a message is about.
type messageKind string

const (
	beatMessage    messageKind = "beat"    // the sender is there, and listens
	byeMessage     messageKind = "bye"     // the sender listens no more
	changesMessage messageKind = "changes" // the sender's transaction changed notes
	forgetMessage  messageKind = "forget"  // the sender can't or won't say what changed
	revokedMessage messageKind = "revoked" // sessions have ended
	ackMessage     messageKind = "ack"     // the sender knows of a revocation
)

// A message is what one process says to all that share its database, itself
// among them. It travels as JSON: members may be added, and what an older
// binary has to know has a kind of its own, which makes that one forget.
type message struct {
	Kind    messageKind         `json:"kind"`
	From    string              `json:"from"`
	At      int64               `json:"at,omitempty"`      // of a beat: nanoseconds since its sender began
	Changes map[string][]string `json:"changes,omitempty"` // notes by their owner
	ID      string              `json:"id,omitempty"`      // of a revocation, and in what acknowledges it
	Key     string              `json:"key,omitempty"`     // of the session that ended; none: all of User's
	User    string              `json:"user,omitempty"`
}

func (m message) String() string {
	text, _ := json.Marshal(m) // strings and numbers can't fail
	return string(text)
}

// parseMessage reads what a notification says. An error means that it may have
// been anything.
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
	case beatMessage, byeMessage, forgetMessage:
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

// changes are those that the message names.
func (m message) changes() (changes []Change) {
	for owner, notes := range m.Changes {
		for _, note := range notes {
			changes = append(changes, Change{owner, note})
		}
	}
	return changes
}

// encodeChanges is what to say of one transaction's changes: as many messages as
// they need, or one to forget everything where they need too many.
func encodeChanges(from string, changes []Change) []string {
	if len(changes) <= mostAnnounced {
		if said, ok := splitChanges(from, changes); ok {
			return said
		}
	}
	return []string{message{Kind: forgetMessage, From: from}.String()}
}

// splitChanges names changes in messages that are short enough. It can't
// where a single one is too long.
func splitChanges(from string, changes []Change) (said []string, ok bool) {
	notes := make(map[string][]string)
	for _, c := range changes {
		notes[c.Owner] = append(notes[c.Owner], c.Note)
	}
	text := message{Kind: changesMessage, From: from, Changes: notes}.String()
	if len(text) <= longestMessage {
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
