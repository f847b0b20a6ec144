package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// AddSignInFailure counts a failure under key and returns how many there are in
// the current window and when that ends. The first failure opens a window; it
// is fixed, so more failures do not make it longer. However many come at once,
// each sees another count: count before verifying, and parallel guesses can't
// slip through.
func (s *Store) AddSignInFailure(
	ctx context.Context, key string, window time.Duration,
) (count int, ends time.Time, err error) {
	now := s.now()
	var row signInRow
	err = s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Raw(`INSERT INTO sign_in_failures AS f (key, count, window_ends) VALUES (@key, 1, @ends)
			ON CONFLICT (key) DO UPDATE SET
				count       = CASE WHEN f.window_ends > @now THEN f.count + 1 ELSE 1 END,
				window_ends = CASE WHEN f.window_ends > @now THEN f.window_ends ELSE excluded.window_ends END
			RETURNING count, window_ends`,
			map[string]any{"key": key, "now": now, "ends": now + window.Milliseconds()}).Take(&row).Error
	})
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count sign-in failure: %w", err)
	}
	return row.Count, fromMillis(row.WindowEnds), nil
}

// RefundSignInFailure takes back one AddSignInFailure whose sign-in turned out
// well.
func (s *Store) RefundSignInFailure(ctx context.Context, key string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("UPDATE sign_in_failures SET count = count - 1 WHERE key = ? AND count > 0", key).Error
	})
	if err != nil {
		return fmt.Errorf("refund sign-in failure: %w", err)
	}
	return nil
}

// signInRow is a window of failures as the table holds one.
type signInRow struct {
	Count      int
	WindowEnds int64
}
