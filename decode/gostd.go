package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/observatory-trace/observatory-trace/trace"
)

// goStandard prints a struct of Go's standard library as what it stands for; ok
// is false for all others, and when a part that it takes wasn't captured.
func (p *printer) goStandard(dst []byte, t *trace.Type, data []byte) (out []byte, ok bool) {
	switch t.Name {
	case "time.Time":
		if s, ok := goTime(t, data); ok {
			return appendString(dst, s), true
		}
	case "context.cancelCtx", "context.timerCtx", "context.valueCtx", "context.withoutCancelCtx", "context.afterFuncCtx", "context.stopCtx", "os/signal.signalCtx":
		return p.contextOf(dst, dynamic{name: shortName(t.Name), typ: t, bytes: data})
	case "sync.Map":
		return p.syncMap(dst, t, data)
	case "sync.entry": // of a sync.Map before Go 1.24
		if pointer, b, ok := part(t, data, "p"); ok {
			if v, b, ok := part(pointer, b, "v"); ok {
				return p.value(dst, v, b), true
			}
		}
	case "sync.Pool":
		return p.fields(dst, t, data), true
	case "sync.Cond":
		return p.cond(dst, t, data)
	case "sync/atomic.Value":
		if t, data, ok := part(t, data, "v"); ok {
			return p.value(dst, t, data), true
		}
	case "math/big.Int":
		return p.bigInt(dst, t, data)
	case "net/url.URL":
		return p.url(dst, t, data)
	case "net/netip.Addr":
		return goAddr(dst, t, data)
	case "sync.Mutex", "internal/sync.Mutex":
		if state, ok := deepMember(t, data, "state"); ok {
			return appendLocked(dst, state&1 != 0), true
		}
	case "sync.RWMutex":
		return goRWMutex(dst, t, data)
	case "sync.Once":
		if done, ok := deepMember(t, data, "done"); ok {
			return append(strconv.AppendBool(append(dst, `{"done":`...), done != 0), '}'), true
		}
	case "sync.WaitGroup":
		// The counter is the upper half of its state.
		if state, ok := deepMember(t, data, "state"); ok {
			return append(strconv.AppendInt(append(dst, `{"counter":`...), int64(state)>>32, 10), '}'), true
		}
	}
	if strings.HasPrefix(t.Name, "sync/atomic.") {
		if f := field(t, "v"); f != nil && f.Type != nil && uint64(f.Offset) <= uint64(len(data)) {
			if t.Name == "sync/atomic.Bool" {
				v, ok := member(t, data, "v")
				return strconv.AppendBool(dst, v != 0), ok
			}
			return p.field(dst, f, data), true
		}
	}
	return dst, false
}

func appendLocked(dst []byte, locked bool) []byte {
	return append(strconv.AppendBool(append(dst, `{"locked":`...), locked), '}')
}

// deepMember reads an integer member, also of a member that is a struct.
func deepMember(t *trace.Type, data []byte, name string) (uint64, bool) {
	for range maxNesting {
		f := field(t, name)
		if f == nil {
			// Wrapped: sync.Mutex{_, mu}, sync.WaitGroup{noCopy, state}.
			for i := range t.Fields {
				if in := &t.Fields[i]; in.Type != nil && in.Type.Kind == trace.KindStruct && len(in.Type.Fields) > 0 && uint64(in.Offset) <= uint64(len(data)) {
					f = in
				}
			}
			if f == nil {
				return 0, false
			}
			t, data = f.Type, data[f.Offset:]
			continue
		}
		if f.Type != nil && f.Type.Kind == trace.KindStruct {
			if uint64(f.Offset) > uint64(len(data)) {
				return 0, false
			}
			t, data, name = f.Type, data[f.Offset:], "v" // an atomic one
			continue
		}
		return member(t, data, name)
	}
	return 0, false
}

