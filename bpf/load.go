package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

type (
	// Func is struct func of event.h; so are the next ones the structures of the maps there.
	Func = probeFunc
	// Move is struct move.
	Move = probeMove
	// Program is struct type_prog.
	Program = probeTypeProg
	// Edge is struct edge.
	Edge = probeEdge
	// DynamicKey is struct dynamic_key.
	DynamicKey = probeDynamicKey
	// DynamicType is struct dynamic_type.
	DynamicType = probeDynamicType
	// Image is struct image.
	Image = probeImage
	// Process is struct process.
	Process = probeProcess
	// ErrnoPlace is struct errno_place.
	ErrnoPlace = probeErrnoPlace
	// Counters is struct counters.
	Counters = probeCounters
	// Notes is struct notes.
	Notes = probeNotes
	// Latency is struct latency: bucket i of octave o is number o<<4+i of trace.Histogram's layout.
	Latency = probeLatency
	// InstanceKey is struct instance_key.
	InstanceKey = probeInstanceKey
	// Check is struct check.
	Check = probeCheck
	// Control is struct control.
	Control = probeControl
)

// The flags of Func.Flags (enum func_flag).
const (
	FuncGo   = 1 // pair by goroutine
	FuncABI0 = 2 // g is in thread-local storage
	// All that is copied on a side is words in registers (see FLAT_WORDS in event.h).
	FuncFlatEntry = 4
	FuncFlatExit  = 8
	FuncSaves     = 16  // what is in register Saved at entry is kept for the exit
	FuncRaises    = 32  // its entry comes with the stack
	FuncUrgent    = 64  // its events are to be read at once
	FuncReturns   = 128 // its exit is seen by a uretprobe
	// Whether a call is recorded shows at its end.
	FuncHold        = 256
	FuncKeepsErrors = 512 // failed calls are recorded whatever its checks say
	// FuncErrno: errno goes with its exit where that tells that it failed. FuncFindsErrno: its
	// entry is when the place of errno can be found in a process.
	FuncGeneric = 4096 // which of its instances is called tells the word that DictMove makes
	FuncErrno   = 1024
	// All that the root block of its entry has is words in registers. FuncKeeps: it has room in
	// a frame, piece by piece (see Kept).
	FuncWords      = 8192
	FuncKeeps      = 16384
	FuncFindsErrno = 2048
)

// How a word of a side's root block tells that the call failed (enum fail_test).
const (
	FailWord = 1
	FailInt  = 2 // maybe of an int with nothing above it
)

// FlatWords is FLAT_WORDS of event.h: the most words of a flat side's root block.
const FlatWords = 8

// Kept says whether a frame has room for a piece of a root block, of so many bytes at an offset in it: its
// last part must not begin behind the last word.
func Kept(offset, size uint16) bool {
	return size > 0 && int(offset)+(int(size)-1)/8*8 <= 8*(keptWords-1)
}

// keptWords is KEPT_WORDS of event.h.
const keptWords = 16

// RateAll is the Keep of a Control with which all calls are recorded (RATE_ALL).
const RateAll = 1<<32 - 1

// Of Control.State (enum control_state).
const (
	ControlLink  = 0xff    // the number of the links whose hits count
	ControlAlone = 1 << 8  // its rate holds also below a call that was chosen
	ControlEpoch = 1 << 16 // from here on: how often it has been detached
)

// Attach cookies: bits 0 to 23 are the function id, the others say what the site is.
const (
	cookieTail        = 1 << 32
	cookieCond        = 1 << 33
	cookieExit        = 1 << 34
	cookieReturned    = 1 << 35
	cookieLinkShift   = 24
	cookieCondShift   = 36
	cookieOffsetShift = 40
)

// EdgeFlags makes the flags of an Edge (enum edge_flag).
func EdgeFlags(inner, back, untag, slice bool) (flags uint8) {
	if inner {
		flags |= 1
	}
	if back {
		flags |= 2
	}
	if untag {
		flags |= 4
	}
	if slice {
		flags |= 8
	}
	return flags
}

// CookieFunction is the function that a cookie is of.
func CookieFunction(cookie uint64) uint32 { return uint32(cookie) & (1<<cookieLinkShift - 1) }

// NumberCookies gives cookies the number of a link (see Control.State).
func NumberCookies(cookies []uint64, number uint8) []uint64 {
	numbered := make([]uint64, len(cookies))
	for i, c := range cookies {
		numbered[i] = c&^(0xff<<cookieLinkShift) | uint64(number)<<cookieLinkShift
	}
	return numbered
}

// MaxSiteOffset is the farthest that a site can lie from its function's first byte, in bytes.
const MaxSiteOffset = 1<<23 - 1

