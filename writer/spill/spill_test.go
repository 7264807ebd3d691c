package spill

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/observatory-trace/observatory-trace/internal/testenv"
)

func create(tb testing.TB, dir string) *Log {
	tb.Helper()
	l, err := Create(dir, "a.db", []byte("head"))
	must(tb, err)
	tb.Cleanup(func() { _ = l.Close() }) // it may be closed already
	return l
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// numbered gives records from first to last that say their number.
func numbered(first, last int) [][]byte {
	var records [][]byte
	for i := first; i <= last; i++ {
		records = append(records, []byte(fmt.Sprint("record ", i)))
	}
	return records
}

// readAll gives the numbers of all records, whose payloads must be those of numbered.
func readAll(tb testing.TB, next func() (Record, error)) []uint64 {
	tb.Helper()
	var numbers []uint64
	for {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return numbers
		}
		must(tb, err)
		if want := fmt.Sprint("record ", r.Number); string(r.Payload) != want {
			tb.Errorf("record %d says %q", r.Number, r.Payload)
		}
		numbers = append(numbers, r.Number)
	}
}

func consecutive(numbers []uint64, first, last uint64) bool {
	if uint64(len(numbers)) != last-first+1 {
		return false
	}
	for i, n := range numbers {
		if n != first+uint64(i) {
			return false
		}
	}
	return true
}

// TestAppendAndRead holds that what was appended is read, by its own process
// while it goes on and by another one when it is gone.
func TestAppendAndRead(t *testing.T) {
	dir := t.TempDir()
	l := create(t, dir)
	must(t, l.Append(numbered(1, 3)))
	if got := readAll(t, l.Next); !consecutive(got, 1, 3) {
		t.Errorf("read %v", got)
	}
	must(t, l.Append(numbered(4, 1000)))
	if got := readAll(t, l.Next); !consecutive(got, 4, 1000) {
		t.Errorf("then read %d", len(got))
	}
	if l.Held() != 1000 || l.Last() != 1000 || l.Bytes() == 0 {
		t.Errorf("%d records in %d bytes, the last %d", l.Held(), l.Bytes(), l.Last())
	}
	must(t, l.Reset())
	must(t, l.Append(numbered(1001, 1002)))
	if got := readAll(t, l.Next); !consecutive(got, 1001, 1002) {
		t.Errorf("after a reset read %v", got)
	}

	found, err := Find(dir, "a.db")
	must(t, err)
	if len(found) != 1 || found[0] != l.Path() {
		t.Fatalf("found %v, want %s", found, l.Path())
	}
	if st, err := os.Stat(found[0]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: arguments are other people's data", st.Mode(), err)
	}
	if _, err := Open(found[0]); !errors.Is(err, ErrLive) {
		t.Errorf("a live one was opened: %v", err)
	}
	looked, err := Peek(found[0])
	must(t, err)
	if !looked.Live() {
		t.Error("a live one is said to be dead")
	}
	must(t, l.Close())
	if looked.Live() {
		t.Error("a dead one is said to be live")
	}
	must(t, looked.Close())
	r, err := Open(found[0])
	must(t, err)
	if string(r.Head()) != "head" || r.ID() != l.ID() {
		t.Errorf("head %q, id %s", r.Head(), r.ID())
	}
	if got := readAll(t, r.Next); !consecutive(got, 1001, 1002) {
		t.Errorf("another process reads %v", got)
	}
	if d := r.Damage(); d != (Damage{}) {
		t.Errorf("damage %+v", d)
	}
	must(t, r.Remove())
	if _, err := Open(found[0]); !errors.Is(err, ErrGone) {
		t.Errorf("a removed one was opened: %v", err)
	}
}

// TestFind holds that only this database's files are found.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	own := create(t, dir)
	_, err := Create(dir, "b.a.db", nil)
	must(t, err)
	for _, name := range []string{"a.db.spill-", "a.db.spill-0123456789abcdeg", "a.db.spill-0123456789abcdef.new", "a.db"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	if got, err := Find(dir, "a.db"); err != nil || len(got) != 1 || got[0] != own.Path() {
		t.Errorf("found %v, %v", got, err)
	}
	if got, err := Find(filepath.Join(dir, "none"), "a.db"); err != nil || len(got) != 0 {
		t.Errorf("in no folder found %v, %v", got, err)
	}
}

