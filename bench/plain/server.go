package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
)

type server struct {
	db        *pgxpool.Pool
	sessions  *redis.Pool
	secret    []byte // the key that the tokens of sessions are hashed with
	cursorKey []byte // derived from secret
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", health)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /api/notes", s.signedIn(s.listNotes))
	mux.HandleFunc("POST /api/notes", s.signedIn(s.createNote))
	mux.HandleFunc("GET /api/notes/{id}", s.signedIn(s.getNote))
	return mux
}

func health(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, struct {
		Success   bool   `json:"success"`
		Message   string `json:"message"`
		Timestamp stamp  `json:"timestamp"`
	}{true, "API is healthy", stamp(time.Now().UnixMilli())})
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.db.Ping(r.Context()); err != nil {
		fail(w, http.StatusServiceUnavailable, "Database unavailable")
		return
	}
	w.WriteHeader(http.StatusOK)
}

// signedIn calls handle with the id of the user of the session that the cookie names.
func (s *server) signedIn(handle func(w http.ResponseWriter, r *http.Request, user string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, err := s.user(r)
		switch {
		case err != nil:
			fail(w, http.StatusServiceUnavailable, "Sessions unavailable")
		case user == "":
			fail(w, http.StatusUnauthorized, "Authentication required")
		default:
			handle(w, r, user)
		}
	}
}

// user returns the id of the user of the session. It returns "" if there is no session. It takes
// one GET.
func (s *server) user(r *http.Request) (string, error) {
	cookie, err := r.Cookie("sessionId")
	if err != nil {
		return "", nil
	}
	data, err := s.session(r.Context(), "scs:session:"+s.seal(cookie.Value))
	if errors.Is(err, redis.ErrNil) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var record struct {
		UserID  string `json:"uid"`
		Expires int64  `json:"expires"` // Unix milliseconds
	}
	if err := json.Unmarshal(data, &record); err != nil || record.Expires <= time.Now().UnixMilli() {
		return "", err
	}
	return record.UserID, nil
}

func (s *server) session(ctx context.Context, key string) ([]byte, error) {
	conn, err := s.sessions.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return redis.Bytes(redis.DoContext(conn, ctx, "GET", key))
}

// seal returns the key under which the session of a token is stored.
func (s *server) seal(token string) string {
	return hex.EncodeToString(sign(s.secret, []byte("session\x00"+token)))
}

func sign(key, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil)
}

// stamp is a time in Unix milliseconds that is encoded in ISO 8601.
type stamp int64

func (t stamp) MarshalJSON() ([]byte, error) {
	return time.UnixMilli(int64(t)).UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z"`), nil
}

func reply(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	if err := encoder(&body).Encode(v); err != nil {
		panic(err) // all responses can be encoded
	}
	send(w, status, body.Bytes())
}

func encoder(body *bytes.Buffer) *json.Encoder {
	e := json.NewEncoder(body)
	e.SetEscapeHTML(false)
	return e
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client is gone
}

func fail(w http.ResponseWriter, status int, text string) {
	reply(w, status, struct {
		Success bool   `json:"success"`
		Error   string `json:"error"`
	}{false, text})
}
