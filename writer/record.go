package writer

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/observatory-trace/observatory-trace/trace"
	"github.com/observatory-trace/observatory-trace/writer/spill"
)

// What a spill file's records say: messages in Protocol Buffers' wire format,
// whose fields docs/spill.md lists. Each has all that its row needs.

// The fields of a record: one of the first four, and perhaps the last.
const (
	recordCall = iota + 1
	recordSecond
	recordGap
	recordEnd   // when the session ended, ns
	recordTried // entry.tried
)

// entry is a record as it was read.
type entry struct {
	// tried is the number of a transaction that had this in it and failed, perhaps
	// only after it was in the database; 0 for none.
	tried  uint64
	call   *trace.Call
	second *FunctionSecond
	gap    *trace.Gap
	ended  time.Time // zero for none
}

// add puts the entry into a batch.
func (e *entry) add(b *batch) {
	switch {
	case e.call != nil:
		b.calls = append(b.calls, e.call)
	case e.second != nil:
		b.stats = append(b.stats, *e.second)
	case e.gap != nil:
		b.gaps = append(b.gaps, *e.gap)
	}
}

// message is a message being written. Fields that are zero are left out, as the reader takes them for that.
type message []byte

func (m *message) number(field protowire.Number, v uint64) {
	if v != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), v)
	}
}

func (m *message) flag(field protowire.Number, v bool) { m.number(field, protowire.EncodeBool(v)) }

func (m *message) float(field protowire.Number, v float64) {
	*m = protowire.AppendFixed64(protowire.AppendTag(*m, field, protowire.Fixed64Type), math.Float64bits(v))
}

// bytes writes b, also an empty one, unless it is nil.
func (m *message) bytes(field protowire.Number, b []byte) {
	if b != nil {
		*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), b)
	}
}

func (m *message) text(field protowire.Number, s string) {
	if s != "" {
		*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), s)
	}
}

// field is a field being read: number has what is of fixed size, bytes the rest.
type field struct {
	id     protowire.Number
	number uint64
	bytes  []byte
}

func (f field) text() string { return string(f.bytes) }

// errRecord marks a record whose checksum is right and whose content isn't.
var errRecord = errors.New("not a record")

// fields calls f for each field of a message; those of unknown numbers included.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		id, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errRecord
		}
		b = b[n:]
		read := field{id: id}
		switch kind {
		case protowire.VarintType:
			read.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			read.number, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			read.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(id, kind, b)
		}
		if n < 0 {
			return errRecord
		}
		b = b[n:]
		if err := f(read); err != nil {
			return err
		}
	}
	return nil
}

// callRecord is a call's record. Values that no record has room for are left out, with the call marked.
func callRecord(c *trace.Call, tried uint64) []byte {
	m := callMessage(c)
	if len(m) > spill.MaxRecord-64 {
		short := *c
		short.Args, short.Result, short.Flags = nil, nil, c.Flags|trace.FlagTruncated
		if c.Err != nil {
			e := *c.Err
			e.Message, e.Stack = e.Message[:min(len(e.Message), 1<<16)], e.Stack[:min(len(e.Stack), 1<<16)]
			short.Err = &e
		}
		m = callMessage(&short)
	}
	return record(recordCall, m, tried)
}

func record(kind protowire.Number, m message, tried uint64) []byte {
	r := make(message, 0, len(m)+16)
	r.bytes(kind, m)
	r.number(recordTried, tried)
	return r
}

func callMessage(c *trace.Call) message {
	m := make(message, 0, 512+len(c.Args)+len(c.Result))
	m.number(1, c.ID)
	m.number(2, c.ParentID)
	m.number(3, c.RootID)
	m.number(4, uint64(c.Depth))
	m.bytes(5, functionMessage(c.Func))
	if p := c.Process; p != nil {
		s := message{}
		s.number(1, uint64(p.PID))
		s.text(2, p.Exe)
		s.text(3, p.Comm)
		s.number(4, uint64(p.StartNS))
		s.text(5, p.Container)
		s.text(6, p.Pod)
		s.text(7, p.Namespace)
		m.bytes(6, s)
	}
	m.number(7, uint64(c.TID))
	m.number(8, c.Goroutine)
	m.text(9, c.Thread)
	m.number(10, uint64(c.StartNS))
	m.number(11, uint64(c.DurationNS))
	m.number(12, uint64(c.OverheadNS))
	m.number(13, uint64(c.Status))
	if e := c.Err; e != nil {
		s := message{}
		s.text(1, e.Type)
		s.text(2, e.Message)
		s.text(3, e.Stack)
		m.bytes(14, s)
	}
	m.bytes(15, c.Args)
	m.bytes(16, c.Result)
	m.number(17, uint64(c.Flags))
	m.float(18, c.SampleRate)
	if r := c.Resources; r != nil {
		s := message{}
		s.number(1, uint64(r.CPUNS))
		s.number(2, uint64(r.MinorFaults))
		s.number(3, uint64(r.MajorFaults))
		s.number(4, uint64(r.RSSDeltaKB))
		s.number(5, uint64(r.Switches))
		s.flag(6, r.NoCPU)
		s.flag(7, r.NoCounts)
		s.flag(8, r.NoRSS)
		m.bytes(19, s)
	}
	return m
}

