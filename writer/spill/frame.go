package spill

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// magic begins every file; its last byte is the format's version.
var magic = [8]byte{'o', 'b', 's', 's', 'p', 'i', 'l', 1}

// mark begins every frame. Its first byte is in no UTF-8 text: a search for the
// next frame behind a damaged one isn't led astray by what records say.
var mark = [4]byte{0xf7, 's', 'p', 'l'}

// frameHead is the bytes before a frame's payload: mark, length, number, checksum.
const frameHead = 20

// MaxRecord is how long a record may be, bytes.
const MaxRecord = 16 << 20

// castagnoli is CRC-32C's polynomial, which processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a record's frame to b.
func appendFrame(b []byte, number uint64, payload []byte) []byte {
	b = append(b, mark[:]...)
	checked := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint64(b, number)
	sum := crc32.Update(crc32.Checksum(b[checked:], castagnoli), castagnoli, payload)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, payload...)
}

// Record is one record of a file.
type Record struct {
	Number  uint64 // from 1 on, never used again in the same file
	Payload []byte // the caller's
}

// Damage is what could not be read of a file.
type Damage struct {
	Records uint64 // that are missing before one that could be read
	Bytes   int64  // that belong to no readable record
}

// ErrNewer marks a file in a format that this program doesn't know.
var ErrNewer = errors.New("written by a newer observatory-trace")

// scanner reads frames one after the other. What is damaged it leaves out,
// counts, and goes on behind. It reads the file in pieces, and only as far as
// it went at the beginning of a piece.
type scanner struct {
	file   io.ReaderAt
	offset int64  // of the next frame
	window []byte // what was read, from offset on
	next   uint64 // the number that is expected
	damage Damage
	before int64 // damage.Bytes when the last whole record had been read
}

// on gives a scanner that goes on in another file with the same content.
func (s *scanner) on(file io.ReaderAt) *scanner {
	if s != nil {
		s.file = file
	}
	return s
}

// scanPiece is how much is read at a time, bytes.
const scanPiece = 256 << 10

// peek gives the next n bytes, or fewer at the file's end.
func (s *scanner) peek(n int) ([]byte, error) {
	if len(s.window) < n {
		grown := make([]byte, max(n, scanPiece))
		got, err := s.file.ReadAt(grown, s.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read spill: %w", err)
		}
		s.window = grown[:got]
	}
	return s.window[:min(n, len(s.window))], nil
}

func (s *scanner) skip(n int) {
	s.offset += int64(n)
	s.window = s.window[n:]
}

// head reads the beginning of a file, its first frame included, and gives that
// one's payload; nil when it is damaged.
func (s *scanner) head() ([]byte, error) {
	b, err := s.peek(len(magic))
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.Equal(b, magic[:]):
		s.skip(len(magic))
	case len(b) == len(magic) && bytes.Equal(b[:7], magic[:7]):
		return nil, fmt.Errorf("%w: spill format %d, this program knows %d", ErrNewer, b[7], magic[7])
	}
	frame, ok, err := s.frame()
	if err != nil || !ok || frame.Number != 0 {
		s.next = 1 // what is here instead, Next tells
		return nil, err
	}
	s.next = 1
	return frame.Payload, nil
}

// record gives the next record, or io.EOF at the end.
func (s *scanner) record() (Record, error) {
	for {
		at := s.offset
		r, ok, err := s.frame()
		if err != nil {
			return Record{}, err
		}
		if ok && r.Number >= s.next {
			// Numbers are also missing where the file was emptied. What is damaged had room for so many.
			s.damage.Records += min(r.Number-s.next, uint64(s.damage.Bytes-s.before)/frameHead)
			s.next, s.before = r.Number+1, s.damage.Bytes
			return r, nil
		}
		if ok { // a number that was there: no writer does that
			s.damage.Bytes += s.offset - at
			continue
		}
		if err := s.resync(); err != nil {
			return Record{}, err
		}
	}
}

// frame reads the frame that begins here. Without a whole one it gives false and stays.
func (s *scanner) frame() (Record, bool, error) {
	b, err := s.peek(frameHead)
	if err != nil || len(b) < frameHead || !bytes.Equal(b[:4], mark[:]) {
		return Record{}, false, err
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if length > MaxRecord {
		return Record{}, false, nil
	}
	n := frameHead + int(length)
	b, err = s.peek(n)
	if err != nil || len(b) < n {
		return Record{}, false, err
	}
	sum := crc32.Update(crc32.Checksum(b[4:16], castagnoli), castagnoli, b[frameHead:])
	if sum != binary.LittleEndian.Uint32(b[16:]) {
		return Record{}, false, nil
	}
	r := Record{binary.LittleEndian.Uint64(b[8:]), bytes.Clone(b[frameHead:])}
	s.skip(n)
	return r, true, nil
}

// resync goes to the next mark behind this place, or gives io.EOF.
func (s *scanner) resync() error {
	for first := true; ; first = false {
		b, err := s.peek(scanPiece)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return io.EOF
		}
		from := 0
		if first {
			from = 1 // what begins here is no frame
		}
		at := bytes.Index(b[from:], mark[:])
		if at >= 0 {
			s.damage.Bytes += int64(from + at)
			s.skip(from + at)
			return nil
		}
		past := len(b)
		if len(b) == scanPiece {
			past -= len(mark) - 1 // a mark may begin in the last bytes
		}
		s.damage.Bytes += int64(past)
		s.skip(past)
	}
}
