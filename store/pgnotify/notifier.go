// Package pgnotify tells the processes that share a PostgreSQL database what each of them changes,
// so that each may keep copies of what it reads. A Notifier listens (LISTEN) on a connection of its
// own. The transactions that change something send the notifications (NOTIFY).
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
	heartbeat         = 250 * time.Millisecond // interval between heartbeats
	statementTimeout  = time.Second            // timeout of a statement on the channel's connection
	disconnectedAfter = 2 * time.Second        // without a returned heartbeat the connection is broken

	retry    = 250 * time.Millisecond // first interval between attempts to listen
	maxRetry = 2 * time.Second        // longest interval
)

// Notify is the statement that sends each of the payloads to all listeners, the sender included.
// They are sent when its transaction commits, or never.
const Notify = `SELECT pg_notify('notesd', payload) FROM unnest($1::text[]) AS payload`

// InvalidateAll returns the statement, and its arguments, that makes all listeners drop their
// copies.
func InvalidateAll() (sql string, args []any) {
	return Notify, []any{[]string{message{Kind: invalidateAllMessage, From: newID()}.String()}}
}

// errDisconnected is the error if the listening connection does not receive our own notifications.
// A wrong DATABASE_CHANNEL_URL leads to it, and so does a pooler that gives each transaction
// another connection.
var errDisconnected = errors.New("notifications of the database do not arrive on this connection, " +
	"so nothing is answered from memory: behind a pooler let DATABASE_CHANNEL_URL lead past it")

// A Change names what a write alters: one note of one owner.
type Change struct {
	Owner, Note string
	Seq         int64 // the number of the owner's change; 0: it is not known
	Revision    int64 // of the note; 0: the note was deleted, or it is not known
}

// A Listener is told what other processes announce, for cache invalidation: in time to use no copy
// for longer than it is valid. Its methods don't block and may be called from several goroutines.
type Listener interface {
	// Invalidate says that another process has committed changes.
	Invalidate(changes []Change)

	// SessionRevoked says that sessions have ended in another process: the one with the key, or, if
	// the key is empty, all of the user's.
	SessionRevoked(key, user string)

	// LeaseUntil sets the end of the lease on copies. Everything that other processes had committed
	// one second before until is known here. Before the first call, and after until, copies must
	// not be used.
	LeaseUntil(until time.Time)

	// InvalidateAll says that changes of other processes may have been missed. No copy made up to
	// now may be used again, nor a copy of what is being read now.
	InvalidateAll()
}

// Config configures a Notifier.
type Config struct {
	Server   *pgx.ConnConfig // where to listen; no pooler may be in between
	Listener Listener        // nil: the Notifier only sends, and never knows that it is alone
	Log      *slog.Logger
	// Notify sends payloads in a transaction of its own, over the connections that write.
	Notify func(ctx context.Context, payloads []string) error
}

// A Notifier announces one process's changes and receives those of the others. The message of a
// visible transaction can't be lost, and the message of a transaction that was rolled back is never
// received. All processes receive all messages in the order in which the transactions commit. No
// other channel guarantees that, so notes and sessions use this one wherever sessions are stored.
//
// Every process sends a heartbeat at each interval (heartbeat). When its own heartbeat comes back,
// it has received all that was committed before. It then trusts its copies for one second
// (leasePeriod) from the sending of that heartbeat. Without a connection it trusts nothing. So a
// change committed here is visible everywhere at once, and after a second in a process that can't
// be reached.
//
// A NOTIFY has a cost: PostgreSQL commits all transactions with one serially. So a process that
// knows it is alone announces nothing (see SoleMember). A new process must be known to the others
// before it trusts its copies. Its introduction is over when
//   - its heartbeats have come back for so long (joinPeriod) that for a while no process has
//     decided that it is alone (see members), and
//   - all transactions have ended that were open then, among them those in which an earlier
//     decision was made (see pastFence).
//
// One case escapes: a process decides that it is alone, its statement reaches the server only a
// second later, and another process starts within this second. The engine gives a server up sooner
// than that.
type Notifier struct {
	id      string // of this process, in its messages
	began   time.Time
	cfg     Config
	members *members

	pendingInvalidateAll atomic.Bool // a revocation could not be sent: tell all to drop all
	listening            atomic.Bool
	announced            atomic.Uint64
	heard                atomic.Uint64
	lost                 atomic.Uint64
}