// functionMessage has what a function's row needs.
func functionMessage(f *trace.Function) message {
	m := message{}
	m.text(1, f.Name)
	m.text(2, f.Group)
	m.text(3, f.RawName)
	m.number(4, uint64(f.Language))
	m.text(5, f.Module)
	m.number(6, f.Address)
	m.text(7, f.File)
	m.number(8, uint64(f.Line))
	return m
}

func secondRecord(f *FunctionSecond, tried uint64) []byte {
	histogram, _ := f.Latency.AppendBinary(nil) // never fails
	m := message{}
	m.number(1, uint64(f.Second))
	m.bytes(2, functionMessage(f.Func))
	m.number(3, f.Calls)
	m.number(4, f.Errors)
	m.number(5, f.LeftOut)
	m.number(6, f.Dropped)
	m.number(7, uint64(f.TotalNS))
	m.number(8, uint64(f.MaxNS))
	m.bytes(9, histogram)
	m.number(10, f.Recorded)
	m.number(11, uint64(f.OverheadNS))
	m.number(12, uint64(f.CPUNS))
	m.number(13, f.CPUCalls)
	m.float(14, f.Coverage)
	m.number(15, uint64(f.OutermostNS))
	m.number(16, uint64(f.CopyingNS))
	m.float(17, f.CallsError)
	m.float(18, f.Unseen)
	return record(recordSecond, m, tried)
}

func gapRecord(g *trace.Gap, tried uint64) []byte {
	m := message{}
	m.number(1, uint64(g.TimeNS))
	if g.Func != nil {
		m.bytes(2, functionMessage(g.Func))
	}
	m.number(3, uint64(g.PID))
	m.number(4, g.Count)
	m.text(5, g.Reason)
	m.text(6, g.Hint)
	return record(recordGap, m, tried)
}

func endRecord(ended time.Time) []byte {
	var r message
	r.number(recordEnd, uint64(ended.UnixNano()))
	return r
}

// readRecord reads any of these. Fields that it doesn't know are left out.
func readRecord(b []byte, known *known) (entry, error) {
	var e entry
	err := fields(b, func(f field) (err error) {
		switch f.id {
		case recordCall:
			e.call, err = readCall(f.bytes, known)
		case recordSecond:
			e.second, err = readSecond(f.bytes, known)
		case recordGap:
			e.gap, err = readGap(f.bytes, known)
		case recordEnd:
			e.ended = time.Unix(0, int64(f.number))
		case recordTried:
			e.tried = f.number
		}
		return err
	})
	return e, err
}

func readCall(b []byte, known *known) (*trace.Call, error) {
	c := &trace.Call{}
	err := fields(b, func(f field) (err error) {
		switch f.id {
		case 1:
			c.ID = f.number
		case 2:
			c.ParentID = f.number
		case 3:
			c.RootID = f.number
		case 4:
			c.Depth = int(f.number)
		case 5:
			c.Func, err = known.function(f.bytes)
		case 6:
			c.Process, err = known.process(f.bytes)
		case 7:
			c.TID = int(f.number)
		case 8:
			c.Goroutine = f.number
		case 9:
			c.Thread = f.text()
		case 10:
			c.StartNS = int64(f.number)
		case 11:
			c.DurationNS = int64(f.number)
		case 12:
			c.OverheadNS = int64(f.number)
		case 13:
			c.Status = trace.Status(f.number)
		case 14:
			c.Err, err = readError(f.bytes)
		case 15:
			c.Args = f.bytes
		case 16:
			c.Result = f.bytes
		case 17:
			c.Flags = trace.CallFlags(f.number)
		case 18:
			c.SampleRate = math.Float64frombits(f.number)
		case 19:
			c.Resources, err = readResources(f.bytes)
		}
		return err
	})
	if err == nil && c.Func == nil {
		err = fmt.Errorf("%w: a call without a function", errRecord)
	}
	return c, err
}

func readProcess(b []byte) (*trace.Process, error) {
	p := &trace.Process{}
	return p, fields(b, func(f field) error {
		switch f.id {
		case 1:
			p.PID = int(f.number)
		case 2:
			p.Exe = f.text()
		case 3:
			p.Comm = f.text()
		case 4:
			p.StartNS = int64(f.number)
		case 5:
			p.Container = f.text()
		case 6:
			p.Pod = f.text()
		case 7:
			p.Namespace = f.text()
		}
		return nil
	})
}

func readError(b []byte) (*trace.Error, error) {
	e := &trace.Error{}
	return e, fields(b, func(f field) error {
		switch f.id {
		case 1:
			e.Type = f.text()
		case 2:
			e.Message = f.text()
		case 3:
			e.Stack = f.text()
		}
		return nil
	})
}

