package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"notesd/store/engine"
)

const (
	heartbeat  = 250 * time.Millisecond // between beats
	answerTime = time.Second            // for a statement on the channel's connection
	deafTime   = 2 * time.Second        // without a beat that comes back: there is something wrong with the connection

	retry     = 250 * time.Millisecond // between attempts to listen, at first
	mostRetry = 2 * time.Second
)

// publish says each of the texts to all who listen, the sender included, when
// its transaction commits: then or never.
const publish = `SELECT pg_notify('notesd', said) FROM unnest($1::text[]) AS said`

// errDeaf is what a wrong DATABASE_CHANNEL_URL leads to, and a pooler that gives
// each transaction another connection.
var errDeaf = errors.New("what is said in the database isn't heard on this connection, so nothing is answered from memory: " +
	"behind a pooler let DATABASE_CHANNEL_URL lead past it")

// A channel is how the processes that share a PostgreSQL tell each other what
// they change, so that each may keep copies of what it reads: LISTEN on a
// connection of its own, and NOTIFY in the transactions that change something.
// A message of a transaction that is seen can't be lost, nor one of a
// transaction that never was be heard, and all hear all in the order in which they
// commit. Nothing else has that: so notes and sessions use it wherever sessions are kept.
//
// Every process says heartbeat by heartbeat that it is there. When its own word
// comes back it has heard all that was committed before, and trusts its copies
// for one second (trusted) from when it was sent. Without a connection it trusts nothing.
// So what is committed here is seen everywhere at once, and after a second
// where it can't be heard.
//
// A NOTIFY costs: PostgreSQL lets all transactions with one commit one after
// another. So who is alone announces nothing (see alone). Whoever comes must be
// known before it trusts what it has; its introduction is over when
//   - our beats have come back for so long (introduction) that nobody has
//     decided for a while that he is alone (see roster), and
//   - all transactions have ended that there were then, among them what was
//     decided before (see fence).
//
// What a process decides and the server gets only a second later escapes that, if
// another starts in this very second; the watchdog gives a server up sooner.
type channel struct {
	id      string // of this process, in what it says
	began   time.Time
	server  *pgx.ConnConfig
	listens bool // else it only speaks
	witness Witness
	log     *slog.Logger
	publish func(ctx context.Context, said ...string) error // over the connections that write
	roster  *roster

	owes      atomic.Bool // a revocation couldn't be said: everybody is to forget everything
	listening atomic.Bool
	announced atomic.Uint64
	heard     atomic.Uint64
	lost      atomic.Uint64
}

// ChannelStats are figures of the channel to the other processes on the database.
type ChannelStats struct {
	Listening bool   // what others say arrives
	Trusted   bool   // copies may be used
	Peers     int    // others that listen
	Announced uint64 // transactions and revocations that others were told of
	Heard     uint64 // messages of others, besides their heartbeats
	Lost      uint64 // times that messages may have been missed, or were not understood
}

// Channel returns the channel's figures; on SQLite, which has none, all are zero.
func (s *Store) Channel() ChannelStats {
	c := s.channel
	if c == nil {
		return ChannelStats{}
	}
	now := time.Now()
	return ChannelStats{
		Listening: c.listening.Load(), Trusted: c.roster.trusts(now), Peers: c.roster.count(now),
		Announced: c.announced.Load(), Heard: c.heard.Load(), Lost: c.lost.Load(),
	}
}

// newChannel makes the channel of a store with its own witness; with none it
// has no copies, so it doesn't listen, and never knows that it is alone.
func (s *Store) newChannel(cfg Config) (*channel, error) {
	server, err := engine.ParsePostgresURL(cmp.Or(cfg.ChannelURL, cfg.URL))
	if err != nil && cfg.ChannelURL != "" {
		err = fmt.Errorf("channel: %w", err)
	}
	if err != nil {
		return nil, err
	}
	server.DialFunc = engine.DialPatiently // it waits most of the time, and beats: no watchdog is needed
	_, none := s.witness.(nobody)
	return &channel{
		id: NewID(), began: time.Now(), server: server, listens: !none, witness: s.witness, log: s.log,
		publish: s.publish, roster: newRoster(),
	}, nil
}

// publish says something in a transaction of its own.
func (s *Store) publish(ctx context.Context, said ...string) error {
	return s.db.WriteOne(ctx, func(db *gorm.DB) error { return db.Exec(publish, said).Error })
}

// announcement is the statement that tells the other processes of the changes
// of a transaction, to be sent in it. It is to be asked for when the transaction
// has nothing else to do before its COMMIT: it is not ok, and there is
// nothing to send, when nobody else can have copies by then.
func (s *Store) announcement(changes []Change) (sql string, args []any, ok bool) {
	c := s.channel
	if c == nil || len(changes) == 0 || c.roster.alone(time.Now()) {
		return "", nil, false
	}
	c.announced.Add(1)
	return publish, []any{sayChanges(c.id, changes)}, true
}

