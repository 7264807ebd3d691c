package decode

import (
	"slices"
	"sync"
	"sync/atomic"
)

// pipeline has values printed and stacks named by other goroutines. What needs order is done by
// the one that calls the Decoder: it pairs, hands out ids, and emits. Records whose values are
// worth it are copied into a batch; a batch's calls are emitted when all of its values, and all
// batches before it, are done. While nothing waits, calls are emitted at once.
type pipeline struct {
	decoder *Decoder
	workers int
	least   int     // bytes of memory that a record has whose values others print
	helper  printer // the Decoder's goroutine works, too, when it would have to wait
	current *batch
	handed  []*batch // to the workers, in order
	spare   []*batch
	work    chan *batch // nil: the workers don't run
	ended   sync.WaitGroup
	filled  atomic.Int32 // batches that were handed over
}

// batch is some records' values to be printed, and the calls to be emitted thereafter.
type batch struct {
	data  []byte // of the records
	jobs  []job
	calls []*pending
	done  chan struct{}
	ready bool // done has been received
}

type jobKind uint8

const (
	jobArgs jobKind = iota
	jobResult
	jobStack
)

// job is what is to be made of a record. It has its results for itself until its batch is done.
type job struct {
	kind   jobKind
	call   *pending
	fn     *function
	raised *raised
	dict   uint64
	event  Event
}

const (
	batchBytes = 64 << 10
	batchJobs  = 64
	batchCalls = 256
	deferBytes = 2048 // of memory: fewer are printed sooner than they are handed over
)

func newPipeline(d *Decoder, workers int) *pipeline {
	p := &pipeline{decoder: d, workers: workers, least: deferBytes, helper: printer{config: &d.config}}
	p.current = p.newBatch()
	return p
}

func (p *pipeline) newBatch() *batch {
	if n := len(p.spare); n > 0 {
		b := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return b
	}
	return &batch{data: make([]byte, 0, batchBytes), done: make(chan struct{}, 1)}
}

// most is how many batches are handed over at a time.
func (p *pipeline) most() int { return 2*p.workers + 1 }

// empty says that no call waits.
func (p *pipeline) empty() bool {
	return len(p.handed) == 0 && len(p.current.jobs)+len(p.current.calls) == 0
}

// add has something made of an event, which is copied.
func (p *pipeline) add(j job, e *Event) {
	b := p.current
	if len(b.jobs) == batchJobs || cap(b.data)-len(b.data) < len(e.Root)+len(e.blocks) {
		p.submit()
		b = p.current
	}
	j.event, j.event.raw = *e, nil
	start := len(b.data)
	b.data = append(b.data, e.Root...)
	middle := len(b.data)
	b.data = append(b.data, e.blocks...)
	j.event.Root, j.event.blocks = b.data[start:middle:middle], b.data[middle:len(b.data):len(b.data)]
	b.jobs = append(b.jobs, j)
}

// deliver has a call emitted after what was added before.
func (p *pipeline) deliver(call *pending) {
	p.current.calls = append(p.current.calls, call)
	if len(p.current.calls) == batchCalls {
		p.submit()
	}
}

// submit hands the current batch over. While there are as many as there may be, it works itself.
func (p *pipeline) submit() {
	for len(p.handed) == p.most() {
		p.wait()
		p.emit()
	}
	if p.work == nil {
		p.start()
	}
	p.handed = append(p.handed, p.current)
	p.work <- p.current // which has room for all
	p.current = p.newBatch()
	p.emit()
}

func (p *pipeline) start() {
	p.work = make(chan *batch, p.most())
	for range p.workers {
		work := p.work
		p.ended.Go(func() {
			own := printer{config: &p.decoder.config}
			for b := range work {
				own.run(b)
			}
		})
	}
}

// wait returns when the oldest batch is done.
func (p *pipeline) wait() {
	oldest := p.handed[0]
	for !oldest.ready {
		select {
		case <-oldest.done:
			oldest.ready = true
		case b := <-p.work:
			p.helper.run(b)
		}
	}
}

// emit emits what is done, in order.
func (p *pipeline) emit() {
	for len(p.handed) > 0 {
		b := p.handed[0]
		if !b.ready {
			select {
			case <-b.done:
			default:
				p.filled.Store(int32(len(p.handed)))
				return
			}
		}
		p.handed = append(p.handed[:0], p.handed[1:]...)
		p.finish(b)
	}
	p.filled.Store(0)
}

