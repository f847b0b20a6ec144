package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"

	"notesd/internal/testkit"
	"notesd/store"
	"notesd/store/storetest"
)

func TestPassword(t *testing.T) {
	for _, password := range []string{"", "пароль\x00", "\xff\xfe not UTF-8", strings.Repeat("long", 256)} {
		hash, err := hashPassword(password)
		if err != nil {
			t.Fatalf("hashPassword(%q) = %v", password, err)
		}
		if !strings.HasPrefix(hash, "$argon2id$v=19$m=2048,t=1,p=1$") {
			t.Errorf("hashPassword(%q) = %q, want argon2id by PasswordParams", password, hash)
		}
		if !verifyPassword(hash, password) {
			t.Errorf("verifyPassword(%q, %q) = false, want true", hash, password)
		}
		if wrong := password + "\x00"; verifyPassword(hash, wrong) {
			t.Errorf("verifyPassword(%q, %q) = true, want false", hash, wrong)
		}
		if needsRehash(hash) {
			t.Errorf("needsRehash(%q) = true, want false", hash)
		}
	}
}

func TestPasswordParams(t *testing.T) {
	if want := (argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}); shippedParams != want {
		t.Errorf("passwords are hashed by %+v, want %+v", shippedParams, want)
	}
	hash, err := argon2id.CreateHash("correct horse", &shippedParams)
	if err != nil || !verifyPassword(hash, "correct horse") || verifyPassword(hash, "another horse") {
		t.Errorf("a hash as it is shipped, %q, %v, does not tell passwords apart", hash, err)
	}
}

func TestPasswordSalt(t *testing.T) {
	one, _ := hashPassword("same")
	two, _ := hashPassword("same")
	if one == two {
		t.Errorf("hashPassword() gave %q twice", one)
	}
}

// Hashes that the old server made (Node's bcrypt writes $2b$), and those of
// other libraries, verify and are to be made anew.
func TestPasswordBcrypt(t *testing.T) {
	made, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"$2a$", "$2b$", "$2y$"} {
		hash := name + string(made[4:])
		if !verifyPassword(hash, "correct horse") {
			t.Errorf("verifyPassword(%q) of the right password = false, want true", hash)
		}
		if verifyPassword(hash, "correct horsf") {
			t.Errorf("verifyPassword(%q) of a wrong password = true, want false", hash)
		}
		if !needsRehash(hash) {
			t.Errorf("needsRehash(%q) = false, want true", hash)
		}
	}
	long := strings.Repeat("x", 72)
	if made, err = bcrypt.GenerateFromPassword([]byte(long), bcrypt.MinCost); err != nil {
		t.Fatal(err)
	}
	if !verifyPassword(string(made), long+" and what Node's bcrypt never read") {
		t.Error("verifyPassword() of a password beyond 72 bytes = false, want true: bcrypt reads no more")
	}
}