// TestGoneWhileWaiting holds that who gets the lock of a file that was deleted
// meanwhile doesn't take it for one that is still to be replayed.
func TestGoneWhileWaiting(t *testing.T) {
	l := create(t, t.TempDir())
	f, err := os.OpenFile(l.Path(), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, l.Remove())
	if err := lockFile(f); !errors.Is(err, ErrGone) {
		t.Errorf("lock of a deleted file: %v", err)
	}
}

// TestDeleted deletes the file, and its folder, under the process that writes it.
func TestDeleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	l := create(t, dir)
	must(t, l.Append(numbered(1, 20)))
	if r, err := l.Next(); err != nil || r.Number != 1 {
		t.Fatalf("the first is %d, %v", r.Number, err)
	}
	must(t, os.Remove(l.Path()))
	must(t, l.Append(numbered(21, 40)))
	must(t, os.RemoveAll(dir))
	must(t, l.Append(numbered(41, 60)))
	if got := readAll(t, l.Next); !consecutive(got, 2, 60) {
		t.Errorf("it reads %v", got)
	}
	if _, err := Open(l.Path()); !errors.Is(err, ErrLive) {
		t.Errorf("the new one is not locked: %v", err)
	}
	must(t, l.Close())
	r, err := Open(l.Path())
	must(t, err)
	if got := readAll(t, r.Next); !consecutive(got, 1, 60) || string(r.Head()) != "head" {
		t.Errorf("another process reads %v", got)
	}
	must(t, os.Remove(l.Path()))
	must(t, r.Remove()) // what is gone needn't be removed
}

// written gives a file's path and what is in it: fifty records.
func written(tb testing.TB) (path string, content []byte) {
	tb.Helper()
	l := create(tb, tb.TempDir())
	must(tb, l.Append(numbered(1, 50)))
	must(tb, l.Close())
	content, err := os.ReadFile(l.Path())
	must(tb, err)
	return l.Path(), content
}

// TestTorn cuts the file at every place: all that is whole before is read, and
// nothing else.
func TestTorn(t *testing.T) {
	path, whole := written(t)
	ends := map[int]bool{0: true, len(magic): true} // where nothing is torn
	for at := len(magic); at < len(whole); {
		at += frameHead + int(binary.LittleEndian.Uint32(whole[at+4:]))
		ends[at] = true
	}
	last := 0
	for size := range len(whole) + 1 {
		must(t, os.WriteFile(path, whole[:size], 0o600))
		r, err := Open(path)
		must(t, err)
		got := readAll(t, r.Next)
		if len(got) > 0 && !consecutive(got, 1, uint64(len(got))) || len(got) < last {
			t.Fatalf("cut at %d: read %v", size, got)
		}
		if d := r.Damage(); d.Records != 0 || (d.Bytes == 0) != ends[size] {
			t.Fatalf("cut at %d: damage %+v", size, d)
		}
		last = len(got)
		must(t, r.Close())
	}
	if last != 50 {
		t.Errorf("of the whole file, %d records are read", last)
	}
}

// TestFlipped flips bits anywhere: at most the record that they are in is
// missing, and that is told.
func TestFlipped(t *testing.T) {
	path, whole := written(t)
	for i := range whole {
		spoilt := bytes.Clone(whole)
		spoilt[i] ^= 1 << (i % 8)
		must(t, os.WriteFile(path, spoilt, 0o600))
		r, err := Open(path)
		if errors.Is(err, ErrNewer) && i == 7 {
			continue // the version
		}
		must(t, err)
		got := readAll(t, r.Next)
		inHead := i < len(magic)+frameHead+len("head")
		if d := r.Damage(); len(got) < 49 || d.Bytes == 0 || !inHead && len(got) != 49 || inHead && len(got) != 50 {
			t.Fatalf("bit %d of byte %d: %d records, damage %+v", i%8, i, len(got), d)
		} else if last := got[len(got)-1]; d.Records != last-uint64(len(got)) {
			t.Fatalf("bit %d of byte %d: %d records missing, told %+v", i%8, i, last-uint64(len(got)), d)
		}
		must(t, r.Close())
	}
}