// finish emits a batch's calls and takes its memory back.
func (p *pipeline) finish(b *batch) {
	d := p.decoder
	for i := range b.jobs {
		if j := &b.jobs[i]; j.kind == jobArgs {
			if j.call.held {
				d.bytes += len(j.call.args) - j.call.size
			}
			j.call.size = len(j.call.args)
		}
	}
	for _, call := range b.calls {
		d.deliver(call)
	}
	clear(b.jobs)
	clear(b.calls)
	b.data, b.jobs, b.calls, b.ready = b.data[:0], b.jobs[:0], b.calls[:0], false
	p.spare = append(p.spare, b)
}

// poll hands over what waits and emits what is done.
func (p *pipeline) poll() {
	p.emit()
	switch {
	case p.empty() || len(p.handed) == p.most():
	case len(p.handed)+len(p.current.jobs) > 0:
		p.submit()
	default: // there is nothing left that its calls waited for
		p.finish(p.current)
		p.current = p.newBatch()
	}
}

// has says whether values of a process wait.
func (p *pipeline) has(tgid uint32) bool {
	of := func(j job) bool { return j.event.TGID == tgid }
	return slices.ContainsFunc(p.current.jobs, of) ||
		slices.ContainsFunc(p.handed, func(b *batch) bool { return slices.ContainsFunc(b.jobs, of) })
}

// flush emits all that waits.
func (p *pipeline) flush() {
	if p.empty() {
		return
	}
	p.helper.run(p.current)
	p.handed = append(p.handed, p.current)
	p.current = p.newBatch()
	for len(p.handed) > 0 {
		p.wait()
		p.emit()
	}
}

// stop ends the workers. Nothing may wait.
func (p *pipeline) stop() {
	if p.work != nil {
		close(p.work)
		p.ended.Wait()
		p.work = nil
	}
}

// run does a batch's jobs.
func (p *printer) run(b *batch) {
	for i := range b.jobs {
		p.job(&b.jobs[i])
	}
	b.done <- struct{}{}
}

func (p *printer) job(j *job) {
	e := &j.event
	p.load(e)
	p.dict = j.dict
	switch j.kind {
	case jobArgs:
		p.printArgs(j.call, e, j.fn)
	case jobResult:
		p.printResult(j.call, e, j.fn)
	case jobStack:
		j.raised.err.Stack, _ = p.stack(e, 0)
	}
}

// printArgs prints a call's arguments.
func (p *printer) printArgs(call *pending, e *Event, fn *function) {
	call.args = p.args(call.args[:0], e, fn)
	call.argsFlags = p.flags
}

// printResult prints a call's result, and says whether it is a failure.
func (p *printer) printResult(call *pending, e *Event, fn *function) {
	call.result = p.result(call.result[:0], e, fn)
	call.failure = p.failed(e, fn)
	call.resultFlags = p.flags
	if call.failure != nil {
		call.failure.Stack = p.returnStack(e, fn)
	}
}

// later says whether others make what is to be made of an event.
func (d *Decoder) later(e *Event) bool {
	if d.pipeline == nil || len(e.blocks) == 0 {
		return false
	}
	if len(e.blocks) >= d.pipeline.least {
		return true
	}
	_, _, ok := e.stack()
	return ok
}

// Poll emits the calls whose values Config.Workers have printed, and lets them print what waits
// for more. It does not wait itself, and is for when no record is there.
func (d *Decoder) Poll() {
	if d.pipeline != nil {
		d.pipeline.poll()
	}
}

// Flush emits the calls that wait for values, if any of these is of the process. It is for before
// what the Config's functions answer of the process changes.
func (d *Decoder) Flush(tgid uint32) {
	if d.pipeline != nil && d.pipeline.has(tgid) {
		d.pipeline.flush()
	}
}

// Fill is how much of what may wait for Config.Workers does, from 0 to 1: at 1, records are taken
// only as fast as values are printed. It is safe for concurrent use.
func (d *Decoder) Fill() float64 {
	if d.pipeline == nil {
		return 0
	}
	return float64(d.pipeline.filled.Load()) / float64(d.pipeline.most())
}
