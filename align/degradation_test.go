package align

import (
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// portrait is a sharp face of public domain, aligned by landmarks that were
// read off the photo by hand (to some 3 pixels).
func portrait(t testing.TB) []float32 {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(filepath.Dir(dir), ".deps", "samples", "obama.jpg"))
	if err != nil {
		t.Fatalf("the sample is fetched by make setup: %v", err)
	}
	defer f.Close()
	img, err := jpeg.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	rgb := image.NewNRGBA(img.Bounds())
	for y := range rgb.Rect.Dy() {
		for x := range rgb.Rect.Dx() {
			rgb.Set(x, y, img.At(x, y))
		}
	}
	face := []Point{{442, 215}, {550, 213}, {495, 267}, {443, 322}, {545, 320}}
	m, err := Estimate(face, FFHQ512[:])
	if err != nil {
		t.Fatal(err)
	}
	if rms := m.RMS(face, FFHQ512[:]); rms > 15 {
		t.Fatalf("landmarks fit the template to %.1f px only", rms)
	}
	crop, err := Warp(rgb, m, 512)
	if err != nil {
		t.Fatal(err)
	}
	return crop
}

// coarser reduces a crop by factor and enlarges it again.
func coarser(t *testing.T, crop []float32, factor float64) []float32 {
	t.Helper()
	n := int(math.Round(512 / factor))
	s := float64(n) / 512
	down := Similarity{A: s, TX: (s - 1) / 2, TY: (s - 1) / 2}
	up, err := down.Inverse()
	if err != nil {
		t.Fatal(err)
	}
	return warp(t, fromCrop(warp(t, fromCrop(crop, 512), down, n), n), up, 512)
}

func TestDegradationFollowsTheFactor(t *testing.T) {
	crop := portrait(t)
	last := math.Inf(-1)
	for _, factor := range []float64{1, 2, 4, 8, 16} {
		got, err := Degradation(coarser(t, crop, factor), 512)
		if err != nil {
			t.Fatal(err)
		}
		want := math.Log2(factor)
		t.Logf("×%g: %.2f octaves, grain %.4f", factor, got.Octaves, got.Grain)
		if math.Abs(got.Octaves-want) > 0.8 || got.Octaves <= last {
			t.Errorf("×%g: %.2f octaves, want about %.0f and more than %.2f", factor, got.Octaves, want, last)
		}
		last = got.Octaves
	}
}

// Grain must show as grain, and not make a blurred face look sharp.
func TestDegradationTellsGrainFromDetail(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	crop := coarser(t, portrait(t), 8)
	clean, err := Degradation(crop, 512)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 512 * 512 {
		n := float32(6 * r.NormFloat64() / 255)
		for k := range 3 {
			v := &crop[k*512*512+i]
			*v = min(max(*v+n, 0), 1)
		}
	}
	grainy, err := Degradation(crop, 512)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("×8: %+v, with grain of 6/255: %+v", clean, grainy)
	if grainy.Octaves < 2 || clean.Grain > 0.004 || grainy.Grain < 0.008 {
		t.Errorf("×8: %+v, with grain %+v", clean, grainy)
	}
}

func TestDegradationSizesAndErrors(t *testing.T) {
	crop := portrait(t)
	large := make([]float32, 3*1024*1024)
	for k := range 3 {
		for y := range 1024 {
			for x := range 1024 {
				large[(k*1024+y)*1024+x] = crop[(k*512+y/2)*512+x/2]
			}
		}
	}
	a, err := Degradation(crop, 512)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Degradation(large, 1024)
	if err != nil || math.Abs(a.Octaves-b.Octaves) > 1e-3 {
		t.Errorf("512: %+v, the same at 1024: %+v, %v", a, b, err)
	}
	for _, size := range []int{0, -512, 256, 500, 1024} {
		if _, err := Degradation(crop, size); err == nil {
			t.Errorf("size %d was accepted", size)
		}
	}
	flat, err := Degradation(make([]float32, 3*512*512), 512)
	if err != nil || !(flat.Octaves >= 0 && flat.Octaves <= 5) {
		t.Errorf("black: %+v, %v", flat, err)
	}
	crop[512*300+256] = float32(math.NaN())
	if m, err := Degradation(crop, 512); err == nil {
		t.Errorf("a crop with NaN was accepted: %+v", m)
	}
}

// waves is a formula's face: a pattern of falling energies, blurred.
func waves(blur float64) []float32 {
	const n = 512
	sum := make([]float64, n*n)
	for k := 0.02; k < 3; k *= 1.4 {
		var rows, columns [n]float64
		for i := range n {
			columns[i] = 0.004 / k * math.Exp(-k*k*blur*blur/2) * math.Sin(k*float64(i)+20*k)
			rows[i] = math.Cos(0.8 * k * float64(i))
		}
		for i := range sum {
			sum[i] += columns[i%n] * rows[i/n]
		}
	}
	crop := make([]float32, 3*n*n)
	for i := range crop {
		crop[i] = float32(0.5 + sum[i%(n*n)])
	}
	return crop
}

// pltrans/steps.py copies the measure for its evaluation; pltrans/tests/test_steps.py has the same numbers.
func TestDegradationIsTheOneOfTheEvaluation(t *testing.T) {
	for _, c := range []struct{ blur, want float64 }{{1, 3.2494}, {2, 3.6096}, {4, 4.3095}, {8, 4.7951}} {
		if m, err := Degradation(waves(c.blur), 512); err != nil || math.Abs(m.Octaves-c.want) > 1e-3 {
			t.Errorf("blur %g: %v, %v; want %g octaves", c.blur, m, err, c.want)
		}
	}
}

func TestStepsFor(t *testing.T) {
	for _, c := range []struct {
		octaves float64
		want    int
	}{{math.NaN(), 0}, {-1, 0}, {2, 0}, {3.49, 0}, {3.5, 4}, {4.24, 4}, {4.25, 8}, {5, 8}, {math.Inf(1), 8}} {
		if got := StepsFor(c.octaves); got != c.want {
			t.Errorf("%g octaves: %d steps, want %d", c.octaves, got, c.want)
		}
	}
}

func BenchmarkDegradation(b *testing.B) {
	crop := portrait(b)
	for b.Loop() {
		if _, err := Degradation(crop, 512); err != nil {
			b.Fatal(err)
		}
	}
}
