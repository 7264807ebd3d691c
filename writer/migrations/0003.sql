-- Retention: docs/schema.md says what every column means.

-- When the writer was where: calls with lower numbers than `calls` were written before.
CREATE TABLE mark (
	id      INTEGER PRIMARY KEY,
	calls   INTEGER NOT NULL,
	wall_ns INTEGER NOT NULL,
	boot    INTEGER NOT NULL,
	up_ns   INTEGER NOT NULL
);

-- Rows of seconds are merged into one of their minute, and these into one of their hour.
ALTER TABLE stat ADD COLUMN seconds INTEGER NOT NULL DEFAULT 1;
-- By how many calls the number is off that `calls / coverage` gives, at most as far as that is known.
ALTER TABLE stat ADD COLUMN calls_error REAL NOT NULL DEFAULT 0;
CREATE INDEX stat_second ON stat (ts) WHERE seconds = 1;
CREATE INDEX stat_minute ON stat (ts) WHERE seconds = 60;
CREATE INDEX stat_hour ON stat (ts) WHERE seconds = 3600;

-- Gaps of an hour are merged into one for each reason. 0: a single one.
ALTER TABLE gap ADD COLUMN seconds INTEGER NOT NULL DEFAULT 0;
CREATE INDEX gap_single ON gap (ts) WHERE seconds = 0;

DROP VIEW function_stats;
CREATE VIEW function_stats AS
SELECT
	x.ts,
	f.name AS process,
	nullif(f.process_group, '') AS process_group,
	x.calls,
	x.errors,
	x.sampled_out,
	x.dropped,
	x.recorded,
	x.timed,
	x.total_ns / 1e6 AS total_ms,
	CASE WHEN x.timed > 0 THEN x.total_ns / 1e6 / x.timed END AS mean_ms,
	CASE WHEN x.timed > 0 THEN x.p50_ns / 1e6 END AS p50_ms,
	CASE WHEN x.timed > 0 THEN x.p95_ns / 1e6 END AS p95_ms,
	CASE WHEN x.timed > 0 THEN x.p99_ns / 1e6 END AS p99_ms,
	CASE WHEN x.timed > 0 THEN x.max_ns / 1e6 END AS max_ms,
	x.cpu_ns / 1e6 AS cpu_ms,
	x.overhead_ns / 1e6 AS overhead_ms,
	x.histogram,
	x.function_id,
	x.session_id,
	x.cpu_calls,
	x.coverage,
	x.calls_error,
	x.seconds
FROM stat x
CROSS JOIN function f ON f.id = x.function_id;

INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('stat', 'stat_second', '700000 100 1 1'),
	('stat', 'stat_minute', '200000 100 1 1'),
	('stat', 'stat_hour', '100000 100 1 1'),
	('gap', 'gap_single', '1000 2');

-- The number of the next call when a name was last looked up: the calls that refer to it have lower numbers
-- than that and `namesWindow` more.
ALTER TABLE function ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE thread ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
UPDATE function SET seen = (SELECT value FROM meta WHERE key = 'next_seq');
UPDATE thread SET seen = (SELECT value FROM meta WHERE key = 'next_seq');
CREATE INDEX thread_seen ON thread (seen);
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('thread', 'thread_seen', '500 50');
