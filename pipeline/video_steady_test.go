package pipeline

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Where the crops hold still, the flicker of what a model adds falls to about a
// third; where they change, a picture gets its own result, and nothing of the one before.
func TestSteady(t *testing.T) {
	const size, n = 64, 40
	r := rand.New(rand.NewPCG(1, 2))
	still := make([]float32, 3*size*size)
	for i := range still {
		still[i] = 0.5
	}
	restored := func() []float32 { // 0.1 is added, and noise
		out := make([]float32, len(still))
		for i := range out {
			out[i] = 0.6 + float32(r.NormFloat64())*0.02
		}
		return out
	}
	difference := func(a, b []float32) (d float64) {
		for i := range a {
			d += math.Abs(float64(a[i]-b[i])) / float64(len(a))
		}
		return d
	}
	last, raw := restored(), restored()
	var before, after, mean float64
	for range n {
		next := restored()
		before += difference(next, raw)
		raw = append([]float32(nil), next...)
		steady(still, next, still, last, size)
		after += difference(next, last)
		last = next
	}
	for _, v := range last {
		mean += float64(v) / float64(len(last))
	}
	if ratio := after / before; ratio > 0.4 || math.Abs(mean-0.6) > 0.005 {
		t.Errorf("flicker %.2f of what it was, mean %.3f; want under 0.4 and 0.6", ratio, mean)
	}

	moved := make([]float32, len(still))
	for i := range moved {
		moved[i] = 0.5 + 0.1*float32(i%2)
	}
	got, want := restored(), []float32(nil)
	want = append(want, got...)
	steady(moved, got, still, last, size)
	if d := difference(got, want); d > 0 {
		t.Errorf("a changed picture took %g of the one before", d)
	}
}
