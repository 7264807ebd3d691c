package writer

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// SchemaVersion is the version of the schema that this program writes, the
// database's PRAGMA user_version.
const SchemaVersion = 3

// applicationID is the database's PRAGMA application_id: "obsv".
const applicationID = 0x6f627376

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations gives the scripts that lead from version 0, an empty file, to
// SchemaVersion: the script at index i makes version i+1.
func migrations() ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	slices.Sort(names)
	scripts := make([]string, len(names))
	for i, name := range names {
		b, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		scripts[i] = string(b)
	}
	return scripts, nil
}

// migrate brings the database to the version that scripts lead to, each step
// in a transaction of its own that takes the write lock before it looks, so
// that two programs may open one file at the same time.
func (d *database) migrate(scripts []string) error {
	for {
		done := false
		err := d.transaction(func() error {
			version, err := d.checkSchema(len(scripts))
			if err != nil {
				return err
			}
			if version == len(scripts) {
				done = true
				return nil
			}
			if err := d.exec(scripts[version]); err != nil {
				return fmt.Errorf("migrate schema from version %d: %w", version, err)
			}
			return d.exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version+1))
		})
		if err != nil || done {
			return err
		}
	}
}

// inspect says why this program can't write to the file, if so. It looks at one
// state of it: another session may be making its schema at this moment.
func (d *database) inspect(newest int) error {
	if err := d.exec("BEGIN"); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	_, err := d.checkSchema(newest)
	if !d.conn.AutoCommit() { // what is damaged may have ended it
		err = errors.Join(err, d.exec("ROLLBACK"))
	}
	return err
}

// checkSchema gives the file's schema version, or why this program can't write
// to it. It is called within a transaction.
func (d *database) checkSchema(newest int) (int, error) {
	var version, application, objects int64
	for query, into := range map[string]*int64{
		"PRAGMA user_version":                &version,
		"PRAGMA application_id":              &application,
		"SELECT count(*) FROM sqlite_schema": &objects,
	} {
		var err error
		if *into, err = d.integer(query); err != nil {
			return 0, fmt.Errorf("read schema version: %w", err)
		}
	}
	switch {
	case application != applicationID && (application != 0 || version != 0 || objects != 0):
		return 0, faultForeign.error("open database", d.path, nil)
	case version > int64(newest):
		return 0, faultNewer.error("open database", d.path,
			fmt.Errorf("%w: its schema is version %d, this program knows %d", ErrNewer, version, newest))
	}
	return int(version), nil
}
