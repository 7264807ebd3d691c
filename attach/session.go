package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/symbols"
	"github.com/observatory-trace/observatory-trace/symbols/pattern"
	"github.com/observatory-trace/observatory-trace/symbols/types"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Options say what to trace.
type Options struct {
	PIDs  []int              // running processes
	Names []*pattern.Pattern // processes by command name, running and future
	Exes  []*pattern.Pattern // processes by the path of their executable, running and future
	// Command is a process that has not executed its program yet; nil for none.
	Command *Command

	Selection symbols.Selection
	Libs      []*pattern.Pattern // shared objects, by path or its last element
	// FollowChildren traces what traced processes fork and execute.
	FollowChildren bool

	MaxString, MaxItems, MaxDepth, MaxBytes uint32 // 0: the default
	RingBytes                               uint32 // a power of two

	// PerfEvents uses perf-event uprobes even where uprobe_multi is to be had.
	PerfEvents bool

	scratch, latencies, frames uint32 // see bpf.Settings

	// StatsOnly counts calls, and gives no record of any: Counts tells all.
	StatsOnly bool
	// Precondition says what is known of those of a function's calls that are recorded; nil when
	// all are.
	Precondition func(*trace.Function) trace.Precondition

	// Rate is the share of a function's calls that are recorded, 0 to 1; nil for all. SetRate changes it.
	Rate func(*trace.Function) float64

	// Begin says, after glances at a file's functions in processes that run already, how some of them are traced
	// from the start, by their ids; or which are to be glanced at once more, by themselves. It may be called from
	// any goroutine. Nil for no glance.
	Begin func([]Glance) (begins map[uint32]Begin, again []uint32)

	// Group names the group of a function, by its name; nil for none.
	Group func(name string) string
	// Failure says which results of a function mean that it failed, nil when none do by
	// themselves. With it, calls that fail so tell their errno. Nil for no function.
	Failure func(*trace.Function) *trace.Failure
	// Warn is told what went wrong without ending the session; it may be called
	// from any goroutine.
	Warn func(error)
}

// Capacity of the BPF tables: what may come with files that are mapped later.
const (
	spareFunctions = 1 << 16
	movesEach      = 6
	programsEach   = 3
	edgesEach      = 6
	maxDynamics    = 1 << 14
)

// Session is a running trace. Next, and what it hands out, are for one
// goroutine; the other methods are safe for concurrent use.
type Session struct {
	opts   Options
	objs   *bpf.Objects
	ring   *bpf.Ring
	linker linker
	cat    *catalog
	tracks []link.Link // of the tracepoints

	glances   bool       // files are attached to in processes that run already
	attaching sync.Mutex // held while files are attached to, or detached from; taken before mu
	matching  *matching  // guarded by attaching
	mu        sync.Mutex // guards files and detached, shortly: records wait for it
	files     map[FileID]*attachedFile
	detached  bool

	governing sync.Mutex // guards controls; taken after attaching
	controls  []bpf.Control
	costs     Costs

	clocks sync.Mutex            // guards the next three
	times  map[int]time.Duration // CPU time of processes, as of when it was last asked for, or when they ended
	over   time.Duration         // of those that have ended, but for what times has
	done   map[int]bool          // whose end was read, until they are forgotten

	pmu       sync.RWMutex
	processes map[uint32]*trace.Process
	gone      []uint32 // ended, to be forgotten with the next record

	arrivals chan arrival // processes whose files are to be looked at
	wait     sync.WaitGroup
	live     atomic.Int64 // traced processes that have not ended

	rmu        sync.Mutex                   // guards spaces, biases and unlocated; taken after mu
	spaces     map[uint32]*space            // by process, for Dynamic and SameMapping
	biases     map[uint32]map[*image]uint64 // where processes had position-independent files, by what hit probes
	unlocated  map[uint32]unlocated         // by process, for Errno
	known      [256]entry                   // some of which entered has learnt all there is, for Next alone
	mmu        sync.Mutex                   // guards modules
	modules    map[FileID]*image            // files that are not traced, for Stack
	libcs      libcs
	counted    counted // what Counts has told of
	unwindings unwindings
	pending    [][]byte // records that come before those in the ring buffer
	// lostProcesses is how many forks, execs and deaths recount knows to be lost.
	lostProcesses uint64

	// BeforeForget is called by Next before it forgets what memory a process has: what other
	// goroutines are to ask of it must be asked by when it returns. Nil for nothing.
	BeforeForget func(tgid uint32)

	Clock Clock
}

