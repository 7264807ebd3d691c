package node

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// definition is what a metric is, for Prometheus and for docs/metrics.md.
type definition struct {
	name, help string
	kind       string // as Prometheus calls it: counter, gauge, histogram
	labels     []string
	desc       *prometheus.Desc
}

const prefix = "observatory_trace_"

func define(kind, name, help string, labels ...string) *definition {
	return &definition{prefix + name, help, kind, labels, prometheus.NewDesc(prefix+name, help, labels, nil)}
}

func counter(name, help string, labels ...string) *definition {
	return define("counter", name, help, labels...)
}

func gauge(name, help string, labels ...string) *definition {
	return define("gauge", name, help, labels...)
}

func (d *definition) metric(value float64, labels ...string) prometheus.Metric {
	kind := prometheus.GaugeValue
	if d.kind == "counter" {
		kind = prometheus.CounterValue
	}
	return prometheus.MustNewConstMetric(d.desc, kind, value, labels...)
}

// All metrics.
var (
	buildInfo = gauge("build_info", "1, with the version (as git describes it, its commit included) and the Go version that it was built with.", "version", "goversion")
	functions = gauge("functions", "Functions that are traced.")
	processes = gauge("processes", "Processes that are traced and have not ended.")
	sweptAt   = gauge("sweep_timestamp_seconds", "When the probes' counters were last read, which is done each second: all that is not of the store is as of then.")

	calls           = counter("calls_total", "Calls that ended, or were found open at the end, recorded or not: as report has them.", "function")
	callsEstimated  = counter("calls_estimated_total", "The same, with those that there were, by estimate, while the function's probes were taken out.", "function")
	callErrors      = counter("call_errors_total", "Of the calls, those that failed (status ERR).", "function")
	callsRecorded   = counter("calls_recorded_total", "Of the calls, those that went into the database, or wait for it in memory or in the spill file.", "function")
	callsSampledOut = counter("calls_sampled_out_total", "Of the calls, those that were not recorded by choice: --sample, budgets, --filter, --min-duration, --stats-only.", "function")
	callsDropped    = counter("calls_dropped_total", "Of the calls, those that were lost: the ring buffer was full (ring_buffer), too many threads waited for memory in probes (probe_memory), the database was away, or does not take them (database).", "function", "reason")
	callDuration    = define("histogram", "call_duration_seconds", "How long calls took that ended, recorded or not, what probes took included.", "function")

	endsLost          = counter("call_ends_lost_total", "Ends of recorded calls that were not delivered, for the reasons of calls_dropped_total: such calls are shown as open.", "reason")
	callsUntracked    = counter("calls_untracked_total", "Calls that were counted and not followed to their end: too many threads, goroutines or open calls at once.")
	callsUnmeasured   = counter("calls_unmeasured_total", "Calls whose duration is in no histogram: too many functions at once.")
	processEventsLost = counter("process_events_lost_total", "Forks, executions and ends of processes that found the ring buffer full; they are found by looking for them.")
	bufferFill        = gauge("buffer_fill_ratio", "How full the ring buffers of calls and errors are, and what waits to be decoded: at 1, calls are lost, or are delivered more slowly (decoding).", "buffer")

	overhead         = gauge("overhead_ratio", "What probes take, smoothed, of what --max-overhead is of: the targets' CPU time, their time in traced calls, or a fifth of a processor, whichever is the most; of all targets, or of the one of which they take the most.")
	overheadLimit    = gauge("overhead_limit_ratio", "--max-overhead; +Inf for unlimited.")
	cpuLimit         = gauge("cpu_limit_ratio", "--max-cpu, in processors; +Inf for unlimited. What is taken: rate(process_cpu_seconds_total).")
	memoryLimit      = gauge("memory_limit_bytes", "--max-memory; +Inf for unlimited. What is taken: process_resident_memory_bytes.")
	functionsSampled = gauge("functions_sampled", "Functions that were called and of which a part of the calls is recorded.")
	functionsSliced  = gauge("functions_sliced", "Functions whose probes are in place for a part of the time.")
	budgetSteps      = counter("budget_steps_total", "Changes of how functions are traced, to stay within the budgets.")

	breakerState       = gauge("store_breaker_state", "1 for the state that the circuit breaker before the database is in: closed (all is well), open (the database is away), half-open (it is being tried).", "state")
	breakerTransitions = counter("store_breaker_transitions_total", "Changes of that state.", "from", "to")
	breakerChanged     = gauge("store_breaker_change_timestamp_seconds", "When the database went away, or came back, or was opened.")
	breakerOpened      = counter("store_breaker_opened_total", "How often the database went away, by cause.", "cause")
	breakerTries       = counter("store_breaker_tries_total", "How often it was tried while it was away.")
	breakerLastFailure = gauge("store_breaker_last_failure_info", "1, with the cause of the last failure; absent when there was none.", "cause")

	queueCalls          = gauge("store_queue_calls", "Calls that wait for the database in memory.")
	queueCapacity       = gauge("store_queue_capacity_calls", "From when on recording waits, or, while the database is away, drops calls.")
	queueOldest         = gauge("store_queue_oldest_seconds", "How long the first of what waits has waited.")
	callsWritten        = counter("store_calls_written_total", "Calls that were committed, those of spill files included.")
	transactions        = counter("store_transactions_total", "Transactions that were committed.")
	callsExpired        = counter("store_calls_expired_total", "Calls that were deleted, since they were older than --retention, the database was larger than --max-db-size, or the disk was full and errors needed the room.")
	callsDroppedByStore = counter("store_calls_dropped_total", "Calls that came through and are in no file: the queue's bounds, no room in the spill file, or the database does not take them. calls_dropped_total has them, too, within a second.")
	writeWaits          = counter("store_write_waits_total", "How often recording had to wait for room in the queue.")
	writeWaited         = counter("store_write_wait_seconds_total", "For how long.")
	lockRetries         = counter("store_lock_retries_total", "How often the database could not be locked for writing, as another program had it: tried about five times a second.")
	databaseBytes       = gauge("store_database_bytes", "Size of the database's file.")
	logBytes            = gauge("store_log_bytes", "Size of its write-ahead log.")
	spilled             = counter("store_spilled_records_total", "Records that went to the spill file, since the database was away.")
	replayed            = counter("store_replayed_records_total", "Records that came into the database from spill files, those of dead sessions included.")
	spillPending        = gauge("store_spill_pending_records", "Records in the spill file that are not in the database yet.")
	spillHeld           = gauge("store_spill_held_records", "Records in memory for which the spill file has no room.")
	spillBytes          = gauge("store_spill_bytes", "Size of the spill file.")
)

// defined lists them in the order of docs/metrics.md.
var defined = []*definition{
	buildInfo, functions, processes, sweptAt,
	calls, callsEstimated, callErrors, callsRecorded, callsSampledOut, callsDropped, callDuration,
	endsLost, callsUntracked, callsUnmeasured, processEventsLost, bufferFill,
	overhead, overheadLimit, cpuLimit, memoryLimit, functionsSampled, functionsSliced, budgetSteps,
	breakerState, breakerTransitions, breakerChanged, breakerOpened, breakerTries, breakerLastFailure,
	queueCalls, queueCapacity, queueOldest, callsWritten, transactions, callsExpired, callsDroppedByStore, writeWaits, writeWaited, lockRetries, databaseBytes, logBytes,
	spilled, replayed, spillPending, spillHeld, spillBytes,
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// orInfinite is a limit, of which 0 stands for none.
func orInfinite(limit float64) float64 {
	if limit == 0 {
		return math.Inf(1)
	}
	return limit
}
