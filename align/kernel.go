package align

import "math"

// keys is the cubic convolution kernel of R. Keys, "Cubic convolution
// interpolation for digital image processing", IEEE ASSP 29(6), 1981, with
// a = −1/2 (also known as Catmull-Rom). Support [−2, 2].
func keys(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x < 1:
		return 1 + x*x*(1.5*x-2.5)
	case x < 2:
		return 2 + x*(-4+x*(2.5-0.5*x))
	}
	return 0
}

const phases = 1024

// cubic[p] holds the four weights for a sample that lies p/phases after the
// second of four neighbours. A step of 1/1024 pixel is far below what
// landmarks or networks resolve; phase 0 is exact.
var cubic = func() (t [phases + 1][4]float32) {
	for p := range t {
		f := float64(p) / phases
		for i := range 4 {
			t[p][i] = float32(keys(float64(i-1) - f))
		}
	}
	return t
}()

// taps are the normalised weights of the source samples first, first+1, …
// for one output sample.
type taps struct {
	first  int
	weight []float32
}

// shrinkTaps computes the weights that resample n samples at a spacing of
// step, low-passed by the Keys kernel stretched by width (≥ 1): output u is
// centred on (u+½)·step−½. Weights beyond the ends are left out and the rest
// normalised.
func shrinkTaps(n int, step, width float64) []taps {
	out := make([]taps, max(1, int(math.Ceil(float64(n)/step-1e-9))))
	for u := range out {
		c := min((float64(u)+0.5)*step-0.5, float64(n-1))
		lo := int(math.Ceil(max(c-2*width, 0)))
		hi := int(math.Floor(min(c+2*width, float64(n-1))))
		w := make([]float32, hi-lo+1)
		var sum float64
		for i := range w {
			sum += keys((float64(lo+i) - c) / width)
		}
		for i := range w {
			w[i] = float32(keys((float64(lo+i)-c)/width) / sum)
		}
		out[u] = taps{lo, w}
	}
	return out
}
