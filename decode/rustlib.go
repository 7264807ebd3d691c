package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/observatory-trace/observatory-trace/trace"
)

// rustStandard prints a struct of Rust's standard library as what it stands for; ok
// is false for all others.
func rustStandard(dst []byte, t *trace.Type, data []byte) (out []byte, ok bool) {
	text := ""
	switch name := t.Name; {
	case name == "core::time::Duration":
		text, ok = rustDuration(t, data)
	case name == "std::time::SystemTime", name == "std::time::Instant":
		text, ok = rustTime(t, data)
	case strings.HasSuffix(name, "::ip_addr::Ipv4Addr"), strings.HasSuffix(name, "::ip_addr::Ipv6Addr"):
		var addr netip.Addr
		addr, ok = rustAddr(t, data)
		text = addr.String()
	case strings.HasSuffix(name, "::socket_addr::SocketAddrV4"), strings.HasSuffix(name, "::socket_addr::SocketAddrV6"):
		text, ok = rustSocket(t, data)
	}
	if !ok {
		return dst, false
	}
	return appendString(dst, text), true
}

// transparentEnum tells the enums whose variants are shown without their names,
// as each shows by itself which it is.
func transparentEnum(t *trace.Type) bool {
	return t.Lang == trace.LangRust && (strings.HasSuffix(t.Name, "::ip_addr::IpAddr") || strings.HasSuffix(t.Name, "::socket_addr::SocketAddr"))
}

// rustTime is a std::time::SystemTime in RFC 3339, an Instant as the time since Linux booted.
func rustTime(t *trace.Type, data []byte) (string, bool) {
	secs, ok := member(t, data, "secs")
	nanos, ok2 := member(t, data, "nanos")
	if !ok || !ok2 || nanos >= uint64(time.Second) {
		return "", false
	}
	if t.Name == "std::time::Instant" {
		if secs > math.MaxInt64/uint64(time.Second)-1 {
			return "", false
		}
		return (time.Duration(secs)*time.Second + time.Duration(nanos)).String(), true
	}
	const years = 10000 * 366 * 24 * 3600
	if s := int64(secs); s < -years || s > years {
		return "", false
	}
	at := time.Unix(int64(secs), int64(nanos)).UTC()
	if y := at.Year(); y < 0 || y > 9999 {
		return "", false
	}
	return at.Format(time.RFC3339Nano), true
}

