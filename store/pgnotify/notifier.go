// Package pgnotify is how the processes that share a PostgreSQL tell each other what
// they change, so that each may keep copies of what it reads: a Notifier, with LISTEN
// on a connection of its own, and NOTIFY in the transactions that change something.
package pgnotify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"notesd/store/engine"
)

const (
	heartbeat  = 250 * time.Millisecond // between beats
	answerTime = time.Second            // for a statement on the channel's connection
	deafTime   = 2 * time.Second        // without a beat that comes back: there is something wrong with the connection

	retry    = 250 * time.Millisecond // between attempts to listen, at first
	maxRetry = 2 * time.Second        // and at last
)

// Notify is the statement that sends each of the payloads to all who listen, the
// sender included, when its transaction commits: then or never.
const Notify = `SELECT pg_notify('notesd', said) FROM unnest($1::text[]) AS said`

// InvalidateAll is the statement, and its arguments, that has all who listen forget
// what they have.
func InvalidateAll() (sql string, args []any) {
	return Notify, []any{[]string{message{Kind: forgetMessage, From: newID()}.String()}}
}

// errDeaf is what a wrong DATABASE_CHANNEL_URL leads to, and a pooler that gives
// each transaction another connection.
var errDeaf = errors.New("what is said in the database isn't heard on this connection, " +
	"so nothing is answered from memory: behind a pooler let DATABASE_CHANNEL_URL lead past it")

// A Change says what a write alters: one note of an owner's.
type Change struct{ Owner, Note string }

// A Listener hears what other processes say, in time to keep copies of what it has
// read for no longer than they are good. Its methods don't block and may be called
// from several goroutines.
type Listener interface {
	// Changed says that another process has committed changes.
	Changed(changes []Change)

	// Revoked says that sessions have ended in another process: the one with
	// the key, or, if it is empty, all of the user's.
	Revoked(key, user string)

	// Trust says that of what others had committed one second before until,
	// nothing is unknown here. Until the first call, and after until, copies are not to be trusted.
	Trust(until time.Time)

	// Forget says that changes of others may have been missed: no copy made up to
	// now, nor of what is being read now, is to be used again.
	Forget()
}

// Config says how a Notifier reaches the others.
type Config struct {
	Server   *pgx.ConnConfig // to listen on: no pooler in between
	Listener Listener        // nil: it only speaks, and never knows that it is alone
	Log      *slog.Logger
	// Notify sends payloads in a transaction of its own, over the connections that write.
	Notify func(ctx context.Context, payloads []string) error
}

// A Notifier is one process's part in telling and hearing what changes. A message
// of a transaction that is seen can't be lost, nor one of a transaction that never
// was be heard, and all hear all in the order in which they commit. Nothing else
// has that: so notes and sessions use it wherever sessions are kept.
//
// Every process says heartbeat by heartbeat that it is there. When its own word
// comes back it has heard all that was committed before, and trusts its copies
// for one second (trusted) from when it was sent. Without a connection it trusts nothing.
// So what is committed here is seen everywhere at once, and after a second
// where it can't be heard.
//
// A NOTIFY costs: PostgreSQL lets all transactions with one commit one after
// another. So a process that is alone announces nothing (see SoleMember). One that comes
// must be known before it trusts what it has; its introduction is over when
//   - our beats have come back for so long (joinPeriod) that no process has
//     decided for a while that it is alone (see members), and
//   - all transactions have ended that there were then, among them what was
//     decided before (see fence).
//
// What a process decides and the server gets only a second later escapes that, if
// another starts in this very second; the engine gives a server up sooner.
type Notifier struct {
	id      string // of this process, in what it says
	began   time.Time
	cfg     Config
	members *members

	pendingInvalidateAll atomic.Bool // a revocation couldn't be said: everybody is to forget everything
	listening            atomic.Bool
	announced            atomic.Uint64
	heard                atomic.Uint64
	lost                 atomic.Uint64
}

// New makes a Notifier. It hears nothing before Run.
func New(cfg Config) *Notifier {
	return &Notifier{id: newID(), began: time.Now(), cfg: cfg, members: newMembers()}
}

// newID makes an identifier that no other process has.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Stats are figures of a Notifier.
type Stats struct {
	Listening bool   // what others say arrives
	Trusted   bool   // copies may be used
	Peers     int    // others that listen
	Announced uint64 // transactions and revocations that others were told of
	Heard     uint64 // messages of others, besides their heartbeats
	Lost      uint64 // times that messages may have been missed, or were not understood
}

// Stats returns the figures.
func (n *Notifier) Stats() Stats {
	now := time.Now()
	return Stats{
		Listening: n.listening.Load(), Trusted: n.members.trusts(now), Peers: n.members.count(now),
		Announced: n.announced.Load(), Heard: n.heard.Load(), Lost: n.lost.Load(),
	}
}

