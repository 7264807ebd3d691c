package decode

import (
	"encoding/binary"

	"github.com/observatory-trace/observatory-trace/trace"
)

// appendRecord writes a record as the probes do: the header, the root block
// padded to 8, and the blocks. e.blocks is ignored.
func appendRecord(dst []byte, e *Event, blocks ...Block) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	dst = pad(append(dst, e.Root...))
	root := len(dst) - start - headerSize
	for _, b := range blocks {
		dst = le.AppendUint64(dst, b.Addr)
		dst = le.AppendUint32(dst, b.Type)
		dst = le.AppendUint32(dst, uint32(len(b.Data)))
		dst = le.AppendUint32(dst, uint32(b.Status))
		dst = le.AppendUint32(dst, b.Want)
		dst = pad(append(dst, b.Data...))
	}
	h := dst[start:]
	le.PutUint32(h[offSize:], uint32(len(h)))
	h[offKind], h[offFlags] = byte(e.Kind), byte(e.Flags)
	le.PutUint16(h[offRoot:], uint16(root))
	for off, v := range map[int]uint32{
		offFunc: e.Func, offMissed: e.Missed, offTGID: e.TGID, offTID: e.TID,
		offMinor: e.Usage.Minor, offMajor: e.Usage.Major, offSwitches: e.Usage.Switches, offRSS: e.Usage.RSS,
	} {
		le.PutUint32(h[off:], v)
	}
	// arg is the process events' or CPU time: the other one is 0.
	for off, v := range map[int]uint64{offTS: e.TS, offGoid: e.Goid, offPos: e.Pos, offIP: e.IP, offCFA: e.CFA, offArg: e.Arg | e.Usage.CPU, offMore: e.More} {
		le.PutUint64(h[off:], v)
	}
	return dst
}

func pad(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// planOf makes a plan whose fields lie one after the other, each filled by
// one move.
func planOf(fields ...trace.Field) *trace.Plan {
	root := &trace.Type{Kind: trace.KindStruct}
	p := &trace.Plan{Root: root}
	for _, f := range fields {
		f.Offset = root.Size
		root.Fields = append(root.Fields, f)
		if f.Unavailable == "" {
			p.Moves = append(p.Moves, trace.Move{Dst: uint16(f.Offset), Size: uint16(f.Type.Size), Source: trace.SourceCFA})
		}
		root.Size += (f.Type.Size + 7) &^ 7
	}
	return p
}
