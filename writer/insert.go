package writer

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// inserter puts rows into one table through statements of many rows. Its
// statements go through the driver's query path, which resets, binds and
// steps in a single cgo call; its exec path makes one for every value.
type inserter struct {
	table      string
	columns    int
	statements []rowStatement
	values     []driver.NamedValue // of the rows added since the last flush
	rows       int
}

type rowStatement struct {
	rows int
	stmt driver.StmtQueryContext
}

// insertSizes are the rows of an inserter's statements; the last is 1.
var insertSizes = [...]int{64, 8, 1}

func newInserter(conn *sqlite3.SQLiteConn, table string, columns ...string) (*inserter, error) {
	ins := &inserter{table: table, columns: len(columns)}
	ins.values = make([]driver.NamedValue, insertSizes[0]*len(columns))
	row := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	for _, n := range insertSizes {
		// OR FAIL: a statement that needn't undo its first rows needs no journal of its own.
		stmt, err := conn.Prepare("INSERT OR FAIL INTO " + table + " (" + strings.Join(columns, ",") + ") VALUES " +
			row + strings.Repeat(","+row, n-1))
		if err != nil {
			ins.close()
			return nil, fmt.Errorf("prepare insert into %s: %w", table, err)
		}
		ins.statements = append(ins.statements, rowStatement{n, stmt.(driver.StmtQueryContext)})
	}
	return ins, nil
}

// add inserts a row, now or at the next flush.
func (ins *inserter) add(values ...driver.Value) error {
	row := ins.values[ins.rows*ins.columns:]
	for i, v := range values {
		row[i].Value = v
	}
	ins.rows++
	if ins.rows < insertSizes[0] {
		return nil
	}
	return ins.flush()
}

// flush inserts the rows that were added. After an error they are forgotten.
func (ins *inserter) flush() error {
	values := ins.values[:ins.rows*ins.columns]
	ins.rows = 0
	for _, s := range ins.statements {
		for n := s.rows * ins.columns; len(values) >= n; values = values[n:] {
			if err := run(s.stmt, values[:n]); err != nil {
				return fmt.Errorf("insert into %s: %w", ins.table, err)
			}
		}
	}
	return nil
}

// forget drops the rows that were added since the last flush.
func (ins *inserter) forget() { ins.rows = 0 }

func run(stmt driver.StmtQueryContext, values []driver.NamedValue) error {
	for i := range values {
		values[i].Ordinal = i + 1
	}
	rows, err := stmt.QueryContext(context.Background(), values)
	if err != nil {
		return err
	}
	return rows.Close()
}

func (ins *inserter) close() {
	for _, s := range ins.statements {
		_ = s.stmt.(driver.Stmt).Close() // finalizing reports the last step's error again
	}
}