func readResources(b []byte) (*trace.Resources, error) {
	r := &trace.Resources{}
	return r, fields(b, func(f field) error {
		switch f.id {
		case 1:
			r.CPUNS = int64(f.number)
		case 2:
			r.MinorFaults = int64(f.number)
		case 3:
			r.MajorFaults = int64(f.number)
		case 4:
			r.RSSDeltaKB = int64(f.number)
		case 5:
			r.Switches = int64(f.number)
		case 6:
			r.NoCPU = protowire.DecodeBool(f.number)
		case 7:
			r.NoCounts = protowire.DecodeBool(f.number)
		case 8:
			r.NoRSS = protowire.DecodeBool(f.number)
		}
		return nil
	})
}

// known gives equal functions and processes one pointer each, within bounds, so
// that their rows are looked up once.
type known struct {
	functions map[string]*trace.Function
	processes map[string]*trace.Process
}

func (k *known) function(b []byte) (*trace.Function, error) {
	return once(&k.functions, b, readFunction)
}

func (k *known) process(b []byte) (*trace.Process, error) {
	return once(&k.processes, b, readProcess)
}

func once[T any](memory *map[string]*T, b []byte, read func([]byte) (*T, error)) (*T, error) {
	if v := (*memory)[string(b)]; v != nil {
		return v, nil
	}
	v, err := read(b)
	if err != nil {
		return nil, err
	}
	if *memory == nil || len(*memory) >= maxNames {
		*memory = make(map[string]*T)
	}
	(*memory)[string(b)] = v
	return v, nil
}

func readFunction(b []byte) (*trace.Function, error) {
	fn := &trace.Function{}
	return fn, fields(b, func(f field) error {
		switch f.id {
		case 1:
			fn.Name = f.text()
		case 2:
			fn.Group = f.text()
		case 3:
			fn.RawName = f.text()
		case 4:
			fn.Language = trace.Language(f.number)
		case 5:
			fn.Module = f.text()
		case 6:
			fn.Address = f.number
		case 7:
			fn.File = f.text()
		case 8:
			fn.Line = int(f.number)
		}
		return nil
	})
}

func readSecond(b []byte, known *known) (*FunctionSecond, error) {
	s := &FunctionSecond{}
	err := fields(b, func(f field) (err error) {
		switch f.id {
		case 1:
			s.Second = int64(f.number)
		case 2:
			s.Func, err = known.function(f.bytes)
		case 3:
			s.Calls = f.number
		case 4:
			s.Errors = f.number
		case 5:
			s.LeftOut = f.number
		case 6:
			s.Dropped = f.number
		case 7:
			s.TotalNS = int64(f.number)
		case 8:
			s.MaxNS = int64(f.number)
		case 9:
			err = s.Latency.UnmarshalBinary(f.bytes)
		case 10:
			s.Recorded = f.number
		case 11:
			s.OverheadNS = int64(f.number)
		case 12:
			s.CPUNS = int64(f.number)
		case 13:
			s.CPUCalls = f.number
		case 14:
			s.Coverage = math.Float64frombits(f.number)
		case 15:
			s.OutermostNS = int64(f.number)
		case 16:
			s.CopyingNS = int64(f.number)
		case 17:
			s.CallsError = math.Float64frombits(f.number)
		case 18:
			s.Unseen = math.Float64frombits(f.number)
		}
		return err
	})
	if err == nil && s.Func == nil {
		err = fmt.Errorf("%w: statistics without a function", errRecord)
	}
	return s, err
}

func readGap(b []byte, known *known) (*trace.Gap, error) {
	g := &trace.Gap{}
	return g, fields(b, func(f field) (err error) {
		switch f.id {
		case 1:
			g.TimeNS = int64(f.number)
		case 2:
			g.Func, err = known.function(f.bytes)
		case 3:
			g.PID = int(f.number)
		case 4:
			g.Count = f.number
		case 5:
			g.Reason = f.text()
		case 6:
			g.Hint = f.text()
		}
		return err
	})
}

// sessionRow is a session as its row has it, so that it can be written anew.
type sessionRow struct {
	Session
	seed    int64  // tells it from all others, in whatever file
	started string // as the row has it
	pid     int
	path    string // of the database, absolute
}

// headMessage is what a spill file begins with.
func (r *sessionRow) headMessage() []byte {
	m := message{}
	m.number(1, uint64(r.seed))
	m.text(2, r.started)
	m.number(3, uint64(r.pid))
	m.text(4, r.path)
	m.text(5, r.Version)
	m.text(6, r.Host)
	m.text(7, r.Kernel)
	m.bytes(8, r.Command)
	m.bytes(9, r.Settings)
	return m
}

func readHead(b []byte) (sessionRow, error) {
	var r sessionRow
	err := fields(b, func(f field) error {
		switch f.id {
		case 1:
			r.seed = int64(f.number)
		case 2:
			r.started = f.text()
		case 3:
			r.pid = int(f.number)
		case 4:
			r.path = f.text()
		case 5:
			r.Version = f.text()
		case 6:
			r.Host = f.text()
		case 7:
			r.Kernel = f.text()
		case 8:
			r.Command = f.bytes
		case 9:
			r.Settings = f.bytes
		}
		return nil
	})
	return r, err
}