// A stored hash can't make the server spend what it doesn't have, nor panic,
// nor let everyone in.
func TestPasswordHostileHash(t *testing.T) {
	good, err := hashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Split(good, "$")
	salt, key := fields[4], fields[5]
	argon := func(params, salt, key string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + key }
	for name, hash := range map[string]string{
		"empty":              "",
		"text":               "x",
		"dollars":            "$$$$$",
		"too much memory":    argon("m=65537,t=1,p=1", salt, key),
		"absurd memory":      argon("m=4294967295,t=1,p=1", salt, key),
		"too many passes":    argon("m=64,t=11,p=1", salt, key),
		"no passes":          argon("m=64,t=0,p=1", salt, key),
		"too many lanes":     argon("m=64,t=1,p=17", salt, key),
		"no lanes":           argon("m=64,t=1,p=0", salt, key),
		"negative":           argon("m=-1,t=-1,p=-1", salt, key),
		"no salt":            argon("m=64,t=1,p=1", "", key),
		"short salt":         argon("m=64,t=1,p=1", "YWFhYWFhYQ", key),
		"no key":             argon("m=64,t=1,p=1", salt, ""), // would fit every password
		"short key":          argon("m=64,t=1,p=1", salt, "YWFhYWFhYWFhYWFhYWFh"),
		"long key":           argon("m=64,t=1,p=1", salt, strings.Repeat("YWFh", 22)),
		"no base64":          argon("m=64,t=1,p=1", "!!!!!!!!!!!", key),
		"another version":    strings.Replace(good, "v=19", "v=16", 1),
		"another variant":    strings.Replace(good, "argon2id", "argon2i", 1),
		"bcrypt prefix":      "$2b$",
		"bcrypt cut":         "$2b$04$abcdefghijklmnopqrstuv",
		"bcrypt dear":        "$2b$31$" + strings.Repeat("a", 53),
		"bcrypt dear by one": "$2b$15$" + strings.Repeat("a", 53),
		"bcrypt long":        "$2b$04$" + strings.Repeat("a", 54),
		"bcrypt no base64":   "$2b$04$" + strings.Repeat("!", 53),
		"bcrypt of old":      "$2x$04$" + strings.Repeat("a", 53),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if verifyPassword(hash, "x") {
				t.Errorf("verifyPassword(%q) = true, want false", hash)
			}
			if params, err := decodeHash(hash); err == nil && bearable(params) {
				t.Errorf("bearable(%+v) = true, want false", params)
			}
			if took := time.Since(began); testkit.TooLong(took, 0, time.Second) {
				t.Errorf("verifyPassword(%q) took %v", hash, took)
			}
		})
	}
}

// The most that a stored hash may ask for still verifies.
func TestPasswordOtherParameters(t *testing.T) {
	for _, params := range []argon2id.Params{
		{Memory: maxHashMemory, Iterations: 1, Parallelism: maxHashThreads, SaltLength: minHashSalt, KeyLength: maxHashKey},
		{Memory: 64, Iterations: maxHashTime, Parallelism: 1, SaltLength: 16, KeyLength: minHashKey},
	} {
		hash, err := argon2id.CreateHash("x", &params)
		if err != nil {
			t.Fatal(err)
		}
		if !verifyPassword(hash, "x") || !needsRehash(hash) {
			t.Errorf("%s: want it to fit its password, and to be made anew", hash)
		}
	}
}

// A sign-in to no account computes a hash with the parameters of all others,
// and the first one too.
func TestPasswordOfNobody(t *testing.T) {
	params, err := decodeHash(dummyHash())
	if err != nil || params != PasswordParams {
		t.Fatalf("dummyHash() = %q, %v, want one with today's parameters", dummyHash(), err)
	}
	somebodys, err := hashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	somebody, nobody := time.Hour, time.Hour
	for range 20 { // the least of a few: what the machine does besides can only add
		somebody = min(somebody, timed(func() { verifyPassword(somebodys, "wrong") }))
		nobody = min(nobody, timed(func() { paddingFor("", 0).compute("wrong") }))
	}
	if ratio := float64(nobody) / float64(somebody); ratio < 0.5 || ratio > 2 {
		t.Errorf("nobody's password took %v, somebody's %v: they can be told apart", nobody, somebody)
	}
}

func timed(fn func()) time.Duration {
	began := time.Now()
	fn()
	return time.Since(began)
}

func FuzzVerifyPassword(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$YWFhYWFhYWE$YWFhYWFhYWFhYWFhYWFhYWFh")
	f.Add("$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde")
	f.Fuzz(func(t *testing.T, hash string) {
		if params, err := decodeHash(hash); err == nil && bearable(params) && params.Memory > 1024 {
			t.Skip("slow, and nothing new")
		}
		if isBcrypt(hash) {
			if cost, err := bcrypt.Cost([]byte(hash)); err == nil && cost > bcrypt.MinCost {
				t.Skip("slow, and nothing new")
			}
		}
		one, two := verifyPassword(hash, "one"), verifyPassword(hash, "two")
		if one && two {
			t.Errorf("%q fits two passwords", hash)
		}
		needsRehash(hash)
	})
}

