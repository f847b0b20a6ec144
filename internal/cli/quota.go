package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"

	"notesd/config"
	"notesd/server/admin"
	"notesd/store"
)

// defaultQuotas returns the quotas of accounts that have none of their own. nil means no limit.
func defaultQuotas(cfg config.Config) (notes, bytes *int64) {
	if cfg.QuotaNotes > 0 {
		notes = new(int64(cfg.QuotaNotes))
	}
	if cfg.QuotaMB > 0 {
		bytes = new(int64(cfg.QuotaMB) << 20 / store.Copies)
	}
	return notes, bytes
}

// quotaUser returns the command that sets the quotas of an account, and prints what the account
// stores.
func quotaUser(flags map[string]*string) userCommand {
	return func(ctx context.Context, a accounts, email string) error {
		var change admin.UserChange
		for name, q := range map[string]struct {
			quota **admin.Quota
			unit  int64
		}{"notes": {&change.Notes, 1}, "mb": {&change.Bytes, 1 << 20}, "history": {&change.History, 1 << 20}} {
			var err error
			if *q.quota, err = readQuota(name, *flags[name], q.unit); err != nil {
				return err
			}
		}
		u, defaults, err := a.find(ctx, email)
		if err != nil {
			return err
		}
		if change != (admin.UserChange{}) {
			result, err := a.Change(ctx, u.ID, change)
			if err != nil {
				return err
			}
			u = result.User
		}
		history := ""
		if u.UserQuotas.History.Limit != nil {
			history = " (" + quotaText(u.UserQuotas.History, admin.Quota{}, 1<<20) + ")"
		}
		fmt.Fprintf(a.Out, "%s has %s (%s) and takes %.1f MB (%s), its history %.1f MB%s\n", shownAddress(u.Email),
			count(u.Notes, "note"), quotaText(u.UserQuotas.Notes, defaults.Notes, 1),
			float64(u.Bytes)/(1<<20), quotaText(u.UserQuotas.Bytes, defaults.Bytes, 1<<20),
			float64(u.HistoryBytes)/(1<<20), history)
		return nil
	}
}

// readQuota parses the value of a flag, in units. An empty text changes nothing: the quota is nil.
func readQuota(flag, text string, unit int64) (*admin.Quota, error) {
	switch text {
	case "":
		return nil, nil
	case "default":
		return &admin.Quota{}, nil
	case "none":
		return &admin.Quota{Limit: new(int64(math.MaxInt64))}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1_000_000_000 {
		return nil, fmt.Errorf("-%s takes a whole number up to 1000000000, none or default, not %q: %w",
			flag, text, errUsage)
	}
	return &admin.Quota{Limit: new(n * unit)}, nil
}

// quotaText formats an account's quota in units. byDefault is in force if the account has none.
func quotaText(quota, byDefault admin.Quota, unit int64) string {
	limit := cmp.Or(quota.Limit, byDefault.Limit)
	if limit == nil || *limit == math.MaxInt64 {
		return "no limit"
	}
	return fmt.Sprintf("at most %d", *limit/unit)
}