// TestOverwritten spoils long pieces, longer than what is read at a time.
func TestOverwritten(t *testing.T) {
	l := create(t, t.TempDir())
	big := bytes.Repeat([]byte("x"), 10_000)
	for range 300 {
		must(t, l.Append([][]byte{big}))
	}
	must(t, l.Close())
	f, err := os.OpenFile(l.Path(), os.O_RDWR, 0)
	must(t, err)
	noise := make([]byte, 1_000_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	_, err = f.WriteAt(noise, 500_000)
	must(t, err)
	must(t, f.Close())
	r, err := Open(l.Path())
	must(t, err)
	defer r.Close()
	count := 0
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if !bytes.Equal(rec.Payload, big) {
			t.Fatalf("record %d is not what was written", rec.Number)
		}
		count++
	}
	if d := r.Damage(); count < 197 || count > 200 || d.Records != uint64(300-count) || d.Bytes < 1_000_000 {
		t.Errorf("%d records, damage %+v", count, d)
	}
}

// TestNewer holds that a format that isn't known is left alone.
func TestNewer(t *testing.T) {
	path, whole := written(t)
	whole[7] = 2
	must(t, os.WriteFile(path, whole, 0o600))
	if _, err := Open(path); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
}

// TestDiskFull holds that a full disk has room for what the ballast is for, that
// a record that finds none leaves nothing behind, and that it goes on later.
func TestDiskFull(t *testing.T) {
	dir := testenv.Filesystem(t, "2m")
	l := create(t, dir)
	filler := filepath.Join(dir, "filler")
	_ = os.WriteFile(filler, make([]byte, 4<<20), 0o600) // as far as there is room
	record := []byte(strings.Repeat("x", 1003))
	n := 0
	var err error
	for ; err == nil && n < 10_000; n++ {
		err = l.Append([][]byte{record})
	}
	if !errors.Is(err, unix.ENOSPC) || n < 900 {
		t.Fatalf("after %d records: %v", n, err)
	}
	looked, err := Peek(l.Path())
	must(t, err)
	if held := l.head + l.Bytes(); looked.Size() != held {
		t.Errorf("the file has %d bytes, of which %d were taken", looked.Size(), held)
	}
	must(t, looked.Close())
	must(t, os.Remove(filler))
	must(t, l.Append([][]byte{record}))
	if l.Held() != uint64(n) {
		t.Errorf("%d records are held, want %d", l.Held(), n)
	}
	must(t, l.Close())
	r, err := Open(l.Path())
	must(t, err)
	defer r.Close()
	read := 0
	for ; err == nil; read++ {
		_, err = r.Next()
	}
	if d := r.Damage(); read-1 != n || d.Bytes != 0 {
		t.Errorf("read %d of %d, damage %+v", read-1, n, d)
	}
}

// TestTooLong holds that what the reader would refuse is not written.
func TestTooLong(t *testing.T) {
	l := create(t, t.TempDir())
	if err := l.Append([][]byte{make([]byte, MaxRecord+1)}); err == nil {
		t.Error("a record that can't be read was written")
	}
	must(t, l.Append([][]byte{make([]byte, MaxRecord)}))
	if r, err := l.Next(); err != nil || len(r.Payload) != MaxRecord {
		t.Errorf("the longest: %v", err)
	}
}

// FuzzRead reads anything: it ends, never gives what has a wrong checksum, and
// accounts for every byte.
func FuzzRead(f *testing.F) {
	_, whole := written(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(append(bytes.Clone(whole), whole...))
	f.Add([]byte{})
	f.Add(appendFrame(appendFrame(bytes.Clone(magic[:]), 5, nil), 1<<63, []byte("x")))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := scanner{file: bytes.NewReader(content)}
		if _, err := s.head(); err != nil {
			return
		}
		read, last := s.offset, uint64(0)
		for {
			r, err := s.record()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			if r.Number <= last {
				t.Fatalf("record %d after %d", r.Number, last)
			}
			last = r.Number
			frame := appendFrame(nil, r.Number, r.Payload)
			if !bytes.Contains(content, frame) {
				t.Fatalf("record %d is not in the file", r.Number)
			}
			read += int64(len(frame))
		}
		if read+s.damage.Bytes != int64(len(content)) {
			t.Errorf("%d bytes of records and %d damaged of %d", read, s.damage.Bytes, len(content))
		}
	})
}

// BenchmarkAppend appends records of 600 bytes, a hundred at a time.
func BenchmarkAppend(b *testing.B) {
	l := create(b, b.TempDir())
	record := make([]byte, 600)
	binary.LittleEndian.PutUint64(record, 42)
	records := make([][]byte, 100)
	for i := range records {
		records[i] = record
	}
	b.SetBytes(600)
	b.ResetTimer()
	for n := 0; n < b.N; n += len(records) {
		must(b, l.Append(records))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
