package paste

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What is written in assembly gives the bits of the Go code.
func TestAssemblyIsTheGoCode(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	pix := make([]float32, 4000+spare)
	for i := range pix {
		pix[i] = float32(1.6*r.Float64() - 0.8)
	}
	pix[4000] = float32(math.NaN()) // read, but of no effect
	pix = pix[:4000]
	for range 500 {
		one, two := make([]float32, 31), make([]float32, 31)
		k := r.IntN(32)
		spline(one[:k], pix[9:], pix[400:], pix[77:], pix[555:], pix[1000:])
		goSpline(two[:k], pix[9:], pix[400:], pix[77:], pix[555:], pix[1000:])
		for i := range one {
			if one[i] != two[i] {
				t.Fatalf("spline of %d: %v at %d, want %v", k, one[i], i, two[i])
			}
		}
		n, m := 1+r.IntN(12), 1+r.IntN(12)
		stride := 3 * (n + r.IntN(10))
		at := len(pix) - (m-1)*stride - 3*n - r.IntN(2)
		across, down := pix[100:100+n], pix[200:200+m]
		r1, g1, b1 := weigh(pix[at:], stride, across, down)
		r2, g2, b2 := goWeigh(pix[at:], stride, across, down)
		if r1 != r2 || g1 != g2 || b1 != b2 {
			t.Fatalf("%d×%d: (%v, %v, %v), want (%v, %v, %v)", n, m, r1, g1, b1, r2, g2, b2)
		}
	}
}
