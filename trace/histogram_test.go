package trace

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHistogramBuckets holds the layout: buckets join without gaps, every
// value is inside its bucket's bounds, and no bucket is wider than 1/16.
func TestHistogramBuckets(t *testing.T) {
	if low, _ := HistogramBounds(0); low != 0 {
		t.Errorf("first bucket starts at %d", low)
	}
	for b := 1; b < HistogramBuckets; b++ {
		_, before := HistogramBounds(b - 1)
		low, high := HistogramBounds(b)
		if low != before || high <= low {
			t.Fatalf("bucket %d is [%d, %d), the one before ends at %d", b, low, high, before)
		}
		if HistogramBucket(low) != b || HistogramBucket(high-1) != b {
			t.Fatalf("bounds [%d, %d) of bucket %d fall in buckets %d and %d", low, high, b, HistogramBucket(low), HistogramBucket(high-1))
		}
		if b >= 16 && float64(high-low) > float64(low)/16+1 {
			t.Fatalf("bucket %d [%d, %d) is wider than 1/16", b, low, high)
		}
	}
	if got := HistogramBucket(math.MaxUint64); got != HistogramBuckets-1 {
		t.Errorf("largest value is in bucket %d of %d", got, HistogramBuckets)
	}
}

// TestHistogramQuantile compares estimates with exact quantiles of several distributions.
func TestHistogramQuantile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() int64{
		"uniform":     func() int64 { return rng.Int64N(1e6) },
		"exponential": func() int64 { return int64(rng.ExpFloat64() * 5e4) },
		"wide":        func() int64 { return int64(math.Exp(rng.Float64() * 30)) },
	} {
		var h Histogram
		values := make([]int64, 20_000)
		for i := range values {
			values[i] = draw()
			h.Add(values[i])
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.01, 0.5, 0.95, 0.99, 1} {
			exact := values[max(int(math.Ceil(q*float64(len(values))))-1, 0)]
			if got := h.Quantile(q); math.Abs(float64(got-exact)) > 0.05*float64(exact)+1 {
				t.Errorf("%s: quantile %v is %d, estimated %d", name, q, exact, got)
			}
		}
	}
}

func TestHistogramEmptyAndExtreme(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Count() != 0 {
		t.Error("an empty histogram has values")
	}
	h.Add(-5)
	h.Add(math.MaxInt64)
	h.AddBucket(-1, 1)
	h.AddBucket(1<<30, 1)
	if h.Count() != 4 || h.Quantile(0) != 0 || h.Quantile(1) <= 0 {
		t.Errorf("count %d, least %d, most %d", h.Count(), h.Quantile(0), h.Quantile(1))
	}
}

// TestHistogramMerge holds that merging the parts gives the whole, through the encoding.
func TestHistogramMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var whole, merged Histogram
	for range 10 {
		var part Histogram
		for range 500 {
			ns := int64(math.Exp(rng.Float64() * 20))
			whole.Add(ns)
			part.Add(ns)
		}
		b, _ := part.AppendBinary(nil)
		var decoded Histogram
		if err := decoded.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		merged.Merge(&decoded)
	}
	a, _ := whole.AppendBinary(nil)
	b, _ := merged.AppendBinary(nil)
	if !slices.Equal(a, b) || merged.Count() != 5000 {
		t.Errorf("merged %d durations to % x, want % x", merged.Count(), b, a)
	}
}

func FuzzHistogramDecode(f *testing.F) {
	var h Histogram
	h.Add(12)
	h.Add(1e9)
	good, _ := h.AppendBinary(nil)
	f.Add(good)
	f.Add([]byte{histogramForm, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Histogram
		if err := h.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrHistogram) {
				t.Errorf("error %v does not wrap ErrHistogram", err)
			}
			return
		}
		if h.Quantile(0.5) < 0 {
			t.Error("negative quantile")
		}
	})
}
