package node

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/observatory-trace/observatory-trace/trace"
)

// duration is a histogram in both of Prometheus's forms: who asks for protobuf gets a native one, and
// who asks for text only sees its classic buckets.
type duration struct {
	prometheus.Metric // native
	classic           []*dto.Bucket
}

// Write writes both forms.
func (d duration) Write(out *dto.Metric) error {
	err := d.Metric.Write(out)
	if err == nil {
		out.Histogram.Bucket = d.classic
	}
	return err
}

// Classic buckets end at powers of two of a nanosecond, from 1 µs to 17 s: that is exact, as buckets of
// trace.HistogramBucket end there, too, but for durations that are such a power to the nanosecond:
// they are in the next bucket.
const (
	firstOctave = 10
	lastOctave  = 34
)

// nativeSchema cuts each power of two seconds in eight parts, each 9 % above the one before. No
// schema fits buckets of equal width: each of these (3 to 6 % wide) counts where its middle is, so that
// a duration near a native bucket's end, by up to 3.2 %, may be in the one beside it.
const nativeSchema = 3

// nativeBuckets gives the native bucket of each of trace.HistogramBucket's.
var nativeBuckets = func() (at [trace.HistogramBuckets]int) {
	for bucket := range at {
		low, high := trace.HistogramBounds(bucket)
		middle := (float64(low) + float64(high-1)) / 2e9
		at[bucket] = int(math.Ceil(math.Log2(middle) * (1 << nativeSchema)))
	}
	return at
}()

// histogram is the durations of a function's calls, whose sum is totalNS.
func histogram(function string, h *trace.Histogram, totalNS int64) prometheus.Metric {
	native := map[int]int64{}
	below := make([]uint64, lastOctave+1) // those that are shorter than 2^i ns
	zero := uint64(0)
	h.Each(func(bucket int, n uint64) {
		if bucket == 0 {
			zero = n
		} else {
			native[nativeBuckets[bucket]] += int64(n)
		}
		low, _ := trace.HistogramBounds(bucket)
		for octave := lastOctave; octave >= firstOctave && low < 1<<octave; octave-- {
			below[octave] += n
		}
	})
	d := duration{Metric: prometheus.MustNewConstNativeHistogram(callDuration.desc, h.Count(), float64(totalNS)/1e9,
		native, nil, zero, nativeSchema, 0.5e-9, time.Time{}, function)}
	for octave := firstOctave; octave <= lastOctave; octave++ {
		end := float64(uint64(1)<<octave) / 1e9
		d.classic = append(d.classic, &dto.Bucket{UpperBound: &end, CumulativeCount: &below[octave]})
	}
	return d
}
