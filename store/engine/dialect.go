package engine

import (
	"database/sql"
	"errors"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
	"modernc.org/sqlite"
)

// sqliteDialect is gorm's dialect for SQLite over modernc.org/sqlite.
//
// The existing dialects use other drivers. The one without cgo, glebarez/go-sqlite, is an older
// copy of modernc's. It leaves a long step running after its context has ended, prepares statements
// anew at every use, and keeps a transaction open whose COMMIT failed.
type sqliteDialect struct{ conn *sql.DB }

func (sqliteDialect) Name() string { return "sqlite" }

func (d sqliteDialect) Initialize(db *gorm.DB) error {
	db.ConnPool = d.conn
	callbacks.RegisterDefaultCallbacks(db, &callbacks.Config{
		CreateClauses:        []string{"INSERT", "VALUES", "ON CONFLICT", "RETURNING"},
		UpdateClauses:        []string{"UPDATE", "SET", "FROM", "WHERE", "RETURNING"},
		DeleteClauses:        []string{"DELETE", "FROM", "WHERE", "RETURNING"},
		LastInsertIDReversed: true,
	})
	// FOR UPDATE is left out: there is one writer, so no row needs a lock.
	db.ClauseBuilders["FOR"] = func(clause.Clause, clause.Builder) {}
	return nil
}

// Translate maps errors to the ones that gorm returns for PostgreSQL.
func (sqliteDialect) Translate(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch translateSQLite(e) {
		case ErrDuplicate:
			return gorm.ErrDuplicatedKey
		case ErrForeignKey:
			return gorm.ErrForeignKeyViolated
		}
	}
	return err
}

// QuoteTo uses backticks. SQLite would take a name in double quotes for a text if no column has it.
func (sqliteDialect) QuoteTo(w clause.Writer, name string) {
	w.WriteByte('`')
	w.WriteString(strings.ReplaceAll(name, ".", "`.`"))
	w.WriteByte('`')
}

func (sqliteDialect) BindVarTo(w clause.Writer, _ *gorm.Statement, _ any) { w.WriteByte('?') }

func (sqliteDialect) Explain(sql string, vars ...any) string {
	return logger.ExplainSQL(sql, nil, `"`, vars...)
}

func (sqliteDialect) DefaultValueOf(*schema.Field) clause.Expression { return clause.Expr{SQL: "NULL"} }

// gorm never makes a table: the migrations make the schema.
func (sqliteDialect) Migrator(*gorm.DB) gorm.Migrator { return nil }
func (sqliteDialect) DataTypeOf(*schema.Field) string { return "" }
