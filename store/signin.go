package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// AddSignInFailure counts a failure under key. It returns the number of failures in the current
// window, and when the window ends. The first failure opens a window. More failures do not make the
// window longer. Concurrent calls get different counts. So a caller that counts before it verifies
// lets no parallel guess slip through.
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

// RefundSignInFailure takes back one AddSignInFailure after the sign-in has succeeded.
func (s *Store) RefundSignInFailure(ctx context.Context, key string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("UPDATE sign_in_failures SET count = count - 1 WHERE key = ? AND count > 0", key).Error
	})
	if err != nil {
		return fmt.Errorf("refund sign-in failure: %w", err)
	}
	return nil
}

// signInRow is a window of failures as its table stores it.
type signInRow struct {
	Count      int
	WindowEnds int64
}
