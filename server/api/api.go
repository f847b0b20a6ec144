// Package api is the REST door: notes, lists, accounts and web vitals as JSON under /api. Its
// handlers decide what concerns the API alone. The rules of notes are in packages notes and store.
package api

import (
	"log/slog"
	"net/http"

	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/events"
	"notesd/server/router"
	"notesd/store"
)

// Config is the configuration of the API.
type Config struct {
	Store    *store.Store
	Accounts *auth.Accounts
	// Cache has the responses with notes and lists. It must be the store's Invalidator.
	Cache *ResponseCache
	// Hub has the listeners for changes. It must be the store's Changes.
	Hub *events.Hub
	// Secrets protect the cursors of lists. The first one signs, and all verify.
	Secrets []string
	// MaxContent is the length of the longest content, in bytes, that a merge of two edits may make.
	MaxContent int64
	// LogVitals logs each web vital that a browser reports.
	LogVitals bool
	Log       *slog.Logger
}

// API is the REST door. New makes it.
type API struct {
	cfg      Config
	store    *store.Store
	accounts *auth.Accounts
	cache    *ResponseCache
	hub      *events.Hub
	cursors  cursors
	vitals   vitalCounts
}

// New returns the REST door.
func New(cfg Config) *API {
	return &API{cfg: cfg, store: cfg.Store, accounts: cfg.Accounts, cache: cfg.Cache, hub: cfg.Hub,
		cursors: newCursors(cfg.Secrets)}
}

// Routes returns the REST routes. HEAD is answered wherever GET is.
func (a *API) Routes() []router.Route {
	const get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	write := func(method, path string, handle func(*router.Context) error) router.Route {
		return router.Route{Method: method, Path: path, Class: router.Write, Auth: router.SignedIn,
			Tokens: router.WriteToken, Handle: handle}
	}
	read := func(path string, handle func(*router.Context) error) router.Route {
		return router.Route{Method: get, Path: path, Class: router.Read, Auth: router.SignedIn,
			Tokens: router.ReadToken, Handle: handle}
	}
	// No app token reaches these.
	account := func(method, path string, class router.Class, handle func(*router.Context) error) router.Route {
		return router.Route{Method: method, Path: path, Class: class, Auth: router.SignedIn, Handle: handle}
	}
	return append(docsRoutes(), []router.Route{
		{Method: post, Path: "/api/auth/register", Class: router.Password, Handle: a.register,
			EndsSessions: true, SmallBody: true},
		{Method: post, Path: "/api/auth/login", Class: router.Password, Handle: a.login,
			EndsSessions: true, SmallBody: true},
		{Method: post, Path: "/api/auth/logout", Class: router.Write, Handle: a.logout, EndsSessions: true},
		{Method: get, Path: "/api/auth/me", Class: router.Read, Tokens: router.ReadToken, Handle: a.me},
		read("/api/auth/me/usage", a.usage),
		account(get, "/api/auth/log", router.Read, a.accountLog),
		account(patch, "/api/auth/me", router.Write, a.patchMe),
		{Method: del, Path: "/api/auth/me", Class: router.Password, Auth: router.SignedIn, Handle: a.deleteMe,
			SmallBody: true},
		{Method: post, Path: "/api/auth/password", Class: router.Password, Auth: router.SignedIn,
			Handle: a.changePassword, SmallBody: true},
		account(get, "/api/auth/sessions", router.Read, a.listSessions),
		account(del, "/api/auth/sessions", router.Write, a.endOtherSessions),
		account(del, "/api/auth/sessions/:id", router.Write, a.endSession),
		account(get, "/api/auth/tokens", router.Read, a.listTokens),
		account(post, "/api/auth/tokens", router.Write, a.makeToken),
		account(del, "/api/auth/tokens/:id", router.Write, a.endToken),
		account(get, "/api/auth/totp", router.Read, a.totpStatus),
		account(post, "/api/auth/totp", router.Write, a.beginTOTP),
		account(post, "/api/auth/totp/confirm", router.Write, a.confirmTOTP),
		{Method: post, Path: "/api/auth/totp/recovery", Class: router.Password, Auth: router.SignedIn,
			Handle: a.replaceRecoveryCodes, SmallBody: true},
		{Method: del, Path: "/api/auth/totp", Class: router.Password, Auth: router.SignedIn, Handle: a.removeTOTP,
			SmallBody: true},

		{Method: get, Path: "/api/notes", Class: router.Read, ClassOf: listClass, Auth: router.SignedIn,
			Tokens: router.ReadToken, Handle: a.listNotes, Fast: a.cachedList},
		write(post, "/api/notes", a.createNote),
		{Method: get, Path: "/api/notes/:id", Class: router.Read, Auth: router.SignedIn, Tokens: router.ReadToken,
			Handle: a.getNote, Fast: a.cachedNote},
		write(patch, "/api/notes/:id", a.patchNote),
		write(del, "/api/notes/:id", a.deleteNote),
		write(patch, "/api/notes/:id/pin", a.toggle(notes.FlagPinned)),
		write(patch, "/api/notes/:id/archive", a.toggle(notes.FlagArchived)),
		write(patch, "/api/notes/:id/favorite", a.toggle(notes.FlagFavorite)),
		write(patch, "/api/notes/:id/trash", a.modify((*router.Context).Commit, a.trashNote)),
		write(patch, "/api/notes/:id/restore", a.modify((*router.Context).Commit, a.restoreNote)),
		write(del, "/api/notes/:id/permanent", a.deleteTrashedNote),

		{Method: get, Path: "/api/tags", Class: router.Search, Auth: router.SignedIn, Tokens: router.ReadToken,
			Handle: a.listTags},
		{Method: post, Path: "/api/tags/rename", Class: router.Bulk, Auth: router.SignedIn, Tokens: router.WriteToken,
			Handle: a.renameTags},
		{Method: post, Path: "/api/tags/undo", Class: router.Bulk, Auth: router.SignedIn, Tokens: router.WriteToken,
			Handle: a.undoRename, SmallBody: true},
		{Method: get, Path: "/api/search/suggest", Class: router.Search, Auth: router.SignedIn,
			Tokens: router.ReadToken, Handle: a.suggest},

		read("/api/changes", a.changes),
		{Method: get, Path: "/api/events", Class: router.Read, Auth: router.SignedIn, Tokens: router.ReadToken,
			Handle: a.events, SmallBody: true},
		read("/api/notes/:id/versions", a.listVersions),
		write(del, "/api/notes/:id/versions", a.deleteVersions),
		read("/api/notes/:id/versions/:revision", a.getVersion),
		write(post, "/api/notes/:id/versions/:revision/restore", a.restoreVersion),

		{Method: post, Path: "/api/metrics/vitals", Class: router.Write, Handle: a.webVitals, SmallBody: true},
	}...)
}