// New makes a Notifier. It receives nothing before Run.
func New(cfg Config) *Notifier {
	return &Notifier{id: newID(), began: time.Now(), cfg: cfg, members: newMembers()}
}

// newID makes an identifier that no other process has.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Stats are the statistics of a Notifier.
type Stats struct {
	Listening bool   // messages of other processes arrive
	Trusted   bool   // copies are trusted
	Peers     int    // other processes that listen
	Announced uint64 // transactions and revocations that were announced
	Heard     uint64 // messages of other processes, except heartbeats
	Lost      uint64 // how often messages may have been missed, or were not understood
}

// Stats returns the statistics.
func (n *Notifier) Stats() Stats {
	now := time.Now()
	return Stats{
		Listening: n.listening.Load(), Trusted: n.members.leaseValid(now), Peers: n.members.count(now),
		Announced: n.announced.Load(), Heard: n.heard.Load(), Lost: n.lost.Load(),
	}
}

// SoleMember reports whether it is certain that no other process has copies that it trusts, nor
// will have copies of what was stored before now. Then nothing needs to be announced.
func (n *Notifier) SoleMember() bool { return n.members.soleMember(time.Now()) }

// AllMerge reports whether it is certain that all processes that listen merge notes. A process of
// the release before overwrites them.
func (n *Notifier) AllMerge() bool { return n.members.allMerge(time.Now()) }

// Announcement returns the statement that announces the changes of a transaction. The caller sends
// it in that transaction. Announcement must be called when only the COMMIT is left to do. ok is
// false, and there is nothing to send, if no other process can have copies by then.
func (n *Notifier) Announcement(changes []Change) (sql string, args []any, ok bool) {
	if len(changes) == 0 || n.SoleMember() {
		return "", nil, false
	}
	n.announced.Add(1)
	return Notify, []any{encodeChanges(n.id, changes)}, true
}

// CreateAnnouncement is Announcement for the creation of a note by a statement that itself assigns
// the change's number. That statement sends before, the number and after in one notification.
func (n *Notifier) CreateAnnouncement(c Change) (before, after string, ok bool) {
	if n.SoleMember() {
		return "", "", false
	}
	payloads := encodeChanges(n.id, []Change{c})
	if before, after, ok = splitAtSeq(payloads[0]); ok {
		n.announced.Add(1)
	}
	return before, after, ok
}

