package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"notesd/internal/heavy"
	"notesd/store"
)

// PasswordParams are the parameters for hashing passwords: 19 MiB and about 20 ms of one core. They
// are OWASP's second choice; its first choice takes more memory for the same strength. Only tests
// change them, before they hash the first password.
var PasswordParams = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// These are bounds on the parameters of a stored hash. Hashes come from the database, and old ones
// come from another database. No hash may exhaust the machine, and none may be so short that it
// fits any password.
const (
	maxHashMemory  = 64 * 1024 // KiB
	maxHashTime    = 10
	maxHashThreads = 16

	minHashSalt = 8  // bytes
	minHashKey  = 16 // bytes
	maxHashKey  = 64 // bytes

	maxBcryptCost   = 14 // about 1 s
	bcryptHashBytes = 60

	hashesEvery = 10 * time.Minute
)

// HashBytes is the memory of a request that hashes one password, or that verifies a password and
// hashes it again. The server keeps as much free from all other requests.
const HashBytes = 21 << 20

// hashPassword returns the hash to store, as a PHC string.
func hashPassword(password string) (hash string, err error) {
	heavy.Do(func() { hash, err = argon2id.CreateHash(password, &PasswordParams) })
	return hash, err
}

// verifyPassword reports whether hash is the hash of password. It returns false for a hash that
// cannot or must not be computed.
func verifyPassword(hash, password string) (ok bool) {
	if !verifiable(hash) {
		return false
	}
	heavy.Do(func() {
		var err error
		if isBcrypt(hash) { // bcrypt uses only the first 72 bytes of a password, here as everywhere
			err = bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
			ok = err == nil
			return
		}
		ok, err = argon2id.ComparePasswordAndHash(password, hash)
		ok = ok && err == nil
	})
	return ok
}

// verifiable reports whether a password may be compared with hash: the kind of hash is known, and
// its parameters are within the bounds.
func verifiable(hash string) bool {
	if isBcrypt(hash) {
		cost, err := bcrypt.Cost([]byte(hash))
		return err == nil && cost <= maxBcryptCost && len(hash) == bcryptHashBytes
	}
	params, err := decodeHash(hash)
	return err == nil && bearable(params)
}

// A padding is the extra work that is done after a wrong password. It makes every failed sign-in
// take as long as the slowest one. Otherwise the duration would reveal whether the account exists,
// and what kind of hash it has.
type padding struct {
	argon  bool
	bcrypt []int // costs
}

// paddingFor returns the padding after a password was compared with hash, which is empty if there
// is no account. maxCost is the highest bcrypt cost among the accounts; 0: no account has a bcrypt
// hash.
func paddingFor(hash string, maxCost int) (p padding) {
	switch cost, err := bcrypt.Cost([]byte(hash)); {
	case !verifiable(hash): // nothing was computed
		p.argon = true
		if maxCost > 0 {
			p.bcrypt = []int{maxCost}
		}
	case err == nil:
		p.argon = true
		for ; cost < maxCost; cost++ { // each cost takes twice the time of the cost before it
			p.bcrypt = append(p.bcrypt, cost)
		}
	case maxCost > 0:
		p.bcrypt = []int{maxCost}
	}
	return p
}

func (p padding) compute(password string) {
	if p.argon {
		verifyPassword(dummyHash(), password)
	}
	for _, cost := range p.bcrypt {
		verifyPassword(fmt.Sprintf("$2b$%02d$%s", cost, strings.Repeat("e", bcryptHashBytes-len("$2b$00$"))), password)
	}
}

// bcryptCost is the highest known bcrypt cost among the accounts; 0: no account has a bcrypt hash.
type bcryptCost struct{ atomic.Int64 }

// raise raises the cost to that of hash, if hash is an account's bcrypt hash of a higher cost.
func (c *bcryptCost) raise(hash string) {
	cost, err := bcrypt.Cost([]byte(hash))
	for err == nil && verifiable(hash) {
		known := c.Load()
		if int64(cost) <= known || c.CompareAndSwap(known, int64(cost)) {
			return
		}
	}
}

// WatchHashes reads the highest bcrypt cost from the database every hashesEvery, until ctx ends.
// bcrypt hashes come from the old server.
func (a *Accounts) WatchHashes(ctx context.Context) {
	if a.store.WaitReady(ctx) != nil {
		return
	}
	tick := time.NewTicker(hashesEvery)
	defer tick.Stop()
	for {
		before := a.bcryptCost.Load()
		if cost, err := a.store.MaxBcryptCost(ctx); err == nil {
			// Unless it was raised meanwhile.
			a.bcryptCost.CompareAndSwap(before, min(int64(cost), maxBcryptCost))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// dummyHash returns a hash that is as much work to verify as a new one, and that fits no known
// password, because its key is random. To compute one would take a quarter of the start, and 19 MB.
var dummyHash = sync.OnceValue(func() string {
	p := PasswordParams
	random := make([]byte, p.SaltLength+p.KeyLength)
	_, _ = rand.Read(random) // never fails
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Iterations, p.Parallelism,
		encode(random[:p.SaltLength]), encode(random[p.SaltLength:]))
})

// needsRehash reports whether a hash that was just verified must be replaced: it is a bcrypt hash
// from the old database, or its parameters are not the current ones.
func needsRehash(hash string) bool {
	params, err := decodeHash(hash)
	return err != nil || params != PasswordParams
}

func decodeHash(hash string) (argon2id.Params, error) {
	params, _, _, err := argon2id.DecodeHash(hash)
	if err != nil {
		return argon2id.Params{}, err
	}
	return *params, nil
}

func bearable(p argon2id.Params) bool {
	return p.Memory <= maxHashMemory &&
		p.Iterations >= 1 && p.Iterations <= maxHashTime && // argon2 panics at 0
		p.Parallelism >= 1 && p.Parallelism <= maxHashThreads &&
		p.SaltLength >= minHashSalt && p.KeyLength >= minHashKey && p.KeyLength <= maxHashKey
}

// isBcrypt reports whether hash has one of the three prefixes of bcrypt hashes.
func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

// HasKnownHash reports whether the account's password can be verified. If it cannot, the user
// cannot sign in until the password is reset.
func HasKnownHash(u store.User) bool { return verifiable(u.PasswordHash) }
