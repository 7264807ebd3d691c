package attach

/*
// Functions whose first instruction is of a known kind, and a loop that calls them.
// They live here, in the tracer itself: calibrating touches no other process.
#include <time.h>

#if defined(__x86_64__)
__asm__(
	".text\n"
	".p2align 4\n.type calibrate_emulated,@function\ncalibrate_emulated:\n push %rbp\n pop %rbp\n ret\n.size calibrate_emulated,.-calibrate_emulated\n"
	".p2align 4\n.type calibrate_step,@function\ncalibrate_step:\n xor %eax,%eax\n ret\n.size calibrate_step,.-calibrate_step\n"
	".p2align 4\n.type calibrate_nop5,@function\ncalibrate_nop5:\n .byte 0x0f,0x1f,0x44,0x00,0x00\n ret\n.size calibrate_nop5,.-calibrate_nop5\n"
	".p2align 4\n.type calibrate_tail,@function\ncalibrate_tail:\n push %rbp\n pop %rbp\n jmp calibrate_end\n.size calibrate_tail,.-calibrate_tail\n"
	".p2align 4\n.type calibrate_end,@function\ncalibrate_end:\n ret\n.size calibrate_end,.-calibrate_end\n");
// Offsets of their exits: the ret of calibrate_emulated, the jmp of calibrate_tail.
enum { RET_OFFSET = 2, TAIL_OFFSET = 2 };
#elif defined(__aarch64__)
__asm__(
	".text\n"
	".p2align 4\n.type calibrate_emulated,%function\ncalibrate_emulated:\n nop\n ret\n.size calibrate_emulated,.-calibrate_emulated\n"
	".p2align 4\n.type calibrate_step,%function\ncalibrate_step:\n mov x0, xzr\n ret\n.size calibrate_step,.-calibrate_step\n"
	".p2align 4\n.type calibrate_nop5,%function\ncalibrate_nop5:\n nop\n ret\n.size calibrate_nop5,.-calibrate_nop5\n"
	".p2align 4\n.type calibrate_tail,%function\ncalibrate_tail:\n nop\n b calibrate_end\n.size calibrate_tail,.-calibrate_tail\n"
	".p2align 4\n.type calibrate_end,%function\ncalibrate_end:\n ret\n.size calibrate_end,.-calibrate_end\n");
enum { RET_OFFSET = 4, TAIL_OFFSET = 4 };
#endif

void calibrate_tail(void);
void calibrate_emulated(void);
void calibrate_step(void);
void calibrate_nop5(void);

static void *emulated(void) { return calibrate_emulated; }
static void *step(void) { return calibrate_step; }
static void *nop5(void) { return calibrate_nop5; }
static void *tail(void) { return calibrate_tail; }

// Nanoseconds of CPU time that n calls of f take.
static long long time_calls(void *f, int n)
{
	struct timespec a, b;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	for (int i = 0; i < n; i++)
		((void (*)(long, long, long))f)(i, n, i);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	return (b.tv_sec - a.tv_sec) * 1000000000LL + (b.tv_nsec - a.tv_nsec);
}
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Cost is what probes cost the thread that hits them, on this host.
type Cost struct {
	Counted, Told           time.Duration // of a call that is only counted, and of one whose record is delivered
	CountedShare, ToldShare time.Duration // as much of that as lies between the times that make the call's duration
	Glimpsed                time.Duration // of a call whose entry a glimpse sees (see Session.Glimpse)
}

// plus is what both cost; a glimpse sees the first.
func (c Cost) plus(o Cost) Cost {
	return Cost{c.Counted + o.Counted, c.Told + o.Told, c.CountedShare + o.CountedShare, c.ToldShare + o.ToldShare, c.Glimpsed}
}

// less is the difference, at least nothing.
func (c Cost) less(o Cost) Cost {
	return Cost{
		max(0, c.Counted-o.Counted), max(0, c.Told-o.Told), max(0, c.CountedShare-o.CountedShare), max(0, c.ToldShare-o.ToldShare), c.Glimpsed,
	}
}

// Costs is what the sites of calls cost by their kind, for records without values that would have to be
// looked for in memory.
type Costs struct {
	Nop5, Emulated, SingleStep Cost // an entry site
	Return                     Cost // a uretprobe's return, on top of its entry
	ExitEmulated, ExitStep     Cost // a return site, or a tail jump's
}

// AssumedCosts are those of a virtual machine of 2026 (Linux 6.18, x86-64), for until they are measured.
var AssumedCosts = func() Costs {
	emulated := Cost{550 * time.Nanosecond, 700 * time.Nanosecond, 260 * time.Nanosecond, 310 * time.Nanosecond, 480 * time.Nanosecond}
	step := Cost{17 * time.Microsecond, 17 * time.Microsecond, 300 * time.Nanosecond, 350 * time.Nanosecond, 17 * time.Microsecond}
	return Costs{
		Nop5: emulated, Emulated: emulated, ExitEmulated: emulated, ExitStep: step,
		Return:     Cost{400 * time.Nanosecond, 400 * time.Nanosecond, 100 * time.Nanosecond, 100 * time.Nanosecond, 0},
		SingleStep: Cost{step.Counted, step.Told, 16 * time.Microsecond, 16 * time.Microsecond, step.Glimpsed},
	}
}()

// Of is the cost of one call of a function: its entry, and the dearest of its exits. Of those that tell of unwinding it
// is that of a hit, with the stack where it is told, as long as it isn't known better: see Counts.
func (c *Costs) Of(f *trace.Function) Cost {
	total := c.Emulated
	switch f.Entry.Site {
	case trace.SiteNop5:
		total = c.Nop5
	case trace.SiteSingleStep:
		total = c.SingleStep
	}
	if f.Role != trace.RoleCall {
		hit := total.Glimpsed
		return Cost{Counted: hit + 500*time.Nanosecond, Told: hit + 3*time.Microsecond, Glimpsed: hit}
	}
	switch f.Exit.Kind {
	case trace.ExitReturn:
		total = total.plus(c.Return)
	case trace.ExitSites:
		exit := Cost{}
		for _, s := range f.Exit.Sites {
			if s.Site == trace.SiteSingleStep {
				exit = c.ExitStep
				break
			}
			exit = c.ExitEmulated
		}
		total = total.plus(exit)
	}
	return total
}

// calibration measures pairs of probes in the tracer's own functions.
type calibration struct {
	objs *bpf.Objects
	next uint32 // function id
}

const maxCalibrated = 16

// typicalMoves are those of a function with three arguments.
var typicalMoves = []bpf.Move{{Size: 8, Source: 1, Reg: 5}, {Dst: 8, Size: 8, Source: 1, Reg: 4}, {Dst: 16, Size: 8, Source: 1, Reg: 1}}

// returned says that a uretprobe sees a call's end, rather than an exit site.
const returned = -1

// Calibrate measures Costs on functions of the tracer's own, in about a second, unless the context ends before.
func Calibrate(ctx context.Context) (Costs, error) { return calibrate(ctx, false) }

// Calibrate measures Costs as the session's probes are: those that only count do less.
func (s *Session) Calibrate(ctx context.Context) (Costs, error) {
	return calibrate(ctx, s.opts.StatsOnly)
}

func calibrate(ctx context.Context, statsOnly bool) (c Costs, err error) {
	objs, err := bpf.Load(bpf.Settings{StatsOnly: statsOnly, Functions: maxCalibrated, Moves: uint32(len(typicalMoves)), RingBytes: 1 << 24})
	if err != nil {
		return c, permission(err)
	}
	defer func() { err = errors.Join(err, objs.Close()) }()
	if err := errors.Join(objs.Fill(bpf.Tables{Moves: typicalMoves}), objs.AddProcess(uint32(os.Getpid())), objs.Activate()); err != nil {
		return c, err
	}
	runtime.LockOSThread() // whose CPU time is measured
	defer runtime.UnlockOSThread()
	m := &calibration{objs: objs}
	of := func(function unsafe.Pointer, exit int64) (cost Cost) {
		if err == nil {
			cost, err = m.pair(ctx, function, exit)
		}
		return cost
	}
	// An entry and an exit of the same kind: each is half of what both cost.
	both := of(C.tail(), C.TAIL_OFFSET)
	c.Emulated = Cost{both.Counted / 2, both.Told / 2, both.CountedShare / 2, both.ToldShare / 2, both.Glimpsed}
	c.ExitEmulated = both.less(c.Emulated)
	pair := of(C.emulated(), returned)
	c.Return = pair.less(c.Emulated)
	c.ExitStep = of(C.emulated(), C.RET_OFFSET).less(c.Emulated)
	of5, ofStep := of(C.nop5(), returned), of(C.step(), returned)
	c.Nop5, c.SingleStep = of5.plus(c.Emulated).less(pair), ofStep.plus(c.Emulated).less(pair)
	return c, err
}

// pair gives the cost of a function's probes.
func (m *calibration) pair(ctx context.Context, function unsafe.Pointer, exit int64) (cost Cost, err error) {
	if err := ctx.Err(); err != nil {
		return cost, err
	}
	bare := typical(function)
	whole, err := m.probed(function, exit, bpf.RateAll, 0)
	if err != nil {
		return cost, err
	}
	cost.Told, cost.ToldShare = whole[0].took, whole[0].seen
	cost.Counted, cost.CountedShare = whole[1].took, whole[1].seen
	if cost.Glimpsed, err = m.glimpsed(function); err != nil {
		return cost, err
	}
	// How many times a glimpse a counted call costs matters most: by turns, since neighbours come and go, the least of each.
	// Where it is single-stepped both cost as much.
	if cost.Counted < 5*time.Microsecond && ctx.Err() == nil {
		again, err := m.probed(function, exit, 0)
		if err != nil {
			return cost, err
		}
		glimpsed, err := m.glimpsed(function)
		if err != nil {
			return cost, err
		}
		if again[0].took < cost.Counted {
			cost.Counted, cost.CountedShare = again[0].took, again[0].seen
		}
		cost.Glimpsed = min(cost.Glimpsed, glimpsed)
	}
	cost.Glimpsed = max(0, cost.Glimpsed-bare)
	return cost.less(Cost{bare, bare, bare, bare, 0}), nil
}

// glimpsed is what a call takes whose entry a glimpse sees.
func (m *calibration) glimpsed(function unsafe.Pointer) (took time.Duration, err error) {
	offset, err := ownOffset(uint64(uintptr(function)))
	if err != nil {
		return 0, err
	}
	var p plan
	p.enter.add(offset, bpf.EntryCookie(m.next, 0))
	links, err := linker{prog: m.objs.Glimpse()}.link("/proc/self/exe", p, 0)
	if err != nil {
		return 0, fmt.Errorf("calibrate: %w", err)
	}
	return typical(function), closeLinks(links)
}

// measured is what a call takes with probes, and how long it is by them.
type measured struct{ took, seen time.Duration }

// probed measures calls of which such shares are recorded.
func (m *calibration) probed(function unsafe.Pointer, exit int64, keep ...uint32) (all []measured, err error) {
	offset, err := ownOffset(uint64(uintptr(function)))
	if err != nil {
		return nil, err
	}
	m.next++
	p, f := plan{}, bpf.Func{Flags: bpf.FuncFlatEntry | bpf.FuncFlatExit | bpf.FuncWords}
	f.Entry.Nmoves, f.Entry.Root = uint16(len(typicalMoves)), uint16(8*len(typicalMoves))
	f.Exit.Nmoves, f.Exit.Root = 1, 8
	f.Entry.Words, f.Exit.Words = bpf.WordsOf(typicalMoves), bpf.WordsOf(typicalMoves[:1])
	p.enter.add(offset, bpf.EntryCookie(m.next, 0))
	if exit == returned {
		f.Flags |= bpf.FuncReturns
		p.returned.add(offset, bpf.ReturnCookie(m.next, 0))
	} else {
		p.leave.add(offset+uint64(exit), bpf.ExitCookie(m.next, exit, false, -1))
	}
	if err := m.objs.Fill(bpf.Tables{FirstFunc: m.next, Functions: []bpf.Func{f}}); err != nil {
		return nil, err
	}
	links, err := linker{prog: m.objs.Hit()}.link("/proc/self/exe", p, 0)
	if err != nil {
		return nil, fmt.Errorf("calibrate: %w", err)
	}
	defer func() { err = errors.Join(err, closeLinks(links)) }()
	for _, share := range keep {
		if err := m.objs.SetControls([]uint32{m.next}, []bpf.Control{{Keep: share}}); err != nil {
			return nil, err
		}
		took := typical(function)
		seen, err := m.duration(m.next)
		if err != nil {
			return nil, err
		}
		all = append(all, measured{took, seen})
	}
	return all, nil
}

// duration is how long the middle one of a function's calls was, of those since it was last asked for.
func (m *calibration) duration(function uint32) (time.Duration, error) {
	var h trace.Histogram
	err := m.objs.Latencies(func(l, before *bpf.Latency) {
		if l.Func != function {
			return
		}
		for i, n := range l.Buckets {
			h.AddBucket(int(l.Octave)*len(l.Buckets)+i, uint64(n-before.Buckets[i]))
		}
	})
	return time.Duration(h.Quantile(0.5)), err
}

// typical is the CPU time that a call of a function takes: the middle one of some milliseconds' rounds, the first left
// out. Neighbours on the machine disturb for about as long.
func typical(function unsafe.Pointer) time.Duration {
	const calls, least, enough = 200, 11, 8 * time.Millisecond // the records of a round fit the ring buffer
	var took []time.Duration
	C.time_calls(function, calls)
	for sum := time.Duration(0); len(took) < least || sum < enough && len(took) < 1000; {
		t := time.Duration(C.time_calls(function, calls))
		took = append(took, t)
		sum += t
	}
	slices.Sort(took)
	return took[len(took)/2] / calls
}

// ownOffset is the file offset of an address of the tracer's own code.
func ownOffset(address uint64) (uint64, error) {
	regions, err := memoryMap(os.Getpid())
	if err != nil {
		return 0, fmt.Errorf("calibrate: %w", err)
	}
	for _, r := range regions {
		if address >= r.Start && address < r.End && r.ID.Inode != 0 {
			return address - r.Start + r.Offset, nil
		}
	}
	return 0, fmt.Errorf("calibrate: address %#x is in no mapped file", address)
}

// emulatedOffset is the file offset of a function that begins with an emulated instruction.
func emulatedOffset() (uint64, error) { return ownOffset(uint64(uintptr(C.emulated()))) }

// callEmulated calls it n times.
func callEmulated(n int) { C.time_calls(C.emulated(), C.int(n)) }
