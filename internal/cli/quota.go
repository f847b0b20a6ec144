package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"

	"notesd/config"
)

// copiesKept is how many copies of a note's text the store keeps: the text itself, and the folded
// text for searching. The store counts the bytes of one copy; a quota in megabytes is for both.
const copiesKept = 2

// defaultQuotas returns the quotas of accounts that have none of their own. nil means no limit.
func defaultQuotas(cfg config.Config) (notes, bytes *int64) {
	if cfg.QuotaNotes > 0 {
		notes = new(int64(cfg.QuotaNotes))
	}
	if cfg.QuotaMB > 0 {
		bytes = new(int64(cfg.QuotaMB) << 20 / copiesKept)
	}
	return notes, bytes
}

// quotaUser returns the command that sets the quotas of an account from notes and mb, and prints
// what the account stores.
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
		fmt.Fprintf(a.Out, "%s has %s (%s) and takes %.1f MB (%s), its history %.1f MB\n", shownAddress(u.Email),
			count(c.Notes, "note"), quotaText(cmp.Or(c.QuotaNotes, defaultNotes), 1),
			float64(c.Used())*copiesKept/(1<<20), quotaText(cmp.Or(c.QuotaBytes, defaultBytes), 1<<20/copiesKept),
			float64(c.HistoryBytes)/(1<<20))
		return nil
	}
}

// readQuota parses the value of a flag, in units, into quota. An empty text changes nothing.
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
		return fmt.Errorf("-%s takes a whole number up to 1000000000, none or default, not %q: %w",
			flag, text, errUsage)
	}
	*quota = new(n * unit)
	return nil
}

// quotaText formats a quota in units.
func quotaText(quota *int64, unit int64) string {
	if quota == nil || *quota == math.MaxInt64 {
		return "no limit"
	}
	return fmt.Sprintf("at most %d", *quota/unit)
}