// EntryCookie tells the program whose a hit is: the function, and the entry site's
// offset from its first byte (within ±MaxSiteOffset).
func EntryCookie(function uint32, offset int64) uint64 {
	return uint64(function) | uint64(offset)<<cookieOffsetShift
}

// ExitCookie does the same of a site where calls end: by a tail jump or else a return, and,
// when cond is not negative, only under that condition code.
func ExitCookie(function uint32, offset int64, tail bool, cond int8) uint64 {
	c := EntryCookie(function, offset) | cookieExit
	if tail {
		c |= cookieTail
	}
	if cond >= 0 {
		c |= cookieCond | uint64(cond&15)<<cookieCondShift
	}
	return c
}

// ReturnCookie does the same of a uretprobe.
func ReturnCookie(function uint32, offset int64) uint64 {
	return EntryCookie(function, offset) | cookieExit | cookieReturned
}

// Settings are fixed when the programs are loaded. Zero values take the defaults of the C source.
type Settings struct {
	StatsOnly      bool   // count calls, and deliver none
	FollowChildren bool   // trace the children of traced processes
	ReportExecs    bool   // tell of every exec on the machine
	LeaveOthers    bool   // remove a probe from a process that hits it and is not traced
	MaxString      uint32 // bytes of a string
	MaxItems       uint32 // elements of a slice
	MaxDepth       uint32 // pointers followed one behind the other
	MaxBytes       uint32 // bytes of data per event
	RingBytes      uint32 // size of the ring buffer of calls: a power of two, at least a page; see ErrorBytes
	Latencies      uint32 // histograms of an octave that a processor has in an array, a power of two; 0: four for each function, but see nearLatencies
	Frames         uint32 // open calls that have room beyond the innermost ones of each thread; 0: 262,144
	Scratch        uint32 // events that can be put together at once; 0: 64, or more with many processors

	// Capacity of the tables; they can't grow once loaded.
	Functions, Moves, Programs, Edges, Dynamic uint32

	// PerfEvents loads the uprobe programs for perf-event uprobes, for kernels
	// without uprobe_multi (before 6.6).
	PerfEvents bool
}

// Objects are the loaded programs and maps. Close releases them; links that were
// made with the programs keep those alive until they are closed themselves.
type Objects struct {
	probes probeObjects
	caps   Settings
	cpus   int           // possible ones
	room   uint32        // each of them has for so many in the map of latencies
	known  atomic.Uint32 // functions, those that nobody has filled in included

	functions, latencies, nearThreads *ebpf.Memory // the maps of these names

	// What Latencies has told of: by processor, as they lie in the array, and of the hash map.
	near [][]Latency
	far  map[probeLatencyKey][]Latency
}

// ErrorBytes is the size of the ring buffer of errors beside one of calls of such a size.
func ErrorBytes(ring uint32) uint32 { return max(leastErrorBytes, ring/2) }

const leastErrorBytes = 8 << 20

// Load loads the programs. It needs CAP_BPF and CAP_PERFMON.
func Load(s Settings) (*Objects, error) {
	spec, err := loadProbe()
	if err != nil {
		return nil, fmt.Errorf("read the embedded BPF object: %w", err)
	}
	variables := map[string]any{
		"follow_children": b2u(s.FollowChildren),
		"stats_only":      b2u(s.StatsOnly),
		"report_execs":    b2u(s.ReportExecs),
		"leave_others":    b2u(s.LeaveOthers),
	}
	for name, v := range map[string]uint32{
		"max_string": s.MaxString, "max_items": s.MaxItems, "max_depth": s.MaxDepth, "max_bytes": s.MaxBytes,
	} {
		if v != 0 {
			variables[name] = v
		}
	}
	slots := s.Scratch
	if slots == 0 {
		slots = max(64, uint32(4*runtime.NumCPU()))
	}
	variables["pool_size"] = slots
	if s.RingBytes != 0 {
		variables["wake_bytes"] = min(wakeBytes, s.RingBytes/8)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("load BPF programs: %w", err)
	}
	near := cmp.Or(s.Latencies, nearLatencies(cpus, s.Functions))
	variables["near_latencies"] = near
	for name, v := range variables {
		if err := spec.Variables[name].Set(v); err != nil {
			return nil, fmt.Errorf("set BPF variable %s: %w", name, err)
		}
	}
	for name, n := range map[string]uint32{
		"functions": s.Functions, "counts": s.Functions, "glimpses": s.Functions, "checks": s.Functions, "moves": s.Moves, "programs": s.Programs,
		"edges": s.Edges, "dynamic": s.Dynamic, "pool": slots, "events": s.RingBytes, "errors": ErrorBytes(s.RingBytes), "deep": s.Frames,
		"latencies": near * uint32(cpus),
	} {
		if n != 0 {
			spec.Maps[name].MaxEntries = n
		}
	}
	if s.PerfEvents {
		spec.Programs["hit"].AttachType = ebpf.AttachNone
		spec.Programs["glimpse"].AttachType = ebpf.AttachNone
	}
	o := &Objects{caps: s, cpus: cpus, room: near, near: make([][]Latency, cpus), far: map[probeLatencyKey][]Latency{}}
	if err := spec.LoadAndAssign(&o.probes, nil); err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			return nil, fmt.Errorf("load BPF programs: %w\n%s", err, strings.Join(ve.Log, "\n"))
		}
		return nil, fmt.Errorf("load BPF programs: %w", err)
	}
	for m, memory := range map[*ebpf.Map]**ebpf.Memory{
		o.probes.Functions: &o.functions, o.probes.Latencies: &o.latencies, o.probes.NearThreads: &o.nearThreads,
	} {
		if *memory, err = m.Memory(); err != nil {
			return nil, errors.Join(fmt.Errorf("map BPF map %s: %w", m, err), o.Close())
		}
	}
	return o, nil
}

