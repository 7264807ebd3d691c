/* A database as a program with schema version 1 left it; made by sqlite3's .dump. */
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES('next_id',4);
INSERT INTO meta VALUES('next_seq',4);
CREATE TABLE session (
	id         INTEGER PRIMARY KEY,
	seed       INTEGER NOT NULL,
	started    TEXT NOT NULL,
	ended      TEXT,
	version    TEXT NOT NULL,
	host       TEXT NOT NULL,
	kernel     TEXT NOT NULL,
	tracer_pid INTEGER NOT NULL,
	command    TEXT NOT NULL,
	settings   TEXT NOT NULL,
	functions  INTEGER,
	processes  INTEGER
);
INSERT INTO session VALUES(1,6900119790643563217,'2026-07-09 01:02:03.000','2026-07-09 01:02:03.000','0.1.0','shop1','6.18.0',25938,'["observatory-trace","attach","-p","77"]','{"depth":3}',2,1);
CREATE TABLE function (
	id            INTEGER PRIMARY KEY,
	name          TEXT NOT NULL,
	process_group TEXT NOT NULL,
	raw_name      TEXT NOT NULL,
	language      TEXT NOT NULL,
	module        TEXT NOT NULL,
	address       INTEGER NOT NULL,
	file          TEXT NOT NULL,
	line          INTEGER NOT NULL,
	UNIQUE (name, process_group, raw_name, module, address)
);
INSERT INTO function VALUES(1,'main.pay','payments','main.pay','go','/app/shop',4198656,'pay.go',12);
INSERT INTO function VALUES(2,'main.handle','','main.handle','go','/app/shop',4198400,'main.go',5);
CREATE TABLE target (
	id         INTEGER PRIMARY KEY,
	session_id INTEGER NOT NULL,
	pid        INTEGER NOT NULL,
	started    TEXT NOT NULL,
	exe        TEXT NOT NULL,
	comm       TEXT NOT NULL,
	container  TEXT NOT NULL,
	pod        TEXT NOT NULL,
	namespace  TEXT NOT NULL,
	UNIQUE (session_id, pid, started, exe)
);
INSERT INTO target VALUES(1,1,77,'2026-07-09 01:01:40.000','/app/shop','shop','','','');
CREATE TABLE thread (
	id        INTEGER PRIMARY KEY,
	target_id INTEGER NOT NULL,
	tid       INTEGER NOT NULL,
	name      TEXT NOT NULL,
	UNIQUE (target_id, tid, name)
);
INSERT INTO thread VALUES(1,1,78,'');
INSERT INTO thread VALUES(2,1,79,'');
CREATE TABLE call (
	seq          INTEGER PRIMARY KEY,
	id           INTEGER NOT NULL,
	ts           TEXT NOT NULL,
	start_ns     INTEGER NOT NULL,
	function_id  INTEGER NOT NULL,
	thread_id    INTEGER,
	duration_ns  INTEGER NOT NULL,
	overhead_ns  INTEGER NOT NULL,
	status       TEXT NOT NULL,
	goroutine    INTEGER,
	parent_id    INTEGER,
	root_id      INTEGER,
	depth        INTEGER NOT NULL,
	sample_rate  REAL NOT NULL,
	cpu_ns       INTEGER,
	minor_faults INTEGER,
	major_faults INTEGER,
	rss_delta_kb INTEGER,
	switches     INTEGER
);
INSERT INTO call VALUES(1,2,'2026-07-09 01:02:03.001',1783558923001000123,1,1,2000000,900,'ERR',9,1,1,1,1.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO call VALUES(2,1,'2026-07-09 01:02:03.000',1783558923000000000,2,1,4000000,0,'OK',9,NULL,1,0,1.0,1000000,2,0,0,0);
INSERT INTO call VALUES(3,3,'2026-07-09 01:02:03.009',1783558923009000000,2,2,1000000,0,'OPEN',10,NULL,3,0,0.5,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE data (
	seq    INTEGER PRIMARY KEY,
	args   TEXT,
	result TEXT,
	flags  TEXT
);
INSERT INTO data VALUES(1,'{"order":"o-1"}',NULL,NULL);
INSERT INTO data VALUES(2,'{"path":"/pay"}','402','truncated');
CREATE TABLE error (
	seq     INTEGER PRIMARY KEY,
	type    TEXT,
	message TEXT,
	stack   TEXT
);
INSERT INTO error VALUES(1,'*main.Declined','card declined',replace('main.pay pay.go:20\nmain.handle main.go:9','\n',char(10)));
CREATE TABLE stat (
	ts          TEXT NOT NULL,
	function_id INTEGER NOT NULL,
	session_id  INTEGER NOT NULL,
	calls       INTEGER NOT NULL,
	errors      INTEGER NOT NULL,
	sampled_out INTEGER NOT NULL,
	dropped     INTEGER NOT NULL,
	recorded    INTEGER NOT NULL,
	timed       INTEGER NOT NULL,
	total_ns    INTEGER NOT NULL,
	max_ns      INTEGER NOT NULL,
	p50_ns      INTEGER NOT NULL,
	p95_ns      INTEGER NOT NULL,
	p99_ns      INTEGER NOT NULL,
	cpu_ns      INTEGER,
	overhead_ns INTEGER NOT NULL,
	histogram   BLOB NOT NULL,
	PRIMARY KEY (ts, function_id, session_id)
) WITHOUT ROWID;
INSERT INTO stat VALUES('2026-07-09 01:02:03',1,1,1,1,0,0,1,1,2000000,2000000,1998848,1998848,1998848,NULL,900,X'149e0201');
INSERT INTO stat VALUES('2026-07-09 01:02:03',2,1,2,0,0,0,2,1,4000000,4000000,3997696,3997696,3997696,1000000,0,X'14ae0201');
CREATE TABLE gap (
	id          INTEGER PRIMARY KEY,
	session_id  INTEGER NOT NULL,
	ts          TEXT NOT NULL,
	function_id INTEGER,
	pid         INTEGER,
	count       INTEGER NOT NULL,
	reason      TEXT NOT NULL,
	hint        TEXT NOT NULL
);
INSERT INTO gap VALUES(1,1,'2026-07-09 01:02:03.000',1,77,5,'ring buffer full','raise --ring-buffer');
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 VALUES('call','call_id','10000000 1');
INSERT INTO sqlite_stat1 VALUES('call','call_parent','8000000 4');
INSERT INTO sqlite_stat1 VALUES('call','call_time','10000000 20 4 1 1');
INSERT INTO sqlite_stat1 VALUES('call','call_error','10000 2');
INSERT INTO sqlite_stat1 VALUES('function','sqlite_autoindex_function_1','500 1 1 1 1 1');
INSERT INTO sqlite_stat1 VALUES('target','sqlite_autoindex_target_1','20 10 1 1 1');
INSERT INTO sqlite_stat1 VALUES('thread','sqlite_autoindex_thread_1','500 25 1 1');
INSERT INTO sqlite_stat1 VALUES('data',NULL,'10000000');
INSERT INTO sqlite_stat1 VALUES('error',NULL,'10000');
INSERT INTO sqlite_stat1 VALUES('stat','stat','1000000 100 1 1');
INSERT INTO sqlite_stat1 VALUES('gap','gap_time','1000 2');
INSERT INTO sqlite_stat1 VALUES('session',NULL,'10');
CREATE INDEX call_id ON call (id);
CREATE INDEX call_parent ON call (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX call_time ON call (ts, function_id, duration_ns, status);
CREATE INDEX call_error ON call (ts) WHERE status = 'ERR';
CREATE INDEX gap_time ON gap (ts);
CREATE VIEW process_trace AS
SELECT
	c.id,
	c.ts,
	c.start_ns AS ts_ns,
	f.name AS process,
	nullif(f.process_group, '') AS process_group,
	c.duration_ns / 1e6 AS duration_ms,
	c.overhead_ns / 1e6 AS overhead_ms,
	c.status,
	(SELECT e.message FROM error e WHERE e.seq = c.seq) AS error,
	(SELECT e.type FROM error e WHERE e.seq = c.seq) AS error_type,
	(SELECT p.pid FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS pid,
	(SELECT t.tid FROM thread t WHERE t.id = c.thread_id) AS tid,
	c.goroutine,
	(SELECT nullif(t.name, '') FROM thread t WHERE t.id = c.thread_id) AS thread,
	(SELECT nullif(p.exe, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS exe,
	c.parent_id,
	c.depth,
	c.cpu_ns / 1e6 AS cpu_ms,
	c.minor_faults,
	c.major_faults,
	c.rss_delta_kb,
	c.switches,
	c.sample_rate,
	(SELECT nullif(p.container, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS container,
	(SELECT nullif(p.pod, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS pod,
	(SELECT nullif(p.namespace, '') FROM thread t CROSS JOIN target p ON p.id = t.target_id WHERE t.id = c.thread_id) AS namespace,
	CASE WHEN c.root_id IS NOT NULL THEN (
		SELECT printf('%016x%016x', s.seed, (c.root_id | s.seed) - (c.root_id & s.seed))
		FROM thread t CROSS JOIN target p ON p.id = t.target_id CROSS JOIN session s ON s.id = p.session_id
		WHERE t.id = c.thread_id) END AS trace_id,
	(SELECT printf('%016x', (c.id | s.seed) - (c.id & s.seed))
		FROM thread t CROSS JOIN target p ON p.id = t.target_id CROSS JOIN session s ON s.id = p.session_id
		WHERE t.id = c.thread_id) AS span_id
FROM call c
CROSS JOIN function f ON f.id = c.function_id;
CREATE VIEW data_trace AS
SELECT
	c.id,
	c.ts,
	f.name AS process,
	d.args,
	d.result,
	(SELECT e.stack FROM error e WHERE e.seq = c.seq) AS stack,
	d.flags
FROM call c
CROSS JOIN function f ON f.id = c.function_id
LEFT JOIN data d ON d.seq = c.seq;
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
	x.session_id
FROM stat x
CROSS JOIN function f ON f.id = x.function_id;
CREATE VIEW gaps AS
SELECT
	g.ts,
	f.name AS process,
	g.pid,
	g.count,
	g.reason,
	nullif(g.hint, '') AS hint,
	g.session_id
FROM gap g
LEFT JOIN function f ON f.id = g.function_id;
CREATE VIEW sessions AS
SELECT id, started, ended, version, host, kernel, tracer_pid, command, settings, functions, processes
FROM session;
COMMIT;
PRAGMA application_id = 1868723062;
PRAGMA user_version = 1;