// AnnounceRevoked tells the other processes that a session has ended: the one with the key, or, if
// the key is empty, all of the user's. The session has ended already, and the other processes have
// to drop their copies. AnnounceRevoked returns nil once all listening processes have acknowledged
// it, or after a second: a process that has not heard of it by then trusts no copy any more. If no
// other process listens, it returns at once.
//
// ErrUnavailable: for a second the message could not be sent. This does no harm if no process
// reaches the server. But a process that reaches it while this one does not may still accept the
// session. That lasts until this process reaches the server again and tells it to drop everything.
// The same holds for the context's error.
func (n *Notifier) AnnounceRevoked(ctx context.Context, key, user string) error {
	if n.SoleMember() {
		return nil
	}
	m := message{Kind: revokedMessage, From: n.id, ID: newID(), Key: key, User: user}
	acknowledged, forget := n.members.awaitAcks(m.ID, time.Now())
	defer forget()
	if err := n.notifyWithRetry(ctx, m); err != nil {
		n.pendingInvalidateAll.Store(true)
		return fmt.Errorf("announce a revocation: %w", err)
	}
	n.announced.Add(1)
	timer := time.NewTimer(leasePeriod)
	defer timer.Stop()
	select {
	case <-acknowledged:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// notifyWithRetry sends m, and retries for as long as others may trust their copies without it.
func (n *Notifier) notifyWithRetry(ctx context.Context, m message) error {
	trying, cancel := context.WithTimeout(ctx, leasePeriod)
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

// Run listens until ctx ends. It opens a new connection after each failure.
func (n *Notifier) Run(ctx context.Context) {
	var complaint engine.Complaint
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
		// errDisconnected is logged only once, because the passing of time does not cure it.
		again := errors.Is(err, errDisconnected) && complaint.IsKnown(err)
		if !again && complaint.IsNews(err) {
			n.cfg.Log.Warn("channel to the other replicas is broken, trying again", "error", err)
		}
		_ = engine.Pause(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

// listen receives messages and sends heartbeats until the connection breaks or ctx ends. It reports
// whether a heartbeat has come back.
func (n *Notifier) listen(ctx context.Context) (worked bool, err error) {
	l := link{Notifier: n}
	if l.conn, err = pgx.ConnectConfig(ctx, n.cfg.Server); err != nil {
		return false, err
	}
	defer l.close(ctx)
	if err := l.do(ctx, l.join); err != nil {
		return false, err
	}
	n.listening.Store(true)
	defer n.listening.Store(false)
	defer n.members.disconnected()
	for next := time.Now().Add(heartbeat); ; {
		if err := l.receiveUntil(ctx, next); err != nil {
			return l.proved, err
		}
		next = time.Now().Add(heartbeat)
		if err := l.sendHeartbeat(ctx); err != nil {
			return l.proved, err
		}
	}
}

// A link is one connection of the channel. One goroutine uses it.
type link struct {
	*Notifier
	conn *pgx.Conn

	joined time.Time // when it began to listen
	latest time.Time // when the latest returned heartbeat was sent; at first, joined
	proved bool      // a heartbeat sent over the writing connections has come back
	// fence is the id of the transaction that serves as the fence: the introduction can't end
	// before all earlier transactions have ended. 0: it is not known yet.
	fence         int64
	joinedFully   bool // the introduction is over, and there was no gap since
	unknownLogged bool // a message that was not understood has been logged
}

// do runs statements within statementTimeout. If they take longer the connection counts as broken.
func (l *link) do(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	return fn(ctx)
}

// send sends notifications on the link itself.
func (l *link) send(ctx context.Context, payloads ...string) error {
	return l.do(ctx, func(ctx context.Context) error {
		_, err := l.conn.Exec(ctx, Notify, payloads)
		return err
	})
}

// join begins to listen, and sends the first heartbeat over the connections that write. When the
// heartbeat is received, what those connections send arrives here.
func (l *link) join(ctx context.Context) error {
	if _, err := engine.SetSessionTimeouts(ctx, l.conn); err != nil {
		return err
	}
	if _, err := l.conn.Exec(ctx, "LISTEN notesd"); err != nil {
		return err
	}
	l.joined = time.Now()
	l.latest = l.joined
	return l.cfg.Notify(ctx, []string{l.newHeartbeat().String()})
}

// newHeartbeat returns a heartbeat for the current time.
func (l *link) newHeartbeat() message {
	return message{Kind: heartbeatMessage, From: l.id, Merges: true, At: int64(time.Since(l.began))}
}

// sendHeartbeat sends a heartbeat.
func (l *link) sendHeartbeat(ctx context.Context) error {
	switch {
	case time.Since(l.latest) > disconnectedAfter:
		return errDisconnected
	case !l.proved:
		return nil
	}
	var payloads []string
	pending := l.pendingInvalidateAll.Swap(false)
	if pending {
		payloads = append(payloads, message{Kind: invalidateAllMessage, From: l.id}.String())
	}
	err := l.send(ctx, append(payloads, l.newHeartbeat().String())...)
	if pending && err != nil {
		l.pendingInvalidateAll.Store(true)
	}
	return err
}

// receiveUntil receives messages until the time next. If that has passed, it receives what has
// arrived already.
func (l *link) receiveUntil(ctx context.Context, next time.Time) error {
	waiting, cancel := context.WithDeadline(ctx, next)
	defer cancel()
	for {
		n, err := l.conn.WaitForNotification(waiting)
		switch {
		case err == nil:
			err = l.handle(ctx, n.Payload)
		case waiting.Err() != nil && ctx.Err() == nil && !l.conn.IsClosed():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// handle handles one message.
func (l *link) handle(ctx context.Context, text string) error {
	m, err := parseMessage(text)
	if err != nil {
		l.handleUnknown(err)
		return nil
	}
	if m.From == l.id {
		if m.Kind == heartbeatMessage {
			return l.ownHeartbeat(ctx, l.began.Add(time.Duration(m.At)))
		}
		return nil
	}
	switch m.Kind {
	case heartbeatMessage:
		l.members.heartbeat(m.From, m.Merges, time.Now())
		return nil
	case byeMessage:
		l.members.left(m.From)
	case changesMessage:
		l.cfg.Listener.Invalidate(m.changes())
	case invalidateAllMessage:
		l.cfg.Listener.InvalidateAll()
	case revokedMessage:
		l.cfg.Listener.SessionRevoked(m.Key, m.User)
		err = l.send(ctx, message{Kind: ackMessage, From: l.id, ID: m.ID}.String())
	case ackMessage:
		l.members.acknowledged(m.ID, m.From)
	}
	l.Notifier.heard.Add(1)
	return err
}

// handleUnknown handles a message that was not understood. It drops all copies, since the message
// may have been about anything.
func (l *link) handleUnknown(err error) {
	l.lost.Add(1)
	l.cfg.Listener.InvalidateAll()
	if !l.unknownLogged {
		l.unknownLogged = true
		l.cfg.Log.Warn("a message of another replica isn't understood; all copies are dropped", "error", err)
	}
}

// ownHeartbeat handles our own heartbeat. It renews the trust in our copies, once the others know
// us.
func (l *link) ownHeartbeat(ctx context.Context, sent time.Time) error {
	if sent.Before(l.joined) {
		return nil // it was sent over an older connection
	}
	l.latest, l.proved = sent, true
	first, long := l.members.ownHeartbeat(sent, time.Now())
	if first {
		l.fence, l.joinedFully = 0, false
	}
	if !long {
		return nil
	}
	if !l.joinedFully {
		past, err := l.pastFence(ctx)
		if !past {
			return err
		}
		l.joinedFully = true
		l.cfg.Listener.InvalidateAll()
		l.members.setComplete()
	}
	l.cfg.Listener.LeaseUntil(sent.Add(leasePeriod))
	return nil
}

// pastFence reports whether all transactions have ended that had changed something when it was
// first called.
func (l *link) pastFence(ctx context.Context) (past bool, err error) {
	err = l.do(ctx, func(ctx context.Context) error {
		if l.fence == 0 {
			if err := l.conn.QueryRow(ctx, "SELECT txid_current()").Scan(&l.fence); err != nil {
				return err
			}
		}
		return l.conn.QueryRow(ctx, "SELECT txid_snapshot_xmin(txid_current_snapshot()) > $1", l.fence).Scan(&past)
	})
	return past, err
}

// close closes the connection. If ctx has ended it says goodbye to the others. After that they need
// not announce anything to us, so it drops our copies first.
func (l *link) close(ctx context.Context) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), retry)
	defer cancel()
	if ctx.Err() != nil {
		l.members.disconnected()
		l.cfg.Listener.InvalidateAll()
		// If this fails, the others notice our absence soon.
		_, _ = l.conn.Exec(ending, Notify, []string{message{Kind: byeMessage, From: l.id}.String()})
	}
	_ = l.conn.Close(ending) // it may be broken
}
