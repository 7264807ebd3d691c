-- Version 2: calls lie together by moment and take a third less room.
-- docs/schema.md says what every column means.

DROP VIEW process_trace;
DROP VIEW data_trace;
DROP VIEW function_stats;
DROP INDEX call_id;
DROP INDEX call_parent;
DROP INDEX call_time;
DROP INDEX call_error;
ALTER TABLE call RENAME TO call_1;
ALTER TABLE data RENAME TO data_1;
ALTER TABLE error RENAME TO error_1;

CREATE TABLE moment (
	id          INTEGER PRIMARY KEY,
	ts          TEXT NOT NULL,
	ms          INTEGER NOT NULL,
	status      TEXT NOT NULL,
	flags       TEXT,
	sample_rate REAL NOT NULL,
	first       INTEGER NOT NULL,
	calls       INTEGER NOT NULL
);

CREATE TABLE call (
	key         INTEGER PRIMARY KEY,
	id          INTEGER NOT NULL,
	start       INTEGER NOT NULL,
	function_id INTEGER NOT NULL,
	thread_id   INTEGER,
	duration_ns INTEGER NOT NULL,
	overhead_ns INTEGER NOT NULL,
	goroutine   INTEGER,
	up          INTEGER,
	top         INTEGER,
	cpu_ns      INTEGER,
	usage,
	args        TEXT,
	result      TEXT
);

CREATE TABLE error (
	key     INTEGER PRIMARY KEY,
	type    TEXT,
	message TEXT,
	stack   TEXT
);

-- Each call of a version 1 file has a moment of its own: they need no sorting.
INSERT INTO moment
SELECT c.seq, c.ts, c.start_ns / 1000000 - (c.start_ns % 1000000 < 0), c.status, d.flags, c.sample_rate, c.seq, 1
FROM call_1 c LEFT JOIN data_1 d ON d.seq = c.seq;

INSERT INTO call
SELECT
	c.seq << 8,
	c.id,
	c.start_ns % 1000000 + 1000000 * (c.start_ns % 1000000 < 0) | (c.depth << 20),
	c.function_id,
	c.thread_id,
	c.duration_ns,
	c.overhead_ns,
	c.goroutine,
	c.id - c.parent_id,
	coalesce(c.parent_id, c.id) - c.root_id,
	c.cpu_ns,
	CASE
		WHEN coalesce(c.minor_faults, c.major_faults, c.rss_delta_kb, c.switches) IS NULL THEN NULL
		WHEN c.minor_faults = 0 AND c.major_faults = 0 AND c.rss_delta_kb = 0 AND c.switches = 0 THEN 0
		ELSE json_array(c.minor_faults, c.major_faults, c.rss_delta_kb, c.switches)
	END,
	d.args,
	d.result
FROM call_1 c LEFT JOIN data_1 d ON d.seq = c.seq;

INSERT INTO error SELECT seq << 8, type, message, stack FROM error_1;

DROP TABLE call_1;
DROP TABLE data_1;
DROP TABLE error_1;

INSERT INTO meta SELECT 'next_moment', value FROM meta WHERE key = 'next_seq';

CREATE INDEX moment_time ON moment (ts);
CREATE INDEX moment_error ON moment (ts) WHERE status = 'ERR';
CREATE INDEX call_id ON call (id);
CREATE INDEX call_far ON call (id - up) WHERE up > 8191;

ALTER TABLE stat ADD COLUMN cpu_calls INTEGER;
ALTER TABLE stat ADD COLUMN coverage REAL NOT NULL DEFAULT 1;

