package cli

import (
	"context"
	"fmt"

	"notesd/config"
	"notesd/store"
)

// Migrate brings the schema up to date, as the server does when it starts.
func Migrate(ctx context.Context, p Process, args []string) error {
	err := p.noArguments("notesd migrate\nBrings the database's schema up to date and says which it is.", args)
	if err != nil {
		return err
	}
	return p.withStore(ctx, true, func(ctx context.Context, _ config.Config, db *store.Store) error {
		schema, err := db.SchemaVersion(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s schema %d, up to date\n", db.Engine(), schema)
		return nil
	})
}