func BenchmarkPassword(b *testing.B) {
	hash, err := hashPassword("x")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("argon2id", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			verifyPassword(hash, "y")
		}
	})
	for _, cost := range []int{10, 12} { // the old server's
		made, err := bcrypt.GenerateFromPassword([]byte("x"), cost)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("bcrypt ", cost), func(b *testing.B) {
			for b.Loop() {
				verifyPassword(string(made), "y")
			}
		})
	}
}

// A sign-in that fails computes the same, whichever kind of hash the account has, and whether or not there is one.
func TestPadding(t *testing.T) {
	argon, err := hashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	bcryptOf := func(cost int) string {
		return fmt.Sprintf("$2b$%02d$%s", cost, strings.Repeat("e", 53))
	}
	const argonWork = 1 << 20
	for _, test := range []struct {
		max    int
		hashes []string
	}{
		{0, []string{"", "no hash", argon, bcryptOf(maxBcryptCost + 1)}},
		{10, []string{"", "no hash", argon, bcryptOf(4), bcryptOf(9), bcryptOf(10)}},
		{12, []string{"", argon, bcryptOf(10), bcryptOf(12), "$2b$99$"}},
	} {
		want := argonWork
		if test.max > 0 {
			want += 1 << test.max
		}
		for _, hash := range test.hashes {
			work := 0
			if cost, err := bcrypt.Cost([]byte(hash)); err == nil && verifiable(hash) {
				work = 1 << cost
			} else if verifiable(hash) {
				work = argonWork
			}
			p := paddingFor(hash, test.max)
			if p.argon {
				work += argonWork
			}
			for _, cost := range p.bcrypt {
				work += 1 << cost
			}
			if work != want {
				t.Errorf("with costs up to %d, %.12q and paddingFor() = %+v are work %d, want %d", test.max, hash, p, work, want)
			}
		}
	}
}

// What a padding computes is really computed.
func TestPaddingTakesTime(t *testing.T) {
	timed := func(p padding) time.Duration {
		shortest := time.Hour
		for range 3 { // the machine may be busy
			began := time.Now()
			p.compute(strings.Repeat("long ", 100))
			shortest = min(shortest, time.Since(began))
		}
		return shortest
	}
	if short, long := timed(padding{bcrypt: []int{4}}), timed(padding{bcrypt: []int{4, 9}}); long < 4*short {
		t.Errorf("bcrypt of the cost 4 took %v, and with the cost 9 %v, want 33 times as long", short, long)
	}
}

// The highest cost of the old server's hashes is read from the database, and rises at once when a
// sign-in meets a higher one.
func TestBcryptCost(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := newAccounts(t, s)
		want := func(cost int64, when string) {
			t.Helper()
			if got := a.bcryptCost.Load(); got != cost {
				t.Errorf("%s the highest cost is %d, want %d", when, got, cost)
			}
		}
		want(0, "without an account")
		add := func(cost int) (email string) {
			t.Helper()
			hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
			if err != nil {
				t.Fatal(err)
			}
			email = fmt.Sprintf("%d@example.com", cost)
			if _, err := s.CreateUser(t.Context(), email, "old", string(hash)); err != nil {
				t.Fatal(err)
			}
			return email
		}
		four := add(4)
		ctx, stop := context.WithCancel(t.Context())
		watching := make(chan struct{})
		go func() { defer close(watching); a.WatchHashes(ctx) }()
		testkit.Eventually(t, "the cost of the database", func() bool { return a.bcryptCost.Load() == 4 })
		stop()
		<-watching
		for _, email := range []string{add(5), four} {
			if _, err := a.SignIn(t.Context(), httptest.NewRecorder(), someClient(), Credentials{Email: email, Password: "wrong"}); !errors.Is(err, ErrCredentials) {
				t.Errorf("SignIn() with a wrong password = %v, want ErrCredentials", err)
			}
			want(5, "after a sign-in to "+email)
		}
	})
}
