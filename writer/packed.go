package writer

/*
#include <stdlib.h>
#include "packed.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/mattn/go-sqlite3"
)

// openConnection opens a connection through the driver, and gives SQLite's own
// handle of it besides, which is valid as long as the connection is open.
func openConnection(name string) (*sqlite3.SQLiteConn, unsafe.Pointer, error) {
	runtime.LockOSThread() // the handle is noted by the thread that opens it
	defer runtime.UnlockOSThread()
	if rc := C.packed_watch(); rc != 0 {
		return nil, nil, fmt.Errorf("watch connections: %w", sqlite3.ErrNo(rc))
	}
	conn, err := (&sqlite3.SQLiteDriver{}).Open(name)
	handle := C.packed_watched()
	if err != nil {
		return nil, nil, err
	}
	if handle == nil {
		_ = conn.Close() // it is of no use
		return nil, nil, errors.New("SQLite has not shown the connection that it opened")
	}
	return conn.(*sqlite3.SQLiteConn), unsafe.Pointer(handle), nil
}

// packedBytes is about how many bytes of rows go into C at once.
const packedBytes = 256 << 10

// callRow is a row of the table call.
type callRow struct {
	key, id, start, function, thread, duration, overhead, goroutine, up, top, cpu, usage int64

	nulls     uint32 // nullThread, …
	usageText string // instead of usage, unless empty
	args      []byte // nil: NULL
	result    []byte // nil: NULL
}

// The columns that may be NULL, as bits of their positions.
const (
	nullThread    = 1 << 4
	nullGoroutine = 1 << 7
	nullUp        = 1 << 8
	nullTop       = 1 << 9
	nullCPU       = 1 << 10
	nullUsage     = 1 << 11
	nullArgs      = 1 << 12
	nullResult    = 1 << 13
)

// packer inserts rows of calls through memory that C reads (packed.h).
type packer struct {
	db     *C.sqlite3
	packed *C.packed
	rows   []byte
}

func newPacker(handle unsafe.Pointer) (*packer, error) {
	// OR FAIL: a statement that needn't undo its first rows needs no journal of its own.
	statement := C.CString(`INSERT OR FAIL INTO call (key, id, start, function_id, thread_id, duration_ns, overhead_ns,
			goroutine, up, top, cpu_ns, usage, args, result)
		SELECT key, id, start, function_id, thread_id, duration_ns, overhead_ns,
			goroutine, up, top, cpu_ns, usage, args, result FROM packed_calls`)
	defer C.free(unsafe.Pointer(statement))
	p := &packer{db: (*C.sqlite3)(handle)}
	if rc := C.packed_open(p.db, statement, &p.packed); rc != 0 {
		return nil, p.fault("prepare insert into call", rc)
	}
	return p, nil
}

// add packs a row; it is inserted then or at the next flush.
func (p *packer) add(r *callRow) error {
	const head = int(unsafe.Sizeof(C.struct_packed_row{}))
	texts := len(r.args) + len(r.result) + len(r.usageText)
	size := (head + texts + 7) &^ 7
	if uint64(texts) > 1<<30 {
		return fmt.Errorf("insert into call: %w", sqlite3.ErrTooBig)
	}
	if len(p.rows)+size > packedBytes {
		if err := p.flush(); err != nil {
			return err
		}
	}
	at := len(p.rows)
	if at+size > cap(p.rows) { // the first one, or one that is large by itself
		p.rows = make([]byte, 0, max(size, packedBytes))
		at = 0
	}
	p.rows = p.rows[:at+size]
	b := p.rows[at:]
	nulls := r.nulls
	if r.args == nil {
		nulls |= nullArgs
	}
	if r.result == nil {
		nulls |= nullResult
	}
	order := binary.NativeEndian
	order.PutUint32(b, uint32(size))
	order.PutUint32(b[4:], nulls)
	for i, v := range [...]int64{
		r.key, r.id, r.start, r.function, r.thread, r.duration, r.overhead,
		r.goroutine, r.up, r.top, r.cpu, r.usage,
	} {
		order.PutUint64(b[8+8*i:], uint64(v))
	}
	lengths := b[8+8*C.packed_integers:]
	order.PutUint32(lengths, uint32(len(r.args)))
	order.PutUint32(lengths[4:], uint32(len(r.result)))
	order.PutUint32(lengths[8:], uint32(len(r.usageText)))
	order.PutUint32(lengths[12:], uint32(min(len(r.usageText), 1)))
	b = b[head:]
	b = b[copy(b, r.args):]
	b = b[copy(b, r.result):]
	b = b[copy(b, r.usageText):]
	clear(b)
	return nil
}

// flush inserts the rows that were added. After an error they are forgotten.
func (p *packer) flush() error {
	rows := p.rows
	if p.rows = p.rows[:0]; cap(p.rows) > packedBytes {
		p.rows = nil
	}
	if len(rows) == 0 {
		return nil
	}
	if rc := C.packed_run(p.packed, unsafe.Pointer(&rows[0]), C.size_t(len(rows))); rc != 0 {
		return p.fault("insert into call", rc)
	}
	return nil
}

// forget drops the rows that were added and not inserted.
func (p *packer) forget() { p.rows = p.rows[:0] }

func (p *packer) close() { C.packed_close(p.packed) }

// fault is the connection's last error as the driver would give it.
func (p *packer) fault(what string, rc C.int) error {
	err := sqlite3.Error{
		Code: sqlite3.ErrNo(rc & 0xff), ExtendedCode: sqlite3.ErrNoExtended(rc),
		SystemErrno: syscall.Errno(C.packed_errno(p.db)),
	}
	return fmt.Errorf("%s: %w (%s)", what, err, C.GoString(C.packed_message(p.db)))
}
