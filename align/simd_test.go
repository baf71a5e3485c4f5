package align

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What is written in assembly gives the bits of the Go code.
func TestAssemblyIsTheGoCode(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	const w, h = 61, 47
	pix := make([]float32, 3*w*h+spare)
	for i := range pix {
		pix[i] = float32(1.6*r.Float64() - 0.3)
	}
	pix[len(pix)-1] = float32(math.NaN()) // read, but of no effect
	pix = pix[:3*w*h]
	planes := func() *[3][]float32 {
		return &[3][]float32{make([]float32, 40), make([]float32, 40), make([]float32, 40)}
	}
	for range 200 {
		angle, scale := 7*r.Float64(), 0.1+0.4*r.Float64()
		a, b := scale*math.Cos(angle), scale*math.Sin(angle)
		u, v := 22+16*r.Float64(), 22+2*r.Float64()
		place := [6]float64{a, -20 * a, u, b, -20 * b, v}
		from, to := r.IntN(20), 20+r.IntN(21)
		got, want := planes(), planes()
		cubicRow(got, pix, w, &place, from, to)
		goCubicRow(want, pix, w, &place, from, to)
		for k := range got {
			for i := range got[k] {
				if math.Float32bits(got[k][i]) != math.Float32bits(want[k][i]) {
					t.Fatalf("cubicRow: plane %d at %d is %v, want %v", k, i, got[k][i], want[k][i])
				}
			}
		}
		n := 1 + r.IntN(30)
		at := 3 * (w*h - n - r.IntN(2))
		r1, g1, b1 := weigh(pix[at:], pix[:n])
		r2, g2, b2 := goWeigh(pix[at:], pix[:n])
		if r1 != r2 || g1 != g2 || b1 != b2 {
			t.Fatalf("weigh of %d: (%v, %v, %v), want (%v, %v, %v)", n, r1, g1, b1, r2, g2, b2)
		}
		shift := make([][4]float32, n+1)
		for i := range shift {
			shift[i] = [4]float32(pix[4*i:])
		}
		p1, p2 := append([]float32(nil), pix[at-5*n:at+n+1]...), append([]float32(nil), pix[at-5*n:at+n+1]...)
		chromaPairs(p1[:6*n], shift, 0.25, n)
		goChromaPairs(p2[:6*n], shift, 0.25, n)
		for i := range p1 {
			if p1[i] != p2[i] {
				t.Fatalf("chromaPairs of %d: %v at %d, want %v", n, p1[i], i, p2[i])
			}
		}
		one, two := append([]float32(nil), pix[5:5+n+1]...), append([]float32(nil), pix[5:5+n+1]...)
		addScaled(one[:n], pix[at:], pix[n])
		goAddScaled(two[:n], pix[at:], pix[n])
		for i := range one {
			if one[i] != two[i] {
				t.Fatalf("addScaled of %d: %v at %d, want %v", n, one[i], i, two[i])
			}
		}
	}
}