// AnnounceRevoked tells the other processes that a session has ended, the one
// with the key, or without a key all of the user's. It has ended already: they
// are to let go of their copies. It returns nil once all that listen have said
// that they know, or else after a second: who has not heard of it by then trusts
// no copy any more. When nobody else listens, and on SQLite, it returns at once.
//
// ErrUnavailable: for a second it couldn't be said. That is no matter when nobody
// reaches the server; but who does, though we don't, may know the session for
// longer, until we do, when he is told to forget everything.
// The same goes for the context's error.
func (s *Store) AnnounceRevoked(ctx context.Context, key, user string) error {
	c := s.channel
	if c == nil || c.roster.alone(time.Now()) {
		return nil
	}
	m := message{Kind: revokedMessage, From: c.id, ID: NewID(), Key: key, User: user}
	acknowledged, forget := c.roster.await(m.ID, time.Now())
	defer forget()
	if err := c.insist(ctx, m); err != nil {
		c.owes.Store(true)
		return fmt.Errorf("announce a revocation: %w", err)
	}
	c.announced.Add(1)
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
func (c *channel) insist(ctx context.Context, m message) error {
	trying, cancel := context.WithTimeout(ctx, trusted)
	defer cancel()
	for {
		err := c.publish(trying, m.String())
		if err == nil || !errors.Is(err, ErrUnavailable) && trying.Err() == nil {
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

// run listens until ctx ends, on one connection after another.
func (c *channel) run(ctx context.Context) {
	var said engine.Complaint
	wait := retry
	for ctx.Err() == nil {
		worked, err := c.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		c.lost.Add(1)
		if worked {
			wait = retry
		}
		if deaf := errors.Is(err, errDeaf); (!deaf || !said.IsKnown(err)) && said.IsNews(err) { // that is no matter of time
			c.log.Warn("channel to the other replicas is broken, trying again", "error", err)
		}
		_ = engine.Pause(ctx, wait)
		wait = min(2*wait, mostRetry)
	}
}

// listen hears and beats until the connection breaks or ctx ends. It reports
// whether anything was heard.
func (c *channel) listen(ctx context.Context) (worked bool, err error) {
	l := link{channel: c}
	if l.conn, err = pgx.ConnectConfig(ctx, c.server); err != nil {
		return false, err
	}
	defer l.leave(ctx)
	if err := l.do(ctx, l.join); err != nil {
		return false, err
	}
	c.listening.Store(true)
	defer c.listening.Store(false)
	defer c.roster.deaf()
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
	*channel
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

// say publishes on the link itself.
func (l *link) say(ctx context.Context, said ...string) error {
	return l.do(ctx, func(ctx context.Context) error {
		_, err := l.conn.Exec(ctx, publish, said)
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
	return l.publish(ctx, l.now().String())
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
	var said []string
	owed := l.owes.Swap(false)
	if owed {
		said = append(said, message{Kind: forgetMessage, From: l.id}.String())
	}
	err := l.say(ctx, append(said, l.now().String())...)
	if owed && err != nil {
		l.owes.Store(true)
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
		l.roster.heard(m.From, time.Now())
		return nil
	case byeMessage:
		l.roster.left(m.From)
	case changesMessage:
		l.witness.Changed(m.changes())
	case forgetMessage:
		l.witness.Forget()
	case revokedMessage:
		l.witness.Revoked(m.Key, m.User)
		err = l.say(ctx, message{Kind: ackMessage, From: l.id, ID: m.ID}.String())
	case ackMessage:
		l.roster.acknowledged(m.ID, m.From)
	}
	l.channel.heard.Add(1)
	return err
}

// puzzle forgets everything, as what was said may have been about anything.
func (l *link) puzzle(err error) {
	l.lost.Add(1)
	l.witness.Forget()
	if !l.puzzled {
		l.puzzled = true
		l.log.Warn("a message of another replica isn't understood; all copies are dropped", "error", err)
	}
}

// heardOwn trusts what there is, once others know us.
func (l *link) heardOwn(ctx context.Context, sent time.Time) error {
	if sent.Before(l.joined) {
		return nil // over an older connection
	}
	l.latest, l.proved = sent, true
	first, long := l.roster.heardOwn(sent, time.Now())
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
		l.witness.Forget()
		l.roster.introduced()
	}
	l.witness.Trust(sent.Add(trusted))
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
		l.roster.deaf()
		l.witness.Forget()
		_, _ = l.conn.Exec(ending, publish, []string{message{Kind: byeMessage, From: l.id}.String()}) // else they miss us soon
	}
	_ = l.conn.Close(ending) // it may be broken
}
