package store

import (
	"context"

	"gorm.io/gorm"
)

// Write is write.
func (s *Store) Write(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return s.db.Write(ctx, fn)
}

// WriteOne is writeOne.
func (s *Store) WriteOne(ctx context.Context, fn func(db *gorm.DB) error) error {
	return s.db.WriteOne(ctx, fn)
}

// Reader is reader.
func (s *Store) Reader(ctx context.Context) *gorm.DB { return s.db.Reader(ctx) }

// Alone reports whether s announces nothing, as nobody else is there.
func (s *Store) Alone() bool { return s.notifier.SoleMember() }