// SoleMember reports whether certainly no other process has copies that it trusts, nor
// will have any of what was there before now: then nothing is announced.
func (n *Notifier) SoleMember() bool { return n.members.alone(time.Now()) }

// Announcement is the statement that tells the other processes of the changes
// of a transaction, to be sent in it. It is to be asked for when the transaction
// has nothing else to do before its COMMIT: it is not ok, and there is
// nothing to send, when no other process can have copies by then.
func (n *Notifier) Announcement(changes []Change) (sql string, args []any, ok bool) {
	if len(changes) == 0 || n.SoleMember() {
		return "", nil, false
	}
	n.announced.Add(1)
	return Notify, []any{encodeChanges(n.id, changes)}, true
}

// AnnounceRevoked tells the other processes that a session has ended, the one
// with the key, or without a key all of the user's. It has ended already: they
// are to let go of their copies. It returns nil once all that listen have said
// that they know, or else after a second: a process that has not heard of it by then
// trusts no copy any more. When no other listens it returns at once.
//
// ErrUnavailable: for a second it couldn't be said. That is no matter when no process
// reaches the server; but one that does, though we don't, may know the session for
// longer, until we do, when it is told to forget everything.
// The same goes for the context's error.
func (n *Notifier) AnnounceRevoked(ctx context.Context, key, user string) error {
	if n.SoleMember() {
		return nil
	}
	m := message{Kind: revokedMessage, From: n.id, ID: newID(), Key: key, User: user}
	acknowledged, forget := n.members.await(m.ID, time.Now())
	defer forget()
	if err := n.insist(ctx, m); err != nil {
		n.pendingInvalidateAll.Store(true)
		return fmt.Errorf("announce a revocation: %w", err)
	}
	n.announced.Add(1)
	timer := time.NewTimer(trusted)
	defer timer.Stop()
	select {
	case <-acknowledged:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// insist says m, for as long as others may trust what they have without it.
func (n *Notifier) insist(ctx context.Context, m message) error {
	trying, cancel := context.WithTimeout(ctx, trusted)
	defer cancel()
	for {
		err := n.cfg.Notify(trying, []string{m.String()})
		if err == nil || !errors.Is(err, engine.ErrUnavailable) && trying.Err() == nil {
			return err
		}
		if engine.Pause(trying, retry) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return engine.Unavailable(err)
		}
	}
}

// Run listens until ctx ends, on one connection after another.
func (n *Notifier) Run(ctx context.Context) {
	var said engine.Complaint
	wait := retry
	for ctx.Err() == nil {
		worked, err := n.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		n.lost.Add(1)
		if worked {
			wait = retry
		}
		if deaf := errors.Is(err, errDeaf); (!deaf || !said.IsKnown(err)) && said.IsNews(err) { // that is no matter of time
			n.cfg.Log.Warn("channel to the other replicas is broken, trying again", "error", err)
		}
		_ = engine.Pause(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

// listen hears and beats until the connection breaks or ctx ends. It reports
// whether anything was heard.
func (n *Notifier) listen(ctx context.Context) (worked bool, err error) {
	l := link{Notifier: n}
	if l.conn, err = pgx.ConnectConfig(ctx, n.cfg.Server); err != nil {
		return false, err
	}
	defer l.leave(ctx)
	if err := l.do(ctx, l.join); err != nil {
		return false, err
	}
	n.listening.Store(true)
	defer n.listening.Store(false)
	defer n.members.disconnected()
	for next := time.Now().Add(heartbeat); ; {
		if err := l.hearUntil(ctx, next); err != nil {
			return l.proved, err
		}
		next = time.Now().Add(heartbeat)
		if err := l.beat(ctx); err != nil {
			return l.proved, err
		}
	}
}

// A link is one connection of the channel, used by one goroutine.
type link struct {
	*Notifier
	conn *pgx.Conn

	joined   time.Time // when it began to listen
	latest   time.Time // when the latest beat was sent that has come back; at first, joined
	proved   bool      // a beat has come back over the connections that write
	fenced   int64     // the transaction that ends what must end before the introduction does; 0: not known
	trusting bool      // the introduction is over, and there has been no gap since
	puzzled  bool      // it was said that a message was not understood
}

// do runs statements that may take answerTime; else the connection is broken.
func (l *link) do(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return fn(ctx)
}

// say notifies on the link itself.
func (l *link) say(ctx context.Context, payloads ...string) error {
	return l.do(ctx, func(ctx context.Context) error {
		_, err := l.conn.Exec(ctx, Notify, payloads)
		return err
	})
}

// join begins to listen, and sends the first beat over the connections that
// write: when it is heard, what these say is heard here.
func (l *link) join(ctx context.Context) error {
	if _, err := engine.SetSessionTimeouts(ctx, l.conn); err != nil {
		return err
	}
	if _, err := l.conn.Exec(ctx, "LISTEN notesd"); err != nil {
		return err
	}
	l.joined = time.Now()
	l.latest = l.joined
	return l.cfg.Notify(ctx, []string{l.now().String()})
}

// now is a beat.
func (l *link) now() message {
	return message{Kind: beatMessage, From: l.id, At: int64(time.Since(l.began))}
}

// beat says that we are there.
func (l *link) beat(ctx context.Context) error {
	switch {
	case time.Since(l.latest) > deafTime:
		return errDeaf
	case !l.proved:
		return nil
	}
	var payloads []string
	pending := l.pendingInvalidateAll.Swap(false)
	if pending {
		payloads = append(payloads, message{Kind: forgetMessage, From: l.id}.String())
	}
	err := l.say(ctx, append(payloads, l.now().String())...)
	if pending && err != nil {
		l.pendingInvalidateAll.Store(true)
	}
	return err
}

// hearUntil hears what is said until a time, or for long enough if that has
// passed: what has arrived already.
func (l *link) hearUntil(ctx context.Context, next time.Time) error {
	waiting, cancel := context.WithDeadline(ctx, next)
	defer cancel()
	for {
		n, err := l.conn.WaitForNotification(waiting)
		switch {
		case err == nil:
			err = l.hear(ctx, n.Payload)
		case waiting.Err() != nil && ctx.Err() == nil && !l.conn.IsClosed():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hear does what a message asks for.
func (l *link) hear(ctx context.Context, text string) error {
	m, err := parseMessage(text)
	if err != nil {
		l.puzzle(err)
		return nil
	}
	if m.From == l.id {
		if m.Kind == beatMessage {
			return l.heardOwn(ctx, l.began.Add(time.Duration(m.At)))
		}
		return nil
	}
	switch m.Kind {
	case beatMessage:
		l.members.heard(m.From, time.Now())
		return nil
	case byeMessage:
		l.members.left(m.From)
	case changesMessage:
		l.cfg.Listener.Changed(m.changes())
	case forgetMessage:
		l.cfg.Listener.Forget()
	case revokedMessage:
		l.cfg.Listener.Revoked(m.Key, m.User)
		err = l.say(ctx, message{Kind: ackMessage, From: l.id, ID: m.ID}.String())
	case ackMessage:
		l.members.acknowledged(m.ID, m.From)
	}
	l.Notifier.heard.Add(1)
	return err
}

// puzzle forgets everything, as what was said may have been about anything.
func (l *link) puzzle(err error) {
	l.lost.Add(1)
	l.cfg.Listener.Forget()
	if !l.puzzled {
		l.puzzled = true
		l.cfg.Log.Warn("a message of another replica isn't understood; all copies are dropped", "error", err)
	}
}

// heardOwn trusts what there is, once others know us.
func (l *link) heardOwn(ctx context.Context, sent time.Time) error {
	if sent.Before(l.joined) {
		return nil // over an older connection
	}
	l.latest, l.proved = sent, true
	first, long := l.members.heardOwn(sent, time.Now())
	if first {
		l.fenced, l.trusting = 0, false
	}
	if !long {
		return nil
	}
	if !l.trusting {
		past, err := l.pastFence(ctx)
		if !past {
			return err
		}
		l.trusting = true
		l.cfg.Listener.Forget()
		l.members.introduced()
	}
	l.cfg.Listener.Trust(sent.Add(trusted))
	return nil
}

// pastFence reports whether all transactions have ended that had changed
// something when it was first asked.
func (l *link) pastFence(ctx context.Context) (past bool, err error) {
	err = l.do(ctx, func(ctx context.Context) error {
		if l.fenced == 0 {
			if err := l.conn.QueryRow(ctx, "SELECT txid_current()").Scan(&l.fenced); err != nil {
				return err
			}
		}
		return l.conn.QueryRow(ctx, "SELECT txid_snapshot_xmin(txid_current_snapshot()) > $1", l.fenced).Scan(&past)
	})
	return past, err
}

// leave closes the connection, with a word to the others if we leave for good:
// they need not announce anything any more, so our copies end before.
func (l *link) leave(ctx context.Context) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry)
	defer cancel()
	if ctx.Err() != nil {
		l.members.disconnected()
		l.cfg.Listener.Forget()
		_, _ = l.conn.Exec(ending, Notify, []string{message{Kind: byeMessage, From: l.id}.String()}) // else they miss us soon
	}
	_ = l.conn.Close(ending) // it may be broken
}
