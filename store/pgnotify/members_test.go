package pgnotify

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// A membersTest plays one process's members against a clock.
type membersTest struct {
	*testing.T
	*members
	now time.Time
}

func newMembersTest(t *testing.T) *membersTest { return &membersTest{t, newMembers(), time.Now()} }

// beat lets a heartbeat take some time to come back, now.
func (r *membersTest) beat(took time.Duration) (first, long bool) {
	return r.ownHeartbeat(r.now.Add(-took), r.now)
}

// introduce lets the introduction pass.
func (r *membersTest) introduce() {
	r.Helper()
	for {
		if _, long := r.beat(0); long {
			break
		}
		r.now = r.now.Add(heartbeat)
	}
	r.setComplete()
	r.isAlone(true, "introduced")
}

func (r *membersTest) isAlone(want bool, when string) {
	r.Helper()
	if got := r.soleMember(r.now); got != want {
		r.Errorf("alone() = %v, want %v: %s", got, want, when)
	}
}

// Before the introduction is over, nobody is alone.
func TestMembersIntroduction(t *testing.T) {
	r := newMembersTest(t)
	r.isAlone(false, "at the start")
	began := r.now
	for r.now.Sub(began) < joinPeriod {
		if first, long := r.beat(10 * ms); first != r.now.Equal(began) || long {
			t.Fatalf("after %v: first %v, long %v", r.now.Sub(began), first, long)
		}
		r.isAlone(false, "during the introduction")
		r.now = r.now.Add(heartbeat)
	}
	if first, long := r.beat(10 * ms); first || !long {
		t.Errorf("after %v: first %v, long %v", r.now.Sub(began), first, long)
	}
	r.setComplete()
	r.isAlone(true, "introduced")
}

// Trust lasts for a second from when a beat was sent; what comes back later is
// the first after a gap.
func TestMembersGap(t *testing.T) {
	r := newMembersTest(t)
	r.introduce()
	r.now = r.now.Add(leasePeriod - 1)
	r.isAlone(true, "just before the second is over")
	if first, long := r.beat(leasePeriod - 1); first || !long {
		t.Errorf("a beat that comes back in time is first %v, long %v", first, long)
	}
	r.now = r.now.Add(1)
	r.isAlone(false, "a second after the beat was sent")
	if first, long := r.beat(0); !first || long {
		t.Errorf("a beat that comes back too late is first %v, long %v", first, long)
	}
	r.isAlone(false, "after a gap")
	r.introduce()
	r.disconnected()
	r.isAlone(false, "deaf")
	if first, _ := r.beat(0); !first {
		t.Error("a beat after deafness is not the first")
	}
}

// Who is heard is there for two seconds, or until it says goodbye.
func TestMembersPeers(t *testing.T) {
	r := newMembersTest(t)
	r.introduce()
	r.heartbeat("b", true, r.now)
	r.isAlone(false, "with a peer")
	r.left("b")
	r.isAlone(true, "after its goodbye")
	r.heartbeat("b", true, r.now)
	for range 7 {
		r.now = r.now.Add(heartbeat)
		r.beat(0)
	}
	r.now = r.now.Add(heartbeat - 1)
	r.isAlone(false, "just before two seconds are over")
	r.now = r.now.Add(1)
	r.isAlone(true, "two seconds later")
}

// A revocation waits for everybody who is there, and for nobody's second word.
func TestMembersAwait(t *testing.T) {
	is := func(done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	r := newMembersTest(t)
	if done, _ := r.awaitAcks("0", r.now); done != nil {
		t.Error("who doesn't know the others waits for some of them")
	}
	r.introduce()
	if done, _ := r.awaitAcks("1", r.now); !is(done) {
		t.Error("who is alone waits")
	}
	r.heartbeat("b", true, r.now)
	r.heartbeat("c", true, r.now)
	done, forget := r.awaitAcks("2", r.now)
	r.heartbeat("d", true, r.now) // has come later
	for _, from := range []string{"d", "b", "b"} {
		r.acknowledged("2", from)
		r.acknowledged("1", "c")
		if is(done) {
			t.Fatalf("done after %s's word, before c's", from)
		}
	}
	r.left("c")
	if !is(done) {
		t.Error("not done, though c has left")
	}
	r.acknowledged("2", "c")
	forget()
	r.acknowledged("2", "c")
	if len(r.pendingAcks) != 1 { // the one that nobody has told to forget
		t.Errorf("%d revocations are awaited", len(r.pendingAcks))
	}
}

// All merge only if each one says so, for as long as it is remembered.
func TestMembersMerge(t *testing.T) {
	r := newMembersTest(t)
	want := func(want bool, when string) {
		t.Helper()
		if got := r.allMerge(r.now); got != want {
			t.Errorf("allMerge() = %v, want %v: %s", got, want, when)
		}
	}
	want(false, "at the start")
	r.introduce()
	want(true, "alone")
	r.heartbeat("b", true, r.now)
	want(true, "with one that merges")
	r.heartbeat("c", false, r.now)
	want(false, "with one of the release before")
	r.left("c")
	want(true, "after it has left")
	r.heartbeat("c", false, r.now)
	for range int(memberTTL / heartbeat) {
		r.now = r.now.Add(heartbeat)
		r.beat(0)
	}
	want(true, "after both have vanished")
	r.disconnected()
	want(false, "without a connection")
}
