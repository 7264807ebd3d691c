package query

import (
	"context"
	"database/sql"
	"fmt"
)

// Rows is the result of an SQL query, a row at a time. The caller closes it:
// until then, the database's log can't be shortened.
type Rows struct {
	Columns []string
	rows    *sql.Rows
	d       *Database
	values  []any
	into    []any
}

// SQL runs a statement that only reads; any other is refused with an error
// that wraps ErrRefused. The context's deadline ends it.
func (d *Database) SQL(ctx context.Context, statement string) (*Rows, error) {
	rows, err := d.sql.QueryContext(ctx, statement)
	if err != nil {
		return nil, d.wrapContext(ctx, "query", err)
	}
	r := &Rows{rows: rows, d: d}
	if r.Columns, err = rows.Columns(); err != nil {
		_ = rows.Close() // the first error is the one to tell
		return nil, d.wrap("query", err)
	}
	r.values, r.into = make([]any, len(r.Columns)), make([]any, len(r.Columns))
	for i := range r.values {
		r.into[i] = &r.values[i]
	}
	return r, nil
}

// Next gives the next row, or nil at the end: nil, int64, float64, string,
// []byte or bool values, valid until the next Next.
func (r *Rows) Next(ctx context.Context) ([]any, error) {
	if !r.rows.Next() {
		return nil, r.d.wrapContext(ctx, "query", r.rows.Err())
	}
	if err := r.rows.Scan(r.into...); err != nil {
		return nil, r.d.wrap("query", err)
	}
	return r.values, nil
}

// Close ends the query.
func (r *Rows) Close() error {
	if err := r.rows.Close(); err != nil {
		return r.d.wrap("query", err)
	}
	return nil
}

// wrapContext names the deadline where SQLite only says that it was interrupted.
func (d *Database) wrapContext(ctx context.Context, op string, err error) error {
	if cause := ctx.Err(); err != nil && cause != nil {
		err = fmt.Errorf("stopped: %w", cause)
	}
	return d.wrap(op, err)
}
