package attach

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/observatory-trace/observatory-trace/bpf"
)

// BenchmarkPair compares a call of an emulated site with a uretprobe, traced by
// programs that do nothing and by ours, whose records a reader takes away.
func BenchmarkPair(b *testing.B) {
	offset, err := emulatedOffset()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("empty", func(b *testing.B) {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		ex, err := link.OpenExecutable("/proc/self/exe")
		if err != nil {
			b.Fatal(err)
		}
		opts := &link.UprobeMultiOptions{Addresses: []uint64{offset}}
		enter, err := ex.UprobeMulti(nil, p, opts)
		if err != nil {
			b.Fatal(err)
		}
		defer enter.Close()
		returned, err := ex.UretprobeMulti(nil, p, opts)
		if err != nil {
			b.Fatal(err)
		}
		defer returned.Close()
		callEmulated(b.N)
	})
	for _, scalars := range []int{0, 3} {
		b.Run(fmt.Sprintf("capture=%d", scalars), func(b *testing.B) {
			objs, err := bpf.Load(bpf.Settings{Functions: 2, Moves: 16, RingBytes: 1 << 25})
			if err != nil {
				b.Fatal(err)
			}
			defer objs.Close()
			f := bpf.Func{Flags: bpf.FuncFlatEntry | bpf.FuncFlatExit}
			f.Entry.Nmoves, f.Entry.Root = uint16(scalars), uint16(8*scalars)
			if scalars > 0 {
				f.Exit.Nmoves, f.Exit.Root = 1, 8
			}
			moves := []bpf.Move{{Size: 8, Source: 1, Reg: 5}, {Dst: 8, Size: 8, Source: 1, Reg: 4}, {Dst: 16, Size: 8, Source: 1, Reg: 1}}
			f.Entry.Words, f.Exit.Words = bpf.WordsOf(moves[:scalars]), bpf.WordsOf(moves[:min(1, scalars)])
			if err := objs.Fill(bpf.Tables{FirstFunc: 1, Functions: []bpf.Func{f}, Moves: moves}); err != nil {
				b.Fatal(err)
			}
			if err := objs.AddProcess(uint32(os.Getpid())); err != nil {
				b.Fatal(err)
			}
			if err := objs.Activate(); err != nil {
				b.Fatal(err)
			}
			r, err := objs.OpenRing()
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			done := make(chan int)
			go func() {
				n, idle := 0, 0
				for idle < 10 {
					if r.Next() != nil {
						n, idle = n+1, 0
					} else if r.Wait(20*time.Millisecond) == nil {
						idle++
					}
				}
				done <- n
			}()
			p := plan{}
			p.enter.add(offset, bpf.EntryCookie(1, 0))
			p.returned.add(offset, bpf.ReturnCookie(1, 0))
			links, err := linker{prog: objs.Hit()}.link("/proc/self/exe", p, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			callEmulated(b.N)
			b.StopTimer()
			closeLinks(links)
			n := <-done
			b.ReportMetric(float64(2*b.N-n), "lost")
		})
	}
}