// goRWMutex: while a writer holds or awaits the lock, the number of readers has
// rwmutexMaxReaders taken off it (sync/rwmutex.go).
func goRWMutex(dst []byte, t *trace.Type, data []byte) ([]byte, bool) {
	const most = 1 << 30
	f := field(t, "readerCount")
	if f == nil || f.Type == nil || uint64(f.Offset) > uint64(len(data)) {
		return dst, false
	}
	raw, ok := member(t, data, "readerCount")
	if f.Type.Kind == trace.KindStruct {
		raw, ok = member(f.Type, data[f.Offset:], "v")
	}
	if !ok {
		return dst, false
	}
	readers := int64(int32(raw))
	locked := readers < 0
	if locked {
		readers += most
	}
	dst = strconv.AppendBool(append(dst, `{"locked":`...), locked)
	dst = strconv.AppendInt(append(dst, `,"readers":`...), readers, 10)
	return append(dst, '}'), true
}

// bigInt prints a big.Int as the number that it is.
func (p *printer) bigInt(dst []byte, t *trace.Type, data []byte) ([]byte, bool) {
	neg, ok := member(t, data, "neg")
	abs := field(t, "abs")
	if !ok || abs == nil || abs.Type == nil || abs.Type.Kind != trace.KindSlice || uint64(abs.Offset) > uint64(len(data)) {
		return dst, false
	}
	ptr, n, ok := header(abs.Type, data[abs.Offset:])
	if !ok || n == 0 {
		return append(dst, '0'), ok
	}
	b := p.find(ptr, elemID(abs.Type))
	if b == nil || uint64(len(b.Data))/8 < n {
		return dst, false
	}
	words := slices.Clone(b.Data[:8*n])
	slices.Reverse(words)
	v := new(big.Int).SetBytes(words)
	if neg != 0 {
		v.Neg(v)
	}
	return v.Append(dst, 10), true
}

// url prints a url.URL as its text, without the user's password.
func (p *printer) url(dst []byte, t *trace.Type, data []byte) ([]byte, bool) {
	var u url.URL
	for name, into := range map[string]*string{
		"Scheme": &u.Scheme, "Opaque": &u.Opaque, "Host": &u.Host, "Path": &u.Path, "RawPath": &u.RawPath, "RawQuery": &u.RawQuery, "Fragment": &u.Fragment,
	} {
		f := field(t, name)
		if f == nil || f.Type == nil || f.Type.Kind != trace.KindString || uint64(f.Offset) > uint64(len(data)) {
			return dst, false
		}
		s, ok := p.goString(f.Type, data[f.Offset:])
		if !ok {
			return dst, false
		}
		*into = s
	}
	return appendString(dst, u.String()), true
}

// goAddr prints a netip.Addr: 128 bits, those of IPv4 mapped into IPv6.
func goAddr(dst []byte, t *trace.Type, data []byte) ([]byte, bool) {
	f := field(t, "addr")
	zone, ok := word(data, 16)
	if f == nil || !ok || len(data) < 24 {
		return dst, false
	}
	if zone == 0 {
		return append(dst, `"invalid IP"`...), true
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], binary.LittleEndian.Uint64(data))
	binary.BigEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(data[8:]))
	return appendString(dst, netip.AddrFrom16(b).Unmap().String()), true
}

// goBytes prints a []byte or [n]byte that has a meaning of its own; ok is false
// for all others, and for what was not captured whole or has a secret in it.
func (p *printer) goBytes(dst []byte, t *trace.Type, b []byte, n uint64) (out []byte, ok bool) {
	if t.Lang != trace.LangGo || uint64(len(b)) < n {
		return dst, false
	}
	b = b[:n]
	if _, found := p.secretIn(b, false); found {
		return dst, false
	}
	switch {
	case t.Name == "net.IP" && (n == net.IPv4len || n == net.IPv6len):
		return appendString(dst, net.IP(b).String()), true
	case t.Name == "net.HardwareAddr":
		return appendString(dst, net.HardwareAddr(b).String()), true
	case t.Name == "encoding/json.RawMessage" && json.Valid(b):
		var compact bytes.Buffer
		if json.Compact(&compact, b) != nil {
			return dst, false
		}
		return append(dst, compact.Bytes()...), true
	case n == 16 && strings.HasSuffix(t.Name, ".UUID"):
		s := hex.EncodeToString(b)
		return appendString(dst, s[:8]+"-"+s[8:12]+"-"+s[12:16]+"-"+s[16:20]+"-"+s[20:]), true
	}
	return dst, false
}