// wakeBytes is after how many bytes in the ring buffer its reader is woken; a power of two. On a virtual
// machine waking takes the probe that does it ten microseconds.
const wakeBytes = 1 << 20

// nearLatencies is how many histograms of an octave a processor has in an array: four for each
// function, up to 32,768, and up to 32 MiB for all processors; a power of two. The others are in a hash map.
func nearLatencies(cpus int, functions uint32) uint32 {
	n := uint32(1 << 15)
	for n > 64 && (n/2 >= 4*functions || uint64(n)*uint64(cpus)*uint64(unsafe.Sizeof(Latency{})) > 32<<20) {
		n /= 2
	}
	return n
}

// HaveUprobeMulti tells whether the kernel attaches many uprobes with one link (6.6).
func HaveUprobeMulti() error { return features.HaveBPFLinkUprobeMulti() }

// Close unloads what no link holds any more.
func (o *Objects) Close() error { return o.probes.Close() }

// Hit is the program of all sites.
func (o *Objects) Hit() *ebpf.Program { return o.probes.Hit }

// Glimpse is the program that only counts, for entry sites; see Glimpsed.
func (o *Objects) Glimpse() *ebpf.Program { return o.probes.Glimpse }

// OnFork is the raw tracepoint program of sched_process_fork.
func (o *Objects) OnFork() *ebpf.Program { return o.probes.OnFork }

// OnExec is the raw tracepoint program of sched_process_exec.
func (o *Objects) OnExec() *ebpf.Program { return o.probes.OnExec }

// OnExit is the raw tracepoint program of sched_process_exit.
func (o *Objects) OnExit() *ebpf.Program { return o.probes.OnExit }

// OnSignal is the raw tracepoint program of signal_deliver.
func (o *Objects) OnSignal() *ebpf.Program { return o.probes.OnSignal }

// Activate lets events begin: everything is attached.
func (o *Objects) Activate() error { return o.setActive(1) }

// Deactivate lets no event begin any more; what was delivered can still be read.
func (o *Objects) Deactivate() error { return o.setActive(0) }

func (o *Objects) setActive(v uint32) error {
	if err := o.probes.Active.Set(v); err != nil {
		return fmt.Errorf("set BPF variable active: %w", err)
	}
	return nil
}

// LostProcessEvents counts forks, execs and deaths that found the ring buffer full.
func (o *Objects) LostProcessEvents() (n uint64, err error) {
	if err := o.probes.LostProcessEvents.Get(&n); err != nil {
		return 0, fmt.Errorf("read BPF variable lost_process_events: %w", err)
	}
	return n, nil
}

// Tables are records to be appended to the maps of the same names, from the
// given first index on.
type Tables struct {
	Functions    []Func
	FirstFunc    uint32
	Moves        []Move
	FirstMove    uint32
	Checks       []Check
	FirstCheck   uint32
	Programs     []Program
	FirstProgram uint32
	Edges        []Edge
	FirstEdge    uint32
	Dynamic      map[DynamicKey]DynamicType
	Instances    map[InstanceKey]uint32
}

