package main

import (
	"math"
	"testing"
)

// noisy is a 64×64 gradient plus amplitude times a fixed checker pattern.
func noisy(amplitude float32) []float32 {
	const n = 64
	out := make([]float32, 3*n*n)
	for i := range out {
		x, y := i%n, i/n%n
		out[i] = 0.2 + 0.6*float32(x)/n
		if (x+y)%2 == 0 {
			out[i] += amplitude
		} else {
			out[i] -= amplitude
		}
	}
	return out
}

func TestPSNR(t *testing.T) {
	// Every value differs by 0.1: −20·log10(0.1).
	if got := psnr(noisy(0), noisy(0.1)); math.Abs(got-20) > 1e-3 {
		t.Errorf("PSNR %.4f dB, want 20", got)
	}
	if got := psnr(noisy(0.1), noisy(0.1)); !math.IsInf(got, 1) {
		t.Errorf("PSNR of a face with itself is %g", got)
	}
}

func TestSSIM(t *testing.T) {
	same := ssim(noisy(0.05), noisy(0.05), 64)
	if math.Abs(same-1) > 1e-9 {
		t.Errorf("SSIM of a face with itself is %g", same)
	}
	little, much := ssim(noisy(0), noisy(0.02), 64), ssim(noisy(0), noisy(0.1), 64)
	if !(much < little && little < 1) {
		t.Errorf("SSIM %.4f with little noise, %.4f with much", little, much)
	}
	// Two constants a and b: no variance, so SSIM = (2ab+c1)/(a²+b²+c1).
	flat := func(v float32) []float32 {
		out := make([]float32, 3*32*32)
		for i := range out {
			out[i] = v
		}
		return out
	}
	want := (2*0.4*0.6 + 1e-4) / (0.4*0.4 + 0.6*0.6 + 1e-4)
	if got := ssim(flat(0.4), flat(0.6), 32); math.Abs(got-want) > 1e-6 {
		t.Errorf("SSIM of two constants %.6f, want %.6f", got, want)
	}
}

func TestQualityOfFaces(t *testing.T) {
	q := quality{PSNR: 60, SSIM: 1.5}
	for _, d := range []float64{0.9, 0.1, 0.2, 0.4} {
		q.compare(d)
	}
	q.finish(2)
	if q.PSNR != 30 || q.SSIM != 0.75 || math.Abs(q.Identity-0.4) > 1e-12 || math.Abs(q.MedianIdentity-0.3) > 1e-12 {
		t.Errorf("got %+v", q)
	}
}
