// Package writer stores calls, statistics and gaps in a SQLite database
// (docs/schema.md), in batches and without ever locking readers out.
//
// It knows the domain's types only: neither where calls come from nor who
// reads them. What is old retention says. It must not depend on any package of this module but trace and retention.
package writer
