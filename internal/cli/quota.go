package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"

	"notesd/config"
)

// The bytes that the store counts are for one copy of each note's text. It keeps
// another, folded for searching. A quota in megabytes is for both.
const copiesKept = 2

// defaultQuotas are those of people who have none of their own; nil: no limit.
func defaultQuotas(cfg config.Config) (notes, bytes *int64) {
	if cfg.QuotaNotes > 0 {
		notes = new(int64(cfg.QuotaNotes))
	}
	if cfg.QuotaMB > 0 {
		bytes = new(int64(cfg.QuotaMB) << 20 / copiesKept)
	}
	return notes, bytes
}

// quotaUser sets what an account may store, where notes or mb say so, and shows it.
func quotaUser(notes, mb string) userCommand {
	return func(ctx context.Context, a accounts, email string) error {
		u, err := a.find(ctx, email)
		if err != nil {
			return err
		}
		c, err := a.db.Counters(ctx, u.ID)
		if err != nil {
			return err
		}
		if notes != "" || mb != "" {
			if err := readQuota(&c.QuotaNotes, "notes", notes, 1); err != nil {
				return err
			}
			if err := readQuota(&c.QuotaBytes, "mb", mb, 1<<20/copiesKept); err != nil {
				return err
			}
			if err := a.db.SetQuota(ctx, u.ID, c.QuotaNotes, c.QuotaBytes); err != nil {
				return err
			}
		}
		defaultNotes, defaultBytes := defaultQuotas(a.cfg)
		fmt.Fprintf(a.Out, "%q has %d notes of %s, which take %.1f MB of %s\n", email,
			c.Notes, quotaText(cmp.Or(c.QuotaNotes, defaultNotes), 1),
			float64(c.Used())*copiesKept/(1<<20), quotaText(cmp.Or(c.QuotaBytes, defaultBytes), 1<<20/copiesKept))
		return nil
	}
}

// readQuota reads the value of a flag, in units, if there is one.
func readQuota(quota **int64, flag, text string, unit int64) error {
	switch text {
	case "":
		return nil
	case "default":
		*quota = nil
		return nil
	case "none":
		*quota = new(int64(math.MaxInt64))
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1_000_000_000 {
		return fmt.Errorf("-%s takes a whole number up to 1000000000, none or default, not %q: %w", flag, text, errUsage)
	}
	*quota = new(n * unit)
	return nil
}

// quotaText is a quota in units.
func quotaText(quota *int64, unit int64) string {
	if quota == nil || *quota == math.MaxInt64 {
		return "any number"
	}
	return strconv.FormatInt(*quota/unit, 10)
}