// entry is a function that a process has entered.
type entry struct{ tgid, function uint32 }

type arrival struct {
	pid  int
	exec bool // it executed a program, rather than mapped a library
}

// attachedFile is a file that was looked at, whether or not something was
// found in it.
type attachedFile struct {
	functions []*trace.Function // matched, the refused included
	handle    *os.File          // what is linked to; nil for nothing
	sites     plan              // of all its functions
	groups    []*group
	next      uint8  // the number of the latest group
	image     *image // nil when nothing of it is traced
	err       error
}

// failure is why the file could not be attached to; nil for a file not looked at.
func (f *attachedFile) failure() error {
	if f == nil {
		return nil
	}
	return f.err
}

// Start looks at the targets' files, attaches everything, and then lets events
// begin. The command, if any, is not released yet. The caller must Close.
func Start(opts Options) (_ *Session, err error) {
	if opts.Warn == nil {
		opts.Warn = func(error) {}
	}
	s := &Session{
		opts: opts, matching: newMatching(&opts), costs: AssumedCosts, times: map[int]time.Duration{}, done: map[int]bool{}, files: map[FileID]*attachedFile{}, processes: map[uint32]*trace.Process{},
		arrivals: make(chan arrival, 4096), spaces: map[uint32]*space{}, biases: map[uint32]map[*image]uint64{},
		modules: map[FileID]*image{}, libcs: libcs{known: map[libcKey]libc{}}, unlocated: map[uint32]unlocated{},
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.track(); err != nil {
		return nil, err
	}
	if err := s.addTargets(); err != nil {
		return nil, err
	}
	// Mapped only now, the buffer and what reading the files took don't add up.
	if s.ring, err = s.objs.OpenRing(); err != nil {
		return nil, err
	}
	s.wait.Go(s.look)
	return s, s.objs.Activate()
}

// load loads the programs.
func (s *Session) load() error {
	perf := s.opts.PerfEvents
	if err := bpf.HaveUprobeMulti(); errors.Is(err, ebpf.ErrNotSupported) {
		perf = true
		s.opts.Warn(fmt.Errorf("this kernel has only perf-event uprobes (uprobe_multi came with Linux 6.6): at most %d probes, and detaching takes about 0.1 s for each", MaxPerfEventSites))
	}
	objs, err := bpf.Load(bpf.Settings{
		StatsOnly: s.opts.StatsOnly, FollowChildren: s.opts.FollowChildren, ReportExecs: s.opts.future(), LeaveOthers: !s.opts.future(),
		MaxString: s.opts.MaxString, MaxItems: s.opts.MaxItems, MaxDepth: s.opts.MaxDepth, MaxBytes: s.opts.MaxBytes,
		RingBytes: s.opts.RingBytes, Scratch: s.opts.scratch, Latencies: s.opts.latencies, Frames: s.opts.frames, PerfEvents: perf,
		Functions: spareFunctions, Moves: movesEach * spareFunctions, Programs: programsEach * spareFunctions,
		Edges: edgesEach * spareFunctions, Dynamic: maxDynamics,
	})
	if err != nil {
		return permission(err)
	}
	s.objs = objs
	s.linker = linker{prog: objs.Hit(), perfEvents: perf}
	s.cat = newCatalog(objs, types.NewCompiler(int(s.opts.MaxDepth)), s.opts.Precondition)
	return nil
}

// track follows forks, execs, fatal signals and ends.
func (s *Session) track() error {
	for _, t := range []link.RawTracepointOptions{
		{Name: "sched_process_fork", Program: s.objs.OnFork()},
		{Name: "sched_process_exec", Program: s.objs.OnExec()},
		{Name: "sched_process_exit", Program: s.objs.OnExit()},
		{Name: "signal_deliver", Program: s.objs.OnSignal()},
	} {
		l, err := link.AttachRawTracepoint(t)
		if err != nil {
			return fmt.Errorf("attach to tracepoint %s: %w", t.Name, permission(err))
		}
		s.tracks = append(s.tracks, l)
	}
	return nil
}

// addTargets attaches to what runs now, to the command, and to executables that
// may be started later.
func (s *Session) addTargets() error {
	// All of them first: a glance at a file's functions is one at all processes that run it.
	var pids []int
	for _, pid := range s.opts.PIDs {
		if err := s.addProcess(pid); err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	if s.opts.future() {
		found, err := Find(s.opts.wants)
		if err != nil {
			return err
		}
		for _, p := range found {
			if err := s.addProcess(p.PID); err == nil {
				pids = append(pids, p.PID)
			} else if !errors.Is(err, ErrNoProcess) { // it may have ended meanwhile
				return err
			}
		}
	}
	s.glances = len(pids) > 0
	for i, pid := range pids {
		if err := s.attachProcess(pid); err != nil && (i < len(s.opts.PIDs) || !errors.Is(err, ErrNoProcess)) {
			return err
		}
	}
	s.glances = false
	if s.opts.future() {
		if err := s.addImages(); err != nil {
			return err
		}
	}
	if s.opts.Command != nil {
		return s.addCommand(s.opts.Command)
	}
	return nil
}

// addProcess makes a running process a target, before the probes come, so that no hit of it is taken for
// another's.
func (s *Session) addProcess(pid int) error {
	p, err := describe(pid)
	if err != nil {
		return permission(err)
	}
	if err := s.objs.AddProcess(uint32(pid)); err != nil {
		return err
	}
	if s.setProcess(p) {
		s.live.Add(1)
	}
	s.rmu.Lock()
	s.remap(uint32(pid)) // while it is there
	s.rmu.Unlock()
	return nil
}

// addCommand attaches to the file that the command will execute.
func (s *Session) addCommand(c *Command) error {
	path, err := program(c.Path)
	if err != nil {
		return err
	}
	if err := s.objs.AddProcess(uint32(c.PID())); err != nil {
		return err
	}
	if s.setProcess(&trace.Process{PID: c.PID(), Exe: path, Comm: filepath.Base(path), StartNS: time.Now().UnixNano()}) {
		s.live.Add(1)
	}
	return s.attachFiles(programFiles(path, &s.opts))
}

// addImages attaches to the files on disk that the patterns of executables
// name, so that their processes are traced from their first instruction on.
func (s *Session) addImages() error {
	for _, path := range s.opts.images() {
		if err := s.attachFiles(programFiles(path, &s.opts)); err != nil {
			return err
		}
		if err := s.addImage(path); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) addImage(path string) error {
	id, err := fileIDOf(path)
	if err != nil {
		return fmt.Errorf("add image: %w", err)
	}
	return s.objs.AddImage(bpf.Image{Inode: id.Inode, Dev: unix.Major(id.Dev)<<20 | unix.Minor(id.Dev)})
}

// attachProcess attaches to the files that a process has mapped, as far as they
// were not attached to yet.
func (s *Session) attachProcess(pid int) error {
	files, err := processFiles(pid, &s.opts)
	if err != nil {
		return permission(err)
	}
	if err := s.attachFiles(files); err != nil {
		return err
	}
	if s.opts.Failure != nil {
		_ = s.locateErrno(uint32(pid)) // Errno says why not
	}
	return nil
}

// attachFiles attaches to each file once. That one can't be read which only
// tells of unwinding is no error.
func (s *Session) attachFiles(files []targetFile) error {
	for _, f := range files {
		err := s.attachFile(f)
		if err != nil && f.wanted {
			return err
		}
		// What a process that has ended had mapped is no longer to be had, and of no use.
		if err != nil && !errors.Is(err, symbols.ErrNotELF) && exists(f.root) {
			s.opts.Warn(fmt.Errorf("calls that are unwound through may be taken for open ones: %w", err))
		}
	}
	return nil
}

func (s *Session) attachFile(t targetFile) error {
	id, err := probedIDOf(t.path)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	s.attaching.Lock()
	defer s.attaching.Unlock()
	s.mu.Lock()
	f, detached := s.files[id], s.detached
	s.mu.Unlock()
	if f != nil || detached {
		return f.failure()
	}
	f = &attachedFile{}
	f.err = s.attachSelected(f, t)
	if f.err != nil && (!exists(t.root) || errors.Is(f.err, fs.ErrNotExist)) {
		return f.err // the process that showed it is gone, or a zombie: another one may show it again
	}
	s.mu.Lock()
	s.files[id] = f
	s.mu.Unlock()
	return f.err
}

func (s *Session) attachSelected(a *attachedFile, t targetFile) (err error) {
	file, err := symbols.Open(t.path, symbols.Options{Module: t.module, Root: t.root, Depth: int(s.opts.MaxDepth), Errno: s.opts.Failure != nil})
	if err != nil {
		return fmt.Errorf("read %s: %w", t.module, permission(err))
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if t.wanted {
		if a.functions, err = file.Select(s.opts.Selection); err == nil {
			err = s.matching.look(file)
		}
		if err != nil {
			return fmt.Errorf("select functions of %s: %w", t.module, err)
		}
	}
	roles, err := file.Roles()
	if err != nil {
		return fmt.Errorf("select functions of %s: %w", t.module, err)
	}
	traced := make([]*trace.Function, 0, len(a.functions)+len(roles))
	for _, f := range append(roles, a.functions...) {
		if !f.Traceable {
			continue
		}
		if s.opts.Group != nil {
			f.Group = s.opts.Group(f.Name)
		}
		if s.opts.Failure != nil && f.Role == trace.RoleCall {
			f.Failure = s.opts.Failure(f)
		}
		traced = append(traced, f)
	}
	if len(traced) == 0 {
		return nil
	}
	dynamic := append(file.Dynamic(), file.Closures(a.functions)...)
	if t.wanted {
		s.opts.warnOf(file)
	}
	var dictionaries map[uint64]symbols.Dictionary
	if slices.ContainsFunc(a.functions, isGeneric) {
		dictionaries = file.Dictionaries()
	}
	if a.image, err = newImage(file, dynamic, dictionaries); err != nil {
		return err
	}
	if err := s.cat.add(traced, a.image, dynamic); err != nil {
		return err
	}
	s.unwindings.add(traced)
	if a.handle, err = os.Open(t.path); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	now, later, err := s.begin(t.path, traced, file.FileOffset)
	if err != nil {
		return err
	}
	if err := s.setRates(traced); err != nil {
		return err
	}
	if a.sites, err = probes(later, file.FileOffset); err != nil {
		return err
	}
	for _, part := range now {
		var made []*group
		made, err = s.linkAll(t.path, part, file.FileOffset)
		a.groups = append(a.groups, made...)
		if err != nil {
			break
		}
	}
	for _, g := range a.groups {
		a.sites.join(g.plan)
	}
	return err
}

// setRates has the probes know from the first call on how many calls of functions are recorded, and what they cost.
func (s *Session) setRates(functions []*trace.Function) error {
	s.governing.Lock()
	defer s.governing.Unlock()
	var ids []uint32
	var controls []bpf.Control
	for _, f := range functions {
		ids, controls = append(ids, f.ID), append(controls, *s.control(f.ID))
	}
	return s.objs.SetControls(ids, controls)
}

// Rate is the share of a function's calls that are recorded now, 0 to 1, but for those below calls that were chosen. It is
// safe for concurrent use.
func (s *Session) Rate(id uint32) float64 {
	s.governing.Lock()
	defer s.governing.Unlock()
	return float64(s.control(id).Keep) / bpf.RateAll
}

// isGeneric says whether a function is given the types that it runs with.
func isGeneric(f *trace.Function) bool {
	return f.EntryPlan != nil && f.EntryPlan.Root != nil &&
		slices.ContainsFunc(f.EntryPlan.Root.Fields, func(p trace.Field) bool { return p.Name == trace.Dictionary })
}

// linkAll links the functions' probes. When the kernel refuses an instruction,
// the functions that have it are found by halving, and are left out.
func (s *Session) linkAll(path string, functions []*trace.Function, offset offsetOf) ([]*group, error) {
	p, err := probes(functions, offset)
	if err != nil {
		return nil, err
	}
	if n := len(p.enter.offsets) + len(p.leave.offsets) + len(p.returned.offsets); s.linker.perfEvents && n > MaxPerfEventSites {
		return nil, fmt.Errorf("attach to %s: %d probes wanted, and this kernel has only perf-event uprobes (uprobe_multi came with Linux 6.6), of which detaching takes about 0.1 s each: select fewer functions (at most %d probes)", path, n, MaxPerfEventSites)
	}
	links, err := s.linker.link(path, p, 0)
	if err == nil {
		return []*group{{plan: p, links: links}}, nil
	}
	if !refused(err) {
		return nil, err
	}
	if len(functions) == 1 {
		functions[0].Traceable = false
		functions[0].Reason = "the kernel refuses to probe one of its instructions"
		s.opts.Warn(fmt.Errorf("%s is not traced: %s", functions[0].Name, functions[0].Reason))
		return nil, nil
	}
	half := len(functions) / 2
	first, err := s.linkAll(path, functions[:half], offset)
	if err != nil {
		return first, err
	}
	second, err := s.linkAll(path, functions[half:], offset)
	return append(first, second...), err
}

// Attached counts what is being traced: functions, and live processes.
func (s *Session) Attached() (functions, processes int) {
	for _, f := range s.Functions() {
		if f.Traceable {
			functions++
		}
	}
	return functions, int(s.live.Load())
}

// Functions lists what matched, the refused included.
func (s *Session) Functions() []*trace.Function {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*trace.Function
	for _, f := range s.files {
		all = append(all, f.functions...)
	}
	return all
}

// Unmatched gives the patterns that have matched nothing so far.
func (s *Session) Unmatched() []Unmatched {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	return s.matching.unmatched()
}

// Live is the number of traced processes that have not ended.
func (s *Session) Live() int { return int(s.live.Load()) }

// Function finds a function by the id in a record; nil when there is none.
func (s *Session) Function(id uint32) *trace.Function { return s.cat.function(id) }

// Stop lets no event begin any more. What was delivered can still be read with Next.
func (s *Session) Stop() error { return s.objs.Deactivate() }

// Detach takes all probes out. Targets go on untouched; Next reads nothing new.
func (s *Session) Detach() error {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	links := s.tracks
	for _, f := range s.files {
		for _, g := range f.groups {
			links = append(links, g.links...)
		}
		f.groups = nil
	}
	s.tracks = nil
	s.detached = true
	return closeLinks(links)
}

// Close takes all probes out and releases everything.
func (s *Session) Close() error {
	close(s.arrivals)
	var errs []error
	if s.objs != nil {
		errs = append(errs, s.objs.Deactivate())
	}
	errs = append(errs, s.Detach())
	s.wait.Wait()
	for _, f := range s.files {
		errs = append(errs, f.image.close())
		if f.handle != nil {
			errs = append(errs, f.handle.Close())
		}
	}
	for _, i := range s.modules {
		errs = append(errs, i.close())
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	if s.objs != nil {
		errs = append(errs, s.objs.Close())
	}
	return errors.Join(errs...)
}