// Fill writes tables, what they refer to first. It returns ErrFull when one of
// them does not fit.
func (o *Objects) Fill(t Tables) error {
	if err := fill(o.probes.Edges, t.FirstEdge, t.Edges); err != nil {
		return err
	}
	if err := fill(o.probes.Programs, t.FirstProgram, t.Programs); err != nil {
		return err
	}
	if err := fill(o.probes.Moves, t.FirstMove, t.Moves); err != nil {
		return err
	}
	if err := fill(o.probes.Checks, t.FirstCheck, t.Checks); err != nil {
		return err
	}
	for k, v := range t.Dynamic {
		err := full(o.probes.Dynamic.Put(k, v))
		if errors.Is(err, ErrFull) {
			break // interface values of the types that are left out are shown by their type alone
		}
		if err != nil {
			return fmt.Errorf("fill BPF map dynamic: %w", err)
		}
	}
	for k, v := range t.Instances {
		if err := o.probes.Instances.Put(k, v); err != nil {
			return fmt.Errorf("fill BPF map instances: %w", full(err))
		}
	}
	o.known.Store(max(o.known.Load(), t.FirstFunc+uint32(len(t.Functions))))
	functions := slices.Clone(t.Functions)
	for i := range functions {
		functions[i].Control.Keep = RateAll
	}
	return fill(o.probes.Functions, t.FirstFunc, functions)
}

// SetControls changes how functions are traced, by their ids.
func (o *Objects) SetControls(ids []uint32, controls []Control) error {
	for i, id := range ids {
		at := int64(id)*int64(unsafe.Sizeof(Func{})) + int64(unsafe.Offsetof(Func{}.Control))
		control := (*[unsafe.Sizeof(Control{})]byte)(unsafe.Pointer(&controls[i]))
		if _, err := o.functions.WriteAt(control[:], at); err != nil {
			return fmt.Errorf("change how function %d is traced: %w", id, err)
		}
	}
	return nil
}

// WordsOf makes the words of a Func's side from its moves, which all make a word of a register's.
func WordsOf(moves []Move) uint64 {
	words := ^uint64(0)
	for _, m := range moves {
		at := m.Dst / 8 * 8
		words = words&^(0xff<<at) | uint64(m.Reg|uint8(m.Off&7)<<5)<<at
	}
	return words
}

// ErrFull says that a table has no room for what is to be added.
var ErrFull = errors.New("the table is full")

func full(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) || errors.Is(err, unix.E2BIG) {
		return ErrFull
	}
	return err
}

func fill[T any](m *ebpf.Map, first uint32, records []T) error {
	if len(records) == 0 {
		return nil
	}
	if uint64(first)+uint64(len(records)) > uint64(m.MaxEntries()) {
		return fmt.Errorf("fill BPF map %s: %d records from %d on, room for %d: %w", m, len(records), first, m.MaxEntries(), ErrFull)
	}
	keys := make([]uint32, len(records))
	for i := range keys {
		keys[i] = first + uint32(i)
	}
	if _, err := m.BatchUpdate(keys, records, nil); err != nil {
		return fmt.Errorf("fill BPF map %s: %w", m, err)
	}
	return nil
}

// AddProcess makes a process one of the traced, by its id in the initial pid namespace; one
// that already is stays as it is.
func (o *Objects) AddProcess(tgid uint32) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("add process %d: %w", tgid, err)
	}
	err := o.probes.Processes.Update(tgid, Process{Program: uint64(now.Nano())}, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("add process %d: %w", tgid, full(err))
	}
	return nil
}

// Program tells the programs that a process executes one after the other apart; false when
// it is none of the traced.
func (o *Objects) Program(tgid uint32) (program uint64, traced bool) {
	var p Process
	err := o.probes.Processes.Lookup(tgid, &p)
	return p.Program, err == nil
}

// KnowErrno says whether the probes know where a process has errno while it runs a program.
func (o *Objects) KnowErrno(tgid uint32, program uint64) bool {
	var place ErrnoPlace
	err := o.probes.Errnos.Lookup(tgid, &place)
	return err == nil && place.Program == program
}

// SetErrno tells the probes where a process has errno while it runs the place's program.
func (o *Objects) SetErrno(tgid uint32, place ErrnoPlace) error {
	if err := o.probes.Errnos.Put(tgid, place); err != nil {
		return fmt.Errorf("tell the probes of errno in process %d: %w", tgid, full(err))
	}
	return nil
}

// Processes lists the traced processes, by their ids in the initial pid namespace.
func (o *Objects) Processes() (tgids []uint32, err error) {
	var tgid uint32
	var p Process
	entries := o.probes.Processes.Iterate()
	for entries.Next(&tgid, &p) {
		tgids = append(tgids, tgid)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return tgids, nil
}

// AddImage lets every process that executes the file be traced from its first instruction on.
func (o *Objects) AddImage(i Image) error {
	if err := o.probes.Images.Put(i, Process{}); err != nil {
		return fmt.Errorf("add image: %w", full(err))
	}
	return nil
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
