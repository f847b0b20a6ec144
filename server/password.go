package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"notesd/store"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"
)

// passwordParams is how passwords are hashed: 19 MiB and about 20 ms of one
// core (OWASP's second choice; its first takes more memory for the same worth).
var passwordParams = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// What a stored hash may ask for. Hashes come from the database, and old ones
// from another: none may take the machine down, and none may be so short that
// it fits any password.
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

// hashBytes is what a request takes that hashes one password, or verifies it
// and hashes it anew. PasswordBytes keeps as much from all other requests.
const (
	hashBytes     = 21 << 20
	PasswordBytes = hashBytes
)

// hashPassword returns the hash to store, as a PHC string.
func hashPassword(password string) (string, error) {
	return argon2id.CreateHash(password, &passwordParams)
}

// verifyPassword reports whether password is the one that was hashed. A hash
// that can't or mustn't be computed fits none.
func verifyPassword(hash, password string) bool {
	switch {
	case !verifiable(hash):
		return false
	case isBcrypt(hash): // which looks at the first 72 bytes of a password, as everywhere
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	}
	ok, err := argon2id.ComparePasswordAndHash(password, hash)
	return ok && err == nil
}

// verifiable reports whether a password may be compared with hash: it is of a
// kind that we know, and asks for no more than it may.
func verifiable(hash string) bool {
	if isBcrypt(hash) {
		cost, err := bcrypt.Cost([]byte(hash))
		return err == nil && cost <= maxBcryptCost && len(hash) == bcryptHashBytes
	}
	params, err := decodeHash(hash)
	return err == nil && bearable(params)
}

// A padding is what is computed after a password has not fitted, so that all sign-ins that fail take as long as the
// slowest: else how long one takes would tell whether there is an account, and of which kind.
type padding struct {
	argon  bool
	bcrypt []int // costs
}

// paddingFor is the padding after a password was compared with hash, which is empty where there is no account.
// maxCost is the highest cost of bcrypt among the accounts; 0: there is none.
func paddingFor(hash string, maxCost int) (p padding) {
	switch cost, err := bcrypt.Cost([]byte(hash)); {
	case !verifiable(hash): // nothing was computed
		p.argon = true
		if maxCost > 0 {
			p.bcrypt = []int{maxCost}
		}
	case err == nil:
		p.argon = true
		for ; cost < maxCost; cost++ { // each takes twice the time of the one before
			p.bcrypt = append(p.bcrypt, cost)
		}
	case maxCost > 0:
		p.bcrypt = []int{maxCost}
	}
	return p
}

func (p padding) compute(password string) {
	if p.argon {
		verifyPassword(nobodysHash(), password)
	}
	for _, cost := range p.bcrypt {
		verifyPassword(fmt.Sprintf("$2b$%02d$%s", cost, strings.Repeat("e", bcryptHashBytes-len("$2b$00$"))), password)
	}
}

// bcryptCost is the highest cost of bcrypt among the accounts, as far as is known; 0: there is none.
type bcryptCost struct{ atomic.Int64 }

// raise takes note of an account's hash.
func (c *bcryptCost) raise(hash string) {
	cost, err := bcrypt.Cost([]byte(hash))
	for err == nil && verifiable(hash) {
		known := c.Load()
		if int64(cost) <= known || c.CompareAndSwap(known, int64(cost)) {
			return
		}
	}
}

// watchHashes learns now and then which hashes of the old server there still are.
func (s *Server) watchHashes(ctx context.Context) {
	if s.store.WaitReady(ctx) != nil {
		return
	}
	tick := time.NewTicker(hashesEvery)
	defer tick.Stop()
	for {
		before := s.bcryptCost.Load()
		if cost, err := s.store.MaxBcryptCost(ctx); err == nil {
			s.bcryptCost.CompareAndSwap(before, min(int64(cost), maxBcryptCost)) // unless raised meanwhile
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// nobodysHash is a hash of ours that no account has. Called once at the start,
// it spares the first client the time that making it takes.
var nobodysHash = sync.OnceValue(func() string {
	hash, err := hashPassword("nobody")
	if err != nil { // no source of randomness: nothing can be hashed, and hashPassword says so
		return ""
	}
	return hash
})

// needsRehash reports whether hash, of a password that fits it, should be made
// anew: it is bcrypt's, from the old database, or its parameters aren't today's.
func needsRehash(hash string) bool {
	params, err := decodeHash(hash)
	return err != nil || params != passwordParams
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

// isBcrypt knows the three names that bcrypt's hashes go by.
func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

// reserveHash sets aside what hashing a password takes. Others may have it for
// the time of their work, which ends soon.
func (s *Server) reserveHash(x *exchange) error {
	return s.pool.ReserveWithin(x.ctx, &x.memory, x.reserver(), hashBytes, s.pacer.most)
}

// HasKnownHash reports whether the account's password can be verified. Without
// that, nobody signs in until it is reset.
func HasKnownHash(u store.User) bool { return verifiable(u.PasswordHash) }
