package attach

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/bpf"
	"github.com/observatory-trace/observatory-trace/trace"
)

// MaxPerfEventSites is how many sites are attached at most where the kernel has
// only perf-event uprobes: there each is detached by itself, at about 0.1 s.
const MaxPerfEventSites = 1000

// sites are the probe places of one program in one file: file offsets and cookies.
type sites struct {
	offsets, cookies []uint64
}

func (s *sites) add(offset, cookie uint64) {
	s.offsets = append(s.offsets, offset)
	s.cookies = append(s.cookies, cookie)
}

// plan sorts a file's functions into entry sites, exit sites and uretprobes.
type plan struct {
	enter, leave, returned sites
}

// only is the part of a plan that belongs to certain functions.
func (p *plan) only(wanted func(id uint32) bool) (part plan) {
	for _, of := range []struct{ from, to *sites }{{&p.enter, &part.enter}, {&p.leave, &part.leave}, {&p.returned, &part.returned}} {
		for i, cookie := range of.from.cookies {
			if wanted(bpf.CookieFunction(cookie)) {
				of.to.add(of.from.offsets[i], cookie)
			}
		}
	}
	return part
}

// join adds another plan.
func (p *plan) join(other plan) {
	for _, of := range []struct{ to, from *sites }{{&p.enter, &other.enter}, {&p.leave, &other.leave}, {&p.returned, &other.returned}} {
		of.to.offsets = append(of.to.offsets, of.from.offsets...)
		of.to.cookies = append(of.to.cookies, of.from.cookies...)
	}
}

func (p *plan) empty() bool {
	return len(p.enter.offsets)+len(p.leave.offsets)+len(p.returned.offsets) == 0
}

// functions are the ids of those that a plan has the entries of.
func (p *plan) functions() (ids []uint32) {
	for _, cookie := range p.enter.cookies {
		ids = append(ids, bpf.CookieFunction(cookie))
	}
	return ids
}

// offsetOf translates an address of the file to the file offset that probes take.
type offsetOf func(address uint64) (uint64, bool)

// probes plans the sites of functions, which must have their ids.
func probes(functions []*trace.Function, offset offsetOf) (plan, error) {
	var p plan
	place := func(s *sites, f *trace.Function, at, cookie uint64) error {
		o, ok := offset(f.Address + at)
		if !ok {
			return fmt.Errorf("place probe in %s: address %#x is not in the file's code", f.Name, f.Address+at)
		}
		s.add(o, cookie)
		return nil
	}
	for _, f := range functions {
		at := f.Entry.Offset
		if err := place(&p.enter, f, at, bpf.EntryCookie(f.ID, int64(at))); err != nil {
			return plan{}, err
		}
		switch f.Exit.Kind {
		case trace.ExitReturn:
			if err := place(&p.returned, f, at, bpf.ReturnCookie(f.ID, int64(at))); err != nil {
				return plan{}, err
			}
		case trace.ExitSites:
			for _, s := range f.Exit.Sites {
				if err := place(&p.leave, f, s.Offset, bpf.ExitCookie(f.ID, int64(s.Offset), s.Tail, s.Cond)); err != nil {
					return plan{}, err
				}
			}
		}
	}
	return p, nil
}

// linker puts probes into files. With perf events, one link holds one site.
type linker struct {
	prog       *ebpf.Program
	perfEvents bool
}

// link places a file's probes, in every process that maps it: the programs
// themselves tell whose hits count, so that a child's first call is seen. Exits
// come first, so that no call's beginning is seen without its end. The hits tell the links' number.
func (l linker) link(path string, p plan, number uint8) (_ []link.Link, err error) {
	ex, err := link.OpenExecutable(path)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", path, permission(err))
	}
	var links []link.Link
	defer func() {
		if err != nil {
			err = errors.Join(err, closeLinks(links))
		}
	}()
	for _, part := range []struct {
		sites sites
		ret   bool
	}{{p.leave, false}, {p.returned, true}, {p.enter, false}} {
		if len(part.sites.offsets) == 0 {
			continue
		}
		if number != 0 {
			part.sites.cookies = bpf.NumberCookies(part.sites.cookies, number)
		}
		if l.perfEvents {
			made, err := perfEvents(ex, l.prog, part.sites, part.ret)
			links = append(links, made...)
			if err != nil {
				return links, fmt.Errorf("attach to %s: %w", path, permission(err))
			}
			continue
		}
		opts := &link.UprobeMultiOptions{Addresses: part.sites.offsets, Cookies: part.sites.cookies}
		attach := ex.UprobeMulti
		if part.ret {
			attach = ex.UretprobeMulti
		}
		made, err := attach(nil, l.prog, opts)
		if err != nil {
			return links, fmt.Errorf("attach %d probes to %s: %w", len(part.sites.offsets), path, permission(err))
		}
		links = append(links, made)
	}
	return links, nil
}

func perfEvents(ex *link.Executable, prog *ebpf.Program, s sites, ret bool) ([]link.Link, error) {
	var links []link.Link
	for i, offset := range s.offsets {
		attach := ex.Uprobe
		if ret {
			attach = ex.Uretprobe
		}
		// The symbol only names the event; an address of 0 would make the library parse all symbols.
		l, err := attach("site", prog, &link.UprobeOptions{Address: offset, Cookie: s.cookies[i]})
		if err != nil {
			return links, err
		}
		links = append(links, l)
	}
	return links, nil
}

// closeLinks takes probes out. The kernel waits for a grace period for each
// link; many links wait together.
func closeLinks(links []link.Link) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	next := make(chan link.Link)
	for range min(len(links), 64) {
		wg.Go(func() {
			for l := range next {
				if err := l.Close(); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, l := range links {
		next <- l
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}

// refused tells whether the kernel would not have one of the instructions: it
// then refuses a whole link.
func refused(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}
