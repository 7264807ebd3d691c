package spill

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ballast is the disk space that a file holds in reserve, bytes: when the disk
// is full there is still room for some thousand records.
const Ballast = 1 << 20

// Log is a spill file that this process appends to. It is not safe for concurrent use.
type Log struct {
	id, path string
	file     *os.File
	head     int64  // where the records begin
	size     int64  // where the next one goes
	reserved int64  // up to where the disk has room for it
	next     uint64 // the next record's number
	held     uint64 // records that are in the file
	reader   *scanner
	buffer   []byte
}

// infix is what stands between a database's name and the file's id.
const infix = ".spill-"

// Create makes a new file for the database called name (without a folder) in
// dir, and locks it. Head is what Open will give. Nobody but its owner may read
// the file. The caller closes or removes it.
func Create(dir, name string, head []byte) (_ *Log, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create spill: %w", err)
	}
	var random [8]byte
	if _, err := io.ReadFull(rand.Reader, random[:]); err != nil {
		return nil, fmt.Errorf("name spill: %w", err)
	}
	l := &Log{id: hex.EncodeToString(random[:]), next: 1}
	l.path = filepath.Join(dir, name+infix+l.id)
	l.buffer = appendFrame(magic[:], 0, head)
	if l.file, err = begin(l.path, bytes.NewReader(l.buffer)); err != nil {
		return nil, err
	}
	l.head, l.size = int64(len(l.buffer)), int64(len(l.buffer))
	l.reserve()
	return l, nil
}

// begin makes a file that has a content, locked, as the one at path.
func begin(path string, content io.Reader) (_ *os.File, err error) {
	// It gets its name when it is locked: nobody may take it for a dead process's.
	nameless := path + ".new"
	f, err := os.OpenFile(nameless, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create spill: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(nameless)
			f.Close()
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock spill: %w", err)
	}
	if _, err := io.Copy(f, content); err != nil {
		return nil, fmt.Errorf("write spill: %w", err)
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("write spill: %w", err)
	}
	if err := os.Rename(nameless, path); err != nil {
		return nil, fmt.Errorf("name spill: %w", err)
	}
	return f, syncFolder(path)
}

// restore puts the file back where somebody has deleted it: nobody would find
// what is in it when this process is gone.
func (l *Log) restore() error {
	own, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("write spill: %w", err)
	}
	if there, err := os.Stat(l.path); err == nil && os.SameFile(own, there) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return fmt.Errorf("create spill: %w", err)
	}
	f, err := begin(l.path, io.NewSectionReader(l.file, 0, l.size))
	if err != nil {
		return err
	}
	l.file.Close()
	l.file, l.reader, l.reserved = f, l.reader.on(f), l.size
	l.reserve()
	return nil
}

// reserve asks the disk for room ahead of what is written. Where it is full, or
// the file system can't, what was reserved before must do.
func (l *Log) reserve() {
	if l.reserved-l.size > Ballast/2 {
		return
	}
	if unix.Fallocate(int(l.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, l.size+Ballast) == nil {
		l.reserved = l.size + Ballast
	}
}

// ID tells the file from all others.
func (l *Log) ID() string { return l.id }

// Path is where the file is.
func (l *Log) Path() string { return l.path }

// Held is how many records are in the file, and Bytes how long they are.
func (l *Log) Held() uint64 { return l.held }

// Bytes is how long the records in the file are.
func (l *Log) Bytes() int64 { return l.size - l.head }

// Last is the number of the record that was appended last; 0 for none.
func (l *Log) Last() uint64 { return l.next - 1 }

// Append adds records and returns when they are on the disk. After an error none
// of them is in the file. A file that was deleted meanwhile is made anew.
func (l *Log) Append(records [][]byte) error {
	if err := l.restore(); err != nil {
		return err
	}
	l.buffer = l.buffer[:0]
	number := l.next
	for _, r := range records {
		if len(r) > MaxRecord {
			return fmt.Errorf("write spill: a record of %d bytes; at most %d", len(r), MaxRecord)
		}
		l.buffer = appendFrame(l.buffer, number, r)
		number++
	}
	if cap(l.buffer) > 4<<20 {
		defer func() { l.buffer = nil }() // a burst's; don't keep it
	}
	_, err := l.file.WriteAt(l.buffer, l.size)
	if err == nil {
		err = unix.Fdatasync(int(l.file.Fd()))
	}
	if err != nil {
		// What was written of it would be found again, as if it had been taken.
		if cutting := l.cut(l.size); cutting != nil {
			return fmt.Errorf("write spill: %w; %w", cause(err), cutting)
		}
		return fmt.Errorf("write spill: %w", cause(err))
	}
	l.size += int64(len(l.buffer))
	l.next = number
	l.held += uint64(len(records))
	l.reserve()
	return nil
}

// cause takes the path off an error: it is the name that the file had at first.
func cause(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}

// cut shortens the file; the reserve behind its end goes with it.
func (l *Log) cut(size int64) error {
	if err := l.file.Truncate(size); err != nil {
		return fmt.Errorf("cut spill: %w", cause(err))
	}
	l.reserved = size
	l.size = size
	l.reserve()
	return nil
}

// Next gives the record that follows the last one that it gave, or io.EOF when
// there is none yet.
func (l *Log) Next() (Record, error) {
	if l.reader == nil {
		l.reader = &scanner{file: l.file, offset: l.head, next: l.next - l.held}
	}
	if l.reader.offset >= l.size {
		l.reader.window = nil // it may be the end of what was read then
		return Record{}, io.EOF
	}
	return l.reader.record()
}

// Rewind has Next begin again with the first record.
func (l *Log) Rewind() { l.reader = nil }

// Damage is what Next could not read.
func (l *Log) Damage() Damage {
	if l.reader == nil {
		return Damage{}
	}
	return l.reader.damage
}

// Reset forgets all records; their numbers are not used again.
func (l *Log) Reset() error {
	l.held, l.reader = 0, nil
	return l.cut(l.head)
}

// Close lets go of the file and leaves it for Find.
func (l *Log) Close() error { return l.file.Close() }

// Remove deletes the file, for good when it returns, and lets go of it.
func (l *Log) Remove() error { return remove(l.file, l.path) }

// remove deletes a file before its lock is let go of: who gets the lock then sees that it is gone.
func remove(f *os.File, path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil // somebody else has deleted it
	}
	if err == nil {
		err = syncFolder(path)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("remove spill: %w", err)
	}
	return nil
}