func rustAddr(t *trace.Type, data []byte) (netip.Addr, bool) {
	f := field(t, "octets")
	if f == nil || f.Type == nil || uint64(f.Offset)+uint64(f.Type.Size) > uint64(len(data)) {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(data[f.Offset:][:f.Type.Size])
}

func rustSocket(t *trace.Type, data []byte) (string, bool) {
	f := field(t, "ip")
	port, ok := member(t, data, "port")
	if f == nil || f.Type == nil || !ok || uint64(f.Offset) > uint64(len(data)) {
		return "", false
	}
	addr, ok := rustAddr(f.Type, data[f.Offset:])
	if scope, _ := member(t, data, "scope_id"); scope != 0 {
		addr = addr.WithZone(strconv.FormatUint(scope, 10))
	}
	return netip.AddrPortFrom(addr, uint16(port)).String(), ok
}

// sharedText prints an Arc<str>: its text lies behind two counts.
func (p *printer) sharedText(dst []byte, t *trace.Type, data []byte) []byte {
	ptr, n, ok := header(t, data)
	if !ok {
		return p.unavailable(dst, "string layout not known")
	}
	if n == 0 {
		return append(dst, `""`...)
	}
	const counts = 16
	b := p.find(ptr, typeBytes)
	switch {
	case b == nil:
		p.flags |= trace.FlagTruncated
		return appendLen(append(dst, `{"$string":""`...), n)
	case b.Status == BlockFault:
		return p.unavailable(dst, "memory not readable")
	}
	return p.appendText(dst, b.Data[min(counts, len(b.Data)):], n, false)
}

// rustWeak prints a Rust Weak: what it leads to as long as that has an owner, else
// null. One that never had any has the highest address.
func (p *printer) rustWeak(dst []byte, t *trace.Type, data []byte) []byte {
	if addr, ok := word(data, 0); ok && addr == math.MaxUint64 {
		return append(dst, "null"...)
	}
	b, out := p.target(dst, t, data)
	if b == nil {
		return out
	}
	owners, ok := word(b.Data, 0)
	switch {
	case !ok:
		return p.unavailable(dst, "cut at the limit")
	case owners == 0:
		return append(dst, "null"...)
	}
	return p.pointed(dst, b, t.Elem)
}

// The two lowest bits of a std::io::Error (std::io::error::repr_bitpacked).
const (
	ioMessage = iota // it leads to a text and a kind
	ioCustom         // to another error and a kind
	ioCode           // its upper half is an error number
	ioKind           // its upper half is a kind
)

// ioKinds are Rust's names of std::io::ErrorKind by number, as far as those are
// the same in all versions since the errors are packed so (1.61).
var ioKinds = [...]string{
	"NotFound", "PermissionDenied", "ConnectionRefused", "ConnectionReset", "HostUnreachable", "NetworkUnreachable", "ConnectionAborted",
	"NotConnected", "AddrInUse", "AddrNotAvailable", "NetworkDown", "BrokenPipe", "AlreadyExists", "WouldBlock", "NotADirectory", "IsADirectory",
	"DirectoryNotEmpty", "ReadOnlyFilesystem", "FilesystemLoop", "StaleNetworkFileHandle", "InvalidInput", "InvalidData", "TimedOut", "WriteZero",
	"StorageFull", "NotSeekable", "QuotaExceeded", "FileTooLarge", "ResourceBusy", "ExecutableFileBusy", "Deadlock", "CrossesDevices", "TooManyLinks",
	"InvalidFilename", "ArgumentListTooLong", "Interrupted", "Unsupported", "UnexpectedEof", "OutOfMemory",
}

// ioError is what is known of a std::io::Error.
type ioError struct {
	code    uint64 // error number, 0 for none
	kind    string
	message []byte // captured part of the text, nil when it is not known
	length  uint64 // of the text
	other   string // why the error within isn't shown
}

func (p *printer) openIOError(t *trace.Type, data []byte) (e ioError, ok bool) {
	v, ok := word(data, 0)
	if !ok || len(t.Links) != 1 || t.Links[0].Target == nil {
		return e, false
	}
	switch v & 3 {
	case ioCode:
		e.code = v >> 32
		return e, true
	case ioKind:
		e.kind = kindName(v >> 32)
		return e, true
	}
	b := p.find(v&^3, t.Links[0].Target.ID)
	if b == nil || len(b.Data) < 17 {
		return e, false
	}
	e.kind = kindName(uint64(b.Data[16]))
	ptr, n := binary.LittleEndian.Uint64(b.Data), binary.LittleEndian.Uint64(b.Data[8:])
	if v&3 == ioCustom {
		if ptr, n, ok = p.stringError(t.Links[0].Target, ptr, n); !ok {
			e.other = "type not known"
			return e, true
		}
	}
	if e.length = n; n == 0 {
		e.message = []byte{}
	} else if text := p.find(ptr, typeBytes); text != nil {
		e.message = text.Data[:min(n, uint64(len(text.Data)))]
	}
	return e, true
}

func kindName(n uint64) string {
	if n < uint64(len(ioKinds)) {
		return ioKinds[n]
	}
	return "ErrorKind " + strconv.FormatUint(n, 10)
}

// stringError gives the text of an error that was made from one: its table of virtual
// functions has those of the library's StringError.
func (p *printer) stringError(t *trace.Type, addr, table uint64) (ptr, n uint64, ok bool) {
	other := field(t, "error")
	if other == nil || other.Type == nil || len(other.Type.Links) != 2 {
		return 0, 0, false
	}
	functions := p.find(table, other.Type.Links[1].Target.ID)
	if functions == nil {
		return 0, 0, false
	}
	is := false
	for rest := functions.Data; len(rest) >= 8 && !is; rest = rest[8:] {
		code := binary.LittleEndian.Uint64(rest)
		is = code > math.MaxUint16 && strings.Contains(p.nameOf(code), "StringError")
	}
	b := p.find(addr, other.Type.Links[0].Target.ID)
	if !is || b == nil || len(b.Data) < 24 {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b.Data[8:]), binary.LittleEndian.Uint64(b.Data[16:]), true
}

// ioError prints a std::io::Error: an object of the error number's name, or of the kind and the text.
func (p *printer) ioError(dst []byte, t *trace.Type, data []byte) []byte {
	e, ok := p.openIOError(t, data)
	switch {
	case !ok:
		return p.unavailable(dst, "memory not readable")
	case e.kind == "":
		dst = appendString(append(dst, `{"code":`...), errnoName(e.code))
		dst = appendString(append(dst, `,"message":`...), errnoText(e.code))
		return append(dst, '}')
	}
	dst = appendString(append(dst, `{"kind":`...), e.kind)
	switch {
	case e.other != "":
		dst = p.unavailable(append(dst, `,"error":`...), e.other)
	case e.message != nil:
		dst = p.appendText(append(dst, `,"message":`...), e.message, e.length, false)
	case e.length > 0:
		dst = p.unavailable(append(dst, `,"message":`...), "memory not readable")
	}
	return append(dst, '}')
}

// ioErrorText is a std::io::Error as a message, "" when that isn't known.
func (p *printer) ioErrorText(t *trace.Type, data []byte) string {
	e, ok := p.openIOError(t, data)
	switch {
	case !ok:
		return ""
	case e.kind == "":
		return fmt.Sprintf("%s (os error %d)", errnoText(e.code), e.code)
	case e.message == nil:
		return e.kind
	}
	whole := uint64(len(e.message)) == e.length
	text := string(bytes.ToValidUTF8(p.replaceSecrets(e.message, !whole), []byte("\ufffd")))
	if !whole {
		text += "…"
	}
	return text
}
