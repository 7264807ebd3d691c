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
	".p2align 4\n.type calibrate_nop5,@function\ncalibrate_nop5:\n .byte 0x0f,0x1f,0x44,0x00,0x00\n ret\n.size calibrate_nop5,.-calibrate_nop5\n");
#elif defined(__aarch64__)
__asm__(
	".text\n"
	".p2align 4\n.type calibrate_emulated,%function\ncalibrate_emulated:\n nop\n ret\n.size calibrate_emulated,.-calibrate_emulated\n"
	".p2align 4\n.type calibrate_step,%function\ncalibrate_step:\n mov x0, xzr\n ret\n.size calibrate_step,.-calibrate_step\n"
	".p2align 4\n.type calibrate_nop5,%function\ncalibrate_nop5:\n nop\n ret\n.size calibrate_nop5,.-calibrate_nop5\n");
#endif

void calibrate_emulated(void);
void calibrate_step(void);
void calibrate_nop5(void);

static void *emulated(void) { return calibrate_emulated; }
static void *step(void) { return calibrate_step; }
static void *nop5(void) { return calibrate_nop5; }

// Nanoseconds that n calls of f take.
static long long time_calls(void *f, int n)
{
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < n; i++)
		((void (*)(void))f)();
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (b.tv_sec - a.tv_sec) * 1000000000LL + (b.tv_nsec - a.tv_nsec);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"
	"unsafe"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/trace"
)

// Costs is what one hit of a probe costs the thread that hits it, on this host,
// with the call's record delivered but nothing else captured.
type Costs struct {
	Nop5, Emulated, SingleStep time.Duration // an entry or return site, by its kind
	Return                     time.Duration // a uretprobe's return, on top of its entry
}

// Of is the cost of one call of a function: its entry, and the dearest of its exits.
func (c Costs) Of(f *trace.Function) time.Duration {
	total := c.site(f.Entry.Site)
	switch f.Exit.Kind {
	case trace.ExitReturn:
		total += c.Return
	case trace.ExitSites:
		var exit time.Duration
		for _, s := range f.Exit.Sites {
			exit = max(exit, c.site(s.Site))
		}
		total += exit
	}
	return total
}

func (c Costs) site(k trace.SiteKind) time.Duration {
	switch k {
	case trace.SiteNop5:
		return c.Nop5
	case trace.SiteEmulated:
		return c.Emulated
	default:
		return c.SingleStep
	}
}

// Calibrate measures Costs on functions of the tracer's own, in about half a second.
func Calibrate() (c Costs, err error) {
	objs, err := bpf.Load(bpf.Settings{Functions: 2, RingBytes: 1 << 22})
	if err != nil {
		return c, permission(err)
	}
	defer func() { err = errors.Join(err, objs.Close()) }()
	err = errors.Join(objs.Fill(bpf.Tables{FirstFunc: 1, Functions: []bpf.Func{{}}}), objs.AddProcess(uint32(os.Getpid())), objs.Activate())
	if err != nil {
		return c, err
	}
	l := linker{objs: objs}
	for _, m := range []struct {
		cost     *time.Duration
		function unsafe.Pointer
		returned bool
	}{
		{&c.Nop5, C.nop5(), false}, {&c.Emulated, C.emulated(), false}, {&c.SingleStep, C.step(), false}, {&c.Return, C.emulated(), true},
	} {
		offset, err := ownOffset(uint64(uintptr(m.function)))
		if err != nil {
			return c, err
		}
		bare := fastest(m.function)
		p := plan{}
		p.enter.add(offset, bpf.EntryCookie(1, 0))
		if m.returned {
			p.returned.add(offset, bpf.ReturnCookie(1, 0))
		}
		links, err := l.link("/proc/self/exe", p)
		if err != nil {
			return c, fmt.Errorf("calibrate: %w", err)
		}
		probed := fastest(m.function)
		if err := closeLinks(links); err != nil {
			return c, err
		}
		*m.cost = max(0, probed-bare)
	}
	c.Return = max(0, c.Return-c.Emulated)
	return c, nil
}

// fastest is what a call of a function takes: the least of several rounds, since
// whatever else the machine does only ever makes one longer.
func fastest(function unsafe.Pointer) time.Duration {
	const rounds, calls = 10, 400 // their records fit the ring buffer
	best := time.Duration(math.MaxInt64)
	for range rounds {
		best = min(best, time.Duration(C.time_calls(function, calls)))
	}
	return best / calls
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
