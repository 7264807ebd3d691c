package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// HistogramBuckets is the number of buckets of a Histogram's layout.
const HistogramBuckets = (64-histogramBits)<<histogramBits + 1<<histogramBits

// histogramBits is how many bits below the leading one tell buckets apart: 16
// buckets per power of two, so that a bucket's middle is at most 3.2 % away
// from every value in it.
const histogramBits = 4

// HistogramBucket gives the bucket of a value in nanoseconds. Values below 16
// have a bucket each; above, every power of two is cut in 16 equal parts. It
// is one shift and two masks, so that a BPF program can do the same.
func HistogramBucket(ns uint64) int {
	if ns < 1<<histogramBits {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - histogramBits
	return (shift+1)<<histogramBits + int(ns>>shift)&(1<<histogramBits-1)
}

// HistogramBounds gives the least value of a bucket and the least value above
// it, in nanoseconds. The last bucket's upper bound is the largest uint64.
func HistogramBounds(bucket int) (low, high uint64) {
	if bucket < 1<<histogramBits {
		return uint64(bucket), uint64(bucket) + 1
	}
	shift := bucket>>histogramBits - 1
	low = (1<<histogramBits + uint64(bucket)&(1<<histogramBits-1)) << shift
	high = low + 1<<shift
	if high < low {
		high = 1<<64 - 1
	}
	return low, high
}

// Histogram counts durations in log-linear buckets (see HistogramBucket). The
// zero value is empty and ready. It is not safe for concurrent use.
type Histogram struct {
	base   int      // the bucket of counts[0]
	counts []uint64 // per bucket, from base
	total  uint64
}

// Add counts one duration in nanoseconds; a negative one counts as 0.
func (h *Histogram) Add(ns int64) { h.AddBucket(HistogramBucket(uint64(max(ns, 0))), 1) }

// AddBucket counts n durations of a bucket. A bucket outside of the layout
// counts as the nearest inside.
func (h *Histogram) AddBucket(bucket int, n uint64) {
	if n == 0 {
		return
	}
	bucket = min(max(bucket, 0), HistogramBuckets-1)
	switch {
	case len(h.counts) == 0:
		h.base, h.counts = bucket, append(h.counts, 0)
	case bucket < h.base:
		grown := make([]uint64, h.base-bucket+len(h.counts))
		copy(grown[h.base-bucket:], h.counts)
		h.base, h.counts = bucket, grown
	}
	for bucket-h.base >= len(h.counts) {
		h.counts = append(h.counts, 0)
	}
	h.counts[bucket-h.base] += n
	h.total += n
}

// Merge adds all that other counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.AddBucket(other.base+i, n)
	}
}

// Count is the number of durations counted.
func (h *Histogram) Count() uint64 { return h.total }

// Each calls f for every bucket that isn't empty, in ascending order.
func (h *Histogram) Each(f func(bucket int, n uint64)) {
	for i, n := range h.counts {
		if n != 0 {
			f(h.base+i, n)
		}
	}
}

// Quantile estimates the q-quantile (0 to 1) in nanoseconds: the middle of
// the bucket that holds the durations' element of rank ceil(q·n). It is at
// most 3.2 % off, and 0 when nothing was counted.
func (h *Histogram) Quantile(q float64) int64 {
	if h.total == 0 {
		return 0
	}
	rank := min(max(uint64(math.Ceil(q*float64(h.total))), 1), h.total)
	for i, n := range h.counts {
		if rank <= n {
			low, high := HistogramBounds(h.base + i)
			return int64(min(low+(high-low)/2, 1<<63-1))
		}
		rank -= n
	}
	return 0
}

// histogramForm is the first byte of an encoded histogram: the form's version
// in the high nibble, histogramBits in the low one.
const histogramForm = 1<<4 | histogramBits

// ErrHistogram marks bytes that are not an encoded histogram.
var ErrHistogram = errors.New("not a histogram")

// AppendBinary appends the histogram's encoding: the form byte 0x14, then for
// every bucket that isn't empty, in ascending order, two unsigned varints:
// the distance from the bucket before (from -1 for the first) less one, and
// its count. It never fails.
func (h *Histogram) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, histogramForm)
	last := -1
	h.Each(func(bucket int, n uint64) {
		b = binary.AppendUvarint(b, uint64(bucket-last-1))
		b = binary.AppendUvarint(b, n)
		last = bucket
	})
	return b, nil
}

// UnmarshalBinary replaces the histogram by an encoded one. Its error wraps ErrHistogram.
func (h *Histogram) UnmarshalBinary(b []byte) error {
	var decoded Histogram
	if err := decoded.MergeBinary(b); err != nil {
		return err
	}
	*h = decoded
	return nil
}

// MergeBinary adds all that an encoded histogram counted. Its error wraps
// ErrHistogram; a part has been added then.
func (h *Histogram) MergeBinary(b []byte) error {
	if len(b) == 0 || b[0] != histogramForm {
		return fmt.Errorf("decode histogram: %w: unknown form", ErrHistogram)
	}
	last := -1
	for b = b[1:]; len(b) > 0; {
		gap, n := binary.Uvarint(b)
		count, m := uint64(0), 0
		if n > 0 {
			count, m = binary.Uvarint(b[n:])
		}
		if n <= 0 || m <= 0 || gap >= HistogramBuckets || last+1+int(gap) >= HistogramBuckets {
			return fmt.Errorf("decode histogram: %w: bad bucket after %d", ErrHistogram, last)
		}
		last += 1 + int(gap)
		h.AddBucket(last, count)
		b = b[n+m:]
	}
	return nil
}