-- Which of the two comes first, a call or its moment, is left to the planner: by
-- id it is the call, by time and status the moment. What it can't know is how few
-- calls a moment has; without the likelihoods it walks all calls for the latest.
-- What few queries ask for is fetched by scalar subqueries: SQLite leaves those
-- out where a query doesn't name the column, which it doesn't do with joins in
-- an aggregate.
CREATE VIEW process_trace AS
SELECT
	c.id,
	m.ts,
	m.ms * 1000000 + (c.start & 1048575) AS ts_ns,
	f.name AS process,
	nullif(f.process_group, '') AS process_group,
	c.duration_ns / 1e6 AS duration_ms,
	c.overhead_ns / 1e6 AS overhead_ms,
	m.status,
	(SELECT e.message FROM error e WHERE e.key = c.key) AS error,
	(SELECT e.type FROM error e WHERE e.key = c.key) AS error_type,
	(SELECT p.pid FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS pid,
	(SELECT t.tid FROM thread t WHERE t.id = c.thread_id) AS tid,
	c.goroutine,
	(SELECT nullif(t.name, '') FROM thread t WHERE t.id = c.thread_id) AS thread,
	(SELECT nullif(p.exe, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS exe,
	c.id - c.up AS parent_id,
	c.start >> 20 AS depth,
	c.cpu_ns / 1e6 AS cpu_ms,
	CASE WHEN typeof(c.usage) = 'text' THEN c.usage ->> 0 WHEN c.usage & 1 = 0 THEN c.usage >> 12 & 1048575 END AS minor_faults,
	CASE WHEN typeof(c.usage) = 'text' THEN c.usage ->> 1 WHEN c.usage & 1 = 0 THEN c.usage >> 32 & 255 END AS major_faults,
	CASE WHEN typeof(c.usage) = 'text' THEN c.usage ->> 2 WHEN c.usage & 2 = 0 THEN c.usage >> 40 END AS rss_delta_kb,
	CASE WHEN typeof(c.usage) = 'text' THEN c.usage ->> 3 WHEN c.usage & 1 = 0 THEN c.usage >> 2 & 1023 END AS switches,
	m.sample_rate,
	(SELECT nullif(p.container, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS container,
	(SELECT nullif(p.pod, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS pod,
	(SELECT nullif(p.namespace, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS namespace,
	CASE WHEN c.top IS NOT NULL THEN (
		SELECT printf('%016x%016x', s.seed, (c.id - coalesce(c.up, 0) - c.top | s.seed) - (c.id - coalesce(c.up, 0) - c.top & s.seed))
		FROM thread t CROSS JOIN target p ON p.id = t.target_id CROSS JOIN session s ON s.id = p.session_id
		WHERE t.id = c.thread_id) END AS trace_id,
	(SELECT printf('%016x', (c.id | s.seed) - (c.id & s.seed))
		FROM thread t CROSS JOIN target p ON p.id = t.target_id CROSS JOIN session s ON s.id = p.session_id
		WHERE t.id = c.thread_id) AS span_id
FROM moment m
JOIN call c ON m.id = c.key >> 8 AND likelihood(c.key >= m.id << 8, 0.006) AND likelihood(c.key <= m.id << 8 | 255, 0.006)
CROSS JOIN function f ON f.id = c.function_id;

CREATE VIEW data_trace AS
SELECT
	c.id,
	m.ts,
	f.name AS process,
	c.args,
	c.result,
	(SELECT e.stack FROM error e WHERE e.key = c.key) AS stack,
	m.flags
FROM moment m
JOIN call c ON m.id = c.key >> 8 AND likelihood(c.key >= m.id << 8, 0.006) AND likelihood(c.key <= m.id << 8 | 255, 0.006)
CROSS JOIN function f ON f.id = c.function_id;

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
	x.coverage
FROM stat x
CROSS JOIN function f ON f.id = x.function_id;

-- What ANALYZE would find in a file of some size: without it the planner thinks
-- all tables equal.
DELETE FROM sqlite_stat1 WHERE tbl NOT IN ('function', 'target', 'thread', 'stat', 'gap', 'session');
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('moment', 'moment_time', '100000 2'),
	('moment', 'moment_error', '1000 2'),
	('call', 'call_id', '10000000 1'),
	('call', 'call_far', '100000 4'),
	('error', NULL, '10000');
