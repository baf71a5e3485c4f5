package align

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func randomSimilarity(r *rand.Rand) Similarity {
	s, a := math.Exp2(6*r.Float64()-3), 2*math.Pi*r.Float64()
	return Similarity{s * math.Cos(a), s * math.Sin(a), 4000 * (r.Float64() - 0.5), 4000 * (r.Float64() - 0.5)}
}

func TestEstimateRecovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		want := randomSimilarity(r)
		n := 2 + r.IntN(6)
		src, dst := make([]Point, n), make([]Point, n)
		for i := range src {
			src[i] = Point{500 * r.Float64(), 500 * r.Float64()}
			dst[i] = want.Apply(src[i])
		}
		got, err := Estimate(src, dst)
		if err != nil {
			t.Fatal(err)
		}
		if d := got.RMS(src, dst); d > 1e-8 {
			t.Fatalf("%+v from %+v: residual %g", got, want, d)
		}
		if math.Abs(got.Scale()/want.Scale()-1) > 1e-8 {
			t.Fatalf("scale %g, want %g", got.Scale(), want.Scale())
		}
	}
}

// With noise of σ pixels on five points, the fit's place at the centroid is
// off by about σ/√5, and no other similarity near it is better.
func TestEstimateIsLeastSquares(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var off float64
	const rounds, sigma = 400, 2.0
	for range rounds {
		want := randomSimilarity(r)
		back, err := want.Inverse()
		if err != nil {
			t.Fatal(err)
		}
		dst := append([]Point(nil), FFHQ512[:]...)
		src := make([]Point, len(dst))
		for i := range dst {
			src[i] = back.Apply(dst[i])
			dst[i].X += sigma * r.NormFloat64()
			dst[i].Y += sigma * r.NormFloat64()
		}
		got, err := Estimate(src, dst)
		if err != nil {
			t.Fatal(err)
		}
		best := got.RMS(src, dst)
		for range 8 {
			near := got
			near.A += 1e-3 * got.Scale() * r.NormFloat64()
			near.B += 1e-3 * got.Scale() * r.NormFloat64()
			near.TX += r.NormFloat64()
			near.TY += r.NormFloat64()
			if near.RMS(src, dst) < best {
				t.Fatalf("%+v fits better than the estimate %+v", near, got)
			}
		}
		c := Point{256, 307}
		p := back.Apply(c)
		q := got.Apply(p)
		off += sq(q.X-c.X) + sq(q.Y-c.Y)
	}
	if rms := math.Sqrt(off / rounds / 2); rms > sigma/math.Sqrt(5)*1.3 {
		t.Errorf("centre off by %.2f px rms a coordinate at σ = %g", rms, sigma)
	}
}

func TestEstimateDegenerate(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	ok := []Point{{0, 0}, {1, 0}, {0, 1}}
	for name, c := range map[string][2][]Point{
		"none":           {nil, nil},
		"one":            {ok[:1], ok[:1]},
		"counts":         {ok, ok[:2]},
		"coincident":     {{{5, 5}, {5, 5}, {5, 5}}, ok},
		"to coincident":  {ok, {{5, 5}, {5, 5}, {5, 5}}},
		"rounding apart": {{{1e6, 1e6}, {1e6 + 1e-6, 1e6}}, ok[:2]},
		"nan":            {{{nan, 0}, {1, 0}}, ok[:2]},
		"inf":            {ok[:2], {{inf, 0}, {1, 0}}},
		"huge":           {{{1e300, 0}, {-1e300, 0}}, ok[:2]},
		"mirrored":       {{{1, 0}, {-1, 0}, {0, 1}, {0, -1}}, {{1, 0}, {-1, 0}, {0, -1}, {0, 1}}},
	} {
		if m, err := Estimate(c[0], c[1]); !errors.Is(err, ErrDegenerate) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	for _, m := range []Similarity{{}, {A: nan}, {A: 1, TX: inf}, {A: 1e-300}, {A: 1e-160, TX: 1e200}} {
		if back, err := m.Inverse(); !errors.Is(err, ErrDegenerate) {
			t.Errorf("inverse of %+v: %+v, %v", m, back, err)
		}
	}
	if !math.IsNaN((Similarity{}).RMS(ok, ok[:2])) {
		t.Error("RMS of different lengths isn't NaN")
	}
}

func TestInverseAndThen(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		m := randomSimilarity(r)
		back, err := m.Inverse()
		if err != nil {
			t.Fatal(err)
		}
		p := Point{1000 * r.Float64(), 1000 * r.Float64()}
		q := m.Then(back).Apply(p)
		if math.Hypot(q.X-p.X, q.Y-p.Y) > 1e-7 {
			t.Fatalf("%+v there and back: %v from %v", m, q, p)
		}
		a := m.Affine()
		u, v := m.Apply(p), Point{a[0]*p.X + a[1]*p.Y + a[2], a[3]*p.X + a[4]*p.Y + a[5]}
		if u != v {
			t.Fatalf("Affine gives %v, Apply %v", v, u)
		}
		if d := math.Remainder(m.Angle()+back.Angle(), 2*math.Pi); math.Abs(d) > 1e-9 {
			t.Fatalf("angles don't cancel: %g", d)
		}
	}
}

func TestTemplate(t *testing.T) {
	for _, name := range []string{"ffhq_512", "arcface_112", "arcface_128", "dlib_ffhq_512", "dlib_arcface_112", "dlib_arcface_128"} {
		small, err := Template(name, 256)
		if err != nil {
			t.Fatal(err)
		}
		large, err := Template(name, 1024)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range small {
			// The same fraction of the picture's width, edge to edge.
			if math.Abs((p.X+0.5)/256-(large[i].X+0.5)/1024) > 1e-12 || p.Y < 0 || p.Y > 255 {
				t.Errorf("%s: point %d at %v and %v", name, i, p, large[i])
			}
		}
	}
	same, err := Template("ffhq_512", 512)
	if err != nil || [5]Point(same) != FFHQ512 {
		t.Errorf("ffhq_512 at its own size: %v, %v", same, err)
	}
	for _, bad := range []struct {
		name string
		size int
	}{{"ffhq", 512}, {"", 512}, {"dlib_dlib_ffhq_512", 512}, {"ffhq_512", 0}, {"ffhq_512", MaxSize + 1}} {
		if _, err := Template(bad.name, bad.size); err == nil {
			t.Errorf("template %q at %d was accepted", bad.name, bad.size)
		}
	}
	if FFHQ512[0].X > FFHQ512[1].X {
		t.Error("the first eye must be the image-left one")
	}
}

func FuzzEstimate(f *testing.F) {
	f.Add(0.0, 0.0, 1.0, 0.0, 2.0, 2.0, 3.0, 3.0)
	f.Add(math.NaN(), 0.0, 1.0, math.Inf(1), 2.0, 2.0, 2.0, 2.0)
	f.Add(1e308, -1e308, 1e-308, 0.0, 2.0, 2.0, 3.0, 3.0)
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i float64) {
		m, err := Estimate([]Point{{a, b}, {c, d}}, []Point{{e, g}, {h, i}})
		if err != nil {
			if !errors.Is(err, ErrDegenerate) {
				t.Fatal(err)
			}
			return
		}
		if !m.finite() || m.Scale() == 0 {
			t.Fatalf("%+v without an error", m)
		}
	})
}