// syncFolder makes a file's appearing or vanishing last.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems can't
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

var idForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Find gives the paths of all spill files for the database called name in dir,
// in the order of their names. A folder that doesn't exist has none.
func Find(dir, name string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find spills: %w", err)
	}
	var found []string
	for _, e := range entries {
		prefix := name + infix
		if len(e.Name()) > len(prefix) && e.Name()[:len(prefix)] == prefix && idForm.MatchString(e.Name()[len(prefix):]) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(found)
	return found, nil
}

// What Open may give.
var (
	ErrLive = errors.New("in use by the process that writes it")
	ErrGone = errors.New("gone")
)

// Reader reads the file of a process that has ended. It is not safe for
// concurrent use. The caller closes or removes it.
type Reader struct {
	id   string
	file *os.File
	head []byte
	size int64
	scan scanner
}

// Open opens a file that Find gave and locks it. Its error wraps ErrLive when
// its process still runs, ErrGone when somebody was quicker, ErrNewer when its
// format isn't known.
func Open(path string) (*Reader, error) { return open(path, true) }

// Peek opens a file without locking it, to look at it.
func Peek(path string) (*Reader, error) { return open(path, false) }

func open(path string, lock bool) (_ *Reader, err error) {
	mode := os.O_RDONLY
	if lock {
		mode = os.O_RDWR
	}
	f, err := os.OpenFile(path, mode, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open spill %s: %w", path, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("open spill: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if lock {
		if err := lockFile(f); err != nil {
			return nil, fmt.Errorf("open spill %s: %w", path, err)
		}
	}
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open spill: %w", err)
	}
	base := filepath.Base(path)
	r := &Reader{id: base[max(len(base)-16, 0):], file: f, size: st.Size(), scan: scanner{file: f}}
	if r.head, err = r.scan.head(); err != nil {
		return nil, fmt.Errorf("open spill %s: %w", path, err)
	}
	return r, nil
}

// lockFile locks a file, and looks whether it is still there: who had the lock
// before may have deleted it.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLive
	}
	if err != nil {
		return err
	}
	own, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(f.Name())
	if err != nil || !os.SameFile(own, there) {
		return ErrGone
	}
	return nil
}

// Live tells whether the process that writes the file still runs.
func (r *Reader) Live() bool {
	err := unix.Flock(int(r.file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		_ = unix.Flock(int(r.file.Fd()), unix.LOCK_UN)
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// ID tells the file from all others.
func (r *Reader) ID() string { return r.id }

// Path is where the file is.
func (r *Reader) Path() string { return r.file.Name() }

// Size is how long the file is, bytes.
func (r *Reader) Size() int64 { return r.size }

// Head is what Create was given; nil when that is damaged.
func (r *Reader) Head() []byte { return r.head }

// Next gives the next record, or io.EOF at the end.
func (r *Reader) Next() (Record, error) { return r.scan.record() }

// Rewind has Next begin again with the first record.
func (r *Reader) Rewind() error {
	r.scan = scanner{file: r.file}
	_, err := r.scan.head()
	return err
}

// Damage is what Next could not read so far.
func (r *Reader) Damage() Damage { return r.scan.damage }

// Close lets go of the file.
func (r *Reader) Close() error { return r.file.Close() }

// Remove deletes the file, for good when it returns, and lets go of it.
func (r *Reader) Remove() error { return remove(r.file, r.file.Name()) }
